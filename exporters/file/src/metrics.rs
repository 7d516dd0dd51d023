use component::{Counter, Telemetry};
use model::Signal;

/// What the exporter tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) write_failed: Counter,
    pub(crate) no_record: Counter,
    pub(crate) wrong_signal: Counter,
    pub(crate) written: Counter,
    pub(crate) rotations: Counter,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            write_failed: telemetry.dropped(Signal::Flows, "write_failed"),
            no_record: telemetry.dropped(Signal::Flows, "no_record"),
            wrong_signal: telemetry.dropped(Signal::Metrics, "wrong_signal"),
            written: telemetry.counter("ridley.file.written", "By", "Bytes written to the file.", &[]),
            rotations: telemetry.counter(
                "ridley.file.rotations",
                "{rotation}",
                "Times that a full file made room for a new one.",
                &[],
            ),
        }
    }
}
