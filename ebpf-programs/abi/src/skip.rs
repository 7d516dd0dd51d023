/// Why a program could not record something it should have recorded.
///
/// Index of the `SKIPPED` map in the kernel, value of the `reason` attribute in user space.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// The ring buffer had no room for the begin or end of a connection; a walk repairs it.
    RingFull,
    /// Too many handshakes at once: the process and duration of one are unknown.
    HandshakesFull,
    /// A socket changed its state while its CPU was in the middle of changes of others, in every program that is attached
    /// to them; a walk repairs it. The kernel counts these, and not a program.
    Nested,
    /// A socket sent a reset while its CPU was in the middle of recording that of another: who reset a connection is told
    /// by its end alone.
    NestedReset,
    /// The kernel's memory of a socket could not be read; a walk repairs it.
    SocketUnreadable,
    /// Too many sockets in one hash bucket: the rest of the bucket was not sampled.
    BucketTooLong,
    /// A hash bucket changed under every attempt to read it: it was not sampled.
    BucketUnstable,
    /// A part of the kernel's hash table could not be read.
    TableUnreadable,
    /// More hash tables or network namespaces than there is room for.
    TooManyTables,
}

impl SkipReason {
    /// Every reason, in the order of the map.
    pub const ALL: [Self; 9] = [
        Self::RingFull,
        Self::HandshakesFull,
        Self::Nested,
        Self::NestedReset,
        Self::SocketUnreadable,
        Self::BucketTooLong,
        Self::BucketUnstable,
        Self::TableUnreadable,
        Self::TooManyTables,
    ];

    /// How many reasons there are: the size of the map.
    pub const COUNT: u32 = 9;

    /// Returns the value of the `reason` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RingFull => "ring_full",
            Self::HandshakesFull => "handshakes_full",
            Self::Nested => "nested",
            Self::NestedReset => "nested_reset",
            Self::SocketUnreadable => "socket_unreadable",
            Self::BucketTooLong => "bucket_too_long",
            Self::BucketUnstable => "bucket_unstable",
            Self::TableUnreadable => "table_unreadable",
            Self::TooManyTables => "too_many_tables",
        }
    }
}

const _: () = {
    assert!(SkipReason::ALL.len() == SkipReason::COUNT as usize, "every reason has a slot in the map");
    let mut idx = 0;
    while idx < SkipReason::ALL.len() {
        assert!(SkipReason::ALL[idx] as usize == idx, "a reason's position must be its index in the map");
        idx += 1;
    }
};
