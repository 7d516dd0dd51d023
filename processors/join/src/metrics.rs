use std::time::Duration;

use component::{Counter, Gauge, Telemetry};
use model::Signal;

use crate::{merge::Missed, pairing::Report};

/// What the processor tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    merged: Counter,
    late: Counter,
    left: Counter,
    unrelated: Counter,
    paired: Counter,
    condensed: Counter,
    forgotten: Counter,
    mismatched_connections: Counter,
    mismatched_bytes: Counter,
    missed: MissedCounters,
    dropped_shutdown: Counter,
    remembered: Gauge,
}

/// See [`Missed`].
#[derive(Debug)]
struct MissedCounters {
    retransmits: Counter,
    retransmitted_bytes: Counter,
    out_of_order_segments: Counter,
    receive_window_limited: Counter,
    // Counters are of whole numbers: what is less than a second waits for more.
    below_a_second: Duration,
    server_handshakes: Counter,
}

impl MissedCounters {
    fn new(telemetry: &Telemetry) -> Self {
        let counter =
            |name, unit, description| -> Counter { telemetry.counter(name, unit, description, &[]) };
        Self {
            retransmits: counter(
                "ridley.join.missed.retransmits",
                "{segment}",
                "Retransmitted segments that the other end reported when no record could take them any more.",
            ),
            retransmitted_bytes: counter(
                "ridley.join.missed.retransmitted.bytes",
                "By",
                "Retransmitted bytes that the other end reported when no record could take them any more.",
            ),
            out_of_order_segments: counter(
                "ridley.join.missed.out_of_order.segments",
                "{segment}",
                "Segments out of order that the other end reported when no record could take them any more.",
            ),
            receive_window_limited: counter(
                "ridley.join.missed.receive_window_limited.time",
                "s",
                "Whole seconds limited by the window that the other end reported when no record could take them any more.",
            ),
            below_a_second: Duration::ZERO,
            server_handshakes: counter(
                "ridley.join.missed.server_handshakes",
                "{connection}",
                "Connections whose server reported its time of the handshake when no record could take it any more.",
            ),
        }
    }

    fn add(&mut self, missed: Missed) {
        let Missed {
            retransmits,
            retransmitted_bytes,
            out_of_order_segments,
            receive_window_limited,
            server_handshakes,
        } = missed;
        self.retransmits.add(retransmits);
        self.retransmitted_bytes.add(retransmitted_bytes);
        self.out_of_order_segments.add(out_of_order_segments);
        let limited = self.below_a_second.saturating_add(receive_window_limited);
        self.receive_window_limited.add(limited.as_secs());
        self.below_a_second = Duration::from_nanos(limited.subsec_nanos().into());
        self.server_handshakes.add(server_handshakes);
    }
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let counter =
            |name, unit, description| -> Counter { telemetry.counter(name, unit, description, &[]) };
        Self {
            merged: counter(
                "ridley.join.merged.items",
                "{item}",
                "Records that became part of another record.",
            ),
            late: counter(
                "ridley.join.late.items",
                "{item}",
                "Records of the other end that came after the connection was decided without it, or was over.",
            ),
            left: counter(
                "ridley.join.left.items",
                "{item}",
                "Records of servers left out because those of the client count, which the agent of its node reports.",
            ),
            unrelated: counter(
                "ridley.join.unrelated.items",
                "{item}",
                "Records passed on as they came because they carry the id of another connection.",
            ),
            paired: counter(
                "ridley.join.paired.connections",
                "{connection}",
                "Connections of which both ends were observed.",
            ),
            condensed: counter(
                "ridley.join.condensed.connections",
                "{connection}",
                "Connections of which only the end that counts is remembered because `max_connections` was reached.",
            ),
            forgotten: counter(
                "ridley.join.forgotten.connections",
                "{connection}",
                "Connections forgotten altogether before their end, which may count twice.",
            ),
            mismatched_connections: counter(
                "ridley.join.mismatched.connections",
                "{connection}",
                "Connections whose two ends counted different bytes.",
            ),
            mismatched_bytes: counter(
                "ridley.join.mismatched.bytes",
                "By",
                "Bytes by which the two ends of a connection differ, both directions added.",
            ),
            missed: MissedCounters::new(telemetry),
            dropped_shutdown: telemetry.dropped_at_shutdown(Signal::Flows),
            remembered: telemetry.gauge(
                "ridley.join.connections",
                "{connection}",
                "Connections remembered at present.",
                &[],
            ),
        }
    }

    /// Counts records that were held when the processor was ended.
    pub(crate) fn lost(&self, n_records: usize) {
        self.dropped_shutdown.add(n_records as u64);
    }

    pub(crate) fn add(&mut self, report: Report, n_remembered: usize) {
        let Report {
            merged,
            late,
            left,
            unrelated,
            paired,
            condensed,
            forgotten,
            mismatched_connections,
            mismatched_bytes,
            missed,
        } = report;
        self.merged.add(merged);
        self.late.add(late);
        self.left.add(left);
        self.unrelated.add(unrelated);
        self.paired.add(paired);
        self.condensed.add(condensed);
        self.forgotten.add(forgotten);
        self.mismatched_connections.add(mismatched_connections);
        self.mismatched_bytes.add(mismatched_bytes);
        self.missed.add(missed);
        self.remembered.set(i64::try_from(n_remembered).unwrap_or(i64::MAX));
    }
}
