//! Copying a socket out of the kernel.

use abi::{Offsets, Socket};

use crate::{
    cgroup::Cgroup,
    kernel::{offset, read, read_into},
};

const AF_INET6: u16 = 10;

/// How often a socket is read before it is given up as torn.
const ATTEMPTS: u32 = 4;

/// Copies a socket that another CPU may be using.
///
/// Each sequence number advances together with its counter, under the socket's lock, which a program cannot take; from
/// another CPU the two stores can be seen apart. So they are read again after everything else, and all of it is
/// repeated while they moved.
#[inline(always)]
pub(crate) fn copy(to: &mut Socket, socket: u64, cgroup: Cgroup) {
    to.torn = 1;
    let mut attempt = 0;
    while attempt < ATTEMPTS {
        copy_transfer(to, socket);
        let snd_una: u32 = read(socket + offset!(tcp_snd_una));
        let bytes_acked: u64 = read(socket + offset!(tcp_bytes_acked));
        let rcv_nxt: u32 = read(socket + offset!(tcp_rcv_nxt));
        let bytes_received: u64 = read(socket + offset!(tcp_bytes_received));
        let moved = u64::from(snd_una ^ to.snd_una)
            | bytes_acked ^ to.bytes_acked
            | u64::from(rcv_nxt ^ to.rcv_nxt)
            | bytes_received ^ to.bytes_received;
        if moved == 0 {
            to.torn = 0;
            break;
        }
        attempt += 1;
    }
    copy_ends(to, socket, cgroup);
}

/// Copies a socket that this CPU holds, as in a change of its state.
#[inline(always)]
pub(crate) fn copy_held(to: &mut Socket, socket: u64, cgroup: Cgroup) {
    to.torn = 0;
    copy_transfer(to, socket);
    copy_ends(to, socket, cgroup);
}

/// Copies what changes while a connection lives.
#[inline(always)]
fn copy_transfer(to: &mut Socket, socket: u64) {
    read_into(&mut to.snd_una, socket + offset!(tcp_snd_una));
    read_into(&mut to.bytes_acked, socket + offset!(tcp_bytes_acked));
    read_into(&mut to.rcv_nxt, socket + offset!(tcp_rcv_nxt));
    read_into(&mut to.bytes_received, socket + offset!(tcp_bytes_received));
    read_into(&mut to.snd_nxt, socket + offset!(tcp_snd_nxt));
    read_into(&mut to.write_seq, socket + offset!(tcp_write_seq));
    read_into(&mut to.flags, socket + offset!(common_flags));
    read_into(&mut to.state, socket + offset!(common_state));
    read_into(&mut to.bytes_retransmitted, socket + offset!(tcp_bytes_retrans));
    read_into(&mut to.segments_retransmitted, socket + offset!(tcp_total_retrans));
    read_into(&mut to.segments_in, socket + offset!(tcp_segs_in));
    read_into(&mut to.segments_out, socket + offset!(tcp_segs_out));
    read_into(&mut to.srtt, socket + offset!(tcp_srtt));
    read_into(&mut to.rtt_min, socket + offset!(tcp_rtt_min));
}

/// Copies what says whose connection it is.
#[inline(always)]
fn copy_ends(to: &mut Socket, socket: u64, cgroup: Cgroup) {
    to.reserved = [0; 2];
    to.cgroup = cgroup.id;
    to.cgroup_node = cgroup.node;
    to.netns = netns(socket);
    to.inode = inode(socket);
    read_into(&mut to.backlog, socket + offset!(sock_max_ack_backlog));
    read_into(&mut to.error, socket + offset!(sock_err));
    to.local_port = local_port(socket);
    to.remote_port = u16::from_be(read(socket + offset!(common_dport)));
    if read::<u16>(socket + offset!(common_family)) == AF_INET6 {
        read_into(&mut to.local_address, socket + offset!(common_v6_rcv_saddr));
        read_into(&mut to.remote_address, socket + offset!(common_v6_daddr));
    } else {
        to.local_address = v4_mapped(read(socket + offset!(common_rcv_saddr)));
        to.remote_address = v4_mapped(read(socket + offset!(common_daddr)));
    }
}

/// Returns the local port, which outlives the socket's binding: at its end `skc_num` is already zero.
#[inline(always)]
pub(crate) fn local_port(socket: u64) -> u16 {
    u16::from_be(read(socket + offset!(inet_sport)))
}

/// Writes the local address.
#[inline(always)]
pub(crate) fn local_address(to: &mut [u8; 16], socket: u64) {
    if read::<u16>(socket + offset!(common_family)) == AF_INET6 {
        read_into(to, socket + offset!(common_v6_rcv_saddr));
    } else {
        *to = v4_mapped(read(socket + offset!(common_rcv_saddr)));
    }
}

/// Returns the inode number of the network namespace.
#[inline(always)]
pub(crate) fn netns(socket: u64) -> u32 {
    let net: u64 = read(socket + offset!(common_net));
    read(net + offset!(net_inum))
}

/// Returns the inode number of the socket; 0 if no process holds it or it is unknown.
#[inline(always)]
pub(crate) fn inode(socket: u64) -> u64 {
    if offset!(socket_inode) == u64::from(Offsets::ABSENT) {
        return 0;
    }
    // Zero without a process, and then so is what is read from there.
    let held: u64 = read(socket + offset!(sock_socket));
    read(held + offset!(socket_inode))
}

#[inline(always)]
fn v4_mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
