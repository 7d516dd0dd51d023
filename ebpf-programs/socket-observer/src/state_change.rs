//! Begins and ends, from changes of a socket's state.

use abi::{ConnectionRecord, ListenerRecord, RecordKind, SkipReason, state};

use crate::{
    cgroup,
    kernel::{current_process, now, offset, read},
    maps::{HANDSHAKES, Handshake, count_skipped, emit},
    sample,
};

const IPPROTO_TCP: u16 = 6;

const ESTABLISHED: i32 = state::ESTABLISHED as i32;
const SYN_SENT: i32 = state::SYN_SENT as i32;
const SYN_RECV: i32 = state::SYN_RECV as i32;
const CLOSE: i32 = state::CLOSE as i32;
const LISTEN: i32 = state::LISTEN as i32;

/// Observes a change that is about to happen: the socket still has the old state.
///
/// Arguments as `inet_sock_set_state` has them since Linux 4.16. The socket is locked by this CPU, or not yet or no
/// longer visible to others.
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sock.h#L142>
#[inline(always)]
pub(crate) fn observe(socket: u64, old: i32, new: i32) {
    // Most changes are of no interest; no kernel memory is read for those.
    match (old, new) {
        (_, SYN_SENT) if is_tcp(socket) => remember_handshake(socket),
        (SYN_SENT | SYN_RECV, ESTABLISHED) if is_tcp(socket) => record(socket, old, RecordKind::Opened),
        (SYN_SENT | SYN_RECV, CLOSE) if is_tcp(socket) => record_failure(socket, old),
        (_, LISTEN) if is_tcp(socket) => record_listener(socket, RecordKind::Listening),
        (LISTEN, CLOSE) if is_tcp(socket) => record_listener(socket, RecordKind::Unlistened),
        (_, CLOSE) if state::is_connected(old as u8) && is_tcp(socket) => {
            record(socket, old, RecordKind::Closed)
        }
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

/// A client's handshake failed; a server's never became anybody's connection.
#[inline(always)]
fn record_failure(socket: u64, old: i32) {
    // A socket in SYN_RECV is a client's if it connected and met a SYN that came the other way.
    if old == SYN_SENT || HANDSHAKES.get_ptr(socket).is_some() {
        record(socket, old, RecordKind::Failed);
    }
}

#[inline(always)]
fn record(socket: u64, old: i32, kind: RecordKind) {
    let cgroup = cgroup::of_socket(socket);
    cgroup::announce(cgroup);
    emit(|record: &mut ConnectionRecord| {
        record.kind = kind as u32;
        record.time = now();
        record.pid = 0;
        record.connecting_since = 0;
        record.command = [0; 16];
        if !matches!(kind, RecordKind::Closed)
            && let Some(handshake) = HANDSHAKES.get_ptr(socket)
        {
            // SAFETY: the entry is live: only this socket's changes of state remove or replace it, and they do not
            // run concurrently.
            let handshake = unsafe { &*handshake };
            record.pid = handshake.pid;
            record.connecting_since = handshake.since;
            record.command = handshake.command;
        }
        sample::copy_held(&mut record.socket, socket, cgroup);
        record.socket.state = old as u8;
    });
    if !matches!(kind, RecordKind::Closed) {
        // An error means that there was none.
        let _ = HANDSHAKES.remove(socket);
    }
}

#[inline(always)]
fn record_listener(socket: u64, kind: RecordKind) {
    let cgroup = cgroup::of_socket(socket);
    cgroup::announce(cgroup);
    emit(|record: &mut ListenerRecord| {
        record.kind = kind as u32;
        record.pid = current_process(&mut record.command);
        record.inode = sample::inode(socket);
        record.netns = sample::netns(socket);
        record.port = sample::local_port(socket);
        record.reserved = 0;
        sample::local_address(&mut record.address, socket);
    });
}
