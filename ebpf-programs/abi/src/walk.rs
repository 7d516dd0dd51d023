use bytemuck::{Pod, Zeroable};

/// Heads of the hash table that one read takes: 4 KiB, so that an aligned read never runs off a table's end.
pub const BUCKETS_PER_CHUNK: u32 = 512;

/// Most sockets that one run of `walk` yields. A bucket with more is skipped and counted.
pub const MAX_SOCKETS: u32 = 4096;

/// Most sockets of any state in one bucket, for the variant of `walk` that is called by `bpf_loop`.
pub const MAX_CHAIN: u32 = 1 << 14;

/// After how many sockets of any state the variants of `walk` that are not bounded by their steps begin no other bucket, for
/// preemption is off.
pub const MAX_VISITED: u32 = 1 << 15;

/// How often the variants of `walk` and `boot` that visit the elements of a map can repeat themselves: so many sockets of
/// any state in one bucket, and so many network namespaces.
pub const MAX_ELEMENTS: u32 = 1 << 12;

/// How many steps one run of the variants without callbacks takes. For `walk` one step is a bucket that is not empty, or a
/// socket in it; a bucket that takes more is skipped and counted. For `boot` it is a network namespace.
pub const MAX_FLAT_STEPS: u32 = 1 << 12;

/// Most distinct hash tables: one, and one more for each network namespace that has its own.
pub const MAX_TABLES: u32 = 1024;

/// One hash table of established connections.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Table {
    /// Kernel address of the first bucket.
    pub buckets: u64,
    /// Number of buckets, a power of two, less one.
    pub mask: u32,
    /// Explicit padding. Always zero.
    pub reserved: u32,
}

/// What one run of `walk` is to do, in the order of its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkArguments {
    /// The table.
    pub table: Table,
    /// First bucket to visit.
    pub first: u32,
    /// How many chunks of [`BUCKETS_PER_CHUNK`] to read at most.
    pub n_chunks: u32,
    /// Whether to copy addresses, ports, cgroup and inode too, which is half of the cost.
    pub with_ends: bool,
}

impl WalkArguments {
    /// Returns the arguments as a raw tracepoint takes them.
    pub const fn to_raw(self) -> [u64; 12] {
        let Self { table, first, n_chunks, with_ends } = self;
        [
            table.buckets,
            table.mask as u64,
            first as u64,
            n_chunks as u64,
            with_ends as u64,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ]
    }
}

/// What `boot` and `walk` tell about their last run, and what they work with.
///
/// Lives in a map of one element that user space has mapped: programs cannot return values, and the verifier follows
/// less in a map than in registers.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct WalkState {
    /// Result of `boot`: how many tables there are.
    pub n_tables: u32,
    /// Result of `walk`: how many sockets it wrote.
    pub n_sockets: u32,
    /// Result of `walk`: the first bucket it did not visit.
    pub next_bucket: u32,
    /// Result of both: how much was skipped and counted by a reason.
    pub n_skipped: u32,
    /// Result of `boot`: the process (thread group) that asked, as the kernel numbers it.
    pub process: u32,

    /// Work of `walk`: the bucket it is in.
    pub bucket: u32,
    /// Work of `walk`: what `n_sockets` was at the beginning of the bucket.
    pub n_sockets_before: u32,
    /// Work of `walk`: how often the bucket was begun.
    pub n_attempts: u32,
    /// Work of `walk`: 1 when the bucket's end was reached.
    pub done: u32,
    /// Work of `walk`: 1 when the run should end: there is no room for another socket, or enough were visited.
    pub full: u32,
    /// Work of `walk`: how many sockets of any state it has visited.
    pub n_visited: u32,
    /// Work of `walk`: buckets of the chunk that are not empty.
    pub n_pending: u32,
    /// Work of `walk`: how many of them were begun.
    pub n_begun: u32,
    /// Work of `walk`: the argument.
    pub mask: u32,
    /// Work of `walk`: the argument.
    pub with_ends: u32,
    /// Explicit padding. Always zero.
    pub reserved: u32,
    /// Work of `walk`: the argument.
    pub buckets: u64,
    /// Work of both: the list node it is at.
    pub node: u64,
    /// Work of `boot`: the node it began with.
    pub first_node: u64,
    /// Work of `boot`: what tells a network namespace from the head of the list.
    pub net_ops: u64,

    /// Result of `boot`: ticks of the kernel's clock, `jiffies`.
    pub ticks: u64,
    /// Result of `boot`: nanoseconds at about the same time, `CLOCK_MONOTONIC`.
    pub monotonic: u64,
}
