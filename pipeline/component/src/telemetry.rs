use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use model::{Signal, UnixNanos};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge as GaugeData, Metric, MetricsData, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric, number_data_point,
    },
};

use crate::{Id, Kind};

const DROPPED: &str = "ridley.dropped.items";
const COMPONENT_KIND: &str = "otelcol.component.kind";
const COMPONENT_ID: &str = "otelcol.component.id";
const REASON: &str = "reason";
const SHUTDOWN: &str = "shutdown";

/// A number that only grows. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to the counter.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Returns the count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Adds to the gauge.
    pub fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Returns the value.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Every counter and gauge of the process's components.
///
/// Metric names follow the OpenTelemetry Collector's pipeline component telemetry where it has one.
#[derive(Debug, Default)]
pub struct Registry {
    instruments: Mutex<BTreeMap<Key, Instrument>>,
}

/// Items that one component dropped for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Kind and id of the component.
    pub component: String,
    /// A word of a closed set.
    pub reason: Arc<str>,
    /// How many, and not none.
    pub n_items: u64,
}

impl Dropped {
    /// Returns whether they were dropped because a component had to end; see [`Telemetry::dropped_at_shutdown`].
    pub fn is_at_shutdown(&self) -> bool {
        *self.reason == *SHUTDOWN
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    name: &'static str,
    attributes: Vec<(&'static str, Arc<str>)>,
}

#[derive(Clone, Debug)]
struct Instrument {
    description: &'static str,
    unit: &'static str,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Counter(Counter),
    Gauge(Gauge),
}

impl Registry {
    /// Returns the handle that a component counts through.
    pub fn telemetry(self: &Arc<Self>, kind: Kind, id: &Id) -> Telemetry {
        Telemetry { registry: Arc::clone(self), kind, id: id.clone(), pipeline: None }
    }

    /// Returns the present values as cumulative OpenTelemetry metrics.
    pub fn collect(&self, start: UnixNanos, now: UnixNanos) -> MetricsData {
        let instruments = self.lock();
        let mut metrics: Vec<Metric> = Vec::new();
        for (key, instrument) in &*instruments {
            if metrics.last().is_none_or(|it| it.name != key.name) {
                metrics.push(instrument.empty_metric(key.name));
            }
            let point = instrument.point(&key.attributes, start, now);
            match metrics.last_mut().and_then(|it| it.data.as_mut()) {
                Some(metric::Data::Sum(sum)) => sum.data_points.push(point),
                Some(metric::Data::Gauge(gauge)) => gauge.data_points.push(point),
                _ => {}
            }
        }
        let scope = InstrumentationScope { name: "ridley".to_owned(), ..Default::default() };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }];
        MetricsData { resource_metrics: vec![ResourceMetrics { scope_metrics, ..Default::default() }] }
    }

    /// Returns what was dropped so far, by component.
    pub fn dropped(&self) -> Vec<Dropped> {
        let dropped = |(key, instrument): (&Key, &Instrument)| match &instrument.value {
            Value::Counter(counter) if key.name == DROPPED && counter.value() > 0 => {
                let (kind, id) = (key.attribute(COMPONENT_KIND)?, key.attribute(COMPONENT_ID)?);
                Some(Dropped {
                    component: format!("{kind} `{id}`"),
                    reason: Arc::clone(key.attribute(REASON)?),
                    n_items: counter.value(),
                })
            }
            _ => None,
        };
        self.lock().iter().filter_map(dropped).collect()
    }

    fn instrument(&self, key: Key, make: impl FnOnce() -> Instrument) -> Value {
        self.lock().entry(key).or_insert_with(make).value.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Instrument>> {
        // Nothing inside can panic half-way through a change of the map.
        self.instruments.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Key {
    fn attribute(&self, name: &str) -> Option<&Arc<str>> {
        self.attributes.iter().find(|(it, _)| *it == name).map(|(_, value)| value)
    }
}

impl Instrument {
    fn empty_metric(&self, name: &str) -> Metric {
        let data = match self.value {
            Value::Counter(_) => metric::Data::Sum(Sum {
                data_points: Vec::new(),
                aggregation_temporality: AggregationTemporality::Cumulative.into(),
                is_monotonic: true,
            }),
            Value::Gauge(_) => metric::Data::Gauge(GaugeData::default()),
        };
        Metric {
            name: name.to_owned(),
            description: self.description.to_owned(),
            unit: self.unit.to_owned(),
            data: Some(data),
            ..Default::default()
        }
    }

    fn point(
        &self,
        attributes: &[(&'static str, Arc<str>)],
        start: UnixNanos,
        now: UnixNanos,
    ) -> NumberDataPoint {
        let value = match &self.value {
            Value::Counter(counter) => i64::try_from(counter.value()).unwrap_or(i64::MAX),
            Value::Gauge(gauge) => gauge.value(),
        };
        NumberDataPoint {
            attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
            start_time_unix_nano: start.0,
            time_unix_nano: now.0,
            value: Some(number_data_point::Value::AsInt(value)),
            ..Default::default()
        }
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }),
        ..Default::default()
    }
}

/// A component's handle to its own counters and gauges.
///
/// Every series carries the component's kind and id, and a processor's its pipeline. Names and attribute values come
/// from the code, never from data.
#[derive(Clone, Debug)]
pub struct Telemetry {
    registry: Arc<Registry>,
    kind: Kind,
    id: Id,
    pipeline: Option<Arc<str>>,
}

impl Telemetry {
    /// Tells instances of one component apart: a processor has one in each pipeline.
    #[must_use]
    pub fn in_pipeline(mut self, pipeline: impl Into<Arc<str>>) -> Self {
        self.pipeline = Some(pipeline.into());
        self
    }

    /// Returns a counter of the component; asking again for the same one returns the same one.
    ///
    /// `unit` is a UCUM code such as `By`, or a word in braces such as `{item}`.
    pub fn counter(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        attributes: &[(&'static str, &'static str)],
    ) -> Counter {
        let make = || Instrument { description, unit, value: Value::Counter(Counter::default()) };
        match self.registry.instrument(self.key(name, attributes), make) {
            Value::Counter(counter) => counter,
            Value::Gauge(_) => unreachable!("`{name}` is registered as a gauge"),
        }
    }

    /// Returns a gauge of the component; asking again for the same one returns the same one.
    pub fn gauge(
        &self,
        name: &'static str,
        unit: &'static str,
        description: &'static str,
        attributes: &[(&'static str, &'static str)],
    ) -> Gauge {
        let make = || Instrument { description, unit, value: Value::Gauge(Gauge::default()) };
        match self.registry.instrument(self.key(name, attributes), make) {
            Value::Gauge(gauge) => gauge,
            Value::Counter(_) => unreachable!("`{name}` is registered as a counter"),
        }
    }

    /// Returns the counter of items that the component dropped for a reason, which is a word of a closed set.
    pub fn dropped(&self, signal: Signal, reason: &'static str) -> Counter {
        self.counter(
            DROPPED,
            "{item}",
            "Items that were not passed on.",
            &[("otelcol.signal", signal.as_str()), (REASON, reason)],
        )
    }

    /// Returns the counter of items that the component was not done with when it had to end, or that were on their way to it.
    pub fn dropped_at_shutdown(&self, signal: Signal) -> Counter {
        self.dropped(signal, SHUTDOWN)
    }

    pub(crate) fn consumed(&self) -> Counter {
        let name = match self.kind {
            Kind::Receiver => "otelcol.receiver.consumed.items",
            Kind::Processor => "otelcol.processor.consumed.items",
            Kind::Connector => "otelcol.connector.consumed.items",
            Kind::Exporter => "otelcol.exporter.consumed.items",
        };
        self.counter(name, "{item}", "Items that the component took.", &[])
    }

    pub(crate) fn produced(&self) -> Counter {
        let name = match self.kind {
            Kind::Receiver => "otelcol.receiver.produced.items",
            Kind::Processor => "otelcol.processor.produced.items",
            Kind::Connector => "otelcol.connector.produced.items",
            Kind::Exporter => "otelcol.exporter.produced.items",
        };
        self.counter(name, "{item}", "Items that the component passed on.", &[])
    }

    pub(crate) fn queued(&self) -> Gauge {
        self.gauge("ridley.queue.items", "{item}", "Items that wait in front of the component.", &[])
    }

    fn key(&self, name: &'static str, attributes: &[(&'static str, &'static str)]) -> Key {
        let own =
            [(COMPONENT_KIND, Arc::from(self.kind.as_str())), (COMPONENT_ID, Arc::from(self.id.as_str()))];
        let pipeline = self.pipeline.iter().map(|it| ("otelcol.pipeline.id", Arc::clone(it)));
        let given = attributes.iter().map(|(key, value)| (*key, Arc::from(*value)));
        Key { name, attributes: own.into_iter().chain(pipeline).chain(given).collect() }
    }
}

#[cfg(test)]
mod tests {
    use model::OtlpData;

    use super::*;

    /// Two handles of one component count into one series, whoever asked first.
    #[test]
    fn the_same_counter_is_shared() {
        let registry = Arc::new(Registry::default());
        let telemetry = registry.telemetry(Kind::Exporter, &"debug".parse().unwrap());
        telemetry.dropped(Signal::Flows, "full").add(2);
        telemetry.dropped(Signal::Flows, "full").add(3);
        telemetry.dropped(Signal::Flows, "late").add(1);
        assert_eq!(telemetry.dropped(Signal::Flows, "full").value(), 5);
        assert_eq!(registry.collect(UnixNanos(1), UnixNanos(2)).n_items(), 2);
    }

    #[test]
    fn drops_are_told_with_their_component() {
        let registry = Arc::new(Registry::default());
        let telemetry = registry.telemetry(Kind::Exporter, &"debug".parse().unwrap());
        telemetry.dropped(Signal::Flows, "full").add(2);
        telemetry.dropped(Signal::Flows, "late");
        telemetry.consumed().add(2);
        let component = "exporter `debug`".to_owned();
        assert_eq!(registry.dropped(), [Dropped { component, reason: "full".into(), n_items: 2 }]);
    }

    /// A gauge that two instances set would show whichever came last.
    #[test]
    fn instances_in_two_pipelines_are_told_apart() {
        let registry = Arc::new(Registry::default());
        let [first, second] = ["flows", "flows/copy"].map(|pipeline| {
            registry.telemetry(Kind::Processor, &"join".parse().unwrap()).in_pipeline(pipeline)
        });
        first.gauge("held", "{item}", "", &[]).set(1);
        second.gauge("held", "{item}", "", &[]).set(2);
        assert_eq!(first.gauge("held", "{item}", "", &[]).value(), 1);
        assert_eq!(registry.collect(UnixNanos(1), UnixNanos(2)).n_items(), 2);
    }
}
