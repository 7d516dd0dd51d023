//! Where the running kernel keeps what the programs read.

use abi::{COMMON_BYTES, MOVING_BYTES, Offsets, SOCK_BYTES, TCP_BYTES};

use crate::{
    btf::{Bits, Btf},
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
    let out_of_order = at("tcp_sock", "rcv_ooopack").ok();
    let chrono = chrono(btf);
    let others: Vec<_> = out_of_order
        .into_iter()
        .chain(chrono.iter().flat_map(|it| [it.stat, it.start, it.kind.offset]))
        .collect();
    let parts = tcp_parts(btf, &others)?;
    let tcp = |member| at("tcp_sock", member).map(|offset| place(parts, offset).unwrap_or_default());
    let out_of_order = out_of_order.and_then(|it| place(parts, it));
    let moving_chrono_start = chrono.map(|it| it.start).unwrap_or_default();
    let chrono = chrono.and_then(|it| {
        let kind = Bits { offset: place(parts, it.kind.offset)?, ..it.kind };
        Some(Chrono { stat: place(parts, it.stat)?, start: place(parts, it.start)?, kind })
    });
    let [first, second] = parts;
    let moving = moving_part(btf)?;
    let moved = |member| at("tcp_sock", member).map(|offset| offset - moving.start);
    let extended_error = extended_error(btf);
    let listening = listening(btf);
    let cookies = cookies(btf);
    let death_row = btf.member("net", "ipv4.tcp_death_row")?;
    let mut offsets = Offsets {
        common_daddr: at("sock_common", "skc_daddr")?,
        common_rcv_saddr: at("sock_common", "skc_rcv_saddr")?,
        // A kernel without IPv6 has no sockets that these would be read of.
        common_v6_daddr: at("sock_common", "skc_v6_daddr").unwrap_or_default(),
        common_v6_rcv_saddr: at("sock_common", "skc_v6_rcv_saddr").unwrap_or_default(),
        common_dport: at("sock_common", "skc_dport")?,
        common_family: at("sock_common", "skc_family")?,
        common_state: at("sock_common", "skc_state")?,
        common_net: at("sock_common", "skc_net")?,
        common_nulls_node: at("sock_common", "skc_nulls_node")?,
        common_flags: at("sock_common", "skc_flags")?,
        // Known when all of its members are.
        sock_len: 0,
        sock_protocol: at("sock", "sk_protocol")?,
        sock_err: at("sock", "sk_err")?,
        sock_err_soft: at("sock", "sk_err_soft")?,
        sock_lock_owned: at("sock", "sk_lock.owned")?,
        icsk_pending: optional(
            at("inet_connection_sock", "icsk_pending").ok(),
            "inet_connection_sock.icsk_pending",
            "attempts that fail may be taken for canceled before Linux 6.10",
        ),
        sock_error_queue: optional(
            at("sock", "sk_error_queue").ok().filter(|_| extended_error.is_some()),
            "sock.sk_error_queue",
            "attempts that a rule of this host rejects may be taken for canceled",
        ),
        skb_extended_error: extended_error.unwrap_or_default(),
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
        tcp_start: first.start,
        tcp_len: first.len,
        tcp_more_start: second.start,
        tcp_more_len: second.len,
        moving_start: moving.start,
        moving_len: moving.len,
        moving_bytes_acked: moved("bytes_acked")?,
        moving_bytes_received: moved("bytes_received")?,
        moving_snd_una: moved("snd_una")?,
        moving_rcv_nxt: moved("rcv_nxt")?,
        moving_chrono_start,
        tcp_bytes_acked: tcp("bytes_acked")?,
        tcp_bytes_received: tcp("bytes_received")?,
        tcp_bytes_retrans: tcp("bytes_retrans")?,
        tcp_snd_una: tcp("snd_una")?,
        tcp_snd_nxt: tcp("snd_nxt")?,
        tcp_write_seq: tcp("write_seq")?,
        tcp_rcv_nxt: tcp("rcv_nxt")?,
        tcp_srtt: tcp("srtt_us")?,
        // A running minimum of three samples, each a time and a value; the first sample is the least.
        // https://github.com/torvalds/linux/blob/v6.12/include/linux/win_minmax.h#L11
        tcp_rtt_min: tcp("rtt_min")? + at("minmax_sample", "v")?,
        tcp_total_retrans: tcp("total_retrans")?,
        tcp_segs_in: tcp("segs_in")?,
        tcp_segs_out: tcp("segs_out")?,
        tcp_rcv_ooopack: optional(
            out_of_order,
            "tcp_sock.rcv_ooopack",
            "segments that arrive out of order are not counted",
        ),
        tcp_chrono_stat: optional(
            chrono.map(|it| it.stat),
            "tcp_sock.chrono_stat",
            "the time that receivers' windows keep data waiting is not counted",
        ),
        tcp_chrono_start: chrono.map(|it| it.start).unwrap_or_default(),
        tcp_chrono_type: chrono.map(|it| it.kind.offset).unwrap_or_default(),
        tcp_chrono_type_mask: chrono.map(|it| it.kind.mask()).unwrap_or_default(),
        tcp_chrono_type_limited: chrono.map(|it| RWND_LIMITED << it.kind.shift).unwrap_or_default(),
        net_inum: at("net", "ns.inum")?,
        net_ops: at("net", "ns.ops")?,
        net_list: at("net", "list")?,
        net_death_row: death_row.offset,
        net_death_row_is_pointer: u32::from(death_row.is_pointer),
        death_row_hashinfo: at("inet_timewait_death_row", "hashinfo")?,
        hashinfo_ehash: at("inet_hashinfo", "ehash")?,
        hashinfo_ehash_mask: at("inet_hashinfo", "ehash_mask")?,
        hashinfo_listening: optional(
            listening.as_ref().map(|it| it.table),
            "inet_hashinfo.lhash2",
            "what listening sockets drop, and how long their queues are, is not observed",
        ),
        hashinfo_lhash2_mask: listening.as_ref().map(|it| it.mask).unwrap_or_default(),
        listening_bucket_bytes: listening.as_ref().map(|it| it.bucket_bytes).unwrap_or_default(),
        listening_bucket_head: listening.as_ref().map(|it| it.bucket_head).unwrap_or_default(),
        sock_drops: listening.as_ref().map(|it| it.drops).unwrap_or_default(),
        sock_ack_backlog: listening.as_ref().map(|it| it.queued).unwrap_or_default(),
        tcp_ts_recent_stamp: match listening {
            Some(_) => optional(
                cookies.as_ref().map(|it| it.stamp),
                "tcp_sock.rx_opt.ts_recent_stamp",
                "for how long listening sockets answer by cookies is not counted",
            ),
            None => Offsets::ABSENT,
        },
        sock_reuseport_cb: cookies.as_ref().map(|it| it.group).unwrap_or_default(),
        reuseport_synq_overflow_ts: cookies.as_ref().map(|it| it.stamp_of_group).unwrap_or_default(),
        cgroup_kn: at("cgroup", "kn").unwrap_or_default(),
        kernfs_id: at("kernfs_node", "id")?,
        kernfs_name: at("kernfs_node", "name")?,
        // Renamed in Linux 6.15.
        kernfs_parent: at("kernfs_node", "__parent").or_else(|_| at("kernfs_node", "parent"))?,
        task_nsproxy: at("task_struct", "nsproxy")?,
        task_group_leader: at("task_struct", "group_leader")?,
        task_comm: at("task_struct", "comm")?,
        nsproxy_net: at("nsproxy", "net_ns")?,
        wake_bytes: 0,
    };
    for (member, offset, bytes) in [
        ("skc_daddr", offsets.common_daddr, 4),
        ("skc_rcv_saddr", offsets.common_rcv_saddr, 4),
        ("skc_v6_daddr", offsets.common_v6_daddr, 16),
        ("skc_v6_rcv_saddr", offsets.common_v6_rcv_saddr, 16),
        ("skc_dport", offsets.common_dport, 2),
        ("skc_family", offsets.common_family, 2),
        ("skc_state", offsets.common_state, 1),
        ("skc_flags", offsets.common_flags, 8),
        ("skc_net", offsets.common_net, 8),
    ] {
        // The programs read these at once.
        if offset as usize + bytes > COMMON_BYTES {
            return Err(LayoutError::UnexpectedOffset { structure: "sock_common", member, offset });
        }
    }
    offsets.sock_len = sock_len(&offsets)?;
    Ok((offsets, degraded))
}

/// Returns whether the kernel lets others run on a CPU that is in the middle of a program at a trace point.
///
/// Since Linux 7.0 not preemption being off guards trace points but a sleepable kind of RCU, by a guard whose type is in each
/// of them. In a kernel that never preempts itself tasks have no depth of RCU sections.
/// <https://github.com/torvalds/linux/blob/v7.0/include/linux/tracepoint.h>, `__DECLARE_TRACE`
pub(crate) fn preempts_programs(btf: &Btf) -> bool {
    btf.has_name(b"class_srcu_fast_notrace_t") && btf.member("task_struct", "rcu_read_lock_nesting").is_ok()
}

/// Returns how many bytes of a socket's beginning hold what is read of it.
fn sock_len(offsets: &Offsets) -> Result<u32, LayoutError> {
    let mut len = 0;
    for (structure, member, offset) in [
        ("sock", "sk_protocol", offsets.sock_protocol),
        ("sock", "sk_err", offsets.sock_err),
        ("sock", "sk_max_ack_backlog", offsets.sock_max_ack_backlog),
        ("sock", "sk_cgrp_data", offsets.sock_cgroup),
        ("inet_sock", "inet_sport", offsets.inet_sport),
    ] {
        if offset == Offsets::ABSENT {
            continue;
        }
        let end = offset.next_multiple_of(WORD) + WORD;
        if end as usize > SOCK_BYTES {
            return Err(LayoutError::UnexpectedOffset { structure, member, offset });
        }
        len = len.max(end);
    }
    Ok(len)
}

/// Members of `tcp_sock` that are read.
const TCP_MEMBERS: [&str; 12] = [
    "bytes_acked",
    "bytes_received",
    "bytes_retrans",
    "rcv_nxt",
    "rtt_min",
    "segs_in",
    "segs_out",
    "snd_nxt",
    "snd_una",
    "srtt_us",
    "total_retrans",
    "write_seq",
];

/// Members of `tcp_sock` that are read again, to see whether they moved.
const MOVING_MEMBERS: [&str; 4] = ["bytes_acked", "bytes_received", "rcv_nxt", "snd_una"];

/// No member is wider than this, nor what is read of one.
const WIDEST: u32 = 16;

/// Copies begin and end at a multiple of this, so that members are aligned in them.
const WORD: u32 = 8;

/// A part of `tcp_sock` that is read at once.
#[derive(Clone, Copy)]
struct Part {
    start: u32,
    len: u32,
}

impl Part {
    const fn new(first: u32, last: u32) -> Self {
        let start = first & !(WORD - 1);
        Self { start, len: (last - start + WIDEST).next_multiple_of(WORD) }
    }
}

/// Returns the two parts of `tcp_sock` that hold all members, with the widest gap between them, if there is room for both;
/// and of `others` those for which there is room too.
fn tcp_parts(btf: &Btf, others: &[u32]) -> Result<[Part; 2], LayoutError> {
    let members = sorted_offsets(btf, &TCP_MEMBERS)?;
    let (last, member) = members[members.len() - 1];
    let mut offsets: Vec<u32> = members.into_iter().map(|(offset, _)| offset).collect();
    let mut parts = parts_of(&offsets).ok_or(LayoutError::UnexpectedOffset {
        structure: "tcp_sock",
        member,
        offset: last,
    })?;
    for other in others {
        let mut wider = offsets.clone();
        wider.push(*other);
        wider.sort_unstable();
        if let Some(of_wider) = parts_of(&wider) {
            (offsets, parts) = (wider, of_wider);
        }
    }
    Ok(parts)
}

/// Returns the two parts that hold members at these offsets, which ascend; `None` if there is no room for both.
fn parts_of(offsets: &[u32]) -> Option<[Part; 2]> {
    let gap = |pair: &[u32]| pair[1] - pair[0];
    let (end, _) = offsets.windows(2).enumerate().max_by_key(|(_, pair)| gap(pair))?;
    let (first, second) = offsets.split_at(end + 1);
    let part = |members: &[u32]| Part::new(members[0], members[members.len() - 1]);
    let parts = [part(first), part(second)];
    (parts.iter().map(|it| it.len as usize).sum::<usize>() <= TCP_BYTES).then_some(parts)
}

/// Returns where the copy of both parts, one behind the other, has a member; `None` if it is in neither.
fn place(parts: [Part; 2], offset: u32) -> Option<u32> {
    let mut before = 0;
    for Part { start, len } in parts {
        if let Some(inside) = offset.checked_sub(start).filter(|it| it + WIDEST <= len) {
            return Some(before + inside);
        }
        before += len;
    }
    None
}

/// `TCP_CHRONO_RWND_LIMITED`. What the kernel keeps per kind begins with kind 1.
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h>
const RWND_LIMITED: u32 = 2;

/// Where a socket keeps how long what held its data back.
#[derive(Clone, Copy, Debug)]
struct Chrono {
    stat: u32,
    start: u32,
    kind: Bits,
}

fn chrono(btf: &Btf) -> Option<Chrono> {
    let kinds = btf.member("tcp_sock", "chrono_stat").ok()?.offset;
    Some(Chrono {
        stat: kinds + 4 * (RWND_LIMITED - 1),
        start: btf.member("tcp_sock", "chrono_start").ok()?.offset,
        kind: btf.bits("tcp_sock", "chrono_type")?,
    })
}

fn moving_part(btf: &Btf) -> Result<Part, LayoutError> {
    let offsets = sorted_offsets(btf, &MOVING_MEMBERS)?;
    let (last, member) = offsets[offsets.len() - 1];
    let part = Part::new(offsets[0].0, last);
    if part.len as usize > MOVING_BYTES {
        return Err(LayoutError::UnexpectedOffset { structure: "tcp_sock", member, offset: last });
    }
    Ok(part)
}

fn sorted_offsets(btf: &Btf, members: &[&'static str]) -> Result<Vec<(u32, &'static str)>, LayoutError> {
    let mut offsets = Vec::with_capacity(members.len());
    for member in members {
        offsets.push((btf.member("tcp_sock", member)?.offset, *member));
    }
    offsets.sort_unstable();
    Ok(offsets)
}

/// Where listening sockets are found, and what is read of them alone.
struct Listening {
    table: u32,
    mask: u32,
    bucket_bytes: u32,
    bucket_head: u32,
    drops: u32,
    queued: u32,
}

fn listening(btf: &Btf) -> Option<Listening> {
    let at = |structure, member| btf.member(structure, member).map(|it| it.offset).ok();
    // Where both tables exist sockets are linked into the older one by what links connections into theirs.
    let (table, mask) = match at("inet_hashinfo", "listening_hash") {
        Some(table) => (table, Offsets::ABSENT),
        None => (at("inet_hashinfo", "lhash2")?, at("inet_hashinfo", "lhash2_mask")?),
    };
    Some(Listening {
        table,
        mask,
        bucket_bytes: btf.size("inet_listen_hashbucket")?,
        bucket_head: at("inet_listen_hashbucket", "nulls_head")?,
        drops: at("sock", "sk_drops")?,
        queued: at("sock", "sk_ack_backlog")?,
    })
}

/// Where the kernel notes that it answers by cookies: in the socket, or in the group that it shares its port with.
struct Cookies {
    stamp: u32,
    group: u32,
    stamp_of_group: u32,
}

fn cookies(btf: &Btf) -> Option<Cookies> {
    let at = |structure, member| btf.member(structure, member).map(|it| it.offset).ok();
    Some(Cookies {
        stamp: at("tcp_sock", "rx_opt.ts_recent_stamp")?,
        group: at("sock", "sk_reuseport_cb")?,
        stamp_of_group: at("sock_reuseport", "synq_overflow_ts")?,
    })
}

/// What an entry of a socket's queue of errors tells lies in the part of the `sk_buff` that is its owner's.
fn extended_error(btf: &Btf) -> Option<u32> {
    let control = btf.member("sk_buff", "cb").ok()?;
    let error = btf.member("sock_exterr_skb", "ee").ok()?;
    control.offset.checked_add(error.offset)
}

/// A socket that a process holds lies beside its inode.
fn inode_of_socket(btf: &Btf) -> Option<u32> {
    let inode = btf.member("socket_alloc", "vfs_inode").ok()?;
    let socket = btf.member("socket_alloc", "socket").ok()?;
    let number = btf.member("inode", "i_ino").ok()?;
    inode.offset.checked_add(number.offset)?.checked_sub(socket.offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::tests::Builder;

    const INT: u32 = 1;

    /// An operator must learn what the kernel lacks, not that something failed.
    #[test]
    fn a_kernel_without_a_structure_is_refused_by_its_name() {
        let mut btf = kernel();
        check(&btf, Ok(&[]));
        btf.retain(|(name, _)| *name != "tcp_sock");
        check(&btf, Err("no `struct tcp_sock`"));
    }

    #[test]
    fn a_kernel_without_a_member_is_refused_by_its_name() {
        check(&without("tcp_sock", "bytes_acked"), Err("no member `bytes_acked` in `struct tcp_sock`"));
    }

    /// Names are lost without these, counts are not.
    #[test]
    fn a_kernel_without_cgroups_or_inodes_is_accepted() {
        check(&without("sock", "sk_cgrp_data"), Ok(&["sock.sk_cgrp_data"]));
        check(&without("socket_alloc", "vfs_inode"), Ok(&["socket_alloc.vfs_inode"]));
    }

    /// What tells of quality is not what the counts depend on.
    #[test]
    fn a_kernel_without_members_about_quality_is_accepted() {
        check(&without("tcp_sock", "rcv_ooopack"), Ok(&["tcp_sock.rcv_ooopack"]));
        for member in ["chrono_stat", "chrono_start", "chrono_type"] {
            check(&without("tcp_sock", member), Ok(&["tcp_sock.chrono_stat"]));
        }
    }

    /// They may lie so far from the others that both reads do not reach them.
    #[test]
    fn members_about_quality_may_be_out_of_reach() {
        let mut structures = kernel();
        for (name, members) in &mut structures {
            if *name == "tcp_sock" {
                members.retain(|it| *it != "rcv_ooopack");
                members.splice(7..7, ["gap"; 120]);
                members.extend(["gap"; 128]);
                members.push("rcv_ooopack");
            }
        }
        check(&structures, Ok(&["tcp_sock.rcv_ooopack"]));
    }

    /// Connections are what matters most.
    #[test]
    fn a_kernel_whose_listening_sockets_cannot_be_walked_is_accepted() {
        check(&without("inet_listen_hashbucket", "nulls_head"), Ok(&["inet_hashinfo.lhash2"]));
        check(&without("inet_hashinfo", "lhash2_mask"), Ok(&["inet_hashinfo.lhash2"]));
        check(&without("sock", "sk_drops"), Ok(&["inet_hashinfo.lhash2"]));
    }

    #[test]
    fn a_kernel_that_does_not_tell_of_cookies_is_accepted() {
        check(&without("sock_reuseport", "synq_overflow_ts"), Ok(&["tcp_sock.rx_opt.ts_recent_stamp"]));
    }

    /// Without it a reason is less exact.
    #[test]
    fn a_kernel_without_a_queue_of_errors_is_accepted() {
        check(&without("sock_exterr_skb", "ee"), Ok(&["sock.sk_error_queue"]));
        check(&without("sock", "sk_error_queue"), Ok(&["sock.sk_error_queue"]));
    }

    #[test]
    fn a_kernel_without_a_pending_timer_is_accepted() {
        check(&without("inet_connection_sock", "icsk_pending"), Ok(&["inet_connection_sock.icsk_pending"]));
    }

    /// Others have no use for further programs, and would pay for them.
    #[test]
    fn kernels_that_preempt_programs_are_told_apart() {
        let guard = ("class_srcu_fast_notrace_t", vec!["lock"]);
        let task = ("task_struct", vec!["rcu_read_lock_nesting"]);
        let preempts = |structures: Structures| {
            let mut builder = Builder::default();
            for (name, members) in structures {
                let members: Vec<_> = members.iter().map(|it| (*it, INT, 0)).collect();
                builder.structure(name, &members);
            }
            preempts_programs(&Btf::parse(builder.build()).unwrap())
        };
        assert!(preempts(vec![guard.clone(), task.clone()]));
        assert!(!preempts(vec![task]), "preemption is off at trace points");
        assert!(!preempts(vec![guard]), "the kernel does not preempt itself");
    }

    #[test]
    fn a_kernel_without_ipv6_is_accepted() {
        check(&without("sock_common", "skc_v6_daddr"), Ok(&[]));
    }

    #[test]
    fn members_under_their_former_names_are_found() {
        let mut btf = without("kernfs_node", "__parent");
        for (name, members) in &mut btf {
            if *name == "kernfs_node" {
                members.push("parent");
            }
        }
        check(&btf, Ok(&[]));
    }

    type Structures = Vec<(&'static str, Vec<&'static str>)>;

    /// What the programs read. A member whose own members are read is a structure named like it.
    fn kernel() -> Structures {
        vec![
            ("ns", vec!["inum", "ops"]),
            ("tcp_death_row", vec!["hashinfo"]),
            ("ipv4", vec!["tcp_death_row"]),
            ("sk_cgrp_data", vec!["cgroup"]),
            ("sk_lock", vec!["owned"]),
            ("rx_opt", vec!["ts_recent_stamp"]),
            (
                "sock_common",
                vec![
                    "skc_daddr",
                    "skc_rcv_saddr",
                    "skc_v6_daddr",
                    "skc_v6_rcv_saddr",
                    "skc_dport",
                    "skc_family",
                    "skc_state",
                    "skc_net",
                    "skc_nulls_node",
                    "skc_flags",
                ],
            ),
            (
                "sock",
                vec![
                    "sk_protocol",
                    "sk_err",
                    "sk_err_soft",
                    "sk_lock",
                    "sk_error_queue",
                    "sk_max_ack_backlog",
                    "sk_ack_backlog",
                    "sk_drops",
                    "sk_cgrp_data",
                    "sk_socket",
                    "sk_reuseport_cb",
                ],
            ),
            ("sock_reuseport", vec!["synq_overflow_ts"]),
            ("sk_buff", vec!["cb"]),
            ("sock_exterr_skb", vec!["header", "ee"]),
            ("socket_alloc", vec!["socket", "vfs_inode"]),
            ("inode", vec!["i_ino"]),
            ("inet_sock", vec!["inet_sport"]),
            ("inet_connection_sock", vec!["icsk_pending"]),
            (
                "tcp_sock",
                vec![
                    "bytes_acked",
                    "bytes_received",
                    "bytes_retrans",
                    "snd_una",
                    "snd_nxt",
                    "write_seq",
                    "rcv_nxt",
                    "srtt_us",
                    "rtt_min",
                    "total_retrans",
                    "segs_in",
                    "chrono_type",
                    "chrono_start",
                    "chrono_stat",
                    "rcv_ooopack",
                    "segs_out",
                    "rx_opt",
                ],
            ),
            ("minmax_sample", vec!["t", "v"]),
            ("net", vec!["ns", "list", "ipv4"]),
            ("inet_timewait_death_row", vec!["hashinfo"]),
            ("inet_hashinfo", vec!["ehash", "ehash_mask", "lhash2", "lhash2_mask"]),
            ("inet_listen_hashbucket", vec!["lock", "nulls_head"]),
            ("cgroup", vec!["kn"]),
            ("kernfs_node", vec!["id", "name", "__parent"]),
            ("task_struct", vec!["nsproxy", "group_leader", "comm"]),
            ("nsproxy", vec!["net_ns"]),
        ]
    }

    fn without(structure: &str, member: &str) -> Structures {
        let mut structures = kernel();
        for (name, members) in &mut structures {
            if *name == structure {
                members.retain(|it| *it != member);
            }
        }
        structures
    }

    /// The programs read them in two parts.
    #[test]
    fn members_too_far_apart_are_refused() {
        check(&with_gaps(&[11]), Ok(&[]));
        check(&with_gaps(&[11, 6]), Err("member `segs_out` of `struct tcp_sock`"));
    }

    /// Puts as much as the programs can read in front of members of `tcp_sock`, the last one first.
    fn with_gaps(before: &[usize]) -> Structures {
        let mut structures = kernel();
        for (name, members) in &mut structures {
            if *name == "tcp_sock" {
                for &idx in before {
                    members.splice(idx..idx, ["gap"; TCP_BYTES / 8]);
                }
            }
        }
        structures
    }

    #[track_caller]
    fn check(structures: &Structures, expected: Result<&[&str], &str>) {
        let mut builder = Builder::default();
        let mut ids: Vec<(&str, u32)> = Vec::new();
        for (name, members) in structures {
            let members: Vec<_> = (0..)
                .zip(members)
                .map(|(idx, member)| {
                    let id = ids.iter().find(|(name, _)| name == member).map_or(INT, |(_, id)| *id);
                    (*member, id, 64 * idx)
                })
                .collect();
            ids.push((name, builder.structure(name, &members)));
        }
        let found = offsets(&Btf::parse(builder.build()).unwrap());
        match (found, expected) {
            (Ok((_, degraded)), Ok(expected)) => {
                let missing: Vec<_> = degraded.iter().map(|it| it.missing).collect();
                assert_eq!(missing, expected);
            }
            (Err(err), Err(expected)) => {
                assert!(err.to_string().contains(expected), "{err}, expected: {expected}");
            }
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}
