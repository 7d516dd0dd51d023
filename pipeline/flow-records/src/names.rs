//! What events and attributes are called. A name never changes what it means: what is told otherwise has another.

use model::{CloseReason, FailureReason};

/// Event of a flow record.
pub(crate) const FLOW: &str = "ridley.flow";
/// Event of a report on a listening socket.
pub(crate) const LISTENER: &str = "ridley.listener";

pub(crate) const OBSERVER: &str = "observer";
pub(crate) const TRANSPORT: &str = "network.transport";
pub(crate) const START: &str = "ridley.interval.start";
pub(crate) const STARTED: &str = "ridley.connection.start";
pub(crate) const OTHER_IS_OBSERVED: &str = "ridley.other_is_observed";
pub(crate) const IS_JOINED: &str = "ridley.is_joined";
pub(crate) const BEGIN: &str = "ridley.connection.begin";
pub(crate) const END: &str = "ridley.connection.end";
pub(crate) const CLOSE_REASON: &str = "ridley.connection.close.reason";
pub(crate) const ERROR_TYPE: &str = "error.type";
pub(crate) const BEFORE_REQUEST: &str = "ridley.before.request.bytes";
pub(crate) const BEFORE_RESPONSE: &str = "ridley.before.response.bytes";
pub(crate) const RTT: &str = "ridley.rtt.smoothed";
pub(crate) const MIN_RTT: &str = "ridley.rtt.min";
pub(crate) const CONNECT: &str = "ridley.connect.duration";
pub(crate) const SERVER_HANDSHAKE: &str = "ridley.server_handshake.duration";
pub(crate) const CGROUP: &str = "ridley.local.cgroup";
pub(crate) const NETNS: &str = "ridley.local.netns";
pub(crate) const PID: &str = "process.pid";
pub(crate) const COMMAND: &str = "process.executable.name";
pub(crate) const DROPPED: &str = "ridley.listener.drops";
pub(crate) const COOKIES: &str = "ridley.listener.cookies.time";
pub(crate) const QUEUED: &str = "ridley.listener.queue.length";
pub(crate) const QUEUE_LIMIT: &str = "ridley.listener.queue.limit";

/// What attributes of one end are called. Those that a name has no constant for are `prefix` and what the model calls them.
pub(crate) struct EndNames {
    pub(crate) prefix: &'static str,
    pub(crate) address: &'static str,
    pub(crate) port: &'static str,
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) kind: &'static str,
}

pub(crate) const CLIENT: EndNames = EndNames {
    prefix: "client.",
    address: "client.address",
    port: "client.port",
    name: "client.name",
    namespace: "client.namespace",
    kind: "client.kind",
};

pub(crate) const SERVER: EndNames = EndNames {
    prefix: "server.",
    address: "server.address",
    port: "server.port",
    name: "server.name",
    namespace: "server.namespace",
    kind: "server.kind",
};

/// What attributes of one direction are called.
pub(crate) struct DirectionNames {
    pub(crate) bytes: &'static str,
    pub(crate) segments: &'static str,
    pub(crate) retransmitted_segments: &'static str,
    pub(crate) retransmitted_bytes: &'static str,
    pub(crate) out_of_order_segments: &'static str,
    pub(crate) receive_window_limited: &'static str,
}

pub(crate) const REQUEST: DirectionNames = DirectionNames {
    bytes: "ridley.request.bytes",
    segments: "ridley.request.segments",
    retransmitted_segments: "ridley.request.retransmitted.segments",
    retransmitted_bytes: "ridley.request.retransmitted.bytes",
    out_of_order_segments: "ridley.request.out_of_order.segments",
    receive_window_limited: "ridley.request.receive_window_limited.time",
};

pub(crate) const RESPONSE: DirectionNames = DirectionNames {
    bytes: "ridley.response.bytes",
    segments: "ridley.response.segments",
    retransmitted_segments: "ridley.response.retransmitted.segments",
    retransmitted_bytes: "ridley.response.retransmitted.bytes",
    out_of_order_segments: "ridley.response.out_of_order.segments",
    receive_window_limited: "ridley.response.receive_window_limited.time",
};

pub(crate) const OPENED: &str = "opened";
pub(crate) const FOUND: &str = "found";
pub(crate) const CLOSED: &str = "closed";
pub(crate) const FAILED: &str = "failed";
pub(crate) const AGAIN: &str = "again";

pub(crate) fn close_reason(word: &str) -> Option<CloseReason> {
    CloseReason::ALL.into_iter().find(|it| it.as_str() == word)
}

pub(crate) fn failure_reason(word: &str) -> Option<FailureReason> {
    FailureReason::ALL.into_iter().find(|it| it.as_str() == word)
}
