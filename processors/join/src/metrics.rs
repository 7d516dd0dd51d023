use component::{Counter, Dropped, Gauge, Telemetry};
use model::Signal;

use crate::pairing::Report;

/// What the processor tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    merged: Counter,
    late: Counter,
    unrelated: Counter,
    paired: Counter,
    condensed: Counter,
    forgotten: Counter,
    mismatched_connections: Counter,
    mismatched_bytes: Counter,
    missed_retransmits: Counter,
    dropped_shutdown: Counter,
    remembered: Gauge,
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
            missed_retransmits: counter(
                "ridley.join.missed.retransmits",
                "{segment}",
                "Retransmitted segments that the other end reported when no record could take them any more.",
            ),
            dropped_shutdown: telemetry.dropped(Signal::Flows, Dropped::SHUTDOWN),
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

    pub(crate) fn add(&self, report: Report, n_remembered: usize) {
        let Report {
            merged,
            late,
            unrelated,
            paired,
            condensed,
            forgotten,
            mismatched_connections,
            mismatched_bytes,
            missed_retransmits,
        } = report;
        self.merged.add(merged);
        self.late.add(late);
        self.unrelated.add(unrelated);
        self.paired.add(paired);
        self.condensed.add(condensed);
        self.forgotten.add(forgotten);
        self.mismatched_connections.add(mismatched_connections);
        self.mismatched_bytes.add(mismatched_bytes);
        self.missed_retransmits.add(missed_retransmits);
        self.remembered.set(i64::try_from(n_remembered).unwrap_or(i64::MAX));
    }
}
