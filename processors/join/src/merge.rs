use model::{CloseReason, End, Flow, Interval, Observer, Traffic};

/// Adds a later record of the same connection and observer to an earlier one.
///
/// Names stay those of the earlier record, as they are fixed when a connection is first seen.
pub(crate) fn append(earlier: &mut Flow, later: Flow) {
    let Flow {
        id: _,
        observer: _,
        transport: _,
        client: _,
        server: _,
        started,
        interval,
        begin,
        end,
        request,
        response,
        rtt,
        connect,
        local,
    } = later;
    earlier.started = earlier.started.or(started);
    earlier.interval = Interval { start: earlier.interval.start, end: interval.end };
    earlier.begin = earlier.begin.or(begin);
    earlier.end = end.or(earlier.end);
    add_traffic(&mut earlier.request, request);
    add_traffic(&mut earlier.response, response);
    earlier.rtt = rtt.or(earlier.rtt);
    earlier.connect = earlier.connect.or(connect);
    if earlier.local.process.is_none() {
        earlier.local.process = local.process;
    }
}

/// What one end knows and the other cannot: how much of what it sent it had to send again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resent {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
}

impl Resent {
    /// Takes it from a record of the end that sent.
    pub(crate) fn of_sender(flow: &Flow) -> Self {
        let sent = match flow.observer {
            Observer::Client => flow.request,
            Observer::Server => flow.response,
        };
        Self { segments: sent.retransmitted_segments, bytes: sent.retransmitted_bytes }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.segments = self.segments.saturating_add(other.segments);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    /// Adds it to a record of the other end, where it is what travelled towards the observer.
    pub(crate) fn add_to_receiver(self, flow: &mut Flow) {
        let received = match flow.observer {
            Observer::Client => &mut flow.response,
            Observer::Server => &mut flow.request,
        };
        let resent = Traffic {
            retransmitted_segments: self.segments,
            retransmitted_bytes: self.bytes,
            ..Traffic::default()
        };
        add_traffic(received, resent);
    }
}

/// Tells whether an end says nothing about why the connection is over.
pub(crate) fn is_unknown(end: Option<End>) -> bool {
    matches!(end, Some(End::Closed(CloseReason::Unknown)))
}

// Saturating: the records may come from a file, and a sum must not end the process.
fn add_traffic(sum: &mut Traffic, other: Traffic) {
    let Traffic { bytes, segments, retransmitted_segments, retransmitted_bytes } = other;
    sum.bytes = sum.bytes.saturating_add(bytes);
    sum.segments = sum.segments.saturating_add(segments);
    sum.retransmitted_segments = sum.retransmitted_segments.saturating_add(retransmitted_segments);
    sum.retransmitted_bytes = sum.retransmitted_bytes.saturating_add(retransmitted_bytes);
}
