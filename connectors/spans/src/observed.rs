use std::time::Duration;

use model::{
    Begin, CloseReason, End, Endpoint, Flow, Interval, Observer, Rtt, TraceId, Traffic, Transport, UnixNanos,
};

/// What was reported of one end of a connection in one period.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observed {
    pub(crate) trace: TraceId,
    pub(crate) period: u64,
    pub(crate) observer: Observer,
    /// Whether the other end is part of it.
    pub(crate) is_joined: bool,
    pub(crate) transport: Transport,
    pub(crate) client: Endpoint,
    pub(crate) server: Endpoint,
    /// From the opening, or where the first record began, to the end of the last.
    pub(crate) interval: Interval,
    pub(crate) end: Option<End>,
    pub(crate) request: Direction,
    pub(crate) response: Direction,
    pub(crate) rtt: Option<Rtt>,
    pub(crate) connect: Option<Duration>,
    pub(crate) server_handshake: Option<Duration>,
    /// How many records it is of.
    pub(crate) n_records: u64,
}

// The documentation of `max_connections` says what one takes: this, its key and its place.
const _: () = assert!(size_of::<Observed>() <= 264);

/// What travelled in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Direction {
    pub(crate) bytes: u64,
    pub(crate) retransmits: u64,
}

impl Direction {
    fn add(&mut self, traffic: &Traffic) {
        let Self { bytes, retransmits } = self;
        *bytes = bytes.saturating_add(traffic.bytes);
        *retransmits = retransmits.saturating_add(traffic.retransmitted_segments);
    }
}

impl Observed {
    pub(crate) fn new(flow: &Flow, trace: TraceId, period: u64) -> Self {
        // A later record of the connection tells when it opened, too.
        let opened = flow.started.filter(|_| flow.begin == Some(Begin::Opened));
        let mut observed = Self {
            trace,
            period,
            observer: flow.observer,
            is_joined: false,
            transport: flow.transport,
            client: flow.client.clone(),
            server: flow.server.clone(),
            interval: Interval { start: opened.unwrap_or(flow.interval.start), end: UnixNanos(0) },
            end: None,
            request: Direction::default(),
            response: Direction::default(),
            rtt: None,
            connect: None,
            server_handshake: None,
            n_records: 0,
        };
        observed.add(flow);
        observed
    }

    /// Adds a later record of the same end. Names stay those of the first, but that the server's own observer knows it better.
    pub(crate) fn add(&mut self, flow: &Flow) {
        self.n_records += 1;
        if flow.is_joined && !self.is_joined {
            self.is_joined = true;
            self.server = flow.server.clone();
        }
        self.interval.end = self.interval.end.max(flow.interval.end).max(self.interval.start);
        self.end = match flow.end {
            // It is over, as was known.
            Some(End::Again) => self.end.or(flow.end),
            end => end.or(self.end),
        };
        self.request.add(&flow.request);
        self.response.add(&flow.response);
        self.rtt = flow.rtt.or(self.rtt);
        self.connect = self.connect.or(flow.connect);
        self.server_handshake = self.server_handshake.or(flow.server_handshake);
    }

    /// Returns what went wrong, if something did.
    pub(crate) fn error(&self) -> Option<&'static str> {
        match self.end? {
            End::Failed(reason) => Some(reason.as_str()),
            End::Closed(CloseReason::Normal | CloseReason::Unknown) | End::Again => None,
            End::Closed(reason) => Some(reason.as_str()),
        }
    }

    /// Returns the ends that a span is made of.
    pub(crate) fn observers(&self) -> &'static [Observer] {
        match (self.is_joined, self.observer) {
            (true, _) => &[Observer::Client, Observer::Server],
            (false, Observer::Client) => &[Observer::Client],
            (false, Observer::Server) => &[Observer::Server],
        }
    }
}
