use std::time::Duration;

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
        other_is_observed,
        is_joined,
        begin,
        end,
        before,
        request,
        response,
        rtt,
        connect,
        server_handshake,
        local,
    } = later;
    earlier.started = earlier.started.or(started);
    earlier.interval = Interval { start: earlier.interval.start, end: interval.end };
    earlier.other_is_observed |= other_is_observed;
    earlier.is_joined |= is_joined;
    earlier.begin = earlier.begin.or(begin);
    // What ends again has not been counted as ended if the record that says so is this one.
    earlier.end = if end == Some(End::Again) { earlier.end.or(end) } else { end.or(earlier.end) };
    earlier.before = earlier.before.or(before);
    add_traffic(&mut earlier.request, request);
    add_traffic(&mut earlier.response, response);
    earlier.rtt = rtt.or(earlier.rtt);
    earlier.connect = earlier.connect.or(connect);
    earlier.server_handshake = earlier.server_handshake.or(server_handshake);
    if earlier.local.process.is_none() {
        earlier.local.process = local.process;
    }
}

/// What one end knows and the other cannot.
///
/// One is kept for each connection: it has room for nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// Of what it sent: what it sent again.
    retransmitted_segments: u64,
    retransmitted_bytes: u64,
    /// How long the other end had no room for what it had to send.
    receive_window_limited: Duration,
    /// Of what it received.
    out_of_order_segments: u64,
    /// Of the server: how long the client took to complete the handshake.
    server_handshake: Option<Duration>,
}

impl Known {
    /// Takes it from a record of the end that knows.
    pub(crate) fn of(flow: &Flow) -> Self {
        let (sent, received) = match flow.observer {
            Observer::Client => (&flow.request, &flow.response),
            Observer::Server => (&flow.response, &flow.request),
        };
        Self {
            retransmitted_segments: sent.retransmitted_segments,
            retransmitted_bytes: sent.retransmitted_bytes,
            receive_window_limited: sent.receive_window_limited,
            out_of_order_segments: received.out_of_order_segments,
            server_handshake: flow.server_handshake,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        let Self {
            retransmitted_segments,
            retransmitted_bytes,
            receive_window_limited,
            out_of_order_segments,
            server_handshake,
        } = self;
        *retransmitted_segments = retransmitted_segments.saturating_add(other.retransmitted_segments);
        *retransmitted_bytes = retransmitted_bytes.saturating_add(other.retransmitted_bytes);
        *receive_window_limited = receive_window_limited.saturating_add(other.receive_window_limited);
        *out_of_order_segments = out_of_order_segments.saturating_add(other.out_of_order_segments);
        *server_handshake = server_handshake.or(other.server_handshake);
    }

    /// Adds it to a record of the other end: what one sent is what the other received.
    pub(crate) fn add_to_other(self, flow: &mut Flow) {
        let Self {
            retransmitted_segments,
            retransmitted_bytes,
            receive_window_limited,
            out_of_order_segments,
            server_handshake,
        } = self;
        let (to_observer, from_observer) = match flow.observer {
            Observer::Client => (&mut flow.response, &mut flow.request),
            Observer::Server => (&mut flow.request, &mut flow.response),
        };
        let sent = Traffic {
            retransmitted_segments,
            retransmitted_bytes,
            receive_window_limited,
            ..Traffic::default()
        };
        add_traffic(to_observer, sent);
        add_traffic(from_observer, Traffic { out_of_order_segments, ..Traffic::default() });
        flow.server_handshake = flow.server_handshake.or(server_handshake);
    }
}

/// What an end told that no record could take any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Payload bytes that were sent again.
    pub retransmitted_bytes: u64,
    /// Segments that arrived out of order.
    pub out_of_order_segments: u64,
    /// How long there was data to send that the other end had no room for.
    pub receive_window_limited: Duration,
    /// Handshakes that the server timed.
    pub server_handshakes: u64,
}

impl Missed {
    pub(crate) fn add(&mut self, untold: Known) {
        let Known {
            retransmitted_segments,
            retransmitted_bytes: bytes,
            receive_window_limited: limited,
            out_of_order_segments: out_of_order,
            server_handshake,
        } = untold;
        let Self {
            retransmits,
            retransmitted_bytes,
            out_of_order_segments,
            receive_window_limited,
            server_handshakes,
        } = self;
        *retransmits = retransmits.saturating_add(retransmitted_segments);
        *retransmitted_bytes = retransmitted_bytes.saturating_add(bytes);
        *out_of_order_segments = out_of_order_segments.saturating_add(out_of_order);
        *receive_window_limited = receive_window_limited.saturating_add(limited);
        *server_handshakes += u64::from(server_handshake.is_some());
    }
}

/// Tells whether an end says nothing about why the connection is over.
pub(crate) fn is_unknown(end: Option<End>) -> bool {
    matches!(end, Some(End::Closed(CloseReason::Unknown)))
}

// Saturating: the records may come from a file, and a sum must not end the process.
fn add_traffic(sum: &mut Traffic, other: Traffic) {
    let Traffic {
        bytes,
        segments,
        retransmitted_segments,
        retransmitted_bytes,
        out_of_order_segments,
        receive_window_limited,
    } = other;
    sum.bytes = sum.bytes.saturating_add(bytes);
    sum.segments = sum.segments.saturating_add(segments);
    sum.retransmitted_segments = sum.retransmitted_segments.saturating_add(retransmitted_segments);
    sum.retransmitted_bytes = sum.retransmitted_bytes.saturating_add(retransmitted_bytes);
    sum.out_of_order_segments = sum.out_of_order_segments.saturating_add(out_of_order_segments);
    sum.receive_window_limited = sum.receive_window_limited.saturating_add(receive_window_limited);
}
