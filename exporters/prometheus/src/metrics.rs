use component::{Counter, Gauge, Telemetry};
use model::Signal;
use prometheus::{DropReason, Drops};

/// What the exporter tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    dropped: [Counter; DropReason::ALL.len()],
    omitted_targets: Counter,
    series: Gauge,
    scrapes: Counter,
    aborted_scrapes: Counter,
    rendered_bytes: Counter,
    connections: ConnectionInstruments,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let scrapes = |outcome| {
            telemetry.counter(
                "ridley.prometheus.scrapes",
                "{scrape}",
                "Scrapes that were answered to the end, or aborted by the client.",
                &[("outcome", outcome)],
            )
        };
        let bytes = "Bytes of metrics rendered for scrapes, before compression.";
        Self {
            dropped: DropReason::ALL.map(|it| telemetry.dropped(Signal::Metrics, it.as_str())),
            omitted_targets: telemetry.counter(
                "ridley.prometheus.omitted.targets",
                "{target}",
                "Times that a resource found no room in `target_info`, or its name taken by a metric.",
                &[],
            ),
            series: telemetry.gauge("ridley.prometheus.series", "{series}", "Series held at present.", &[]),
            scrapes: scrapes("complete"),
            aborted_scrapes: scrapes("aborted"),
            rendered_bytes: telemetry.counter("ridley.prometheus.rendered.bytes", "By", bytes, &[]),
            connections: ConnectionInstruments::new(telemetry),
        }
    }

    pub(crate) fn add(&self, drops: Drops, n_series: usize) {
        let Drops { points, n_targets } = drops;
        for (counter, n) in self.dropped.iter().zip(points) {
            counter.add(n);
        }
        self.omitted_targets.add(n_targets);
        self.series.set(i64::try_from(n_series).unwrap_or(i64::MAX));
    }

    pub(crate) fn scrape_completed(&self) {
        self.scrapes.add(1);
    }

    pub(crate) fn scrape_aborted(&self) {
        self.aborted_scrapes.add(1);
    }

    pub(crate) fn rendered(&self, n_bytes: usize) {
        self.rendered_bytes.add(n_bytes as u64);
    }

    pub(crate) fn connections(&self) -> &ConnectionInstruments {
        &self.connections
    }

    pub(crate) fn n_completed_scrapes(&self) -> u64 {
        self.scrapes.value()
    }
}

/// Why a connection was closed to make room for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client did not ask for anything.
    Idle,
    /// The client did not take what it had asked for.
    Stalled,
}

/// What the exporter tells of its connections.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionInstruments {
    open: Gauge,
    idle: Counter,
    stalled: Counter,
}

impl ConnectionInstruments {
    fn new(telemetry: &Telemetry) -> Self {
        let closed = |reason| {
            telemetry.counter(
                "ridley.prometheus.closed.connections",
                "{connection}",
                "Connections closed to make room for further ones.",
                &[("reason", reason)],
            )
        };
        Self {
            open: telemetry.gauge(
                "ridley.prometheus.connections",
                "{connection}",
                "Connections of scrapers at present.",
                &[],
            ),
            idle: closed("idle"),
            stalled: closed("stalled"),
        }
    }

    pub(crate) fn set_open(&self, n_connections: usize) {
        self.open.set(i64::try_from(n_connections).unwrap_or(i64::MAX));
    }

    pub(crate) fn closed(&self, reason: CloseReason) {
        match reason {
            CloseReason::Idle => self.idle.add(1),
            CloseReason::Stalled => self.stalled.add(1),
        }
    }
}
