//! Walking the kernel's table of listening sockets.
//!
//! There is one for all network namespaces: those that have tables of connections of their own share it. Few of its
//! buckets hold anything, so that one program that needs no more than bounded loops walks it on every kernel, in a run or a
//! few.

use abi::{
    LISTENING_HASH_BUCKETS, LISTENING_NULLS_BASE, ListeningSocket, MAX_FLAT_STEPS, Offsets, SkipReason,
    WalkState, state,
};

use crate::{
    cgroup,
    kernel::{constant, current_net, offset, read, read_into, ticks, zero},
    maps::{self, count_skipped, walk_state},
    sample::{self, Common},
    walk::{CONTINUE, MAX_ATTEMPTS, STOP, hashinfo_of},
};

/// Copies the sockets of the buckets from `first` on for which there are steps and room.
#[inline(always)]
pub(crate) fn walk(first: u32) {
    let Some(walk) = walk_state() else { return };
    begin(walk, first);
    let mut n_steps = 0;
    while n_steps < MAX_FLAT_STEPS && step_listening() == CONTINUE {
        n_steps += 1;
    }
    end(first);
}

#[inline(always)]
fn begin(walk: &mut WalkState, first: u32) {
    let hashinfo = hashinfo_of(current_net());
    walk.buckets = hashinfo + offset!(hashinfo_listening);
    walk.mask = LISTENING_HASH_BUCKETS - 1;
    if constant!(hashinfo_lhash2_mask) != Offsets::ABSENT {
        walk.buckets = read(walk.buckets);
        read_into(&mut walk.mask, hashinfo + offset!(hashinfo_lhash2_mask));
    }
    walk.next_bucket = first;
    walk.n_sockets = 0;
    walk.n_skipped = 0;
    walk.done = 1;
}

/// Begins the next bucket, or visits a socket of the one that was begun; a global function, as is the walk's.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_listening() -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    if walk.done != 0 {
        if walk.next_bucket > walk.mask {
            return STOP;
        }
        walk.bucket = walk.next_bucket;
        walk.next_bucket += 1;
        walk.n_sockets_before = walk.n_sockets;
        walk.n_attempts = 1;
        walk.done = 0;
        walk.node = first_node(walk);
    } else if !is_end(walk.node) {
        let socket = walk.node - offset!(common_nulls_node);
        let common = Common::of(socket);
        if common.state() == state::LISTEN {
            let Some(to) = maps::listening(walk.n_sockets) else { return STOP };
            copy(to, socket, &common);
            walk.n_sockets += 1;
        }
        walk.node = read(walk.node);
    }
    if is_end(walk.node) {
        end_chain(walk);
    }
    CONTINUE
}

/// Returns whether there is no socket: the end of a chain is odd, and a link that could not be read is zero.
#[inline(always)]
const fn is_end(node: u64) -> bool {
    node & 1 != 0 || node == 0
}

/// Ends a chain, or begins it again: the end of a chain carries the number of its bucket, and with another one the socket
/// that we stood on ceased to listen meanwhile, and listens again in another bucket.
#[inline(always)]
fn end_chain(walk: &mut WalkState) {
    let end = walk.node;
    walk.done = 1;
    if end != 0 && (end >> 1) & !LISTENING_NULLS_BASE == u64::from(walk.bucket) {
        return;
    }
    walk.n_sockets = walk.n_sockets_before;
    if walk.n_attempts >= MAX_ATTEMPTS {
        walk.n_skipped += 1;
        count_skipped(SkipReason::BucketUnstable);
        return;
    }
    walk.n_attempts += 1;
    walk.done = 0;
    walk.node = first_node(walk);
}

#[inline(always)]
fn first_node(walk: &WalkState) -> u64 {
    let bucket = walk.buckets + u64::from(walk.bucket) * offset!(listening_bucket_bytes);
    read(bucket + offset!(listening_bucket_head))
}

/// Settles where the next run begins, when there were no steps or no room left.
#[inline(always)]
fn end(first: u32) {
    let Some(walk) = walk_state() else { return };
    if walk.done != 0 {
        return;
    }
    walk.n_sockets = walk.n_sockets_before;
    if walk.bucket > first {
        walk.next_bucket = walk.bucket;
    } else {
        // It alone is too much.
        walk.n_skipped += 1;
        count_skipped(SkipReason::BucketTooLong);
    }
}

#[inline(always)]
fn copy(to: &mut ListeningSocket, socket: u64, common: &Common) {
    zero(to);
    let cgroup = cgroup::of_socket(socket);
    to.inode = sample::inode(socket);
    to.cgroup = cgroup.id;
    to.cgroup_node = cgroup.node;
    to.address = common.local_address();
    to.netns = common.netns();
    read_into(&mut to.drops, socket + offset!(sock_drops));
    read_into(&mut to.queued, socket + offset!(sock_ack_backlog));
    read_into(&mut to.queue_limit, socket + offset!(sock_max_ack_backlog));
    to.port = sample::local_port(socket);
    to.cookies_age = cookies_age(socket);
}

/// Returns how many ticks ago the kernel noted that a socket answers by cookies.
///
/// Sockets that share a port note it together, in what they have in common. One that no longer shares it goes on alone and
/// keeps that, so that the younger note counts.
/// <https://github.com/torvalds/linux/blob/v6.12/include/net/tcp.h#L588>
#[inline(always)]
fn cookies_age(socket: u64) -> u32 {
    if constant!(tcp_ts_recent_stamp) == Offsets::ABSENT {
        return ListeningSocket::NO_COOKIES;
    }
    let group: u64 = read(socket + offset!(sock_reuseport_cb));
    let in_common = if group == 0 { 0 } else { read(group + offset!(reuseport_synq_overflow_ts)) };
    age_of_note(read(socket + offset!(tcp_ts_recent_stamp))).min(age_of_note(in_common))
}

/// Returns the age of a time in ticks, of which the kernel keeps the lower bits; zero is no time.
#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is compared with")]
#[inline(always)]
fn age_of_note(time: u32) -> u32 {
    if time == 0 { ListeningSocket::NO_COOKIES } else { (ticks() as u32).wrapping_sub(time) }
}
