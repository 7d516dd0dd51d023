use std::time::Duration;

use crate::{Endpoint, Interval, Local, Transport};

/// A batch of reports on listening sockets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listeners {
    /// The reports, in the order they were observed.
    pub records: Vec<Listener>,
}

/// An observer's report on one listening socket over one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Transport protocol.
    pub transport: Transport,
    /// Where it listens; the unspecified address stands for every address.
    pub server: Endpoint,
    /// What span of time the delta covers.
    pub interval: Interval,
    /// Segments of handshakes that were dropped: the queue was full, or there was no memory.
    pub dropped: u64,
    /// For how long the kernel answered handshakes by SYN cookies, for there were more of them than it remembers; as
    /// exact as the intervals between looks at the socket.
    pub cookies: Duration,
    /// Connections that waited to be accepted at the end of the interval.
    pub queued: u32,
    /// How many may wait.
    pub queue_limit: u32,
    /// What the observer's kernel knows of the socket.
    pub local: Local,
}
