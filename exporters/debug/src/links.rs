//! What the metrics of links say happened between two looks at them.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    time::Duration,
};

use model::UnixNanos;
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value},
    metrics::v1::{
        DataPointFlags, HistogramDataPoint, MetricsData, NumberDataPoint, metric::Data, number_data_point,
    },
};

use crate::text::{self, printable};

/// Links that are kept apart. The `links` connector has a budget of its own, far below; this one holds for whatever
/// else sends metrics of these names.
const MAX_LINKS: usize = 100_000;

/// How long a link is remembered after its last point, so that its next one is not taken for the first.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// Attributes that tell the points of one link apart, not one link from another.
const POINT_ATTRIBUTES: [&str; 3] = ["direction", "reason", "error.type"];

/// The links seen lately, by their attributes.
#[derive(Debug, Default)]
pub(crate) struct Links {
    // By the hash of its attributes: 64 bits, keyed by a secret, so that two of 100,000 links share one about once in
    // four billion runs.
    links: HashMap<u64, Link>,
    hasher: RandomState,
    latest: UnixNanos,
}

/// What a batch of metrics held besides points of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// Points of other metrics.
    pub(crate) unknown: u64,
    /// Points of links that there was no room for.
    pub(crate) over_budget: u64,
}

/// One link between two looks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) client: String,
    pub(crate) server: String,
    pub(crate) port: String,
    /// Bytes per second, client to server.
    pub(crate) request: f64,
    /// Bytes per second, server to client.
    pub(crate) response: f64,
    /// Connections that are open now.
    pub(crate) open: u64,
    /// Connections opened between the looks, and so on.
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) failed: u64,
    pub(crate) resent: u64,
    pub(crate) rtt: RttSamples,
}

/// Samples of the round-trip time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RttSamples {
    pub(crate) count: u64,
    pub(crate) sum_secs: f64,
}

/// All links between two looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Look {
    /// The links, in no particular order; links that only attributes tell apart which a row lacks have a row each.
    pub(crate) rows: Vec<Row>,
    /// The time of the latest point.
    pub(crate) time: UnixNanos,
}

#[derive(Debug)]
struct Link {
    client: String,
    server: String,
    port: String,
    /// When the totals began.
    start: UnixNanos,
    /// Totals as of `time`.
    time: UnixNanos,
    totals: Totals,
    /// What the last look showed; zero at `start` before the first one.
    shown_time: UnixNanos,
    shown: Totals,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    request: u64,
    response: u64,
    opened: u64,
    closed: u64,
    failed: u64,
    active: u64,
    resent: u64,
    rtt: RttSamples,
}

/// Which total a point belongs to.
#[derive(Clone, Copy, Debug)]
enum Measure {
    Bytes,
    Opened,
    Closed,
    Failed,
    Active,
    Retransmits,
}

impl Measure {
    fn of(metric: &str) -> Option<Self> {
        Some(match metric {
            "ridley.link.bytes" => Self::Bytes,
            "ridley.link.connections.opened" => Self::Opened,
            "ridley.link.connections.closed" => Self::Closed,
            "ridley.link.connections.failed" => Self::Failed,
            "ridley.link.connections.active" => Self::Active,
            "ridley.link.retransmits" => Self::Retransmits,
            _ => return None,
        })
    }
}

impl Links {
    /// Takes a batch; the points of one link and one time may come in any order, and in several batches.
    pub(crate) fn push(&mut self, metrics: &MetricsData) -> Ignored {
        let mut ignored = Ignored::default();
        let resources = metrics.resource_metrics.iter();
        for metric in resources.flat_map(|it| &it.scope_metrics).flat_map(|it| &it.metrics) {
            match &metric.data {
                Some(Data::Sum(sum)) if let Some(measure) = Measure::of(&metric.name) => {
                    for point in &sum.data_points {
                        ignored.over_budget += u64::from(!self.push_number(measure, point));
                    }
                }
                Some(Data::Histogram(histogram)) if metric.name == "ridley.link.rtt" => {
                    for point in &histogram.data_points {
                        ignored.over_budget += u64::from(!self.push_rtt(point));
                    }
                }
                // What links and listening sockets tell beside what is in the table.
                Some(Data::Sum(_) | Data::Histogram(_))
                    if ["ridley.link.", "ridley.listener."].iter().any(|it| metric.name.starts_with(it)) => {}
                Some(Data::Gauge(_)) if metric.name == "ridley.link.min_rtt" => {}
                Some(Data::Sum(data)) => ignored.unknown += data.data_points.len() as u64,
                Some(Data::Gauge(data)) => ignored.unknown += data.data_points.len() as u64,
                Some(Data::Histogram(data)) => ignored.unknown += data.data_points.len() as u64,
                Some(Data::ExponentialHistogram(data)) => ignored.unknown += data.data_points.len() as u64,
                Some(Data::Summary(data)) => ignored.unknown += data.data_points.len() as u64,
                None => {}
            }
        }
        ignored
    }

    /// Returns what happened since the last look, of the links of which something was heard since.
    pub(crate) fn look(&mut self) -> Look {
        let time = self.latest;
        self.links.retain(|_, link| time.saturating_since(link.time) <= FORGET_AFTER);
        let heard = self.links.values_mut().filter(|it| it.time > it.shown_time);
        Look { rows: heard.map(Link::look).collect(), time }
    }

    fn push_number(&mut self, measure: Measure, point: &NumberDataPoint) -> bool {
        if has_ended(point.flags) {
            return true;
        }
        let value = match point.value {
            Some(number_data_point::Value::AsInt(value)) => u64::try_from(value).unwrap_or(0),
            #[expect(clippy::cast_possible_truncation, reason = "the conversion saturates, as it should")]
            Some(number_data_point::Value::AsDouble(value)) => value as u64,
            None => 0,
        };
        let times = (UnixNanos(point.start_time_unix_nano), UnixNanos(point.time_unix_nano));
        let Some(totals) = self.totals(&point.attributes, times) else { return false };
        let is_request = || attribute(&point.attributes, "direction").is_some_and(|it| it == "request");
        let total = match measure {
            Measure::Bytes if is_request() => &mut totals.request,
            Measure::Bytes => &mut totals.response,
            Measure::Opened => &mut totals.opened,
            Measure::Closed => &mut totals.closed,
            Measure::Failed => &mut totals.failed,
            Measure::Active => &mut totals.active,
            Measure::Retransmits => &mut totals.resent,
        };
        *total = total.saturating_add(value);
        true
    }

    fn push_rtt(&mut self, point: &HistogramDataPoint) -> bool {
        if has_ended(point.flags) {
            return true;
        }
        let times = (UnixNanos(point.start_time_unix_nano), UnixNanos(point.time_unix_nano));
        let Some(totals) = self.totals(&point.attributes, times) else { return false };
        totals.rtt.count = totals.rtt.count.saturating_add(point.count);
        totals.rtt.sum_secs += point.sum.unwrap_or(0.0);
        true
    }

    /// Returns the totals of the point's link as of the point's time; `None` if there is no room for the link.
    fn totals(&mut self, attributes: &[KeyValue], times: (UnixNanos, UnixNanos)) -> Option<&mut Totals> {
        let (start, time) = times;
        let key = self.key(attributes);
        if self.links.len() >= MAX_LINKS && !self.links.contains_key(&key) {
            return None;
        }
        self.latest = self.latest.max(time);
        let link = self.links.entry(key).or_insert_with(|| Link::new(attributes, start));
        if link.start != start {
            // The link was gone for a while: its totals began anew.
            link.start = start;
            link.shown_time = start;
            link.shown = Totals::default();
        }
        if link.time != time {
            link.time = time;
            link.totals = Totals::default();
        }
        Some(&mut link.totals)
    }

    /// Hashes what tells the link from others. Written in another order it is another key, and the same line of a table.
    fn key(&self, attributes: &[KeyValue]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for KeyValue { key, value, .. } in attributes {
            if POINT_ATTRIBUTES.contains(&key.as_str()) {
                continue;
            }
            key.hash(&mut hasher);
            match value.as_ref().and_then(|it| it.value.as_ref()) {
                Some(any_value::Value::StringValue(text)) => text.hash(&mut hasher),
                Some(any_value::Value::IntValue(number)) => number.hash(&mut hasher),
                _ => {}
            }
        }
        hasher.finish()
    }
}

impl Link {
    fn new(attributes: &[KeyValue], start: UnixNanos) -> Self {
        let text = |key| attribute(attributes, key).unwrap_or_default();
        let end = |name, namespace| {
            let name = text::name(&text(name));
            match attribute(attributes, namespace) {
                // The name first: it is what remains where both do not fit.
                Some(namespace) => format!("{name} ({})", printable(&namespace)),
                None => name,
            }
        };
        let port = match attribute(attributes, "server.service") {
            Some(service) => printable(&format!("{} {service}", text("server.port"))),
            None => printable(&text("server.port")),
        };
        Self {
            client: end("client.name", "client.namespace"),
            server: end("server.name", "server.namespace"),
            port,
            start,
            time: UnixNanos::default(),
            totals: Totals::default(),
            shown_time: start,
            shown: Totals::default(),
        }
    }

    fn look(&mut self) -> Row {
        let Self { client, server, port, start: _, time, totals, shown_time, shown } = self;
        let elapsed_secs = time.saturating_since(*shown_time).as_secs_f64();
        let (now, before) = (*totals, *shown);
        // A total that goes down without a new start is a sender's mistake, not a reason to fail.
        let per_sec = |now: u64, before: u64| now.saturating_sub(before) as f64 / elapsed_secs;
        let row = Row {
            client: client.clone(),
            server: server.clone(),
            port: port.clone(),
            request: per_sec(now.request, before.request),
            response: per_sec(now.response, before.response),
            open: now.active,
            opened: now.opened.saturating_sub(before.opened),
            closed: now.closed.saturating_sub(before.closed),
            failed: now.failed.saturating_sub(before.failed),
            resent: now.resent.saturating_sub(before.resent),
            rtt: RttSamples {
                count: now.rtt.count.saturating_sub(before.rtt.count),
                sum_secs: now.rtt.sum_secs - before.rtt.sum_secs,
            },
        };
        *shown = now;
        *shown_time = *time;
        row
    }
}

impl Row {
    /// Adds another link's numbers.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            client: _,
            server: _,
            port: _,
            request,
            response,
            open,
            opened,
            closed,
            failed,
            resent,
            rtt,
        } = other;
        self.request += request;
        self.response += response;
        self.open = self.open.saturating_add(*open);
        self.opened = self.opened.saturating_add(*opened);
        self.closed = self.closed.saturating_add(*closed);
        self.failed = self.failed.saturating_add(*failed);
        self.resent = self.resent.saturating_add(*resent);
        self.rtt.count = self.rtt.count.saturating_add(rtt.count);
        self.rtt.sum_secs += rtt.sum_secs;
    }
}

impl RttSamples {
    /// Returns the mean, if there is one.
    pub(crate) fn mean(self) -> Option<Duration> {
        let mean = self.sum_secs / self.count as f64;
        if self.count == 0 { None } else { Duration::try_from_secs_f64(mean).ok() }
    }
}

/// Returns whether a point says that its series has ended: it has no value to add.
const fn has_ended(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        any_value::Value::IntValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
pub(crate) mod tests;
