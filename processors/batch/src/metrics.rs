use component::{Counter, Telemetry};
use model::Batch;

/// Why what waited was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// It was enough.
    Size,
    /// It had waited long enough.
    Timeout,
    /// Nothing more comes.
    End,
}

/// What the processor tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    sends: [Counter; 3],
    telemetry: Telemetry,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let sends = |trigger| {
            telemetry.counter(
                "ridley.batch.sends",
                "{send}",
                "Times that what waited was sent.",
                &[("trigger", trigger)],
            )
        };
        Self { sends: ["size", "timeout", "end"].map(sends), telemetry: telemetry.clone() }
    }

    pub(crate) fn sent(&self, trigger: Trigger) {
        self.sends[trigger as usize].add(1);
    }

    /// Counts what its sender must send again.
    pub(crate) fn lost(&self, batch: &Batch) {
        if let Some(receipt) = batch.receipt() {
            receipt.refuse();
        }
        self.telemetry.dropped_at_shutdown(batch.signal()).add(batch.n_items());
    }
}
