//! eBPF programs that observe TCP sockets where the kernel keeps their totals.
//!
//! | program | runs | does |
//! | --- | --- | --- |
//! | `on_state_change` | at each change of a TCP socket's state (`inet_sock_set_state`) | records begins and ends |
//! | `on_state_change_second`, `_third` | after it, where the kernel preempts programs | record what those before were not given |
//! | `on_state_change_last` | after them | the same |
//! | `on_reset_sent` | when a socket sends a reset (`tcp_send_reset`) | records it if it answers for a closed connection |
//! | `boot`, `boot_elements`, `boot_flat` | when the receiver asks | finds the kernel's tables of connections |
//! | `walk`, `walk_elements`, `walk_flat` | when the receiver asks | copies the sockets of a part of a table |
//! | `walk_listening` | when the receiver asks | copies listening sockets |
//! | `name_cgroup` | when the receiver asks | reads the names of one cgroup |
//!
//! All but the first five are loaded as raw tracepoint programs and never attached: the receiver runs them by
//! `BPF_PROG_TEST_RUN`, one at a time. No program runs per packet or per call to send or receive, and none decides
//! anything: they observe.
//!
//! # Contract with the receiver
//!
//! | map | kernel | receiver |
//! | --- | --- | --- |
//! | `EVENTS` | writes records | reads them |
//! | `SKIPPED` | increments, by `SkipReason` | reads |
//! | `CHANGES` | increments, by `ChangeCount` | reads |
//! | `HANDSHAKES` | who began a handshake, and when | nothing |
//! | `CGROUPS` | which cgroups' names were recorded | nothing |
//! | `WALK`, `SOCKETS`, `TABLES`, `LISTENING`, `CGROUP` | results of the programs that it runs | has them mapped, reads |
//! | `NOTES` | what one program has seen and those after it need not record | nothing |
//! | `SCRATCH`, `ROOMS` | what is copied of a table and of a socket | nothing |
//! | `ELEMENTS` | is visited to repeat something | nothing |
//!
//! # Minimum kernel version
//!
//! 5.10, for `BPF_PROG_TEST_RUN` of raw tracepoints. Of `walk` and `boot` there are variants, see [`walk`]: the receiver
//! takes the first that the kernel accepts.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(core_intrinsics))]
#![cfg_attr(
    target_arch = "bpf",
    expect(internal_features, reason = "what adds atomically, see `kernel::atomic_add`")
)]

mod cgroup;
mod kernel;
mod listening;
mod maps;
mod sample;
mod state_change;
mod walk;

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};

use crate::maps::Lodger;

/// Records begins and ends of connections and of listening.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn on_state_change(ctx: RawTracePointContext) -> i32 {
    state_change::observe(ctx.arg(0), ctx.arg(1), ctx.arg(2), Lodger::First);
    0
}

/// Records what the kernel did not give to `on_state_change`. To be attached after it, where programs can be preempted.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn on_state_change_second(ctx: RawTracePointContext) -> i32 {
    state_change::observe(ctx.arg(0), ctx.arg(1), ctx.arg(2), Lodger::Second);
    0
}

/// Records what the kernel gave to neither. To be attached after both.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn on_state_change_third(ctx: RawTracePointContext) -> i32 {
    state_change::observe(ctx.arg(0), ctx.arg(1), ctx.arg(2), Lodger::Third);
    0
}

/// Records what the kernel gave to none of those before, of which there is one at least. To be attached after them.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn on_state_change_last(ctx: RawTracePointContext) -> i32 {
    state_change::observe(ctx.arg(0), ctx.arg(1), ctx.arg(2), Lodger::Last);
    0
}

/// Records who sent the reset with which a connection ended. The receiver can do without.
#[raw_tracepoint(tracepoint = "tcp_send_reset")]
fn on_reset_sent(ctx: RawTracePointContext) -> i32 {
    state_change::observe_reset(ctx.arg(0));
    0
}

/// Finds the tables of connections of all network namespaces. Takes no arguments.
#[raw_tracepoint]
fn boot(_ctx: RawTracePointContext) -> i32 {
    walk::find_tables::<walk::Calls>();
    0
}

/// Like `boot`, for Linux 5.13.
#[raw_tracepoint]
fn boot_elements(_ctx: RawTracePointContext) -> i32 {
    walk::find_tables::<walk::Elements>();
    0
}

/// Like `boot`, for Linux 5.10.
#[raw_tracepoint]
fn boot_flat(_ctx: RawTracePointContext) -> i32 {
    walk::find_tables_flat();
    0
}

/// Copies the sockets of a part of a table. Takes `WalkArguments`.
#[raw_tracepoint]
fn walk(ctx: RawTracePointContext) -> i32 {
    walk::walk(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(3), ctx.arg(4));
    0
}

/// Like `walk`, for Linux 5.13; reads one chunk, whatever is asked for.
#[raw_tracepoint]
fn walk_elements(ctx: RawTracePointContext) -> i32 {
    walk::walk_elements(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(4));
    0
}

/// Like `walk`, for Linux 5.10; reads one chunk at most, whatever is asked for.
#[raw_tracepoint]
fn walk_flat(ctx: RawTracePointContext) -> i32 {
    walk::walk_flat(ctx.arg(0), ctx.arg(1), ctx.arg(2), ctx.arg(4));
    0
}

/// Copies listening sockets. Takes the first bucket to visit.
#[raw_tracepoint]
fn walk_listening(ctx: RawTracePointContext) -> i32 {
    listening::walk(ctx.arg(0));
    0
}

/// Reads the names of one cgroup. Takes the address of its `kernfs_node`.
#[raw_tracepoint]
fn name_cgroup(ctx: RawTracePointContext) -> i32 {
    cgroup::answer(ctx.arg(0));
    0
}

/// Unreachable: nothing here panics, and the verifier would refuse a program that could loop.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// The helpers that read kernel memory are for GPL-compatible programs; without this word the kernel refuses them.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
