//! Walking the kernel's own tables of connections.
//!
//! Callbacks keep everything in map memory (`WalkState`), so that the verifier follows each of them once. Preemption is
//! off during one run: the receiver asks for a few chunks at a time.

use core::ptr::null_mut;

use abi::{BUCKETS_PER_CHUNK, MAX_CHAIN, SkipReason, Socket, state};
use aya_ebpf::{cty::c_void, helpers::bpf_loop};
use bytemuck::Zeroable;

use crate::{
    cgroup,
    kernel::{constant, current_net, offset, read, read_into},
    maps::{self, count_skipped, walk_state},
    sample::{self, Common, Tcp},
};

/// More network namespaces than any machine has.
const MAX_NETS: u32 = 1 << 16;

/// How often a bucket that changes is begun again.
const MAX_ATTEMPTS: u32 = 4;

/// Heads of a table's chunk, as one read.
type Heads = [u64; BUCKETS_PER_CHUNK as usize];

/// Bytes of one bucket: `struct inet_ehash_bucket` is a pointer.
const BUCKET_BYTES: u64 = 8;

type Callback = unsafe extern "C" fn(u32, *mut c_void) -> i64;

const CONTINUE: i64 = 0;
const STOP: i64 = 1;

/// Finds the tables: each network namespace points to one, and nearly always to the same.
#[inline(always)]
pub(crate) fn find_tables() {
    let Some(walk) = walk_state() else { return };
    let net = current_net();
    walk.first_node = net + offset!(net_list);
    walk.node = walk.first_node;
    walk.net_ops = read(net + offset!(net_ops));
    walk.n_tables = 0;
    walk.n_skipped = 0;
    walk.done = 0;
    repeat(MAX_NETS, on_net);
    let Some(walk) = walk_state() else { return };
    if walk.done == 0 {
        walk.n_skipped += 1;
        count_skipped(SkipReason::TooManyTables);
    }
}

unsafe extern "C" fn on_net(_idx: u32, _ctx: *mut c_void) -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    let net = walk.node - offset!(net_list);
    // The list is circular, and its head is not a network namespace: what would be its operations differ.
    if read::<u64>(net + offset!(net_ops)) == walk.net_ops {
        let mut death_row = net + offset!(net_death_row);
        if constant!(net_death_row_is_pointer) != 0 {
            death_row = read(death_row);
        }
        let hashinfo: u64 = read(death_row + offset!(death_row_hashinfo));
        let buckets: u64 = read(hashinfo + offset!(hashinfo_ehash));
        let is_known = match walk.n_tables.checked_sub(1).and_then(maps::table) {
            Some(previous) => previous.buckets == buckets,
            None => false,
        };
        if !is_known {
            let Some(table) = maps::table(walk.n_tables) else { return STOP };
            table.buckets = buckets;
            read_into(&mut table.mask, hashinfo + offset!(hashinfo_ehash_mask));
            table.reserved = 0;
            walk.n_tables += 1;
        }
    }
    walk.node = read(walk.node);
    if walk.node == walk.first_node {
        walk.done = 1;
        return STOP;
    }
    if walk.node == 0 { STOP } else { CONTINUE }
}

/// Copies the sockets of `n_chunks` chunks, or of fewer if there is no room for more.
#[inline(always)]
pub(crate) fn walk(buckets: u64, mask: u32, first: u32, n_chunks: u32, with_ends: u32) {
    let Some(walk) = walk_state() else { return };
    walk.buckets = buckets;
    walk.mask = mask;
    walk.next_bucket = first;
    walk.with_ends = with_ends;
    walk.n_sockets = 0;
    walk.n_skipped = 0;
    walk.full = 0;
    repeat(n_chunks, on_chunk);
}

unsafe extern "C" fn on_chunk(_idx: u32, _ctx: *mut c_void) -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    let Some(scratch) = maps::scratch() else { return STOP };
    let (first, mask) = (walk.next_bucket, walk.mask);
    if first > mask {
        return STOP;
    }
    // An aligned read of 4 KiB stays inside the pages of the table, also of one that is smaller.
    let base = first & !(BUCKETS_PER_CHUNK - 1);
    walk.next_bucket = base + BUCKETS_PER_CHUNK;
    if !read_into::<Heads>(&mut scratch.heads, walk.buckets + u64::from(base) * BUCKET_BYTES) {
        walk.n_skipped += 1;
        count_skipped(SkipReason::TableUnreadable);
        return CONTINUE;
    }
    // Without a branch: the verifier would follow 2^512 ways.
    let mut n_pending = 0_u32;
    let mut idx = 0_u32;
    while idx < BUCKETS_PER_CHUNK {
        let head = scratch.heads[idx as usize];
        let bucket = base + idx;
        let slot = (n_pending & (BUCKETS_PER_CHUNK - 1)) as usize;
        scratch.pending[slot] = head;
        scratch.pending_bucket[slot] = bucket;
        // An odd head is the end of an empty chain. The differences are negative, so that their highest bit is set,
        // outside of what is asked for.
        let is_chain = low(head) & 1 ^ 1;
        let is_before = bucket.wrapping_sub(first) >> 31;
        let is_behind = mask.wrapping_sub(bucket) >> 31;
        n_pending += is_chain & (is_before ^ 1) & (is_behind ^ 1);
        idx += 1;
    }
    walk.n_pending = n_pending;
    repeat(n_pending, on_chain);
    match walk_state() {
        Some(walk) if walk.full == 0 => CONTINUE,
        _ => STOP,
    }
}

unsafe extern "C" fn on_chain(idx: u32, _ctx: *mut c_void) -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    let Some(scratch) = maps::scratch() else { return STOP };
    let slot = (idx & (BUCKETS_PER_CHUNK - 1)) as usize;
    walk.node = scratch.pending[slot];
    walk.bucket = scratch.pending_bucket[slot];
    walk.n_sockets_before = walk.n_sockets;
    walk.n_attempts = 1;
    walk.done = 0;
    repeat(MAX_CHAIN, on_node);
    let Some(walk) = walk_state() else { return STOP };
    if walk.done != 0 {
        return CONTINUE;
    }
    // Half a bucket is not passed on: its sockets would be missed without a trace.
    walk.n_sockets = walk.n_sockets_before;
    if walk.full != 0 && walk.n_sockets > 0 {
        // The next run begins with this bucket.
        walk.next_bucket = walk.bucket;
        return STOP;
    }
    walk.n_skipped += 1;
    if walk.n_attempts > MAX_ATTEMPTS {
        count_skipped(SkipReason::BucketUnstable);
    } else {
        count_skipped(SkipReason::BucketTooLong);
    }
    walk.full = 0;
    CONTINUE
}

unsafe extern "C" fn on_node(_idx: u32, _ctx: *mut c_void) -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    let node = walk.node;
    if node & 1 != 0 || node == 0 {
        // The end of a chain carries the number of its bucket. Another number means that a socket was freed and used
        // again for a connection of another bucket while we stood on it: begin the bucket again, as the kernel does.
        // https://github.com/torvalds/linux/blob/v6.12/Documentation/RCU/rculist_nulls.rst
        if node != 0 && low(node >> 1) == walk.bucket {
            walk.done = 1;
            return STOP;
        }
        walk.n_attempts += 1;
        if walk.n_attempts > MAX_ATTEMPTS {
            return STOP;
        }
        walk.n_sockets = walk.n_sockets_before;
        walk.node = read(walk.buckets + u64::from(walk.bucket) * BUCKET_BYTES);
        return CONTINUE;
    }
    let socket = node - offset!(common_nulls_node);
    // Handshakes and TIME_WAIT stand in the table too; some are not even whole sockets.
    if state::is_connected(read(socket + offset!(common_state))) {
        let Some(to) = maps::socket(walk.n_sockets) else {
            walk.full = 1;
            return STOP;
        };
        let Some(scratch) = maps::scratch() else { return STOP };
        copy(to, &mut scratch.tcp, socket, walk.with_ends != 0);
        walk.n_sockets += 1;
    }
    walk.node = read(node);
    CONTINUE
}

/// Copies a socket. Whose it is, the receiver knows of all but a few: that is half of the cost.
#[inline(always)]
fn copy(to: &mut Socket, tcp: &mut Tcp, socket: u64, with_ends: bool) {
    *to = Socket::zeroed();
    let is_whole = sample::copy_moving(to, tcp, socket);
    let common = Common::of(socket);
    to.netns = common.netns();
    to.flags = common.flags();
    to.state = common.state();
    sample::copy_backlog(to, socket);
    // A socket that cannot be told by its identity is told by its ends.
    if with_ends || !is_whole {
        sample::copy_ends(to, socket, &common);
        sample::copy_cgroup(to, cgroup::of_socket(socket));
        to.inode = sample::inode(socket);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
#[inline(always)]
fn low(value: u64) -> u32 {
    value as u32
}

/// Calls back up to `n` times.
#[inline(always)]
fn repeat(n: u32, callback: Callback) {
    // SAFETY: the callback has the signature that the helper wants, and uses no context.
    // The most iterations are 2^23.
    // https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/bpf_iter.c#L737
    unsafe { bpf_loop(n, callback as *mut c_void, null_mut(), 0) };
}
