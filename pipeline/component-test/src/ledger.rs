use component::{Kind, Registry};
use model::UnixNanos;
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value},
    metrics::v1::{Metric, MetricsData, NumberDataPoint, metric, number_data_point},
};

/// What a component says that it did with the items that reached it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Items taken from the input.
    pub consumed: u64,
    /// Items passed on.
    pub produced: u64,
    /// Items dropped, for any reason.
    pub dropped: u64,
    /// Items still waiting in front of the component.
    pub queued: i64,
}

impl Ledger {
    /// Reads the entries of one component.
    pub fn of(registry: &Registry, kind: Kind, id: &str) -> Self {
        let own = [("otelcol.component.kind", kind.as_str()), ("otelcol.component.id", id)];
        let sum = |name: &str| value(registry, name, &own);
        let counted = |name: &str| u64::try_from(sum(name)).expect("counters do not go below zero");
        Self {
            consumed: counted(&format!("otelcol.{kind}.consumed.items")),
            produced: counted(&format!("otelcol.{kind}.produced.items")),
            dropped: counted("ridley.dropped.items"),
            queued: sum("ridley.queue.items"),
        }
    }
}

/// Returns the sum of a counter or gauge over every series that has the attributes; zero if there is none.
pub fn value(registry: &Registry, name: &str, attributes: &[(&str, &str)]) -> i64 {
    metrics(&collect(registry))
        .filter(|metric| metric.name == name)
        .flat_map(points)
        .filter(|point| attributes.iter().all(|(key, value)| has(&point.attributes, key, value)))
        .map(|point| match point.value {
            Some(number_data_point::Value::AsInt(value)) => value,
            _ => panic!("`{name}` is not a whole number"),
        })
        .sum()
}

pub(crate) fn collect(registry: &Registry) -> MetricsData {
    registry.collect(UnixNanos(0), UnixNanos(1))
}

pub(crate) fn metrics(data: &MetricsData) -> impl Iterator<Item = &Metric> {
    data.resource_metrics.iter().flat_map(|it| &it.scope_metrics).flat_map(|it| &it.metrics)
}

fn points(metric: &Metric) -> &[NumberDataPoint] {
    match &metric.data {
        Some(metric::Data::Sum(sum)) => &sum.data_points,
        Some(metric::Data::Gauge(gauge)) => &gauge.data_points,
        _ => &[],
    }
}

fn has(attributes: &[KeyValue], key: &str, value: &str) -> bool {
    attributes.iter().any(|it| {
        let found = it.value.as_ref().and_then(|it| it.value.as_ref());
        it.key == key && matches!(found, Some(any_value::Value::StringValue(text)) if text == value)
    })
}
