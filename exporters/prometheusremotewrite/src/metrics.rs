use component::{Counter, Gauge, Telemetry};
use model::Signal;
use prometheus::{DropReason, Drops};

/// What the exporter tells of itself.
#[derive(Debug)]
pub(crate) struct Instruments {
    dropped: [Counter; DropReason::ALL.len()],
    omitted_targets: Counter,
    series: Gauge,
}

/// What it tells of samples.
#[derive(Debug)]
pub(crate) struct SampleInstruments {
    /// Samples in requests that the server took.
    pub(crate) sent: Counter,
    /// Samples of these that it did not take.
    pub(crate) rejected: Counter,
}

impl Instruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        Self {
            dropped: DropReason::ALL.map(|it| telemetry.dropped(Signal::Metrics, it.as_str())),
            omitted_targets: telemetry.counter(
                "ridley.prometheusremotewrite.omitted.targets",
                "{target}",
                "Times that a resource found no room in `target_info`, or its name taken by a metric.",
                &[],
            ),
            series: telemetry.gauge(
                "ridley.prometheusremotewrite.series",
                "{series}",
                "Series that are remembered at present.",
                &[],
            ),
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

    /// Counts items of a batch that the exporter cannot take.
    pub(crate) fn refuse(&self, reason: DropReason, n_items: u64) {
        self.dropped[reason as usize].add(n_items);
    }
}

impl SampleInstruments {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let counter = |name, description| telemetry.counter(name, "{sample}", description, &[]);
        Self {
            sent: counter(
                "ridley.prometheusremotewrite.sent.samples",
                "Samples of requests that the server has answered for good.",
            ),
            rejected: counter(
                "ridley.prometheusremotewrite.rejected.samples",
                "Samples of these that the server did not take.",
            ),
        }
    }
}
