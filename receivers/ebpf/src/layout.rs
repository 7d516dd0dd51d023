//! Where the running kernel keeps what the programs read.

use abi::Offsets;

use crate::{
    btf::{Btf, Member},
    error::LayoutError,
};

/// Something the running kernel does not have, and that the receiver can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Degraded {
    /// The structure's member.
    pub(crate) missing: &'static str,
    /// What is lost.
    pub(crate) effect: &'static str,
}

/// Finds every offset that the programs need.
///
/// # Errors
///
/// Names the structure and the member that the kernel does not have. What the receiver can do without is returned
/// instead.
pub(crate) fn offsets(btf: &Btf) -> Result<(Offsets, Vec<Degraded>), LayoutError> {
    let at = |structure, member| btf.member(structure, member).map(|it| it.offset);
    let mut degraded = Vec::new();
    let mut optional = |found: Option<u32>, missing, effect| {
        found.unwrap_or_else(|| {
            degraded.push(Degraded { missing, effect });
            Offsets::ABSENT
        })
    };
    let death_row = btf.member("net", "ipv4.tcp_death_row")?;
    let offsets = Offsets {
        common_daddr: at("sock_common", "skc_daddr")?,
        common_rcv_saddr: at("sock_common", "skc_rcv_saddr")?,
        common_v6_daddr: at("sock_common", "skc_v6_daddr")?,
        common_v6_rcv_saddr: at("sock_common", "skc_v6_rcv_saddr")?,
        common_dport: at("sock_common", "skc_dport")?,
        common_family: at("sock_common", "skc_family")?,
        common_state: at("sock_common", "skc_state")?,
        common_net: at("sock_common", "skc_net")?,
        common_nulls_node: at("sock_common", "skc_nulls_node")?,
        common_flags: at("sock_common", "skc_flags")?,
        sock_protocol: at("sock", "sk_protocol")?,
        sock_err: at("sock", "sk_err")?,
        sock_max_ack_backlog: at("sock", "sk_max_ack_backlog")?,
        sock_cgroup: optional(
            // Renamed in Linux 5.15.
            at("sock", "sk_cgrp_data.cgroup").or_else(|_| at("sock", "sk_cgrp_data.val")).ok(),
            "sock.sk_cgrp_data",
            "connections do not tell the cgroup of their process",
        ),
        sock_socket: at("sock", "sk_socket")?,
        socket_inode: optional(
            inode_of_socket(btf),
            "socket_alloc.vfs_inode",
            "processes of connections and listening sockets older than the agent stay unknown",
        ),
        inet_sport: at("inet_sock", "inet_sport")?,
        tcp_bytes_acked: at("tcp_sock", "bytes_acked")?,
        tcp_bytes_received: at("tcp_sock", "bytes_received")?,
        tcp_bytes_retrans: at("tcp_sock", "bytes_retrans")?,
        tcp_snd_una: at("tcp_sock", "snd_una")?,
        tcp_snd_nxt: at("tcp_sock", "snd_nxt")?,
        tcp_write_seq: at("tcp_sock", "write_seq")?,
        tcp_rcv_nxt: at("tcp_sock", "rcv_nxt")?,
        tcp_srtt: at("tcp_sock", "srtt_us")?,
        // A running minimum of three samples, each a time and a value; the first sample is the least.
        // https://github.com/torvalds/linux/blob/v6.12/include/linux/win_minmax.h#L11
        tcp_rtt_min: at("tcp_sock", "rtt_min")? + at("minmax_sample", "v")?,
        tcp_total_retrans: at("tcp_sock", "total_retrans")?,
        tcp_segs_in: at("tcp_sock", "segs_in")?,
        tcp_segs_out: at("tcp_sock", "segs_out")?,
        net_inum: at("net", "ns.inum")?,
        net_ops: at("net", "ns.ops")?,
        net_list: at("net", "list")?,
        net_death_row: death_row.offset,
        net_death_row_is_pointer: u32::from(death_row.is_pointer),
        death_row_hashinfo: at("inet_timewait_death_row", "hashinfo")?,
        hashinfo_ehash: at("inet_hashinfo", "ehash")?,
        hashinfo_ehash_mask: at("inet_hashinfo", "ehash_mask")?,
        cgroup_kn: at("cgroup", "kn").unwrap_or_default(),
        kernfs_id: at("kernfs_node", "id")?,
        kernfs_name: at("kernfs_node", "name")?,
        // Renamed in Linux 6.15.
        kernfs_parent: at("kernfs_node", "__parent").or_else(|_| at("kernfs_node", "parent"))?,
        task_nsproxy: at("task_struct", "nsproxy")?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_comm: at("task_struct", "comm")?,
        nsproxy_net: at("nsproxy", "net_ns")?,
    };
    Ok((offsets, degraded))
}

/// A socket that a process holds lies beside its inode.
fn inode_of_socket(btf: &Btf) -> Option<u32> {
    let inode = btf.member("socket_alloc", "vfs_inode").ok()?;
    let socket = btf.member("socket_alloc", "socket").ok()?;
    let number = btf.member("inode", "i_ino").ok()?;
    let Member { offset, .. } = inode;
    offset.checked_add(number.offset)?.checked_sub(socket.offset)
}
