//! Keeps the C library from holding on to memory that was needed for a moment only.

#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "the allocator's settings can be reached in no other way")
)]

/// Bytes from which a block is mapped on its own and given back to the system when it is freed, and free bytes at the end
/// of the heap from which they are given back.
#[cfg(target_env = "gnu")]
const THRESHOLD: i32 = 128 * 1024;

/// Fixes the allocator's thresholds at the values they begin with.
///
/// Otherwise glibc raises both whenever a large block is freed, so that reading the kernel's type information once lets it
/// keep more free memory for ever than the whole program needs: 26 MiB resident instead of 13 when idle, 51 instead of 31
/// with 9,000 connections of which both ends are here.
/// <https://man7.org/linux/man-pages/man3/mallopt.3.html>, "dynamic mmap threshold"
#[cfg(target_env = "gnu")]
pub(crate) fn limit_kept_memory() {
    for parameter in [libc::M_MMAP_THRESHOLD, libc::M_TRIM_THRESHOLD] {
        // SAFETY: `mallopt` has no preconditions; it takes the allocator's lock. The parameter and the value are among
        // those it knows; would it refuse them, nothing would change.
        unsafe { libc::mallopt(parameter, THRESHOLD) };
    }
}

/// Gives back what is free now, also between blocks that are in use.
///
/// What loading the eBPF programs needed for a moment lies below what stays, so that the end of the heap alone frees little:
/// 1.6 MiB of the 2 that are resident for the heap of an idle agent.
/// <https://man7.org/linux/man-pages/man3/malloc_trim.3.html>
#[cfg(target_env = "gnu")]
pub(crate) fn give_free_memory_back() {
    // SAFETY: `malloc_trim` has no preconditions; it takes the allocator's locks.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) const fn limit_kept_memory() {}

/// Other C libraries give memory back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) const fn give_free_memory_back() {}
