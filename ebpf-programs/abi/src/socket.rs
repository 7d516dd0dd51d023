use bytemuck::{Pod, Zeroable};

/// States of a TCP socket, as the kernel numbers them.
///
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h#L12>
pub mod state {
    #![expect(missing_docs, reason = "the names of RFC 9293")]

    pub const ESTABLISHED: u8 = 1;
    pub const SYN_SENT: u8 = 2;
    pub const SYN_RECV: u8 = 3;
    pub const FIN_WAIT1: u8 = 4;
    pub const FIN_WAIT2: u8 = 5;
    pub const TIME_WAIT: u8 = 6;
    pub const CLOSE: u8 = 7;
    pub const CLOSE_WAIT: u8 = 8;
    pub const LAST_ACK: u8 = 9;
    pub const LISTEN: u8 = 10;
    pub const CLOSING: u8 = 11;

    /// Returns whether a socket in this state holds a connection whose handshake is complete.
    pub const fn is_connected(state: u8) -> bool {
        matches!(state, ESTABLISHED | FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT | LAST_ACK | CLOSING)
    }
}

/// Which end of a connection a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It connected.
    Client,
    /// It was accepted.
    Server,
}

impl Role {
    /// Returns the role of the other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// The first sequence numbers that carry data in either direction: what makes a connection unmistakable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SequenceNumbers {
    /// The client's initial sequence number, plus one.
    pub client: u32,
    /// The server's initial sequence number, plus one.
    pub server: u32,
}

/// Payload that a socket sent, each byte once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that the application wrote and the kernel sent.
    pub bytes: u64,
    /// Bytes of these that the other end acknowledged: at rest, what the other end received.
    pub acknowledged: u64,
}

/// A TCP socket, copied out of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Socket {
    /// `tcp_sock.bytes_acked`: sequence numbers acknowledged, a client's SYN and the FIN included.
    pub bytes_acked: u64,
    /// `tcp_sock.bytes_received`: sequence numbers received, the FIN included.
    pub bytes_received: u64,
    /// `tcp_sock.bytes_retrans`: payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// `sock.sk_flags`.
    pub flags: u64,
    /// Id of the cgroup (version 2) of the process that made the socket; 0 if unknown.
    pub cgroup: u64,
    /// Kernel address of that cgroup's `kernfs_node`; 0 if unknown.
    pub cgroup_node: u64,
    /// Inode number of the socket; 0 if no process holds it or it is unknown.
    pub inode: u64,
    /// Local address; IPv4 is stored as `::ffff:a.b.c.d`.
    pub local_address: [u8; 16],
    /// Remote address; IPv4 is stored as `::ffff:a.b.c.d`.
    pub remote_address: [u8; 16],
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `tcp_sock.snd_una`: first sequence number not acknowledged.
    pub snd_una: u32,
    /// `tcp_sock.snd_nxt`: next sequence number to send.
    pub snd_nxt: u32,
    /// `tcp_sock.write_seq`: next sequence number to be written by the application.
    pub write_seq: u32,
    /// `tcp_sock.rcv_nxt`: next sequence number expected.
    pub rcv_nxt: u32,
    /// `tcp_sock.srtt_us`: smoothed round-trip time, in eighths of a microsecond.
    pub srtt: u32,
    /// `tcp_sock.rtt_min`: least round-trip time, in microseconds; `u32::MAX` before the first sample.
    pub rtt_min: u32,
    /// `tcp_sock.total_retrans`: segments sent again.
    pub segments_retransmitted: u32,
    /// `tcp_sock.segs_in`: segments received.
    pub segments_in: u32,
    /// `tcp_sock.segs_out`: segments sent.
    pub segments_out: u32,
    /// `tcp_sock.rcv_ooopack`: segments received before one that precedes them; 0 if unknown.
    pub segments_out_of_order: u32,
    /// For how long the other end's window kept data from being sent, in ticks of the kernel's clock, `jiffies`; 0 if
    /// unknown.
    pub window_limited: u32,
    /// `sock.sk_max_ack_backlog`: that of its listener if the socket was accepted, else 0.
    pub backlog: u32,
    /// `sock.sk_err`: a positive errno, or 0.
    pub error: u32,
    /// Local port in host byte order.
    pub local_port: u16,
    /// Remote port in host byte order.
    pub remote_port: u16,
    /// One of [`state`].
    pub state: u8,
    /// 1 if the sequence numbers moved at every attempt to read them, so that they may not belong together.
    pub torn: u8,
    /// Explicit padding. Always zero.
    pub reserved: [u8; 2],
}

// A change of this number is a change of what one walk costs and of how many records the ring buffer holds.
const _: () = assert!(size_of::<Socket>() == 152);

impl Socket {
    // `enum sock_flags`, unchanged since Linux 2.6.
    // https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h#L929
    const DEAD: u64 = 1 << 0;
    const DONE: u64 = 1 << 1;
    const KEEPOPEN: u64 = 1 << 3;

    /// Returns whether no process holds the socket any more.
    pub const fn is_orphan(&self) -> bool {
        self.flags & Self::DEAD != 0
    }

    /// Returns whether the other end's FIN was received.
    pub const fn peer_has_finished(&self) -> bool {
        self.flags & Self::DONE != 0
    }

    /// Returns whether a FIN was sent and acknowledged.
    pub const fn fin_is_acknowledged(&self) -> bool {
        self.fin_is_queued() && self.snd_una == self.write_seq
    }

    /// Returns whether the socket, if it closes now and has no error, closes without having said goodbye: its process closed it
    /// with unread data or without lingering, both of which send a reset.
    pub const fn closes_without_goodbye(&self) -> bool {
        match self.state {
            state::ESTABLISHED | state::CLOSE_WAIT => true,
            state::FIN_WAIT1 => !self.is_orphan(),
            state::FIN_WAIT2 => !self.is_orphan() && !self.peer_has_finished(),
            _ => false,
        }
    }

    /// Returns whether the kernel waits for the other end to answer: something is not acknowledged, or an application had it ask
    /// whether there still is one.
    pub const fn awaits_an_answer(&self) -> bool {
        self.snd_una != self.write_seq || self.flags & Self::KEEPOPEN != 0
    }

    /// Returns the role that the listener's backlog tells: right except for `listen(fd, 0)` and for sockets that
    /// listened before they connected.
    pub const fn likely_role(&self) -> Role {
        if self.backlog > 0 { Role::Server } else { Role::Client }
    }

    /// Returns the connection's identity, if the socket has the role.
    ///
    /// Both counters and both sequence numbers advance together, so the difference is what it was at the handshake.
    /// A client's SYN counts one in `bytes_acked`, a server's does not.
    pub fn sequence_numbers(&self, role: Role) -> SequenceNumbers {
        let own = self.snd_una.wrapping_sub(low(self.bytes_acked)).wrapping_add(syn(role));
        let peer = self.rcv_nxt.wrapping_sub(low(self.bytes_received));
        match role {
            Role::Client => SequenceNumbers { client: own, server: peer },
            Role::Server => SequenceNumbers { client: peer, server: own },
        }
    }

    /// Returns how much payload the socket sent.
    pub fn sent(&self, role: Role) -> Sent {
        let acked = self.bytes_acked.saturating_sub(u64::from(syn(role)));
        let in_flight = u64::from(self.snd_nxt.wrapping_sub(self.snd_una));
        let fin_is_sent = self.fin_is_queued() && self.snd_nxt == self.write_seq;
        Sent {
            bytes: acked.saturating_add(in_flight).saturating_sub(u64::from(fin_is_sent)),
            acknowledged: acked.saturating_sub(u64::from(self.fin_is_acknowledged())),
        }
    }

    /// Returns how much payload the socket received, whether or not the application has read it.
    pub fn received(&self) -> u64 {
        self.bytes_received.saturating_sub(u64::from(self.peer_has_finished()))
    }

    // The last sequence number written is a FIN's in the states that follow `close` or `shutdown`. CLOSE is one of them: a
    // walk reads the state after the counters, and a connection may end between the two. Without a FIN, as after a reset,
    // the sample then is one byte short, which the record of the end makes good; a byte too many would stay for good.
    const fn fin_is_queued(&self) -> bool {
        matches!(
            self.state,
            state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING | state::CLOSE
        )
    }
}

const fn syn(role: Role) -> u32 {
    match role {
        Role::Client => 1,
        Role::Server => 0,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "sequence numbers count modulo 2^32")]
const fn low(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A socket as the kernel keeps it: sequence numbers count modulo 2^32 and include SYN and FIN, counters do not
    /// wrap and count what the kernel counts.
    struct End {
        role: Role,
        own_start: u32,
        peer_start: u32,
        written: u64,
        sent: u64,
        acknowledged: u64,
        received: u64,
        // In order: whether a FIN was written, sent, acknowledged.
        fin: [bool; 3],
        peer_fin: bool,
    }

    impl End {
        fn socket(&self) -> Socket {
            let own = self.own_start.wrapping_add(1);
            let [fin_written, fin_sent, fin_acknowledged] = self.fin.map(u64::from);
            let at = |bytes: u64, fin: u64| own.wrapping_add(low(bytes + fin));
            let state = match (self.fin[0], self.fin[2], self.peer_fin) {
                (false, _, false) => state::ESTABLISHED,
                (false, _, true) => state::CLOSE_WAIT,
                (true, false, false) => state::FIN_WAIT1,
                (true, true, false) => state::FIN_WAIT2,
                (true, _, true) => state::LAST_ACK,
            };
            Socket {
                bytes_acked: u64::from(syn(self.role)) + self.acknowledged + fin_acknowledged,
                bytes_received: self.received + u64::from(self.peer_fin),
                flags: if self.peer_fin { Socket::DONE } else { 0 },
                snd_una: at(self.acknowledged, fin_acknowledged),
                snd_nxt: at(self.sent, fin_sent),
                write_seq: at(self.written, fin_written),
                rcv_nxt: self
                    .peer_start
                    .wrapping_add(1)
                    .wrapping_add(low(self.received + u64::from(self.peer_fin))),
                backlog: if self.role == Role::Server { 128 } else { 0 },
                state,
                ..Socket::zeroed()
            }
        }
    }

    /// A connection on which all is said and nothing asked cannot time out.
    #[test]
    fn an_answer_is_awaited_to_what_is_said_or_asked() {
        let check = |write_seq, flags, expected| {
            let socket = Socket { snd_una: 7, write_seq, flags, ..Socket::zeroed() };
            assert_eq!(socket.awaits_an_answer(), expected);
        };
        check(7, 0, false);
        check(8, 0, true);
        check(7, Socket::KEEPOPEN, true);
    }

    prop_compose! {
        /// Amounts begin near zero and near the wrap of sequence numbers, and parts of them are under way.
        fn end(role: Role)(
            own_start: u32,
            peer_start: u32,
            acknowledged in prop_oneof![0..3_u64, (1_u64 << 32) - 3..(1 << 32) + 3, 0..1_u64 << 40],
            in_flight in prop_oneof![Just(0_u64), 0..1_u64 << 20],
            unsent in prop_oneof![Just(0_u64), 0..1_u64 << 20],
            received in prop_oneof![0..3_u64, (1_u64 << 32) - 3..(1 << 32) + 3, 0..1_u64 << 40],
            fin in 0..4_usize,
            peer_fin: bool,
        ) -> End {
            let fin = [fin >= 1, fin >= 2, fin >= 3];
            // A FIN goes out behind all data, and is acknowledged behind all data.
            let unsent = if fin[1] { 0 } else { unsent };
            let in_flight = if fin[2] { 0 } else { in_flight };
            let sent = acknowledged + in_flight;
            End { role, own_start, peer_start, written: sent + unsent, sent, acknowledged, received, fin, peer_fin }
        }
    }

    fn any_end() -> impl Strategy<Value = End> {
        prop_oneof![end(Role::Client), end(Role::Server)]
    }

    impl core::fmt::Debug for End {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            self.socket().fmt(f)
        }
    }

    proptest! {
        /// Whatever was transferred and whichever side has finished, the identity is that of the handshake.
        #[test]
        fn an_identity_never_changes(end in any_end()) {
            let (own, peer) = (end.own_start.wrapping_add(1), end.peer_start.wrapping_add(1));
            let expected = match end.role {
                Role::Client => SequenceNumbers { client: own, server: peer },
                Role::Server => SequenceNumbers { client: peer, server: own },
            };
            prop_assert_eq!(end.socket().sequence_numbers(end.role), expected);
        }

        /// Bytes are what the applications wrote and the kernel sent: SYN and FIN are not payload.
        #[test]
        fn bytes_are_payload(end in any_end()) {
            let expected = Sent { bytes: end.sent, acknowledged: end.acknowledged };
            prop_assert_eq!(end.socket().sent(end.role), expected);
            prop_assert_eq!(end.socket().received(), end.received);
        }

        /// A walk may read the state when the connection has just ended, and must not count what was no payload.
        #[test]
        fn no_byte_is_added_by_an_end_amid_the_reading(end in any_end()) {
            let socket = Socket { state: state::CLOSE, ..end.socket() };
            let Sent { bytes, acknowledged } = socket.sent(end.role);
            if end.fin[0] {
                prop_assert_eq!(Sent { bytes, acknowledged }, end.socket().sent(end.role));
            } else {
                prop_assert!(bytes <= end.sent && acknowledged <= end.acknowledged);
            }
        }

        /// A socket that is read wrong yields wrong numbers, not a panic.
        #[test]
        fn no_socket_panics(bytes in prop::collection::vec(any::<u8>(), size_of::<Socket>())) {
            let socket: Socket = bytemuck::pod_read_unaligned(&bytes);
            for role in [Role::Client, Role::Server] {
                let Sent { bytes, acknowledged } = socket.sent(role);
                prop_assert!(acknowledged <= bytes.saturating_add(1));
            }
        }
    }

    #[test]
    fn a_backlog_makes_a_server() {
        assert_eq!(Socket { backlog: 1, ..Socket::zeroed() }.likely_role(), Role::Server);
        assert_eq!(Socket::zeroed().likely_role(), Role::Client);
    }
}
