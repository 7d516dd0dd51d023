use component::{Counter, Gauge, Telemetry};
use model::Signal;

use crate::{Aggregate, aggregate::Report, listeners::ListenerTotals};

/// What the connector tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    overflowed: Counter,
    forgotten: Counter,
    expired: Counter,
    wrong_signal: Counter,
    dropped_shutdown: Counter,
    links: Gauge,
    connections: Gauge,
    listeners: Gauge,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let counter =
            |name, unit, description| -> Counter { telemetry.counter(name, unit, description, &[]) };
        let gauge = |name, unit, description| -> Gauge { telemetry.gauge(name, unit, description, &[]) };
        Self {
            overflowed: counter(
                "ridley.links.overflow.items",
                "{item}",
                "Records counted as `other` because `max_series` was reached.",
            ),
            forgotten: counter(
                "ridley.links.forgotten.connections",
                "{connection}",
                "Connections forgotten before their end because `max_connections` was reached.",
            ),
            expired: counter(
                "ridley.links.expired.links",
                "{link}",
                "Links removed after `expire_after` without a connection.",
            ),
            wrong_signal: telemetry.dropped(Signal::Metrics, "wrong_signal"),
            dropped_shutdown: telemetry.dropped_at_shutdown(Signal::Flows),
            links: gauge("ridley.links.links", "{link}", "Links kept apart at present."),
            connections: gauge(
                "ridley.links.connections",
                "{connection}",
                "Connections remembered at present.",
            ),
            listeners: gauge(
                "ridley.links.listeners",
                "{server}",
                "Servers that listen, kept apart by port, at present.",
            ),
        }
    }

    /// Counts what the aggregate did since the last call, and returns it.
    pub(crate) fn add(&self, aggregate: &mut Aggregate) -> Report {
        let report = aggregate.take_report();
        let Report { overflowed, forgotten, expired } = report;
        self.overflowed.add(overflowed);
        self.forgotten.add(forgotten);
        self.expired.add(expired);
        self.links.set(number(aggregate.n_links()));
        self.connections.set(number(aggregate.n_connections()));
        report
    }

    /// Counts records whose totals were not sent when the connector was ended.
    pub(crate) fn lost(&self, n_records: u64) {
        self.dropped_shutdown.add(n_records);
    }

    /// Counts what became of reports on listening sockets since the last call, and returns how many there was no room to
    /// keep apart.
    pub(crate) fn add_listeners(&self, listeners: &mut ListenerTotals) -> u64 {
        let overflowed = listeners.take_overflowed();
        self.overflowed.add(overflowed);
        self.listeners.set(number(listeners.len()));
        overflowed
    }

    /// Counts items of a signal that the connector does not take.
    pub(crate) fn refuse(&self, n_items: u64) {
        self.wrong_signal.add(n_items);
    }
}

fn number(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
