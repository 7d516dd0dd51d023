use component::{Counter, Gauge, Telemetry};
use model::Signal;

/// What the connector tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    pub(crate) left: Counter,
    pub(crate) too_many: Counter,
    pub(crate) refused: Counter,
    pub(crate) wrong_signal: Counter,
    pub(crate) dropped_shutdown: Counter,
    connections: Gauge,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            left: telemetry.counter(
                "ridley.spans.left.spans",
                "{span}",
                "Spans that were not made because of `ratio`.",
                &[],
            ),
            too_many: telemetry.dropped(Signal::Traces, "max_per_second"),
            refused: telemetry.dropped(Signal::Flows, "max_connections"),
            wrong_signal: telemetry.dropped(Signal::Metrics, "wrong_signal"),
            dropped_shutdown: telemetry.dropped_at_shutdown(Signal::Flows),
            connections: telemetry.gauge(
                "ridley.spans.connections",
                "{connection}",
                "Ends of connections remembered at present.",
                &[],
            ),
        }
    }

    pub(crate) fn remembered(&self, n_connections: usize) {
        self.connections.set(i64::try_from(n_connections).unwrap_or(i64::MAX));
    }
}
