//! What the harness tells a peer to do, and what the peer reports: the JSON lines between the two processes.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// One end of a connection, and the part that a peer plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Opens connections.
    Client,
    /// Accepts connections.
    Server,
}

impl Side {
    /// Returns the other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// Everything a peer needs to know; the first line of its standard input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the process, at most 15 bytes.
    pub name: String,
    /// Control group to move to before the first socket is made, if it is another.
    pub control_group: Option<PathBuf>,
    /// The part to play.
    pub side: Side,
    /// Where to connect to, or to listen on.
    pub address: SocketAddr,
    /// Where to pass on what is accepted, for a proxy, which is a server for its client.
    pub onward: Option<SocketAddr>,
    /// What to do there; the same at both ends.
    pub traffic: Traffic,
}

/// Traffic that two peers make together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// How many connections in all; without a number the peers go on until they are told to stop.
    pub connections: Option<u64>,
    /// How many connections at a time.
    pub parallel: u64,
    /// Most connections opened per second; without a number as fast as possible.
    pub per_second: Option<u32>,
    /// The client gives a connection attempt up after this time.
    pub cancel_after_ms: Option<u64>,
    /// The client's kernel gives an attempt up that got no answer for this time; without a number, for two minutes.
    pub unanswered_ms: Option<u32>,
    /// Connections that may wait at the server to be accepted; without a number as many as the kernel allows.
    pub backlog: Option<u32>,
    /// Sockets are made by a thread that has another name than the process.
    pub on_worker_thread: bool,
    /// What the sockets are.
    pub sockets: Sockets,
    /// What happens on each connection. At its end the client closes, unless the script closed before.
    pub script: Vec<Step>,
}

/// What the peers' sockets are beyond the usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sockets {
    /// Nothing.
    Plain,
    /// The client's first bytes travel with its SYN (RFC 7413); the script begins with them.
    FastOpen,
    /// They speak MPTCP (RFC 8684), with one subflow.
    Multipath,
    /// The server listens twice at the same port (`SO_REUSEPORT`).
    SharedPort,
    /// The server listens until it is told to stop, and accepts nothing.
    NeverAccepted,
    /// The client uses the port after the server's for all connections, each as soon as the kernel lets it (`SO_REUSEADDR`).
    SamePort,
}

impl Default for Traffic {
    /// One connection without payload.
    fn default() -> Self {
        Self {
            connections: Some(1),
            parallel: 1,
            per_second: None,
            cancel_after_ms: None,
            unanswered_ms: None,
            backlog: None,
            on_worker_thread: false,
            sockets: Sockets::Plain,
            script: Vec::new(),
        }
    }
}

impl Traffic {
    /// Returns how often each connection waits for the harness.
    pub fn n_holds(&self) -> u64 {
        count_holds(&self.script)
    }
}

fn count_holds(steps: &[Step]) -> u64 {
    let holds = steps.iter().map(|step| match step {
        Step::Hold => 1,
        Step::Repeat { times, steps } => u64::from(*times) * count_holds(steps),
        _ => 0,
    });
    holds.sum()
}

/// One step of a conversation. Both ends follow the same script, each doing its side's part of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// One end writes, the other reads and compares.
    Send {
        /// Who writes.
        by: Side,
        /// How much.
        bytes: u64,
    },
    /// Both ends write and read at the same time.
    Exchange {
        /// What the client writes.
        request: u64,
        /// What the server writes.
        response: u64,
    },
    /// Goes through the steps several times.
    Repeat {
        /// How often.
        times: u32,
        /// What.
        steps: Vec<Step>,
    },
    /// Neither end does anything for a while.
    Pause {
        /// How long.
        ms: u64,
    },
    /// One end writes more than the other's window holds, and the other reads only after a while.
    SendToSlow {
        /// Who writes.
        by: Side,
        /// How much.
        bytes: u64,
        /// How long the other end reads nothing.
        pause_ms: u64,
    },
    /// One end writes, and the other waits until all of it has arrived but does not read it.
    LeaveUnread {
        /// Who writes.
        by: Side,
        /// How much; it must fit into the receive buffer.
        bytes: u64,
    },
    /// One end says that it will write no more (half-close); the other reads to the end.
    FinishSending {
        /// Who.
        by: Side,
    },
    /// Waits until the harness lets go; once all connections wait, the peer reports.
    Hold,
    /// One end closes, then the other.
    Close {
        /// Who is first.
        by: Side,
    },
    /// Both ends close, and neither waits for the other.
    CloseAtOnce,
    /// One end closes with a reset (`SO_LINGER` of zero).
    Reset {
        /// Who.
        by: Side,
    },
    /// The client writes, and waits until its kernel gives the connection up; the server does nothing until it is told to stop.
    SendInVain {
        /// How much.
        bytes: u64,
        /// Whether it asks for the error again and again, so that it has it as soon as there is one.
        asks: bool,
    },
    /// Both ends wait until the kernel gives the connection up, because the harness tells it to.
    Abort {
        /// Whose kernel.
        of: Side,
    },
    /// Both ends write and read at the same time until the connection is broken, because the harness kills one of them.
    UntilBroken,
}

/// What the harness tells a peer after the plan, one per line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Go on after a hold.
    Go,
    /// Open or accept nothing more, and finish.
    Stop,
    /// Say what has happened so far.
    Report,
}

/// What a peer tells the harness, one per line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The server listens; the client is about to begin.
    Ready,
    /// Every connection waits at a hold.
    Holding(Report),
    /// The answer to an order for a report.
    Underway(Report),
    /// Everything is over.
    Done(Report),
}

/// What a peer did so far: the truth of its side.
///
/// Sums suffice: each connection compares what it reads with the script byte by byte, so a sum cannot be right by
/// mistakes that cancel out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Connections that were established.
    pub opened: u64,
    /// Those that this side has not closed yet.
    pub open: u64,
    /// Nanoseconds that the client's attempts took which became these connections, by its own clock: no less than their
    /// handshakes.
    pub connecting: u64,
    /// When these attempts were over, by the clock that all processes of a machine share: nanoseconds, added up and wrapped.
    pub connected_at: u64,
    /// When this side began to say goodbye on connections that it has closed, in the same way.
    pub closing_at: u64,
    /// When it had closed them, in the same way.
    pub closed_at: u64,
    /// Payload bytes that writes accepted.
    pub wrote: u64,
    /// Payload bytes that were read and compared.
    pub read: u64,
    /// Payload bytes that arrived and were left unread.
    pub unread: u64,
    /// How the established connections ended, as this side saw it.
    pub ended: BTreeMap<Ending, u64>,
    /// Attempts that failed, by the name of the reason.
    pub failed: BTreeMap<String, u64>,
}

/// How a connection ended for one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// This side closed first.
    Closed,
    /// This side closed with a reset.
    SentReset,
    /// The other side closed, and this side read to the end.
    PeerClosed,
    /// The other side's reset arrived.
    PeerReset,
    /// The other side was killed.
    Broken,
    /// This side's kernel was told to give the connection up.
    Aborted,
    /// The other side did not answer any more.
    TimedOut,
}
