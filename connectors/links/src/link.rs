use std::time::{Duration, Instant};

use model::{Begin, CloseReason, End, FailureReason, Flow, Traffic, UnixNanos};

use crate::{Buckets, identity::Identity};

/// What is counted of one link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) identity: Identity,
    /// Hash of the identity, kept for when the index grows.
    pub(crate) hash: u64,
    /// When the link's counts were zero.
    pub(crate) start: UnixNanos,
    /// When the last record was counted.
    pub(crate) touched: Instant,
    /// How many remembered connections belong to the link.
    pub(crate) active: u32,
    /// Whether the totals that were sent last tell a least round-trip time.
    pub(crate) has_told_min_rtt: bool,
    pub(crate) totals: Totals,
}

/// Sums over the records of a link.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) request: Direction,
    pub(crate) response: Direction,
    pub(crate) opened: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) failed: [u64; FailureReason::ALL.len()],
    pub(crate) rtt: Histogram,
    pub(crate) min_rtt: Least,
    pub(crate) connect_duration: Histogram,
    pub(crate) server_handshake_duration: Histogram,
    pub(crate) connection_duration: Histogram,
}

/// Sums over one direction of a link.
#[derive(Debug, Default)]
pub(crate) struct Direction {
    pub(crate) bytes: u64,
    pub(crate) retransmits: u64,
    pub(crate) retransmitted_bytes: u64,
    pub(crate) out_of_order: u64,
    pub(crate) receive_window_limited: Duration,
}

impl Direction {
    fn add(&mut self, traffic: &Traffic) {
        let Self { bytes, retransmits, retransmitted_bytes, out_of_order, receive_window_limited } = self;
        *bytes = bytes.saturating_add(traffic.bytes);
        *retransmits = retransmits.saturating_add(traffic.retransmitted_segments);
        *retransmitted_bytes = retransmitted_bytes.saturating_add(traffic.retransmitted_bytes);
        *out_of_order = out_of_order.saturating_add(traffic.out_of_order_segments);
        *receive_window_limited = receive_window_limited.saturating_add(traffic.receive_window_limited);
    }
}

// `as usize` finds a reason's place in the arrays: the order of `ALL` is the order of declaration.
const _: () = {
    let mut idx = 0;
    while idx < CloseReason::ALL.len() {
        assert!(CloseReason::ALL[idx] as usize == idx);
        idx += 1;
    }
    let mut idx = 0;
    while idx < FailureReason::ALL.len() {
        assert!(FailureReason::ALL[idx] as usize == idx);
        idx += 1;
    }
};

impl Link {
    pub(crate) fn new(identity: Identity, hash: u64, start: UnixNanos, now: Instant) -> Self {
        Self {
            identity,
            hash,
            start,
            touched: now,
            active: 0,
            has_told_min_rtt: false,
            totals: Totals::default(),
        }
    }

    /// Returns the least round-trip time. What was least while connections lived says nothing of a link without any.
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        self.totals.min_rtt.value().filter(|_| self.active > 0)
    }

    /// Takes note that totals were sent.
    pub(crate) fn sent(&mut self) {
        self.has_told_min_rtt = self.min_rtt().is_some();
        self.totals.min_rtt.sent();
    }

    /// Returns whether no connection holds the link and its last record is older than `expire_after`.
    pub(crate) fn is_expired(&self, now: Instant, expire_after: Duration) -> bool {
        let Self { identity, touched, active, .. } = self;
        *active == 0 && !identity.is_overflow() && now.saturating_duration_since(*touched) >= expire_after
    }
}

impl Totals {
    /// Adds a record.
    pub(crate) fn add(&mut self, flow: &Flow, bounds: &NanoBounds) {
        let Self {
            request,
            response,
            opened,
            closed,
            failed,
            rtt,
            min_rtt,
            connect_duration,
            server_handshake_duration,
            connection_duration,
        } = self;
        request.add(&flow.request);
        response.add(&flow.response);
        if flow.begin == Some(Begin::Opened) {
            *opened += 1;
        }
        match flow.end {
            None | Some(End::Again) => {}
            Some(End::Failed(reason)) => failed[reason as usize] += 1,
            Some(End::Closed(reason)) => {
                closed[reason as usize] += 1;
                if let Some(started) = flow.started {
                    let duration = flow.interval.end.saturating_since(started);
                    connection_duration.add(duration, &bounds.connection_duration);
                }
            }
        }
        if let Some(sample) = flow.rtt {
            rtt.add(sample.smoothed, &bounds.rtt);
            // Of connections that live: one that ends at any time must not displace what the last samples told of them.
            if flow.end.is_none() {
                min_rtt.add(sample.min);
            }
        }
        if let Some(duration) = flow.connect {
            connect_duration.add(duration, &bounds.connect_duration);
        }
        if let Some(duration) = flow.server_handshake {
            server_handshake_duration.add(duration, &bounds.server_handshake_duration);
        }
    }
}

/// The least of what was added lately: since the moment at which totals were sent before the last one, or since more if nothing
/// was added meanwhile. That holds all that one sample adds, also if totals are sent in the middle of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Least {
    // Since totals were sent, and before that, since they were sent with anything new.
    current: Option<Duration>,
    former: Option<Duration>,
}

impl Least {
    fn add(&mut self, duration: Duration) {
        self.current = Some(self.current.map_or(duration, |it| it.min(duration)));
    }

    pub(crate) fn value(self) -> Option<Duration> {
        self.current.into_iter().chain(self.former).min()
    }

    /// Takes note that totals were sent.
    pub(crate) fn sent(&mut self) {
        self.former = self.current.take().or(self.former);
    }
}

/// The bounds of every histogram, in nanoseconds.
#[derive(Debug)]
pub(crate) struct NanoBounds {
    rtt: Box<[u64]>,
    connect_duration: Box<[u64]>,
    server_handshake_duration: Box<[u64]>,
    connection_duration: Box<[u64]>,
}

impl NanoBounds {
    pub(crate) fn new(buckets: &Buckets) -> Self {
        let Buckets { rtt, connect_duration, server_handshake_duration, connection_duration } = buckets;
        Self {
            rtt: rtt.nanos(),
            connect_duration: connect_duration.nanos(),
            server_handshake_duration: server_handshake_duration.nanos(),
            connection_duration: connection_duration.nanos(),
        }
    }
}

/// How many durations lie between two bounds each. Takes no room before the first duration.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// One more than there are bounds; the last is what lies above them. Empty before the first duration.
    pub(crate) counts: Box<[u64]>,
    /// Sum in nanoseconds: whole numbers add up exactly. 584 years fit.
    sum: u64,
}

impl Histogram {
    fn add(&mut self, duration: Duration, bounds: &[u64]) {
        if self.counts.is_empty() {
            self.counts = vec![0; bounds.len() + 1].into();
        }
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        // A bound belongs to the bucket below it, as OTLP and Prometheus define it.
        self.counts[bounds.partition_point(|it| *it < nanos)] += 1;
        self.sum = self.sum.saturating_add(nanos);
    }

    pub(crate) fn sum_secs(&self) -> f64 {
        Duration::from_nanos(self.sum).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use component_test::flow;

    use super::*;

    const BOUNDS: [u64; 2] = [10, 100];

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        check(&[10], &[1, 0, 0]);
        check(&[11, 100], &[0, 2, 0]);
    }

    #[test]
    fn what_is_above_the_last_bound_is_counted() {
        check(&[101, u64::MAX], &[0, 0, 2]);
    }

    #[test]
    fn a_histogram_without_durations_takes_no_room() {
        check(&[], &[]);
    }

    /// How long a connection lived is known only if its beginning was seen.
    #[test]
    fn the_duration_of_a_found_connection_is_unknown() {
        let bounds = NanoBounds::new(&Buckets::default());
        let mut totals = Totals::default();
        totals.add(&flow().found().closed(CloseReason::Normal).interval(5, 9).build(), &bounds);
        assert!(totals.connection_duration.counts.is_empty());
        totals.add(&flow().started(7).closed(CloseReason::Normal).interval(8, 9).build(), &bounds);
        assert_eq!(totals.connection_duration.sum, 2_000_000_000);
    }

    #[track_caller]
    fn check(nanos: &[u64], expected: &[u64]) {
        let mut histogram = Histogram::default();
        for nanos in nanos {
            histogram.add(Duration::from_nanos(*nanos), &BOUNDS);
        }
        assert_eq!(&*histogram.counts, expected);
    }
}
