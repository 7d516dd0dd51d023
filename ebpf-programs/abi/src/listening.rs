use bytemuck::{Pod, Zeroable};

/// Most listening sockets that one run of `walk_listening` yields. A bucket with more is skipped and counted.
pub const MAX_LISTENING: u32 = 1 << 11;

/// Buckets of the table of listening sockets before Linux 5.19, where it was a part of `inet_hashinfo`.
///
/// <https://github.com/torvalds/linux/blob/v5.10/include/net/inet_hashtables.h>, `INET_LHTABLE_SIZE`
pub const LISTENING_HASH_BUCKETS: u32 = 32;

/// What the ends of the chains of that table count from, so that they differ from those of connections.
///
/// <https://github.com/torvalds/linux/blob/v5.10/include/net/inet_hashtables.h>, `LISTENING_NULLS_BASE`
pub const LISTENING_NULLS_BASE: u64 = 1 << 29;

/// A socket that listens, copied out of the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ListeningSocket {
    /// Inode number of the socket; 0 if no process holds it or it is unknown.
    pub inode: u64,
    /// Id of the cgroup (version 2) of the process that made the socket; 0 if unknown.
    pub cgroup: u64,
    /// Kernel address of that cgroup's `kernfs_node`; 0 if unknown.
    pub cgroup_node: u64,
    /// Local address; IPv4 is stored as `::ffff:a.b.c.d`, the unspecified address of IPv4 as `::ffff:0.0.0.0`.
    pub address: [u8; 16],
    /// Inode number of the network namespace.
    pub netns: u32,
    /// `sock.sk_drops`: segments of handshakes that were dropped, since it listens.
    pub drops: u32,
    /// `sock.sk_ack_backlog`: connections that wait to be accepted.
    pub queued: u32,
    /// `sock.sk_max_ack_backlog`: how many may wait.
    pub queue_limit: u32,
    /// How many ticks ago the kernel noted that it answers by cookies, which it does once a second at most;
    /// [`ListeningSocket::NO_COOKIES`] if it did not, or if that is unknown.
    pub cookies_age: u32,
    /// Local port in host byte order.
    pub port: u16,
    /// Explicit padding. Always zero.
    pub reserved: u16,
}

impl ListeningSocket {
    /// Stands for the age of a note that there is not.
    pub const NO_COOKIES: u32 = u32::MAX;
}
