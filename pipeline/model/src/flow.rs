use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ConnectionId, Endpoint, Interval, UnixNanos};

/// A batch of flow records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flows {
    /// The records, in the order they were observed: of one connection's records, the earlier comes first.
    pub records: Vec<Flow>,
}

/// One observer's report on one connection over one interval.
///
/// Counts are deltas: the sum over a connection's records is the connection's total. A connection that both ends of
/// which are observed is reported by both, with the same `id` and different observers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Names the connection; absent if it never got as far as exchanging sequence numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ConnectionId>,
    /// Which end this observer holds.
    pub observer: Observer,
    /// Transport protocol.
    pub transport: Transport,
    /// The end that opened the connection.
    pub client: Endpoint,
    /// The end that accepted it.
    pub server: Endpoint,
    /// When the connection opened; absent if that was before the observer started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<UnixNanos>,
    /// What span of time the deltas cover.
    pub interval: Interval,
    /// Whether the observer of another node holds the other end, as far as a processor that names ends knows: what both ends
    /// report then counts once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub other_is_observed: bool,
    /// Whether both ends reported the connection, and what the record says of the server is what the server's own observer says:
    /// `join` has made one record of two.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_joined: bool,
    /// Set on the first record of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<Begin>,
    /// Set on the last record of a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What travelled before the observer found the connection, and no record counts; on the first record only, of a
    /// connection that is older than the observer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Before>,
    /// What travelled from client to server.
    pub request: Traffic,
    /// What travelled from server to client.
    pub response: Traffic,
    /// Round-trip time as of the end of the interval; absent until the observer's socket has measured one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt: Option<Rtt>,
    /// How long the handshake took; on the first record only, if it was observed.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::time::optional_nanos")]
    pub connect: Option<Duration>,
    /// How long the client took to answer the server's part of the handshake, as the server's socket measured it; on the
    /// server's first record only.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::time::optional_nanos")]
    pub server_handshake: Option<Duration>,
    /// What the observer's kernel knows of its own end: input for the processors that give names.
    pub local: Local,
}

/// Which end of a connection an observer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observer {
    /// The end that opened the connection.
    Client,
    /// The end that accepted it.
    Server,
}

impl Observer {
    /// Returns the value of the `observer` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// Transport protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Transmission Control Protocol.
    Tcp,
}

impl Transport {
    /// Returns the value of the `network.transport` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
        }
    }
}

/// Why a record is the first of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Begin {
    /// The connection opened while the observer ran; counts start at zero.
    Opened,
    /// The connection is older than the observer; counts start when the observer found it.
    Found,
}

/// Why a record is the last of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The connection was established, and is over.
    Closed(CloseReason),
    /// The connection was never established.
    Failed(FailureReason),
    /// The connection is over, and was counted as such before: it had been taken for ended, with
    /// [`CloseReason::Unknown`], and then was found again.
    Again,
}

/// How an established connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// Both ends said goodbye.
    Normal,
    /// The client sent a reset.
    ClientReset,
    /// The server sent a reset.
    ServerReset,
    /// The other end no longer answered.
    Timeout,
    /// The kernel gave the connection up, or was told to.
    Aborted,
    /// The end was not observed; the socket is gone.
    Unknown,
}

impl CloseReason {
    /// Every reason, in the order documents list them.
    pub const ALL: [Self; 6] =
        [Self::Normal, Self::ClientReset, Self::ServerReset, Self::Timeout, Self::Aborted, Self::Unknown];

    /// Returns the value of the `reason` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ClientReset => "client_reset",
            Self::ServerReset => "server_reset",
            Self::Timeout => "timeout",
            Self::Aborted => "aborted",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a connection could not be established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureReason {
    /// The other host answered that nothing listens there.
    Refused,
    /// Nothing answered.
    Timeout,
    /// A router or this host answered that the other cannot be reached.
    Unreachable,
    /// The other end reset the handshake after a `SYN` of its own: of two ends that connect to each other at the same time.
    /// A reset that answers the client's `SYN` is [`Refused`](Self::Refused), as the kernel calls it.
    Reset,
    /// The application gave up before the kernel did.
    Canceled,
}

impl FailureReason {
    /// Every reason, in the order documents list them.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Timeout, Self::Unreachable, Self::Reset, Self::Canceled];

    /// Returns the value of the `error.type` attribute.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Reset => "reset",
            Self::Canceled => "canceled",
        }
    }
}

/// What travelled in one direction during an interval.
///
/// Each end's socket counts what it sent and what it received. Only the end that sent knows what it sent again and how
/// long it could not send, only the end that received knows what came out of order: what the observer cannot know is zero
/// unless both observations have been joined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Traffic {
    /// Payload bytes: what applications wrote, each byte once.
    pub bytes: u64,
    /// Segments, with and without payload, retransmissions included.
    pub segments: u64,
    /// Segments that were sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retransmitted_segments: u64,
    /// Payload bytes that were sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retransmitted_bytes: u64,
    /// Segments that arrived before one that precedes them.
    #[serde(skip_serializing_if = "is_zero")]
    pub out_of_order_segments: u64,
    /// How long there was data to send that the receiver had no room for, summed over connections.
    #[serde(skip_serializing_if = "Duration::is_zero", with = "crate::time::nanos")]
    pub receive_window_limited: Duration,
}

/// Payload bytes by direction that travelled before the observer found a connection: both ends of it know, so that what
/// one end counts from then on can be compared with what the other does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// From client to server.
    pub request: u64,
    /// From server to client.
    pub response: u64,
}

/// Round-trip time as the observer's socket measured it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rtt {
    /// The kernel's smoothed estimate.
    #[serde(with = "crate::time::nanos")]
    pub smoothed: Duration,
    /// The least round-trip time in the kernel's window (5 minutes unless configured otherwise).
    #[serde(with = "crate::time::nanos")]
    pub min: Duration,
}

/// What the observer's kernel knows of its own end of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Local {
    /// Path of the cgroup (version 2) of the process that made the socket, from the root of the hierarchy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Arc<str>>,
    /// Inode number of the network namespace.
    pub netns: u32,
    /// The process that opened the connection or that listens, if it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

/// A process as the kernel names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Process id (thread group id) in the initial namespace.
    pub pid: u32,
    /// Name of the thread group's leader, at most 15 bytes.
    pub command: Arc<str>,
}

const fn is_false(it: &bool) -> bool {
    !*it
}

const fn is_zero(n: &u64) -> bool {
    *n == 0
}
