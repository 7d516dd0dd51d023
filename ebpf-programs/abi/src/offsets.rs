use bytemuck::{Pod, Zeroable};

/// Bytes that the programs read of what every socket begins with, `sock_common`: all of its members that are read by
/// an offset named `common_*` must be inside, but for those that are read alone.
pub const COMMON_BYTES: usize = 128;

/// Most bytes that the programs read of a socket's beginning, up to [`Offsets::inet_sport`]: one read of much costs less
/// than a few of little.
pub const SOCK_BYTES: usize = 2048;

/// Most bytes that the programs copy of `tcp_sock`.
pub const TCP_BYTES: usize = 1024;

/// Most bytes that the programs read again of a TCP socket, to see whether it moved.
pub const MOVING_BYTES: usize = 512;

/// Where the running kernel keeps what the programs read: byte offsets inside its structures.
///
/// Found in the kernel's type information by the receiver and handed to the programs as the read-only global `OFFSETS`,
/// so that the verifier sees constants. A name is `<structure>_<member>`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Offsets {
    /// `sock_common.skc_daddr`
    pub common_daddr: u32,
    /// `sock_common.skc_rcv_saddr`
    pub common_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`
    pub common_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub common_v6_rcv_saddr: u32,
    /// `sock_common.skc_dport`
    pub common_dport: u32,
    /// `sock_common.skc_family`
    pub common_family: u32,
    /// `sock_common.skc_state`
    pub common_state: u32,
    /// `sock_common.skc_net`
    pub common_net: u32,
    /// `sock_common.skc_nulls_node`
    pub common_nulls_node: u32,
    /// `sock_common.skc_flags`, which `sock.sk_flags` names
    pub common_flags: u32,
    /// How many bytes of a socket's beginning are read at once, at most [`SOCK_BYTES`]: they hold what events need of the
    /// members named `sock_*`, and [`Offsets::inet_sport`].
    pub sock_len: u32,
    /// `sock.sk_protocol`
    pub sock_protocol: u32,
    /// `sock.sk_err`
    pub sock_err: u32,
    /// `sock.sk_err_soft`
    pub sock_err_soft: u32,
    /// `sock.sk_lock.owned`
    pub sock_lock_owned: u32,
    /// `inet_connection_sock.icsk_pending`; [`Offsets::ABSENT`] if unknown
    pub icsk_pending: u32,
    /// `sock.sk_error_queue`; [`Offsets::ABSENT`] if unknown
    pub sock_error_queue: u32,
    /// `sock_exterr_skb.ee` seen from the `sk_buff` that carries it
    pub skb_extended_error: u32,
    /// `sock.sk_max_ack_backlog`
    pub sock_max_ack_backlog: u32,
    /// `sock.sk_cgrp_data.cgroup`, or `.val` before Linux 5.15; [`Offsets::ABSENT`] without cgroups
    pub sock_cgroup: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `socket_alloc.vfs_inode.i_ino` seen from `socket_alloc.socket`; [`Offsets::ABSENT`] if unknown
    pub socket_inode: u32,
    /// `inet_sock.inet_sport`
    pub inet_sport: u32,
    /// The first part of `tcp_sock` that is copied: its first byte.
    pub tcp_start: u32,
    /// How many bytes are copied from there.
    pub tcp_len: u32,
    /// The second part of `tcp_sock` that is copied: its first byte. Between the parts lies what nobody asks for.
    pub tcp_more_start: u32,
    /// How many bytes are copied from there, behind those of the first part. Together at most [`TCP_BYTES`].
    pub tcp_more_len: u32,
    /// The part of `tcp_sock` that is read again: its first byte.
    pub moving_start: u32,
    /// How many bytes are read again, at most [`MOVING_BYTES`].
    pub moving_len: u32,
    /// `tcp_sock.bytes_acked`, counted from the beginning of what is read again
    pub moving_bytes_acked: u32,
    /// `tcp_sock.bytes_received`, likewise
    pub moving_bytes_received: u32,
    /// `tcp_sock.snd_una`, likewise
    pub moving_snd_una: u32,
    /// `tcp_sock.rcv_nxt`, likewise
    pub moving_rcv_nxt: u32,
    /// `tcp_sock.chrono_start`, from the beginning of the socket: what is read again alone, and rarely
    pub moving_chrono_start: u32,
    /// `tcp_sock.bytes_acked`; offsets named like this one are counted from the beginning of the copy
    pub tcp_bytes_acked: u32,
    /// `tcp_sock.bytes_received`
    pub tcp_bytes_received: u32,
    /// `tcp_sock.bytes_retrans`
    pub tcp_bytes_retrans: u32,
    /// `tcp_sock.snd_una`
    pub tcp_snd_una: u32,
    /// `tcp_sock.snd_nxt`
    pub tcp_snd_nxt: u32,
    /// `tcp_sock.write_seq`
    pub tcp_write_seq: u32,
    /// `tcp_sock.rcv_nxt`
    pub tcp_rcv_nxt: u32,
    /// `tcp_sock.srtt_us`
    pub tcp_srtt: u32,
    /// `tcp_sock.rtt_min`, the value of its first sample
    pub tcp_rtt_min: u32,
    /// `tcp_sock.total_retrans`
    pub tcp_total_retrans: u32,
    /// `tcp_sock.segs_in`
    pub tcp_segs_in: u32,
    /// `tcp_sock.segs_out`
    pub tcp_segs_out: u32,
    /// `tcp_sock.rcv_ooopack`; [`Offsets::ABSENT`] if unknown
    pub tcp_rcv_ooopack: u32,
    /// `tcp_sock.chrono_stat`, its element of what the receiver's window limits; [`Offsets::ABSENT`] if unknown, then what
    /// follows is not read
    pub tcp_chrono_stat: u32,
    /// `tcp_sock.chrono_start`
    pub tcp_chrono_start: u32,
    /// The byte of `tcp_sock` that `chrono_type` is in
    pub tcp_chrono_type: u32,
    /// Not an offset: the bits of that byte that are `chrono_type`.
    pub tcp_chrono_type_mask: u32,
    /// Not an offset: what these bits are while the receiver's window limits a socket.
    pub tcp_chrono_type_limited: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `net.ns.ops`
    pub net_ops: u32,
    /// `net.list`
    pub net_list: u32,
    /// `net.ipv4.tcp_death_row`
    pub net_death_row: u32,
    /// 1 if `net.ipv4.tcp_death_row` is a pointer (Linux 5.18 to 6.0), else 0
    pub net_death_row_is_pointer: u32,
    /// `inet_timewait_death_row.hashinfo`
    pub death_row_hashinfo: u32,
    /// `inet_hashinfo.ehash`
    pub hashinfo_ehash: u32,
    /// `inet_hashinfo.ehash_mask`
    pub hashinfo_ehash_mask: u32,
    /// `inet_hashinfo.lhash2`, or `.listening_hash` before Linux 5.19; [`Offsets::ABSENT`] if listening sockets cannot be
    /// walked, then what follows is not read
    pub hashinfo_listening: u32,
    /// `inet_hashinfo.lhash2_mask`; [`Offsets::ABSENT`] if `listening_hash` is meant, which is no pointer but the table
    pub hashinfo_lhash2_mask: u32,
    /// Not an offset: bytes of an `inet_listen_hashbucket`.
    pub listening_bucket_bytes: u32,
    /// `inet_listen_hashbucket.nulls_head`
    pub listening_bucket_head: u32,
    /// `sock.sk_drops`
    pub sock_drops: u32,
    /// `sock.sk_ack_backlog`
    pub sock_ack_backlog: u32,
    /// `tcp_sock.rx_opt.ts_recent_stamp`, from the beginning of the socket; [`Offsets::ABSENT`] if unknown, then the next two
    /// are not read
    pub tcp_ts_recent_stamp: u32,
    /// `sock.sk_reuseport_cb`
    pub sock_reuseport_cb: u32,
    /// `sock_reuseport.synq_overflow_ts`
    pub reuseport_synq_overflow_ts: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `kernfs_node.id`
    pub kernfs_id: u32,
    /// `kernfs_node.name`
    pub kernfs_name: u32,
    /// `kernfs_node.__parent`, or `.parent` before Linux 6.15
    pub kernfs_parent: u32,
    /// `task_struct.nsproxy`
    pub task_nsproxy: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `nsproxy.net_ns`
    pub nsproxy_net: u32,
    /// Not an offset: how many bytes in the ring buffer wake the receiver.
    pub wake_bytes: u32,
}

impl Offsets {
    /// Stands for a member that the running kernel does not have.
    pub const ABSENT: u32 = u32::MAX;
}
