//! Begins and ends, from changes of a socket's state.

use abi::{
    ChangeCount, ConnectionRecord, Handshake, ListenerRecord, RecordKind, SkipReason,
    state::{CLOSE, ESTABLISHED, LISTEN, SYN_RECV, SYN_SENT, is_connected},
};
use bytemuck::Zeroable;

use crate::{
    cgroup,
    kernel::{constant, current_process, now, offset, read, read_into, zero},
    maps::{HandshakePlace, Lodger, Notes, Room, count_change, count_skipped, emit, with_room},
    sample::{self, Sock},
};

const IPPROTO_TCP: u16 = 6;

/// Observes a change that is about to happen: the socket still has the old state.
///
/// Arguments as `inet_sock_set_state` has them since Linux 4.16. The socket is locked by this CPU, or not yet or no
/// longer visible to others.
/// <https://github.com/torvalds/linux/blob/v6.12/include/trace/events/sock.h#L142>
///
/// Several programs are attached, one after the other: on a CPU that is in the middle of the first when a packet changes
/// another socket, or a process that runs in place of the interrupted one does, the kernel gives that change to the others
/// alone. Who acts leaves a note, and who finds it does nothing.
#[inline(always)]
pub(crate) fn observe(socket: u64, old: u8, new: u8, by: Lodger) {
    let Some(notes) = Notes::of(socket, new) else { return };
    if by != Lodger::First && notes.is_left() {
        if by == Lodger::Last {
            notes.clear();
        }
        return;
    }
    if !act(socket, old, new, by) {
        if by == Lodger::First {
            count_change(ChangeCount::Declined);
        }
        return;
    }
    match by {
        Lodger::First | Lodger::Resets => {}
        Lodger::Second => count_change(ChangeCount::BySecond),
        Lodger::Third => count_change(ChangeCount::ByThird),
        Lodger::Last => count_change(ChangeCount::ByLast),
    }
    if by == Lodger::Last { notes.clear() } else { notes.leave() }
}

/// Records a change if it is of interest. Returns whether it could: not if the program is running already on this CPU, as
/// kernels before 6.1 let it.
#[inline(always)]
fn act(socket: u64, old: u8, new: u8, by: Lodger) -> bool {
    // Most changes are of no interest; no kernel memory is read for those.
    if new == SYN_SENT {
        remember_handshake(socket);
        return true;
    }
    let is_of_interest = new == LISTEN
        || is_begin(old, new)
        || new == CLOSE && (is_connected(old) || matches!(old, SYN_SENT | SYN_RECV | LISTEN));
    !is_of_interest || with_room(by, |room| record(room, socket, old, new, by)).is_some()
}

/// Returns whether a connection begins. It may pass by ESTABLISHED: an application that was given what came with a Fast Open
/// closes before the client's answer, or one of two ends that connect to each other at the same time.
#[inline(always)]
const fn is_begin(old: u8, new: u8) -> bool {
    old == SYN_SENT && new == ESTABLISHED || old == SYN_RECV && is_connected(new)
}

// SCTP and MPTCP announce their changes by the same trace point; MPTCP's subflows are TCP sockets of their own.
#[inline(always)]
const fn is_tcp(protocol: u16) -> bool {
    protocol == IPPROTO_TCP
}

#[inline(always)]
fn record(room: &mut Room, socket: u64, old: u8, new: u8, by: Lodger) {
    if !room.sock.read_from(socket) {
        count_skipped(SkipReason::SocketUnreadable);
        return;
    }
    if !is_tcp(room.sock.at(constant!(sock_protocol))) {
        return;
    }
    let change = Change { socket, old, by };
    match (old, new) {
        (old, new) if is_begin(old, new) => change.record_opened(room),
        (_, LISTEN) => record_listener(&room.sock, socket, RecordKind::Listening),
        (LISTEN, _) => record_listener(&room.sock, socket, RecordKind::Unlistened),
        (SYN_SENT | SYN_RECV, _) => change.record_failed(room),
        _ => change.record_closed(room),
    }
}

/// A change of the state of a TCP socket.
#[derive(Clone, Copy)]
struct Change {
    socket: u64,
    old: u8,
    by: Lodger,
}

/// Remembers who connects: what follows happens on whatever process the CPU runs when a packet arrives.
#[inline(always)]
fn remember_handshake(socket: u64) {
    let mut protocol = 0;
    if !read_into(&mut protocol, socket + offset!(sock_protocol)) {
        count_skipped(SkipReason::SocketUnreadable);
    } else if is_tcp(protocol)
        && let Some(place) = HandshakePlace::of(socket)
    {
        let mut handshake = Handshake { since: now(), ..Handshake::zeroed() };
        handshake.pid = current_process(&mut handshake.command);
        place.remember(socket, handshake);
    }
}

impl Change {
    #[inline(always)]
    fn record_opened(self, room: &mut Room) {
        let Room { sock, tcp, .. } = room;
        tcp.read_from(self.socket);
        let handshake = self.take_handshake(sock);
        let cgroup = cgroup::of_sock(sock);
        cgroup::announce(cgroup);
        emit(|record: &mut ConnectionRecord| {
            self.begin(record, RecordKind::Opened, sock);
            sample::copy_cgroup(&mut record.socket, cgroup);
            sample::copy_totals(&mut record.socket, tcp);
            add_handshake(record, &handshake);
        });
    }

    /// A client's handshake failed; a server's never became anybody's connection.
    #[inline(always)]
    fn record_failed(self, room: &mut Room) {
        let Room { sock, tcp, .. } = room;
        let handshake = self.take_handshake(sock);
        if self.old != SYN_SENT && handshake.is_unknown() {
            return;
        }
        tcp.read_from(self.socket);
        let cgroup = cgroup::of_sock(sock);
        cgroup::announce(cgroup);
        emit(|record: &mut ConnectionRecord| {
            self.begin(record, RecordKind::Failed, sock);
            sample::copy_cgroup(&mut record.socket, cgroup);
            sample::copy_totals(&mut record.socket, tcp);
            sample::copy_handshake_error(&mut record.socket, sock, self.socket);
            add_handshake(record, &handshake);
        });
    }

    #[inline(always)]
    fn record_closed(self, room: &mut Room) {
        let Room { sock, tcp, .. } = room;
        tcp.read_from(self.socket);
        emit(|record: &mut ConnectionRecord| {
            self.begin(record, RecordKind::Closed, sock);
            sample::copy_totals(&mut record.socket, tcp);
            record.socket.backlog = sock.at(constant!(sock_max_ack_backlog));
            sample::copy_error(&mut record.socket, sock, self.socket);
        });
    }

    /// Writes what every record has; the rest is zero.
    #[inline(always)]
    fn begin(self, record: &mut ConnectionRecord, kind: RecordKind, sock: &Sock) {
        zero(record);
        record.kind = kind as u16;
        record.is_taken_over = u16::from(self.by.takes_over());
        record.time = now();
        let to = &mut record.socket;
        to.netns = sock.common.netns();
        to.flags = sock.common.flags();
        sample::copy_ends(to, &sock.common, sock.local_port());
        to.state = self.old;
    }

    /// Takes what is known of the client's handshake.
    ///
    /// A socket in SYN_RECV is a client's if it connected and met a SYN that came the other way. One that was accepted has
    /// its listener's backlog, and what is remembered of its address is of another socket, whose end was not seen.
    #[inline(always)]
    fn take_handshake(self, sock: &Sock) -> Handshake {
        let is_accepted = self.old == SYN_RECV && sock.at::<u32>(constant!(sock_max_ack_backlog)) != 0;
        match HandshakePlace::of(self.socket) {
            Some(place) if !is_accepted => place.take(self.socket),
            _ => Handshake::zeroed(),
        }
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
    if read::<u8>(socket + offset!(common_state)) != CLOSE {
        return;
    }
    let change = Change { socket, old: CLOSE, by: Lodger::Resets };
    let is_recorded = with_room(change.by, |Room { sock, tcp, .. }| {
        if !sock.read_from(socket) {
            count_skipped(SkipReason::SocketUnreadable);
            return;
        }
        tcp.read_from(socket);
        emit(|record: &mut ConnectionRecord| {
            change.begin(record, RecordKind::ResetSent, sock);
            sample::copy_totals(&mut record.socket, tcp);
            record.socket.backlog = sock.at(constant!(sock_max_ack_backlog));
        });
    });
    if is_recorded.is_none() {
        count_skipped(SkipReason::NestedReset);
    }
}

/// Adds who began the handshake, and when; zeros if that was not seen.
#[inline(always)]
fn add_handshake(record: &mut ConnectionRecord, handshake: &Handshake) {
    record.pid = handshake.pid;
    record.connecting_since = handshake.since;
    record.command = handshake.command;
}

#[inline(always)]
fn record_listener(sock: &Sock, socket: u64, kind: RecordKind) {
    let cgroup = cgroup::of_sock(sock);
    cgroup::announce(cgroup);
    emit(|record: &mut ListenerRecord| {
        record.kind = kind as u16;
        record.reserved = [0; 2];
        record.pid = current_process(&mut record.command);
        record.inode = sample::inode(socket);
        record.netns = sock.common.netns();
        record.port = sock.local_port();
        record.address = sock.common.local_address();
    });
}
