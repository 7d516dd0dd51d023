//! Why a connection ended, or was never made.

use abi::{Role, Socket, state};
use model::{CloseReason, FailureReason};

// Linux numbers errors alike on every architecture that it runs eBPF programs of this receiver on.
// https://github.com/torvalds/linux/blob/v6.12/include/uapi/asm-generic/errno.h
const EPIPE: u32 = 32;
const ECONNABORTED: u32 = 103;
const ECONNRESET: u32 = 104;
const ETIMEDOUT: u32 = 110;
const ECONNREFUSED: u32 = 111;

/// Tells how an established connection ended, from its socket at that moment.
///
/// `None` means that it was reset, and that its socket does not tell by whom: a record that follows does if it was this end.
pub(crate) fn close_reason(socket: &Socket, role: Role) -> Option<CloseReason> {
    let local_reset = reset_by(role);
    let remote_reset = reset_by(role.other());
    Some(match (socket.error, socket.state) {
        (ECONNABORTED, _) => CloseReason::Aborted,
        (ETIMEDOUT, _) => CloseReason::Timeout,
        // An orphan that waits for the other end's FIN answers data with a reset, and then notes the same error as if
        // it had received one. Which of the two it was does not show on the socket.
        // https://github.com/torvalds/linux/blob/v6.12/net/ipv4/tcp_input.c#L6910
        (EPIPE | ECONNRESET, state::FIN_WAIT1 | state::FIN_WAIT2) if socket.is_orphan() => {
            return None;
        }
        (EPIPE | ECONNRESET, _) => remote_reset,
        (0, _) if socket.closes_without_goodbye() => local_reset,
        _ if socket.fin_is_acknowledged() => CloseReason::Normal,
        // Out of memory for orphans.
        (0, _) => CloseReason::Aborted,
        // What routers answer to retransmissions that the other end does not.
        _ => CloseReason::Timeout,
    })
}

/// Returns whether bytes that were sent and not acknowledged did not reach the other end.
///
/// They did not if the other end reset the connection or fell silent. If this end gave the connection up they were
/// under way, and are counted.
pub(crate) fn loses_what_is_in_flight(socket: &Socket) -> bool {
    socket.error != 0
}

/// Tells why a client's handshake failed, from its socket at that moment.
pub(crate) fn failure_reason(socket: &Socket) -> FailureReason {
    match socket.error {
        0 | ECONNABORTED => FailureReason::Canceled,
        ECONNREFUSED => FailureReason::Refused,
        ECONNRESET | EPIPE => FailureReason::Reset,
        ETIMEDOUT => FailureReason::Timeout,
        // What is left came as an ICMP message.
        // https://github.com/torvalds/linux/blob/v6.12/net/ipv4/icmp.c#L115
        _ => FailureReason::Unreachable,
    }
}

/// Returns the reason of a connection that one end reset.
pub(crate) const fn reset_by(role: Role) -> CloseReason {
    match role {
        Role::Client => CloseReason::ClientReset,
        Role::Server => CloseReason::ServerReset,
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    const EHOSTUNREACH: u32 = 113;
    const ORPHAN: u64 = 1;
    const PEER_FINISHED: u64 = 2;

    #[test]
    fn goodbyes_on_both_sides_are_normal() {
        check(state::LAST_ACK, 0, PEER_FINISHED | ORPHAN, CloseReason::Normal);
        check(state::CLOSING, 0, PEER_FINISHED | ORPHAN, CloseReason::Normal);
        check(state::FIN_WAIT2, 0, PEER_FINISHED, CloseReason::Normal);
        check(state::FIN_WAIT2, 0, ORPHAN, CloseReason::Normal);
    }

    /// The socket is closed by a process that does not wait: no lingering, or data it has not read.
    #[test]
    fn a_close_without_goodbye_is_a_reset_of_this_end() {
        check(state::ESTABLISHED, 0, 0, CloseReason::ClientReset);
        check(state::CLOSE_WAIT, 0, PEER_FINISHED, CloseReason::ClientReset);
        check(state::FIN_WAIT1, 0, 0, CloseReason::ClientReset);
        check(state::FIN_WAIT2, 0, 0, CloseReason::ClientReset);
    }

    #[test]
    fn a_received_reset_is_the_other_ends() {
        check(state::ESTABLISHED, ECONNRESET, 0, CloseReason::ServerReset);
        check(state::CLOSE_WAIT, EPIPE, PEER_FINISHED, CloseReason::ServerReset);
        check(state::FIN_WAIT2, ECONNRESET, 0, CloseReason::ServerReset);
    }

    /// It may as well have sent it.
    #[test]
    fn a_reset_of_a_closed_half_is_not_told_by_its_socket() {
        check(state::FIN_WAIT2, ECONNRESET, ORPHAN, None);
    }

    #[test]
    fn silence_is_a_timeout() {
        check(state::ESTABLISHED, ETIMEDOUT, 0, CloseReason::Timeout);
        check(state::FIN_WAIT1, ETIMEDOUT, ORPHAN, CloseReason::Timeout);
        check(state::ESTABLISHED, EHOSTUNREACH, 0, CloseReason::Timeout);
    }

    /// An error that nobody fetched, from an ICMP message long ago, says nothing about the end.
    #[test]
    fn an_old_error_does_not_spoil_a_normal_end() {
        check(state::LAST_ACK, EHOSTUNREACH, PEER_FINISHED | ORPHAN, CloseReason::Normal);
    }

    #[test]
    fn a_destroyed_socket_is_aborted() {
        check(state::ESTABLISHED, ECONNABORTED, 0, CloseReason::Aborted);
    }

    #[track_caller]
    fn check(state: u8, error: u32, flags: u64, expected: impl Into<Option<CloseReason>>) {
        // A FIN that was sent is acknowledged, except in FIN_WAIT1.
        let write_seq = u32::from(state == state::FIN_WAIT1);
        let socket = Socket { state, error, flags, write_seq, ..Socket::zeroed() };
        assert_eq!(close_reason(&socket, Role::Client), expected.into());
    }
}
