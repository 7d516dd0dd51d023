use component::{Gauge, Telemetry};
use model::Batch;

/// What the processor tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) used: Gauge,
    telemetry: Telemetry,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let used = telemetry.gauge(
            "ridley.memory_limiter.used",
            "By",
            "Bytes of memory that the process had when it was looked at last.",
            &[],
        );
        Self { used, telemetry: telemetry.clone() }
    }

    /// Counts what its sender must send again.
    pub(crate) fn refused(&self, batch: &Batch) {
        if let Some(receipt) = batch.receipt() {
            receipt.refuse();
        }
        self.telemetry.dropped(batch.signal(), "memory_limit").add(batch.n_items());
    }
}
