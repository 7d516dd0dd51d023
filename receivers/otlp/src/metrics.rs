use component::{Counter, Gauge, Telemetry};
use model::Signal;

use crate::intake::Refusal;

/// What the receiver tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) taken: Counter,
    pub(crate) failed_handshakes: Counter,
    pub(crate) in_flight: Gauge,
    pub(crate) no_records: Counter,
    pub(crate) malformed_records: Counter,
    refused: [(&'static str, Counter); Refusal::WORDS.len()],
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let refused = |reason| {
            let counter = telemetry.counter(
                "ridley.otlp.refused.requests",
                "{request}",
                "Requests that were refused, for now or for good.",
                &[("reason", reason)],
            );
            (reason, counter)
        };
        Self {
            taken: telemetry.counter(
                "ridley.otlp.taken.requests",
                "{request}",
                "Requests whose senders were told that they were taken.",
                &[],
            ),
            failed_handshakes: telemetry.counter(
                "ridley.otlp.failed.handshakes",
                "{connection}",
                "Connections on which client and server did not come to terms about TLS.",
                &[],
            ),
            in_flight: telemetry.gauge(
                "ridley.otlp.in_flight.size",
                "By",
                "Bytes of requests that were taken and are still somewhere in a pipeline.",
                &[],
            ),
            no_records: telemetry.dropped(Signal::Flows, "no_flow_record"),
            malformed_records: telemetry.dropped(Signal::Flows, "malformed"),
            refused: Refusal::WORDS.map(refused),
        }
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        let counter = self.refused.iter().find(|(reason, _)| *reason == refusal.as_str());
        counter.expect("every reason has one").1.add(1);
    }
}
