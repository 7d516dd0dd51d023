use component::{Counter, Gauge, Telemetry};
use model::Signal;

/// What became of items, and of requests.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) delivered: Counter,
    pub(crate) requests: Counter,
    pub(crate) retries: Counter,
    pub(crate) queued_bytes: Gauge,
    pub(crate) stored: Counter,
    pub(crate) stored_bytes: Gauge,
    pub(crate) damaged: Counter,
    telemetry: Telemetry,
}

/// Why items were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There was no room in the queue.
    QueueFull,
    /// The server took the request and said that it did not take these.
    Rejected,
    /// The server will not take the request, however often it is sent.
    Refused,
    /// The request failed for longer than it may.
    RetriesExhausted,
    /// It could not be written to the disk.
    WriteFailed,
    /// What is on the disk is not what was written.
    Damaged,
}

impl Instruments {
    pub(crate) fn new(telemetry: Telemetry) -> Self {
        Self {
            delivered: telemetry.counter(
                "ridley.exporter.delivered.items",
                "{item}",
                "Items that the server took.",
                &[],
            ),
            requests: telemetry.counter(
                "ridley.exporter.requests",
                "{request}",
                "Requests that were sent, those that were sent again included.",
                &[],
            ),
            retries: telemetry.counter(
                "ridley.exporter.retries",
                "{request}",
                "Requests that failed for now, to be sent again.",
                &[],
            ),
            queued_bytes: telemetry.gauge(
                "ridley.exporter.queue.size",
                "By",
                "Bytes of memory that requests take which wait or are on their way.",
                &[],
            ),
            stored: telemetry.counter(
                "ridley.exporter.stored.items",
                "{item}",
                "Items that were written to the queue on disk.",
                &[],
            ),
            stored_bytes: telemetry.gauge(
                "ridley.exporter.queue.disk.size",
                "By",
                "Bytes of the files of the queue on disk.",
                &[],
            ),
            damaged: telemetry.counter(
                "ridley.exporter.queue.disk.damaged",
                "{record}",
                "Requests in the queue on disk that cannot be read, at least.",
                &[],
            ),
            telemetry,
        }
    }

    pub(crate) fn dropped(&self, signal: Signal, reason: Reason, n_items: u64) {
        let reason = match reason {
            Reason::QueueFull => "queue_full",
            Reason::Rejected => "rejected",
            Reason::Refused => "refused",
            Reason::RetriesExhausted => "retries_exhausted",
            Reason::WriteFailed => "write_failed",
            Reason::Damaged => "damaged",
        };
        self.telemetry.dropped(signal, reason).add(n_items);
    }

    pub(crate) fn dropped_at_shutdown(&self, signal: Signal, n_items: u64) {
        self.telemetry.dropped_at_shutdown(signal).add(n_items);
    }
}
