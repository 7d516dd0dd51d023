//! Reading the kernel's memory.

#[cfg(target_arch = "bpf")]
use core::intrinsics;
use core::mem::MaybeUninit;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering};

use abi::Offsets;
use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, generated},
};
use bytemuck::Pod;

/// Set by the receiver before the programs are loaded.
#[unsafe(no_mangle)]
// SAFETY: every pattern of bytes is a valid `Offsets`.
pub(crate) static OFFSETS: Offsets = unsafe { core::mem::zeroed() };

/// Yields a number of [`OFFSETS`].
macro_rules! constant {
    ($name:ident) => {{
        // Volatile, for the compiler would take the zeros above for granted.
        // SAFETY: the static is initialised and aligned, and nothing writes it while programs run.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::OFFSETS.$name) }
    }};
}

/// Yields an offset of [`OFFSETS`], as it is added to an address.
macro_rules! offset {
    ($name:ident) => {
        u64::from($crate::kernel::constant!($name))
    };
}
pub(crate) use constant;
pub(crate) use offset;

/// Reads a value of the kernel; zero if the address is not readable.
#[inline(always)]
pub(crate) fn read<T: Pod>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    probe(value.as_mut_ptr(), address);
    // SAFETY: the helper writes every byte, zeros when it cannot read, and every pattern is a valid `T`.
    unsafe { value.assume_init() }
}

/// Reads a value of the kernel in place; zero if the address is not readable. Returns whether it is.
#[inline(always)]
pub(crate) fn read_into<T: Pod>(value: &mut T, address: u64) -> bool {
    probe(value, address)
}

/// Reads `len` bytes into a value, from its `at`th byte on; zero if the address is not readable. What has no room is not
/// read. Returns whether it was read.
#[inline(always)]
pub(crate) fn read_part_into<T: Pod>(value: &mut T, at: u32, len: u32, address: u64) -> bool {
    if at > size::<T>() || len > size::<T>() - at {
        return false;
    }
    // SAFETY: in bounds, as checked.
    let to = unsafe { core::ptr::from_mut(value).byte_add(at as usize) };
    // SAFETY: as in `probe`, with fewer bytes than there is room for.
    unsafe { generated::bpf_probe_read_kernel(to.cast::<c_void>(), len, address as *const c_void) == 0 }
}

#[inline(always)]
fn probe<T: Pod>(to: *mut T, address: u64) -> bool {
    // SAFETY: the helper writes `size_of::<T>()` bytes to `to`, which both callers own. It checks the address it reads
    // from, and writes zeros when it cannot.
    // https://github.com/torvalds/linux/blob/v6.12/kernel/trace/bpf_trace.c#L232
    unsafe { generated::bpf_probe_read_kernel(to.cast(), size::<T>(), address as *const c_void) == 0 }
}

/// Makes a value all zeros, a word at a time: what the compiler would call for it goes byte by byte.
#[inline(always)]
pub(crate) fn zero<T: Pod>(value: &mut T) {
    const { assert!(size_of::<T>().is_multiple_of(8) && align_of::<T>() == 8, "the value is whole words") };
    let words = core::ptr::from_mut(value).cast::<u64>();
    let mut idx = 0;
    while idx < size_of::<T>() / 8 {
        // SAFETY: in bounds.
        let word = unsafe { words.add(idx) };
        // SAFETY: a word of the value, which is aligned for it and for which every pattern is valid. Volatile, or the
        // compiler would see through it.
        unsafe { word.write_volatile(0) };
        idx += 1;
    }
}

/// Adds to a number that others add to at the same time.
///
/// # Safety
///
/// The pointer is valid and aligned, and all who write there do so by this function.
#[inline(always)]
pub(crate) unsafe fn atomic_add(to: *mut u64, amount: u64) {
    // The types of `core::sync` cannot: they want that the processor can exchange too, which BPF's learnt in Linux 5.12.
    #[cfg(target_arch = "bpf")]
    // SAFETY: as the caller promises.
    unsafe {
        intrinsics::atomic_xadd::<u64, u64, { intrinsics::AtomicOrdering::Relaxed }>(to, amount)
    };
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: as the caller promises.
    unsafe { AtomicU64::from_ptr(to) }.fetch_add(amount, Ordering::Relaxed);
}

/// Reads a string of the kernel in place, cut to the room; empty if the address is not readable.
#[inline(always)]
pub(crate) fn read_str<const N: usize>(text: &mut [u8; N], address: u64) {
    let to = text.as_mut_ptr().cast::<c_void>();
    // SAFETY: as in `probe`; the helper writes at most `N` bytes and ends the string by a zero.
    unsafe { generated::bpf_probe_read_kernel_str(to, size::<[u8; N]>(), address as *const c_void) };
}

/// Returns the size of a type as helpers take it.
#[expect(clippy::cast_possible_truncation, reason = "what does not fit does not compile")]
#[inline(always)]
const fn size<T>() -> u32 {
    const { assert!(size_of::<T>() <= u32::MAX as usize) };
    size_of::<T>() as u32
}

/// Returns the current process (thread group), and writes the command of its first thread.
#[inline(always)]
pub(crate) fn current_process(command: &mut [u8; 16]) -> u32 {
    // SAFETY: the helper takes nothing and returns an address, which is not dereferenced here.
    let task = unsafe { bpf_get_current_task() };
    let leader: u64 = read(task + offset!(task_group_leader));
    read_into(command, leader + offset!(task_comm));
    current_process_id()
}

/// Returns the current process (thread group), as no namespace of processes numbers it.
#[inline(always)]
pub(crate) fn current_process_id() -> u32 {
    (bpf_get_current_pid_tgid() >> 32) as u32
}

/// Returns the network namespace of the current process.
#[inline(always)]
pub(crate) fn current_net() -> u64 {
    // SAFETY: as above.
    let task = unsafe { bpf_get_current_task() };
    let nsproxy: u64 = read(task + offset!(task_nsproxy));
    read(nsproxy + offset!(nsproxy_net))
}

/// Returns the ticks of the kernel's clock, `jiffies`.
#[inline(always)]
pub(crate) fn ticks() -> u64 {
    // SAFETY: the helper takes nothing and returns a number.
    unsafe { generated::bpf_jiffies64() }
}

/// Returns the nanoseconds since boot, without those in which the machine slept: `CLOCK_MONOTONIC`.
#[inline(always)]
pub(crate) fn monotonic() -> u64 {
    // SAFETY: as above.
    unsafe { generated::bpf_ktime_get_ns() }
}

/// Returns any number.
#[inline(always)]
pub(crate) fn random() -> u32 {
    // SAFETY: as above.
    unsafe { generated::bpf_get_prandom_u32() }
}

/// Returns the nanoseconds since boot, `CLOCK_BOOTTIME`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes nothing and returns a number.
    unsafe { generated::bpf_ktime_get_boot_ns() }
}
