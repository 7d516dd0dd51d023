use component::{Counter, Telemetry};
use model::Signal;

/// What the receiver tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) malformed: Counter,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self { malformed: telemetry.dropped(Signal::Flows, "malformed") }
    }
}
