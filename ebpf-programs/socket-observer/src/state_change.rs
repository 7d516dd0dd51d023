//! Begins and ends, from changes of a socket's state.

use abi::{
    ConnectionRecord, ListenerRecord, RecordKind, SkipReason,
    state::{CLOSE, ESTABLISHED, LISTEN, SYN_RECV, SYN_SENT, is_connected},
};
use bytemuck::Zeroable;

use crate::{
    cgroup,
    kernel::{current_process, now, offset, read},
    maps::{HANDSHAKES, Handshake, count_skipped, emit, with_tcp},
    sample::{self, Common},
};

const IPPROTO_TCP: u16 = 6;

/// Observes a change that is about to happen: the socket still has the old state.
///
/// Arguments as `inet_sock_set_state` has them since Linux 4.16. The socket is locked by this CPU, or not yet or no
/// longer visible to others.
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sock.h#L142>
#[inline(always)]
pub(crate) fn observe(socket: u64, old: u8, new: u8) {
    // Most changes are of no interest; no kernel memory is read for those.
    match (old, new) {
        (_, SYN_SENT) if is_tcp(socket) => remember_handshake(socket),
        (SYN_SENT | SYN_RECV, ESTABLISHED) if is_tcp(socket) => record_opened(socket, old),
        (SYN_SENT | SYN_RECV, CLOSE) if is_tcp(socket) => record_failed(socket, old),
        (_, LISTEN) if is_tcp(socket) => record_listener(socket, RecordKind::Listening),
        (LISTEN, CLOSE) if is_tcp(socket) => record_listener(socket, RecordKind::Unlistened),
        (_, CLOSE) if is_connected(old) && is_tcp(socket) => record_closed(socket, old),
        _ => {}
    }
}

// SCTP and MPTCP announce their changes by the same trace point; MPTCP's subflows are TCP sockets of their own.
#[inline(always)]
fn is_tcp(socket: u64) -> bool {
    read::<u16>(socket + offset!(sock_protocol)) == IPPROTO_TCP
}

/// Remembers who connects: what follows happens on whatever process the CPU runs when a packet arrives.
#[inline(always)]
fn remember_handshake(socket: u64) {
    let mut handshake = Handshake { since: now(), command: [0; 16], pid: 0, reserved: 0 };
    handshake.pid = current_process(&mut handshake.command);
    if HANDSHAKES.insert(socket, handshake, 0).is_err() {
        count_skipped(SkipReason::HandshakesFull);
    }
}

#[inline(always)]
fn record_opened(socket: u64, old: u8) {
    let cgroup = cgroup::of_socket(socket);
    cgroup::announce(cgroup);
    emit(|record: &mut ConnectionRecord| {
        begin(record, RecordKind::Opened, socket, old);
        add_handshake(record, socket);
        sample::copy_cgroup(&mut record.socket, cgroup);
        sample::copy_identity(&mut record.socket, socket);
    });
    // An error means that there was none.
    let _ = HANDSHAKES.remove(socket);
}

/// A client's handshake failed; a server's never became anybody's connection.
#[inline(always)]
fn record_failed(socket: u64, old: u8) {
    // A socket in SYN_RECV is a client's if it connected and met a SYN that came the other way.
    if old != SYN_SENT && HANDSHAKES.get_ptr(socket).is_none() {
        return;
    }
    let cgroup = cgroup::of_socket(socket);
    cgroup::announce(cgroup);
    emit(|record: &mut ConnectionRecord| {
        begin(record, RecordKind::Failed, socket, old);
        add_handshake(record, socket);
        sample::copy_cgroup(&mut record.socket, cgroup);
        sample::copy_segments_out(&mut record.socket, socket);
        sample::copy_handshake_error(&mut record.socket, socket);
    });
    let _ = HANDSHAKES.remove(socket);
}

#[inline(always)]
fn record_closed(socket: u64, old: u8) {
    let is_recorded = with_tcp(|tcp| {
        tcp.read_from(socket);
        emit(|record: &mut ConnectionRecord| {
            begin(record, RecordKind::Closed, socket, old);
            sample::copy_totals(&mut record.socket, tcp);
            sample::copy_backlog(&mut record.socket, socket);
            sample::copy_error(&mut record.socket, socket);
        });
    });
    if is_recorded.is_none() {
        count_skipped(SkipReason::Nested);
    }
}

/// Records that the reset with which a connection ended was this end's, where the end alone did not tell.
///
/// An orphan that is sent data answers it with a reset, and closes just as if it had received one. The answer follows: only
/// then is its socket closed already when it sends. Resets that an application causes are sent before, and their ends tell.
/// <https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c#L6910>
#[inline(always)]
pub(crate) fn observe_reset(socket: u64) {
    // Neither none, nor one that listens, nor what is left of one has this state.
    if Common::of(socket).state() != CLOSE {
        return;
    }
    emit(|record: &mut ConnectionRecord| {
        begin(record, RecordKind::ResetSent, socket, CLOSE);
        sample::copy_identity(&mut record.socket, socket);
        sample::copy_backlog(&mut record.socket, socket);
    });
}

/// Writes what every record has; the rest is zero.
#[inline(always)]
fn begin(record: &mut ConnectionRecord, kind: RecordKind, socket: u64, old: u8) {
    *record = ConnectionRecord::zeroed();
    record.kind = kind as u32;
    record.time = now();
    let common = Common::of(socket);
    let to = &mut record.socket;
    to.netns = common.netns();
    to.flags = common.flags();
    sample::copy_ends(to, socket, &common);
    to.state = old;
}

/// Adds who began the handshake, if that was seen.
#[inline(always)]
fn add_handshake(record: &mut ConnectionRecord, socket: u64) {
    let Some(handshake) = HANDSHAKES.get_ptr(socket) else { return };
    // SAFETY: the entry is live: only this socket's changes of state remove or replace it, and they do not run
    // concurrently.
    let handshake = unsafe { &*handshake };
    record.pid = handshake.pid;
    record.connecting_since = handshake.since;
    record.command = handshake.command;
}

#[inline(always)]
fn record_listener(socket: u64, kind: RecordKind) {
    let cgroup = cgroup::of_socket(socket);
    cgroup::announce(cgroup);
    emit(|record: &mut ListenerRecord| {
        let common = Common::of(socket);
        record.kind = kind as u32;
        record.pid = current_process(&mut record.command);
        record.inode = sample::inode(socket);
        record.netns = common.netns();
        record.port = sample::local_port(socket);
        record.reserved = 0;
        record.address = common.local_address();
    });
}
