use model::Metrics;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        DataPointFlags, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
};
use prometheus::DropReason;
use proptest::prelude::*;

use super::*;
use crate::{
    decoder::{self, Seen},
    frames::{self, Frame},
    samples::STALE,
    v1,
};

const EXPIRATION: Duration = Duration::from_secs(60);
/// When everything is received, in milliseconds.
const NOW: i64 = 1_700_000_000_000;

type Labels<'a> = &'a [(&'a str, &'a str)];

/// Every kind of metric, with names and types as a scrape has them.
#[test]
fn every_kind_is_written() {
    let mut test = Test::new(&[]);
    let mut bytes = counter("link.bytes", &[(&[("direction", "request"), ("client.name", "web")], 7)]);
    (bytes.unit, bytes.description) = ("By".to_owned(), "Payload bytes.".to_owned());
    let mut rtt = histogram("link.rtt", &[("client.name", "web")], &[0.001, 1.0], &[1, 2, 4]);
    rtt.unit = "s".to_owned();
    let metrics = [bytes, gauge("link.active", &[(&[], 3)]), rtt, summary("took", 0.5, 1.5)];
    let seen = test.send(&metrics);
    let expected = [
        ("link_bytes_total{client_name=\"web\",direction=\"request\",instance=\"me\",job=\"ridley\"}", 7.0),
        ("link_active{instance=\"me\",job=\"ridley\"}", 3.0),
        ("link_rtt_seconds_bucket{client_name=\"web\",instance=\"me\",job=\"ridley\",le=\"0.001\"}", 1.0),
        ("link_rtt_seconds_bucket{client_name=\"web\",instance=\"me\",job=\"ridley\",le=\"1.0\"}", 3.0),
        ("link_rtt_seconds_bucket{client_name=\"web\",instance=\"me\",job=\"ridley\",le=\"+Inf\"}", 7.0),
        ("link_rtt_seconds_sum{client_name=\"web\",instance=\"me\",job=\"ridley\"}", 7.0),
        ("link_rtt_seconds_count{client_name=\"web\",instance=\"me\",job=\"ridley\"}", 7.0),
        ("took{instance=\"me\",job=\"ridley\",quantile=\"0.5\"}", 1.5),
        ("took_sum{instance=\"me\",job=\"ridley\"}", 6.5),
        ("took_count{instance=\"me\",job=\"ridley\"}", 4.0),
    ];
    assert_eq!(seen.samples, expected.map(|(series, value)| (series.to_owned(), value, NOW)));
    let text = |kind, help: &str, unit: &str| (kind, help.to_owned(), unit.to_owned());
    let metadata = [
        ("link_bytes_total", text(1, "Payload bytes.", "bytes")),
        ("link_active", text(2, "", "")),
        ("link_rtt_seconds", text(3, "", "seconds")),
        ("took", text(5, "", "")),
    ];
    assert_eq!(seen.metadata, metadata.map(|(name, it)| (name.to_owned(), it)).into());
    assert_eq!(test.n_items, 4, "a histogram is one item");
}

/// A label of the series holds against one from outside, and the bound of a bucket against every other.
#[test]
fn external_labels_are_added_where_there_is_none() {
    let mut test = Test::new(&[("A", "1"), ("cluster", "east"), ("le", "mine"), ("zone", "z")]);
    let metrics = [gauge("a", &[(&[("cluster", "own"), ("k", "v")], 3)]), histogram("b", &[], &[], &[5])];
    let series: Vec<_> = test.send(&metrics).samples.into_iter().map(|(series, ..)| series).collect();
    let own = "instance=\"me\",job=\"ridley\"";
    let expected = [
        format!("a{{A=\"1\",cluster=\"own\",{own},k=\"v\",le=\"mine\",zone=\"z\"}}"),
        format!("b_bucket{{A=\"1\",cluster=\"east\",{own},le=\"+Inf\",zone=\"z\"}}"),
        format!("b_sum{{A=\"1\",cluster=\"east\",{own},zone=\"z\"}}"),
        format!("b_count{{A=\"1\",cluster=\"east\",{own},zone=\"z\"}}"),
    ];
    assert_eq!(series, expected);
}

/// The receiver would refuse it, and in version 1.0 everything else of the request with it.
#[test]
fn a_point_that_is_not_later_is_dropped() {
    let mut test = Test::new(&[]);
    let at = |nanos: u64, value| {
        let mut metric = gauge("a", &[(&[], value)]);
        if let Some(Data::Gauge(gauge)) = &mut metric.data {
            gauge.data_points[0].time_unix_nano = nanos;
        }
        metric
    };
    let ms = 1_000_000;
    let metrics = [at(5 * ms, 1), at(4 * ms, 2), at(5 * ms + 1, 3), at(6 * ms, 4)];
    let samples: Vec<_> =
        test.send(&metrics).samples.into_iter().map(|(_, value, time)| (value, time)).collect();
    assert_eq!(samples, [(1.0, 5), (4.0, 6)]);
    assert_eq!(test.drops.of(DropReason::OutOfOrder), 2);
    assert_eq!(test.n_items, 2);
}

/// Every series that a point was is ended, after its last sample.
#[test]
fn what_expires_is_marked_as_stale() {
    let mut test = Test::new(&[]);
    let metrics =
        [counter("a", &[(&[("n", "1")], 1)]), histogram("b", &[], &[1.0], &[1, 2]), summary("c", 0.5, 1.5)];
    let begun = test.send(&metrics);
    test.pass(EXPIRATION / 2);
    assert_eq!(test.send(&[gauge("d", &[(&[], 1)])]).samples.len(), 1, "nothing has expired");
    test.pass(EXPIRATION / 2);
    let mut ended = test.send(&[gauge("d", &[(&[], 1)])]).samples;
    let going_on = ended.remove(0);
    assert_eq!(going_on.1, 1.0);
    assert!(ended.iter().all(|(_, value, time)| value.to_bits() == STALE.to_bits() && *time == NOW + 60_000));
    let names = |samples: Vec<(String, f64, i64)>| samples.into_iter().map(|it| it.0).collect::<Vec<_>>();
    assert_eq!(names(ended), names(begun.samples));
    test.pass(EXPIRATION / 4);
    assert_eq!(test.send(&[]).samples, [], "once");
}

/// OTLP's way to say that a series has ended.
#[test]
fn a_point_without_a_value_ends_its_series() {
    let ended = |mut metric: Metric| {
        match &mut metric.data {
            Some(Data::Sum(sum)) => sum.data_points[0].flags = DataPointFlags::NoRecordedValueMask as u32,
            Some(Data::Histogram(it)) => it.data_points[0].flags = DataPointFlags::NoRecordedValueMask as u32,
            other => panic!("{other:?}"),
        }
        metric
    };
    let (a, b) = (counter("a", &[(&[], 1)]), histogram("b", &[], &[1.0], &[1, 2]));
    let mut test = Test::new(&[]);
    // Nobody knows them yet; they end all the same, as far as one can tell.
    assert_eq!(test.send(&[ended(a.clone()), ended(b.clone())]).samples.len(), 3);
    assert_eq!(test.n_items, 2);
    assert_eq!(test.send(&[a.clone(), b.clone()]).samples.len(), 5);
    let samples = test.send(&[ended(a), ended(b)]).samples;
    // Later than the samples of the same millisecond.
    assert!(samples.iter().all(|(_, value, time)| value.to_bits() == STALE.to_bits() && *time == NOW + 1));
    assert_eq!(samples.len(), 5);
    assert_eq!(test.translator.report().1, 0);
}

/// A value that is no number says nothing of the series' end.
#[test]
fn no_number_is_not_stale() {
    let mut metric = gauge("a", &[(&[], 1)]);
    if let Some(Data::Gauge(gauge)) = &mut metric.data {
        gauge.data_points[0].value = Some(number_data_point::Value::AsDouble(STALE));
    }
    let samples = Test::new(&[]).send(&[metric]).samples;
    assert_eq!(samples[0].1.to_bits(), 0x7ff8_0000_0000_0001);
}

/// However much comes at once, no request is larger than it may be by more than one point, and together they are all of it.
#[test]
fn large_batches_are_several_requests() {
    let mut test = Test::new(&[]);
    let labels: Vec<String> = (0..300).map(|n| format!("{n:03}")).collect();
    let metrics: Vec<_> =
        labels.iter().map(|it| histogram("a", &[("n", it.as_str())], &[1.0, 2.0], &[1, 0, 0])).collect();
    let frames = test.frames(&metrics);
    assert!(frames.len() > 10, "{}", frames.len());
    for Frame { request, n_items, n_samples } in &frames {
        let size = v1::from_v2(request.clone()).unwrap().len();
        assert!(size <= MAX_BYTES + 5 * 200, "{size}");
        assert_eq!(*n_samples, n_items * 5, "a point is not divided");
    }
    assert_eq!(frames.iter().map(|it| it.n_items).sum::<u64>(), 300);
}

#[test]
fn a_resource_is_told_of_once_in_each_batch() {
    let mut test = Test::new(&[]);
    let mut resource = own();
    resource.attributes.push(attribute("host.name", "node-1"));
    test.resource = Some(resource);
    let target = "target_info{host_name=\"node-1\",instance=\"me\",job=\"ridley\"}";
    for second in 0..2 {
        let seen = test.send(&[gauge("a", &[(&[], 1)])]);
        assert_eq!(seen.samples[0], (target.to_owned(), 1.0, NOW + 1_000 * second));
        assert_eq!(seen.metadata["target_info"].0, 6);
        assert_eq!(test.n_items, 1 + second.cast_unsigned());
        test.pass(Duration::from_secs(1));
    }
}

proptest! {
    /// Whatever labels come, each series has them by name, each once and none empty, in both versions alike, which the decoder
    /// checks.
    #[test]
    fn every_request_is_valid(
        labels in prop::collection::vec((any_name(), any_text()), 0..6),
        external in prop::collection::btree_map("[A-Za-z_][a-z]{0,3}", "[a-z]{1,3}", 0..4),
        value: i64,
    ) {
        let external: Vec<_> = external.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let labels: Vec<_> = labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut test = Test::new(&external);
        let metrics = [gauge("a", &[(&labels, value)]), histogram("b", &labels, &[1.0], &[1, 2])];
        let seen = test.send(&metrics);
        prop_assert_eq!(seen.samples.len(), 5);
        prop_assert_eq!(test.drops, Drops::default());
    }
}

fn any_name() -> impl Strategy<Value = String> {
    let known = ["le", "quantile", "__name__", "job", "a.b", "a_b", "A", "z", "_", ""];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), any::<String>()]
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z\"\\\\\n=,]{0,4}", any::<String>()]
}

/// Most bytes of a request in these tests.
const MAX_BYTES: usize = 10_000;

/// A translator, and what a receiver makes of what it says.
struct Test {
    translator: Translator,
    resource: Option<Resource>,
    received: u64,
    now: Instant,
    n_items: u64,
    drops: Drops,
}

impl Test {
    fn new(external: &[(&str, &str)]) -> Self {
        let external =
            external.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let options = Options { without_scope_info: true, has_target_info: true };
        Self {
            translator: Translator::new(1_000, EXPIRATION, Frames::new(MAX_BYTES, external), own(), options),
            resource: None,
            received: NOW.cast_unsigned() * 1_000_000,
            now: Instant::now(),
            n_items: 0,
            drops: Drops::default(),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.received += u64::try_from(time.as_nanos()).unwrap();
    }

    fn frames(&mut self, metrics: &[Metric]) -> Vec<Frame> {
        let scope = ScopeMetrics { metrics: metrics.to_vec(), ..ScopeMetrics::default() };
        let data = Metrics::new(vec![ResourceMetrics {
            resource: self.resource.clone(),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }]);
        let translated = self.translator.translate(&data.decode().unwrap(), self.received, self.now);
        self.drops = self.translator.report().0;
        let (payload, n_items) = translated.unwrap_or_default();
        self.n_items += n_items;
        frames::read(payload).collect()
    }

    /// Returns what is seen in both versions, which must be the same.
    #[track_caller]
    fn send(&mut self, metrics: &[Metric]) -> Seen {
        let mut all = Seen::default();
        for Frame { request, n_samples, .. } in self.frames(metrics) {
            let v2 = decoder::read_v2(&request);
            let v1 = decoder::read_v1(&v1::from_v2(request).unwrap());
            let bits = |seen: &Seen| {
                let samples = seen.samples.iter();
                samples
                    .map(|(series, value, time)| (series.clone(), value.to_bits(), *time))
                    .collect::<Vec<_>>()
            };
            assert_eq!(bits(&v1), bits(&v2));
            assert_eq!(v1.samples.len() as u64, n_samples);
            all.samples.extend(v1.samples);
            all.metadata.extend(v1.metadata);
        }
        all
    }
}

fn own() -> Resource {
    let attributes = vec![attribute("service.name", "ridley"), attribute("service.instance.id", "me")];
    Resource { attributes, ..Resource::default() }
}

fn counter(name: &str, points: &[(Labels<'_>, i64)]) -> Metric {
    let data_points = numbers(points);
    metric(name, Data::Sum(Sum { data_points, is_monotonic: true, aggregation_temporality: 2 }))
}

fn gauge(name: &str, points: &[(Labels<'_>, i64)]) -> Metric {
    metric(name, Data::Gauge(Gauge { data_points: numbers(points) }))
}

fn numbers(points: &[(Labels<'_>, i64)]) -> Vec<NumberDataPoint> {
    let point = |(labels, value): &(Labels<'_>, i64)| NumberDataPoint {
        attributes: attributes(labels),
        value: Some(number_data_point::Value::AsInt(*value)),
        ..NumberDataPoint::default()
    };
    points.iter().map(point).collect()
}

fn histogram(name: &str, labels: Labels<'_>, bounds: &[f64], counts: &[u64]) -> Metric {
    let point = HistogramDataPoint {
        attributes: attributes(labels),
        count: counts.iter().sum(),
        sum: Some(7.0),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    };
    metric(name, Data::Histogram(Histogram { data_points: vec![point], aggregation_temporality: 2 }))
}

fn summary(name: &str, quantile: f64, value: f64) -> Metric {
    let quantile_values = vec![ValueAtQuantile { quantile, value }];
    let point = SummaryDataPoint { count: 4, sum: 6.5, quantile_values, ..SummaryDataPoint::default() };
    metric(name, Data::Summary(Summary { data_points: vec![point] }))
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
}

fn attributes(labels: Labels<'_>) -> Vec<KeyValue> {
    labels.iter().map(|(key, value)| attribute(key, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
