use component::{Counter, Gauge, Telemetry};
use model::Signal;

use crate::naming::Naming;

/// What the processor tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    forgotten: Counter,
    pub(crate) unsettled_late: Counter,
    pub(crate) unsettled_full: Counter,
    pub(crate) failed_watches: Counter,
    pub(crate) unknown_resources: Counter,
    pub(crate) unreadable_requests: Counter,
    dropped_shutdown: [Counter; 4],
    refused: Counter,
    connections: Gauge,
    entities: Gauge,
    pods: Gauge,
    addresses: Gauge,
    pub(crate) held: Gauge,
    pub(crate) age: Gauge,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let unsettled = |reason| {
            telemetry.counter(
                "ridley.kubernetes.unsettled.items",
                "{item}",
                "Records named by what was known, for the API server had not told of all that they depend on.",
                &[("reason", reason)],
            )
        };
        let gauge = |name, unit, meaning| telemetry.gauge(name, unit, meaning, &[]);
        Self {
            forgotten: telemetry.counter(
                "ridley.kubernetes.forgotten.connections",
                "{connection}",
                "Connections whose names were forgotten before their end because `max_connections` was reached.",
                &[],
            ),
            unsettled_late: unsettled("late"),
            unsettled_full: unsettled("full"),
            failed_watches: telemetry.counter(
                "ridley.kubernetes.failed.watches",
                "{watch}",
                "Watches of the API server that failed and were begun again.",
                &[],
            ),
            refused: telemetry.counter(
                "ridley.kubernetes.refused.objects",
                "{object}",
                "Objects that are not known because `max_objects` of their kind are; each time that the API server tells of them.",
                &[],
            ),
            unknown_resources: telemetry.counter(
                "ridley.kubernetes.unknown.resources",
                "{resource}",
                "Resources of metrics, spans and log records that nothing was added to, for no pod is known that they are of.",
                &[],
            ),
            unreadable_requests: telemetry.counter(
                "ridley.kubernetes.unreadable.requests",
                "{request}",
                "Batches of metrics, spans and log records that nothing was added to, for a resource in them is not as OTLP has it.",
                &[],
            ),
            dropped_shutdown: Signal::ALL.map(|it| telemetry.dropped_at_shutdown(it)),
            connections: gauge(
                "ridley.kubernetes.connections",
                "{connection}",
                "Connections whose names are remembered at present.",
            ),
            entities: gauge("ridley.kubernetes.entities", "{entity}", "Names kept for reuse at present."),
            pods: gauge("ridley.kubernetes.pods", "{pod}", "Pods known at present, with those that are gone of late."),
            addresses: gauge("ridley.kubernetes.addresses", "{address}", "Addresses known at present."),
            held: gauge("ridley.kubernetes.held.items", "{item}", "Records that wait for their names at present."),
            age: gauge(
                "ridley.kubernetes.age",
                "s",
                "How long ago the API server was heard last of what it does not tell of now; 0 if it tells of all.",
            ),
        }
    }

    /// Counts what was held at the end.
    pub(crate) fn drop_at_shutdown(&self, signal: Signal, n_items: u64) {
        let counters = Signal::ALL.iter().zip(&self.dropped_shutdown);
        counters.filter(|(it, _)| **it == signal).for_each(|(_, counter)| counter.add(n_items));
    }

    /// Counts what the naming did since the last call, and returns how many connections it has forgotten.
    pub(crate) fn update(&self, naming: &mut Naming) -> u64 {
        let size = |it: usize| i64::try_from(it).unwrap_or(i64::MAX);
        let n_forgotten = naming.take_forgotten();
        self.forgotten.add(n_forgotten);
        self.refused.add(naming.index.take_refused());
        self.connections.set(size(naming.n_connections()));
        self.entities.set(size(naming.n_entities()));
        self.pods.set(size(naming.index.n_pods()));
        self.addresses.set(size(naming.index.n_addresses()));
        n_forgotten
    }
}
