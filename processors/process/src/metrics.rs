use component::{Counter, Gauge, Telemetry};

use crate::naming::Naming;

/// What the processor tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    forgotten: Counter,
    connections: Gauge,
    entities: Gauge,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            forgotten: telemetry.counter(
                "ridley.process.forgotten.connections",
                "{connection}",
                "Connections whose names were forgotten before their end because `max_connections` was reached.",
                &[],
            ),
            connections: telemetry.gauge(
                "ridley.process.connections",
                "{connection}",
                "Connections whose names are remembered at present.",
                &[],
            ),
            entities: telemetry.gauge(
                "ridley.process.entities",
                "{entity}",
                "Names kept for reuse at present.",
                &[],
            ),
        }
    }

    /// Counts what the naming did since the last call, and returns how many connections it has forgotten.
    pub(crate) fn update(&self, naming: &mut Naming) -> u64 {
        let size = |it: usize| i64::try_from(it).unwrap_or(i64::MAX);
        let n_forgotten = naming.take_forgotten();
        self.forgotten.add(n_forgotten);
        self.connections.set(size(naming.n_connections()));
        self.entities.set(size(naming.n_entities()));
        n_forgotten
    }
}
