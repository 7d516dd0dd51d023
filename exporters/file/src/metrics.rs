use component::{Counter, Telemetry};
use model::Signal;

/// What the exporter tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) write_failed: Counter,
    pub(crate) wrong_signal: Counter,
    pub(crate) unwritten_listeners: Counter,
    pub(crate) written: Counter,
    pub(crate) rotations: Counter,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            write_failed: telemetry.dropped(Signal::Flows, "write_failed"),
            wrong_signal: telemetry.dropped(Signal::Metrics, "wrong_signal"),
            unwritten_listeners: telemetry.counter(
                "ridley.file.unwritten.listeners",
                "{item}",
                "Reports on listening sockets, which the format of the file has no line for.",
                &[],
            ),
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
