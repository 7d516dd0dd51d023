use std::time::Duration;

use model::{CloseReason, FailureReason, Metrics, UnixNanos};
use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    metrics::v1::{
        AggregationTemporality, DataPointFlags, Gauge, Histogram as HistogramData, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
    },
};

use crate::{
    Buckets,
    attributes::Selection,
    identity::text,
    link::{Direction, Histogram, Link, Totals},
    shapes::{Shape, ShapePoints},
};

/// A batch is full when it has this many points: about a megabyte, well below the 4 MiB that OTLP receivers take.
const MAX_POINTS: usize = 1_000;

/// Says of a point that its series has ended.
pub(crate) const NO_VALUE: u32 = DataPointFlags::NoRecordedValueMask as u32;

/// Writes links as cumulative OpenTelemetry metrics.
#[derive(Debug)]
pub(crate) struct Encoder {
    rtt: Vec<f64>,
    pub(crate) connect_duration: Vec<f64>,
    pub(crate) server_handshake_duration: Vec<f64>,
    connection_duration: Vec<f64>,
    shapes: Vec<Shape>,
}

impl Encoder {
    pub(crate) fn new(buckets: &Buckets, shapes: &[Shape]) -> Self {
        let Buckets { rtt, connect_duration, server_handshake_duration, connection_duration } = buckets;
        Self {
            rtt: rtt.seconds(),
            connect_duration: connect_duration.seconds(),
            server_handshake_duration: server_handshake_duration.seconds(),
            connection_duration: connection_duration.seconds(),
            shapes: shapes.to_vec(),
        }
    }

    /// Writes links until the batch is full, or that they have ended. A link is never split.
    ///
    /// Returns how many slots are done, or `None` when there was no link left to write.
    pub(crate) fn encode<'a>(
        &self,
        slots: impl Iterator<Item = Option<&'a Link>>,
        time: UnixNanos,
        selection: &Selection,
        have_ended: bool,
    ) -> Option<(Metrics, usize)> {
        let mut points = Points::default();
        let mut n_done = 0;
        for slot in slots {
            if points.n_points >= MAX_POINTS {
                break;
            }
            n_done += 1;
            if let Some(link) = slot {
                let attributes = link.identity.attributes(selection);
                let point = PointMaker { start: link.start, time, attributes, has_ended: have_ended };
                self.write(link, &point, &mut points);
            }
        }
        (points.n_points > 0).then(|| (points.into_metrics(), n_done))
    }

    fn write(&self, link: &Link, point: &PointMaker, points: &mut Points) {
        let Totals {
            request,
            response,
            opened,
            closed,
            failed,
            rtt,
            min_rtt: _,
            connect_duration,
            server_handshake_duration,
            connection_duration,
        } = &link.totals;
        let before = points.n_points;
        for (name, direction) in [("request", request), ("response", response)] {
            let Direction { bytes, retransmits, retransmitted_bytes, out_of_order, receive_window_limited } =
                direction;
            // What is zero too: a rate misses the first of a counter that begins with it.
            for (value, points_of_metric) in [
                (*bytes, &mut points.bytes),
                (*retransmits, &mut points.retransmits),
                (*retransmitted_bytes, &mut points.retransmitted_bytes),
                (*out_of_order, &mut points.out_of_order),
            ] {
                points_of_metric.push(point.number_with(value, "direction", name));
            }
            let limited = point.seconds_with(*receive_window_limited, "direction", name);
            points.receive_window_limited.push(limited);
            points.n_points += 5;
        }
        points.opened.push(point.number(*opened));
        points.active.push(point.number(u64::from(link.active)));
        points.n_points += 2;
        for (reason, count) in CloseReason::ALL.into_iter().zip(closed) {
            // The ordinary reason is there from the start, so that its first increase is one.
            if *count > 0 || reason == CloseReason::Normal {
                points.closed.push(point.number_with(*count, "reason", reason.as_str()));
                points.n_points += 1;
            }
        }
        for (reason, count) in FailureReason::ALL.into_iter().zip(failed) {
            if *count > 0 {
                points.failed.push(point.number_with(*count, "error.type", reason.as_str()));
                points.n_points += 1;
            }
        }
        if let Some(least) = link.min_rtt() {
            points.min_rtt.push(point.seconds(least));
            points.n_points += 1;
        } else if link.has_told_min_rtt {
            points.min_rtt.push(point.ended());
            points.n_points += 1;
        }
        for (histogram, bounds, points_of_metric) in [
            (rtt, &self.rtt, &mut points.rtt),
            (connect_duration, &self.connect_duration, &mut points.connect_duration),
            (
                server_handshake_duration,
                &self.server_handshake_duration,
                &mut points.server_handshake_duration,
            ),
            (connection_duration, &self.connection_duration, &mut points.connection_duration),
        ] {
            if !histogram.counts.is_empty() {
                points_of_metric.push(point.histogram(histogram, bounds));
                points.n_points += 1;
            }
        }
        for shape in &self.shapes {
            points.n_points += points.shapes.add(*shape, link, point, self);
        }
        debug_assert!(points.n_points > before, "every link has points");
    }
}

/// The points of one batch, by metric.
#[derive(Default)]
struct Points {
    n_points: usize,
    bytes: Vec<NumberDataPoint>,
    opened: Vec<NumberDataPoint>,
    closed: Vec<NumberDataPoint>,
    failed: Vec<NumberDataPoint>,
    active: Vec<NumberDataPoint>,
    retransmits: Vec<NumberDataPoint>,
    retransmitted_bytes: Vec<NumberDataPoint>,
    out_of_order: Vec<NumberDataPoint>,
    receive_window_limited: Vec<NumberDataPoint>,
    rtt: Vec<HistogramDataPoint>,
    min_rtt: Vec<NumberDataPoint>,
    connect_duration: Vec<HistogramDataPoint>,
    server_handshake_duration: Vec<HistogramDataPoint>,
    connection_duration: Vec<HistogramDataPoint>,
    shapes: ShapePoints,
}

impl Points {
    fn into_metrics(self) -> Metrics {
        let Self {
            n_points: _,
            bytes,
            opened,
            closed,
            failed,
            active,
            retransmits,
            retransmitted_bytes,
            out_of_order,
            receive_window_limited,
            rtt,
            min_rtt,
            connect_duration,
            server_handshake_duration,
            connection_duration,
            shapes,
        } = self;
        let metrics = [
            sum("ridley.link.bytes", "By", "Payload bytes, each counted once.", true, bytes),
            sum(
                "ridley.link.connections.opened",
                "{connection}",
                "Connections that were established.",
                true,
                opened,
            ),
            sum(
                "ridley.link.connections.closed",
                "{connection}",
                "Established connections that ended.",
                true,
                closed,
            ),
            sum(
                "ridley.link.connections.failed",
                "{connection}",
                "Attempts that established no connection.",
                true,
                failed,
            ),
            sum(
                "ridley.link.connections.active",
                "{connection}",
                "Connections that are established at present.",
                false,
                active,
            ),
            sum("ridley.link.retransmits", "{segment}", "Segments that were sent again.", true, retransmits),
            sum(
                "ridley.link.retransmitted.bytes",
                "By",
                "Payload bytes that were sent again.",
                true,
                retransmitted_bytes,
            ),
            sum(
                "ridley.link.out_of_order.segments",
                "{segment}",
                "Segments that arrived before one that precedes them.",
                true,
                out_of_order,
            ),
            sum(
                "ridley.link.receive_window_limited.time",
                "s",
                "Time in which data waited for room at the receiver, summed over connections.",
                true,
                receive_window_limited,
            ),
            histogram(
                "ridley.link.rtt",
                "Smoothed round-trip time, sampled from live connections at each interval.",
                rtt,
            ),
            gauge(
                "ridley.link.min_rtt",
                "s",
                "Least round-trip time of live connections, as of the last samples.",
                min_rtt,
            ),
            histogram(
                "ridley.link.connect.duration",
                "Time from the client's first segment to the established connection.",
                connect_duration,
            ),
            histogram(
                "ridley.link.server_handshake.duration",
                "Time from the server's answer to the completed handshake, as the server measured it.",
                server_handshake_duration,
            ),
            histogram(
                "ridley.link.connection.duration",
                "Time from the beginning to the end of connections that ended.",
                connection_duration,
            ),
        ];
        let scope = InstrumentationScope { name: "ridley".to_owned(), ..Default::default() };
        let metrics = metrics.into_iter().flatten().chain(shapes.into_metrics()).collect();
        Metrics::new(vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..Default::default() }],
            ..Default::default()
        }])
    }
}

/// Returns a cumulative sum; `None` without points.
pub(crate) fn sum(
    name: &str,
    unit: &str,
    description: &str,
    is_monotonic: bool,
    data_points: Vec<NumberDataPoint>,
) -> Option<Metric> {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let has_points = !data_points.is_empty();
    let data = metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic });
    has_points.then(|| metric(name, unit, description, data))
}

/// Returns a gauge; `None` without points.
pub(crate) fn gauge(
    name: &str,
    unit: &str,
    description: &str,
    data_points: Vec<NumberDataPoint>,
) -> Option<Metric> {
    let has_points = !data_points.is_empty();
    has_points.then(|| metric(name, unit, description, metric::Data::Gauge(Gauge { data_points })))
}

pub(crate) fn histogram(
    name: &str,
    description: &str,
    data_points: Vec<HistogramDataPoint>,
) -> Option<Metric> {
    let aggregation_temporality = AggregationTemporality::Cumulative.into();
    let has_points = !data_points.is_empty();
    let data = metric::Data::Histogram(HistogramData { data_points, aggregation_temporality });
    has_points.then(|| metric(name, "s", description, data))
}

fn metric(name: &str, unit: &str, description: &str, data: metric::Data) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

/// Makes the points of one link.
pub(crate) struct PointMaker {
    start: UnixNanos,
    time: UnixNanos,
    pub(crate) attributes: Vec<KeyValue>,
    /// Whether the points say that their series have ended.
    has_ended: bool,
}

impl PointMaker {
    /// Makes points of the same link with other attributes.
    pub(crate) fn with(&self, attributes: Vec<KeyValue>) -> Self {
        let Self { start, time, attributes: _, has_ended } = *self;
        Self { start, time, attributes, has_ended }
    }

    pub(crate) fn number(&self, value: u64) -> NumberDataPoint {
        self.number_of(value, self.attributes.clone())
    }

    fn number_with(&self, value: u64, key: &str, attribute: &str) -> NumberDataPoint {
        self.number_of(value, self.attributes_and(key, attribute))
    }

    /// Says that a series has ended.
    fn ended(&self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes.clone(),
            start_time_unix_nano: self.start.0,
            time_unix_nano: self.time.0,
            flags: NO_VALUE,
            ..Default::default()
        }
    }

    fn seconds(&self, value: Duration) -> NumberDataPoint {
        self.point(number_data_point::Value::AsDouble(value.as_secs_f64()), self.attributes.clone())
    }

    fn seconds_with(&self, value: Duration, key: &str, attribute: &str) -> NumberDataPoint {
        let value = number_data_point::Value::AsDouble(value.as_secs_f64());
        self.point(value, self.attributes_and(key, attribute))
    }

    fn attributes_and(&self, key: &str, attribute: &str) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(self.attributes.len() + 1);
        attributes.extend_from_slice(&self.attributes);
        attributes.push(text(key, attribute));
        attributes
    }

    fn number_of(&self, value: u64, attributes: Vec<KeyValue>) -> NumberDataPoint {
        // OTLP counts in signed numbers.
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.point(number_data_point::Value::AsInt(value), attributes)
    }

    fn point(&self, value: number_data_point::Value, attributes: Vec<KeyValue>) -> NumberDataPoint {
        NumberDataPoint {
            attributes,
            start_time_unix_nano: self.start.0,
            time_unix_nano: self.time.0,
            value: (!self.has_ended).then_some(value),
            flags: self.flags(),
            ..Default::default()
        }
    }

    const fn flags(&self) -> u32 {
        if self.has_ended { NO_VALUE } else { 0 }
    }

    pub(crate) fn histogram(&self, histogram: &Histogram, bounds: &[f64]) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes.clone(),
            start_time_unix_nano: self.start.0,
            time_unix_nano: self.time.0,
            count: histogram.counts.iter().sum(),
            sum: Some(histogram.sum_secs()),
            // Also of one that has ended: they tell which series there were.
            bucket_counts: histogram.counts.to_vec(),
            explicit_bounds: bounds.to_vec(),
            flags: self.flags(),
            ..Default::default()
        }
    }
}
