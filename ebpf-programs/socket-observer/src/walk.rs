//! Walking the kernel's own tables of connections.
//!
//! There are three variants of each program, for what a program may repeat depends on the kernel:
//!
//! | variant | repeats by | Linux |
//! | --- | --- | --- |
//! | [`Calls`] | `bpf_loop` | 5.17 |
//! | [`Elements`] | `bpf_for_each_map_elem` over a map made for it | 5.13 |
//! | flat | a loop that calls a function which the verifier follows on its own, once | 5.10 |
//!
//! Callbacks keep everything in map memory (`WalkState`), so that the verifier follows each of them once. Preemption is
//! off during one run: the receiver asks for a few chunks at a time, and a variant may do less than it is asked for.

use core::ptr::null_mut;

use abi::{BUCKETS_PER_CHUNK, MAX_CHAIN, MAX_FLAT_STEPS, MAX_VISITED, SkipReason, Socket, WalkState, state};
use aya_ebpf::{
    cty::c_void,
    helpers::{bpf_loop, generated::bpf_for_each_map_elem},
};

use crate::{
    cgroup,
    kernel::{constant, current_net, current_process_id, monotonic, offset, read, read_into, ticks, zero},
    maps::{self, ELEMENTS, Scratch, count_skipped, walk_state},
    sample::{self, Common},
};

/// More network namespaces than any machine has.
const MAX_NETS: u32 = 1 << 16;

/// How often a bucket that changes is begun again.
pub(crate) const MAX_ATTEMPTS: u32 = 4;

/// Heads of a table's chunk, as one read.
type Heads = [u64; BUCKETS_PER_CHUNK as usize];

/// Bytes of one bucket: `struct inet_ehash_bucket` is a pointer.
const BUCKET_BYTES: u64 = 8;

pub(crate) const CONTINUE: i64 = 0;
pub(crate) const STOP: i64 = 1;

/// What is repeated. All of it works on `WalkState`.
pub(crate) trait Step {
    /// Does it for the `idx`th time. Returns `CONTINUE` or `STOP`.
    fn step<R: Repeat>(idx: u32) -> i64;
}

/// A way to repeat something.
pub(crate) trait Repeat {
    /// Repeats a step until it says to stop, `n` times at most or as often as there is a way to.
    fn repeat<S: Step>(n: u32);
}

/// Repeats by `bpf_loop`.
pub(crate) enum Calls {}

impl Repeat for Calls {
    #[inline(always)]
    fn repeat<S: Step>(n: u32) {
        // SAFETY: the callback has the signature that the helper wants, and uses no context.
        // The most iterations are 2^23.
        // https://github.com/torvalds/linux/blob/v6.12/kernel/bpf/bpf_iter.c#L737
        unsafe { bpf_loop(n, on_call::<S> as *mut c_void, null_mut(), 0) };
    }
}

unsafe extern "C" fn on_call<S: Step>(idx: u32, _ctx: *mut c_void) -> i64 {
    S::step::<Calls>(idx)
}

/// Repeats by visiting the elements of a map.
pub(crate) enum Elements {}

impl Repeat for Elements {
    #[inline(always)]
    fn repeat<S: Step>(_n: u32) {
        let map = (&raw const ELEMENTS).cast_mut().cast();
        // SAFETY: the callback has the signature that the helper wants, and uses no context; the map is one.
        // https://github.com/torvalds/linux/blob/v5.13/kernel/bpf/bpf_iter.c#L677
        unsafe { bpf_for_each_map_elem(map, on_element::<S> as *mut c_void, null_mut(), 0) };
    }
}

unsafe extern "C" fn on_element<S: Step>(
    _map: *mut c_void,
    key: *const u32,
    _value: *mut c_void,
    _ctx: *mut c_void,
) -> i64 {
    // SAFETY: the helper passes the element's index.
    S::step::<Elements>(unsafe { *key })
}

/// Finds the tables: each network namespace points to one, and nearly always to the same.
#[inline(always)]
pub(crate) fn find_tables<R: Repeat>() {
    let Some(walk) = walk_state() else { return };
    begin_nets(walk);
    R::repeat::<Net>(MAX_NETS);
    end_nets();
}

/// Like [`find_tables`], without callbacks.
#[inline(always)]
pub(crate) fn find_tables_flat() {
    let Some(walk) = walk_state() else { return };
    begin_nets(walk);
    let mut n_steps = 0;
    while n_steps < MAX_FLAT_STEPS && step_nets() == CONTINUE {
        n_steps += 1;
    }
    end_nets();
}

/// Visits a network namespace; a global function, as is [`step_chains`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_nets() -> i64 {
    visit_net()
}

#[inline(always)]
fn begin_nets(walk: &mut WalkState) {
    let net = current_net();
    walk.first_node = net + offset!(net_list);
    walk.node = walk.first_node;
    walk.net_ops = read(net + offset!(net_ops));
    walk.process = current_process_id();
    walk.ticks = ticks();
    walk.monotonic = monotonic();
    walk.n_tables = 0;
    walk.n_skipped = 0;
    walk.done = 0;
}

#[inline(always)]
fn end_nets() {
    let Some(walk) = walk_state() else { return };
    if walk.done == 0 {
        walk.n_skipped += 1;
        count_skipped(SkipReason::TooManyTables);
    }
}

enum Net {}

impl Step for Net {
    #[inline(always)]
    fn step<R: Repeat>(_idx: u32) -> i64 {
        visit_net()
    }
}

#[inline(always)]
fn visit_net() -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    let net = walk.node - offset!(net_list);
    // The list is circular, and its head is not a network namespace: what would be its operations differ.
    if read::<u64>(net + offset!(net_ops)) == walk.net_ops {
        let hashinfo = hashinfo_of(net);
        let buckets: u64 = read(hashinfo + offset!(hashinfo_ehash));
        // The initial namespace's table is the first, and comes between those of namespaces that have their own.
        let is_known = |idx: u32| maps::table(idx).is_some_and(|it| it.buckets == buckets);
        let n_tables = walk.n_tables;
        if n_tables == 0 || !is_known(0) && !is_known(n_tables - 1) {
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

/// Returns the tables of a network namespace.
#[inline(always)]
pub(crate) fn hashinfo_of(net: u64) -> u64 {
    let mut death_row = net + offset!(net_death_row);
    if constant!(net_death_row_is_pointer) != 0 {
        death_row = read(death_row);
    }
    read(death_row + offset!(death_row_hashinfo))
}

/// Copies the sockets of `n_chunks` chunks, or of fewer if there is no room for more.
#[inline(always)]
pub(crate) fn walk(buckets: u64, mask: u32, first: u32, n_chunks: u32, with_ends: u32) {
    if begin(buckets, mask, first, with_ends) {
        Calls::repeat::<Chunk>(n_chunks);
    }
}

/// Like [`walk`], one chunk at a time: callbacks inside callbacks inside callbacks are asked of no old verifier.
#[inline(always)]
pub(crate) fn walk_elements(buckets: u64, mask: u32, first: u32, with_ends: u32) {
    if begin(buckets, mask, first, with_ends) {
        Chunk::step::<Elements>(0);
    }
}

#[inline(always)]
fn begin(buckets: u64, mask: u32, first: u32, with_ends: u32) -> bool {
    let Some(walk) = walk_state() else { return false };
    walk.buckets = buckets;
    walk.mask = mask;
    walk.next_bucket = first;
    walk.with_ends = with_ends;
    walk.n_sockets = 0;
    walk.n_skipped = 0;
    walk.n_visited = 0;
    walk.full = 0;
    true
}

enum Chunk {}

impl Step for Chunk {
    #[inline(always)]
    fn step<R: Repeat>(_idx: u32) -> i64 {
        let Some(walk) = walk_state() else { return STOP };
        let Some(scratch) = maps::scratch() else { return STOP };
        if walk.next_bucket > walk.mask {
            return STOP;
        }
        if !read_chunk(walk, scratch) {
            return CONTINUE;
        }
        R::repeat::<Chain>(walk.n_pending);
        match walk_state() {
            Some(walk) if walk.full == 0 => CONTINUE,
            _ => STOP,
        }
    }
}

/// Reads the chunk that holds the next bucket, and notes those from there on that are not empty. Returns whether it could
/// be read.
#[inline(always)]
fn read_chunk(walk: &mut WalkState, scratch: &mut Scratch) -> bool {
    let (first, mask) = (walk.next_bucket, walk.mask);
    // An aligned read of 4 KiB stays inside the pages of the table, also of one that is smaller.
    let base = first & !(BUCKETS_PER_CHUNK - 1);
    walk.next_bucket = base + BUCKETS_PER_CHUNK;
    walk.n_pending = 0;
    if !read_into::<Heads>(&mut scratch.heads, walk.buckets + u64::from(base) * BUCKET_BYTES) {
        walk.n_skipped += 1;
        count_skipped(SkipReason::TableUnreadable);
        return false;
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
    true
}

enum Chain {}

impl Step for Chain {
    #[inline(always)]
    fn step<R: Repeat>(idx: u32) -> i64 {
        let Some(walk) = walk_state() else { return STOP };
        let Some(scratch) = maps::scratch() else { return STOP };
        if idx >= walk.n_pending {
            return STOP;
        }
        if walk.n_visited >= MAX_VISITED {
            walk.next_bucket = scratch.pending_bucket[(idx & (BUCKETS_PER_CHUNK - 1)) as usize];
            walk.full = 1;
            return STOP;
        }
        begin_chain(walk, scratch, idx);
        R::repeat::<Node>(MAX_CHAIN);
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
        skip_bucket(walk);
        walk.full = 0;
        CONTINUE
    }
}

#[inline(always)]
fn begin_chain(walk: &mut WalkState, scratch: &Scratch, idx: u32) {
    let slot = (idx & (BUCKETS_PER_CHUNK - 1)) as usize;
    walk.node = scratch.pending[slot];
    walk.bucket = scratch.pending_bucket[slot];
    walk.n_sockets_before = walk.n_sockets;
    walk.n_attempts = 1;
    walk.done = 0;
}

#[inline(always)]
fn skip_bucket(walk: &mut WalkState) {
    walk.n_skipped += 1;
    if walk.n_attempts > MAX_ATTEMPTS {
        count_skipped(SkipReason::BucketUnstable);
    } else {
        count_skipped(SkipReason::BucketTooLong);
    }
}

enum Node {}

impl Step for Node {
    #[inline(always)]
    fn step<R: Repeat>(_idx: u32) -> i64 {
        let Some(walk) = walk_state() else { return STOP };
        let Some(scratch) = maps::scratch() else { return STOP };
        visit_node(walk, scratch)
    }
}

/// Copies the socket that the walk is at, if it is a connection, and goes to the next.
#[inline(always)]
fn visit_node(walk: &mut WalkState, scratch: &mut Scratch) -> i64 {
    let node = walk.node;
    // A link that could not be read is zero.
    if node & 1 != 0 || node == 0 {
        return end_chain(walk, node);
    }
    walk.n_visited += 1;
    let socket = node - offset!(common_nulls_node);
    // Handshakes and TIME_WAIT stand in the table too; some are not even whole sockets.
    if state::is_connected(read(socket + offset!(common_state))) {
        let Some(to) = maps::socket(walk.n_sockets) else {
            walk.full = 1;
            return STOP;
        };
        copy(to, scratch, socket, walk.with_ends != 0);
        walk.n_sockets += 1;
    }
    walk.node = read(node);
    CONTINUE
}

/// Ends a chain, or begins it again.
///
/// The end of a chain carries the number of its bucket. Another number means that a socket was freed and used again for a
/// connection of another bucket while we stood on it: begin the bucket again, as the kernel does.
/// <https://github.com/torvalds/linux/blob/v6.12/Documentation/RCU/rculist_nulls.rst>
#[inline(always)]
fn end_chain(walk: &mut WalkState, node: u64) -> i64 {
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
    CONTINUE
}

/// Like [`walk`], without callbacks: a chunk, or the part of it that there are steps for.
#[inline(always)]
pub(crate) fn walk_flat(buckets: u64, mask: u32, first: u32, with_ends: u32) {
    if !begin(buckets, mask, first, with_ends) {
        return;
    }
    let Some(walk) = walk_state() else { return };
    let Some(scratch) = maps::scratch() else { return };
    if !read_chunk(walk, scratch) {
        return;
    }
    walk.n_begun = 0;
    walk.done = 1;
    let mut n_steps = 0;
    while n_steps < MAX_FLAT_STEPS && step_chains() == CONTINUE {
        n_steps += 1;
    }
    end_flat(first);
}

/// Begins the next bucket that is not empty, or visits a socket of the one that was begun.
///
/// A global function, for that is what its name is exported for: the verifier follows it once, on its own, and not as often
/// as it is called. Whatever it works with is therefore in map memory.
/// <https://github.com/torvalds/linux/blob/v5.10/kernel/bpf/verifier.c#L4833>
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_chains() -> i64 {
    let Some(walk) = walk_state() else { return STOP };
    let Some(scratch) = maps::scratch() else { return STOP };
    if walk.done != 0 {
        if walk.n_begun >= walk.n_pending {
            return STOP;
        }
        begin_chain(walk, scratch, walk.n_begun);
        walk.n_begun += 1;
        return CONTINUE;
    }
    if visit_node(walk, scratch) == STOP && walk.done == 0 {
        if walk.full != 0 {
            return STOP;
        }
        walk.n_sockets = walk.n_sockets_before;
        skip_bucket(walk);
        walk.done = 1;
    }
    CONTINUE
}

/// Settles where the next run begins, when there were no steps or no room left.
#[inline(always)]
fn end_flat(first: u32) {
    let Some(walk) = walk_state() else { return };
    let Some(scratch) = maps::scratch() else { return };
    if walk.done != 0 {
        if walk.n_begun < walk.n_pending {
            walk.next_bucket = scratch.pending_bucket[(walk.n_begun & (BUCKETS_PER_CHUNK - 1)) as usize];
        }
        return;
    }
    walk.n_sockets = walk.n_sockets_before;
    if walk.bucket > first {
        walk.next_bucket = walk.bucket;
    } else {
        // It alone is too much.
        walk.next_bucket = walk.bucket + 1;
        skip_bucket(walk);
    }
}

/// Copies a socket. Whose it is, the receiver knows of all but a few: that is half of the cost.
#[inline(always)]
fn copy(to: &mut Socket, scratch: &mut Scratch, socket: u64, with_ends: bool) {
    zero(to);
    let is_whole = sample::copy_moving(to, &mut scratch.tcp, &mut scratch.moving, socket);
    let common = Common::of(socket);
    to.netns = common.netns();
    to.flags = common.flags();
    to.state = common.state();
    sample::copy_backlog(to, socket);
    // A socket that cannot be told by its identity is told by its ends.
    if with_ends || !is_whole {
        sample::copy_ends(to, &common, sample::local_port(socket));
        sample::copy_cgroup(to, cgroup::of_socket(socket));
        to.inode = sample::inode(socket);
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is what is asked for")]
#[inline(always)]
fn low(value: u64) -> u32 {
    value as u32
}
