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
const _: () = assert!(size_of::<Socket>() == 144);

impl Socket {
    // `enum sock_flags`, unchanged since Linux 2.6.
    // https://github.com/torvalds/linux/blob/v6.12/include/net/sock.h#L929
    const DEAD: u64 = 1 << 0;
    const DONE: u64 = 1 << 1;

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
            bytes: (acked + in_flight).saturating_sub(u64::from(fin_is_sent)),
            acknowledged: acked.saturating_sub(u64::from(self.fin_is_acknowledged())),
        }
    }

    /// Returns how much payload the socket received, whether or not the application has read it.
    pub fn received(&self) -> u64 {
        self.bytes_received.saturating_sub(u64::from(self.peer_has_finished()))
    }

    // The last sequence number written is a FIN's in the states that follow `close` or `shutdown`.
    const fn fin_is_queued(&self) -> bool {
        matches!(self.state, state::FIN_WAIT1 | state::FIN_WAIT2 | state::LAST_ACK | state::CLOSING)
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
