use std::{borrow::Cow, time::Duration};

use model::n_points;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, DataPointFlags, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
        Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, Summary, SummaryDataPoint, metric::Data,
        number_data_point, summary_data_point::ValueAtQuantile,
    },
};
use prometheus::{DropReason, Drops, Limits, Source};
use proptest::prelude::*;

use super::*;
use crate::checker::{self, Samples};

const EXPIRATION: Duration = Duration::from_secs(60);

/// The text of every kind of metric, in both formats, is what `testdata` shows.
#[test]
fn every_kind_is_written_as_documented() {
    let mut shown = Shown::new(100);
    shown.put(&Metric {
        description: "Payload bytes, with \"quotes\", a \\ and\na second line.".to_owned(),
        unit: "By".to_owned(),
        ..counter("link.bytes", &[(&[("client.name", "web"), ("direction", "request")], 7)])
    });
    shown.put(&counter("link.bytes", &[(&[("client.name", "a\"b\\c\nd"), ("direction", "response")], 9)]));
    shown.put(&gauge("link.connections.active", &[(&[], -3)]));
    let mut ratio = gauge("cpu.utilization", &[]);
    ratio.unit = "1".to_owned();
    let point =
        NumberDataPoint { value: Some(number_data_point::Value::AsDouble(0.25)), ..Default::default() };
    ratio.data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
    shown.put(&ratio);
    shown.put(&Metric {
        description: "Smoothed round-trip time.".to_owned(),
        unit: "s".to_owned(),
        ..histogram("link.rtt", &[(&[("client.name", "web")], &[0.00005, 0.001, 1.0], &[1, 2, 0, 4])])
    });
    shown.put(&histogram("sizes", &[(&[], &[], &[5])]));
    shown.put(&summary("took", &[(0.5, 1.5), (0.99, 2.0)]));
    shown.put_target(&[("host.name", "node-1")], &[("job", "shop/api"), ("instance", "i-1")]);
    for (format, file) in [
        (Format::Text, include_str!("../testdata/every_kind.txt")),
        (Format::OpenMetrics, include_str!("../testdata/every_kind.openmetrics.txt")),
    ] {
        assert_eq!(shown.text(format), file);
        checker::check(file, format).unwrap();
    }
}

#[test]
fn a_later_point_replaces_the_earlier() {
    let mut shown = Shown::new(100);
    shown.put(&counter("requests", &[(&[("path", "/")], 1)]));
    shown.put(&counter("requests", &[(&[("path", "/")], 5)]));
    shown.check(&[("requests_total{path=\"/\"}", 5.0)], &[]);
    assert_eq!(shown.store.n_series(), 1);
}

/// The order in which a sender lists attributes does not make another series.
#[test]
fn the_order_of_attributes_does_not_matter() {
    let mut shown = Shown::new(100);
    shown.put(&counter("requests", &[(&[("a", "1"), ("b", "2")], 1)]));
    shown.put(&counter("requests", &[(&[("b", "2"), ("a", "1")], 2)]));
    shown.check(&[("requests_total{a=\"1\",b=\"2\"}", 2.0)], &[]);
}

#[test]
fn a_point_from_the_past_is_dropped() {
    let mut shown = Shown::new(100);
    shown.put(&at(20, counter("requests", &[(&[], 5)])));
    shown.put(&at(10, counter("requests", &[(&[], 4)])));
    shown.check(&[("requests_total", 5.0)], &[(DropReason::OutOfOrder, 1)]);
}

/// A reset is a smaller value at a later time, and is shown.
#[test]
fn a_counter_may_start_again() {
    let mut shown = Shown::new(100);
    shown.put(&at(10, counter("requests", &[(&[], 5)])));
    shown.put(&at(20, counter("requests", &[(&[], 1)])));
    shown.check(&[("requests_total", 1.0)], &[]);
}

#[test]
fn what_cannot_be_shown_is_dropped_with_a_reason() {
    let mut shown = Shown::new(100);
    let delta = AggregationTemporality::Delta as i32;
    let mut sum = counter("a", &[(&[], 1), (&[("x", "y")], 1)]);
    let mut buckets = histogram("b", &[(&[], &[1.0], &[1, 2])]);
    match (&mut sum.data, &mut buckets.data) {
        (Some(Data::Sum(sum)), Some(Data::Histogram(histogram))) => {
            (sum.aggregation_temporality, histogram.aggregation_temporality) = (delta, delta);
        }
        other => panic!("{other:?}"),
    }
    shown.put(&sum);
    shown.put(&buckets);
    let points = vec![ExponentialHistogramDataPoint::default(); 3];
    let exponential =
        Data::ExponentialHistogram(ExponentialHistogram { data_points: points, aggregation_temporality: 2 });
    shown.put(&Metric { name: "c".to_owned(), data: Some(exponential), ..Default::default() });
    shown.put(&counter("...", &[(&[], 1)]));
    shown.put(&counter("d", &[(&[], -1)]));
    shown.check(
        &[],
        &[
            (DropReason::DeltaTemporality, 3),
            (DropReason::ExponentialHistogram, 3),
            (DropReason::Malformed, 1),
            (DropReason::InvalidName, 1),
        ],
    );
    // Names that come with nothing to show must not pile up.
    assert_eq!((shown.store.size().families, shown.store.size().names), (0, 0));
}

/// One TYPE for a name: the first wins, and the names of samples belong to one family.
#[test]
fn a_name_has_one_type() {
    let mut shown = Shown::new(100);
    shown.put(&counter("requests", &[(&[], 1)]));
    shown.put(&gauge("requests", &[(&[], 2)]));
    shown.put(&gauge("requests.total", &[(&[], 3)]));
    shown.put(&histogram("sizes", &[(&[], &[1.0], &[1, 1])]));
    shown.put(&gauge("sizes.count", &[(&[], 4)]));
    shown.put(&gauge("sizes.bucket", &[(&[], 5)]));
    shown.check(
        &[
            ("requests_total", 1.0),
            ("sizes_bucket{le=\"1.0\"}", 1.0),
            ("sizes_bucket{le=\"+Inf\"}", 2.0),
            ("sizes_sum", 2.0),
            ("sizes_count", 2.0),
        ],
        &[(DropReason::NameConflict, 4)],
    );
}

/// The conflict ends with the metric that had the name.
#[test]
fn a_name_is_free_again_when_its_series_are_gone() {
    let mut shown = Shown::new(100);
    shown.put(&histogram("sizes", &[(&[], &[1.0], &[1, 1])]));
    shown.pass(EXPIRATION);
    shown.put(&gauge("sizes.count", &[(&[], 4)]));
    shown.check(&[("sizes_count", 4.0)], &[]);
}

/// Two metrics whose names are translated to the same are one family.
#[test]
fn names_that_become_equal_share_a_family() {
    let mut shown = Shown::new(100);
    shown.put(&gauge("queue.length", &[(&[("q", "1")], 1)]));
    shown.put(&gauge("queue_length", &[(&[("q", "2")], 2)]));
    shown.check(&[("queue_length{q=\"1\"}", 1.0), ("queue_length{q=\"2\"}", 2.0)], &[]);
}

#[test]
fn the_number_of_series_is_limited() {
    let mut shown = Shown::new(2);
    shown.put(&counter("a", &[(&[("n", "1")], 1), (&[("n", "2")], 1), (&[("n", "3")], 1)]));
    shown.put(&counter("a", &[(&[("n", "1")], 9)]));
    shown.put(&counter("b", &[(&[], 1)]));
    shown.put_target(&[("host.name", "x")], &[]);
    let drops = shown.store.take_drops();
    assert_eq!((drops.n_targets, drops.of(DropReason::MaxSeries)), (1, 2));
    shown.check(&[("a_total{n=\"1\"}", 9.0), ("a_total{n=\"2\"}", 1.0)], &[]);
    shown.pass(EXPIRATION);
    shown.put(&counter("b", &[(&[], 1)]));
    shown.check(&[("b_total", 1.0)], &[]);
}

/// The agent's own health is visible when everything else overflows, and is never itself an overflow.
#[test]
fn own_telemetry_has_room_of_its_own() {
    let mut shown = Shown::new(1);
    shown.put(&counter("a", &[(&[], 1)]));
    let own = Source { is_own: true, ..Source::default() };
    shown.store.put(&counter("own", &[(&[], 1), (&[("x", "y")], 2)]), 0..2, &own, shown.now, &mut ());
    shown.store.put(&gauge("a", &[(&[], 1)]), 0..1, &own, shown.now, &mut ());
    shown.check(&[("a_total", 1.0), ("own_total", 1.0), ("own_total{x=\"y\"}", 2.0)], &[]);
    assert_eq!(shown.store.n_series(), 1);
}

#[test]
fn a_series_that_is_not_updated_expires() {
    let mut shown = Shown::new(100);
    shown.put(&counter("a", &[(&[("n", "old")], 1)]));
    shown.now += EXPIRATION / 2;
    shown.put(&counter("a", &[(&[("n", "new")], 1)]));
    shown.now += EXPIRATION / 2;
    // Not shown already before the sweep finds it.
    shown.check(&[("a_total{n=\"new\"}", 1.0)], &[]);
    shown.pass(Duration::ZERO);
    assert_eq!((shown.store.n_series(), shown.store.size().labels), (1, 1));
    shown.pass(EXPIRATION);
    shown.check(&[], &[]);
    assert_eq!((shown.store.size().families, shown.store.size().names), (0, 0));
    assert_eq!((shown.store.n_series(), shown.store.size().labels), (0, 0));
}

/// OTLP's way to say that a series has ended: it must be gone at the next scrape, not after the expiration.
#[test]
fn a_series_without_a_recorded_value_ends_at_once() {
    let mut shown = Shown::new(100);
    shown.put(&counter("a", &[(&[("n", "1")], 1), (&[("n", "2")], 2)]));
    let mut end = counter("a", &[(&[("n", "1")], 1)]);
    if let Some(Data::Sum(sum)) = &mut end.data {
        sum.data_points[0].flags = DataPointFlags::NoRecordedValueMask as u32;
        sum.data_points[0].value = None;
    }
    shown.put(&end);
    shown.check(&[("a_total{n=\"2\"}", 2.0)], &[]);
    assert_eq!(shown.store.n_series(), 1);
}

/// Series that come and go between two sweeps leave nothing behind that grows.
#[test]
fn labels_of_series_that_ended_do_not_pile_up() {
    let mut shown = Shown::new(10);
    for n in 0..5_000 {
        let label = n.to_string();
        let begin = gauge("a", &[(&[("n", &label)], 1)]);
        let mut end = begin.clone();
        if let Some(Data::Gauge(gauge)) = &mut end.data {
            gauge.data_points[0].flags = DataPointFlags::NoRecordedValueMask as u32;
        }
        shown.put(&begin);
        shown.put(&end);
    }
    assert_eq!(shown.store.take_drops(), Drops::default());
    let n_labels = shown.store.size().labels;
    assert_eq!(n_labels, 0);
}

/// However many series there are, a scrape waits for no more than some of them to be looked at.
#[test]
fn a_sweep_goes_on_where_it_was() {
    let mut shown = Shown::new(100);
    for name in ["a", "b"] {
        for n in 0..7 {
            shown.put(&gauge(name, &[(&[("n", &n.to_string())], n)]));
        }
    }
    shown.now += EXPIRATION;
    shown.put(&gauge("a", &[(&[("n", "3")], 9)]));
    let (mut swept, mut left) = (None, Vec::new());
    loop {
        swept = shown.store.expire_next(swept, shown.now, 3, &mut ());
        if swept.is_none() {
            break;
        }
        left.push((shown.store.n_series(), shown.store.size().labels));
    }
    // Labels go with the last series that has them.
    assert_eq!(left, [(11, 7), (9, 7), (8, 7), (5, 4), (2, 2), (1, 1)]);
    shown.check(&[("a{n=\"3\"}", 9.0)], &[]);
}

/// Two instances of one service have the same attributes: `job` and `instance` keep their series apart.
#[test]
fn sources_are_kept_apart_by_their_labels() {
    let mut shown = Shown::new(100);
    for instance in ["i-1", "i-2"] {
        let labels = vec![("instance", Cow::Borrowed(instance)), ("job", Cow::Borrowed("api"))];
        let source = Source { labels, ..Source::default() };
        shown.store.put(&gauge("up", &[(&[], 1)]), 0..1, &source, shown.now, &mut ());
    }
    shown.check(&[("up{instance=\"i-1\",job=\"api\"}", 1.0), ("up{instance=\"i-2\",job=\"api\"}", 1.0)], &[]);
}

/// A label that a histogram needs for its buckets cannot be taken by an attribute.
#[test]
fn an_attribute_cannot_pretend_to_be_a_bucket() {
    let mut shown = Shown::new(100);
    shown.put(&histogram("sizes", &[(&[("le", "9")], &[], &[3])]));
    shown.check(
        &[
            ("sizes_bucket{exported_le=\"9\",le=\"+Inf\"}", 3.0),
            ("sizes_sum{exported_le=\"9\"}", 3.0),
            ("sizes_count{exported_le=\"9\"}", 3.0),
        ],
        &[],
    );
}

/// However small the pieces are, together they are the whole, and nothing is there twice.
#[test]
fn pieces_add_up_to_the_whole() {
    let mut shown = Shown::new(1_000);
    for name in ["a", "b", "c"] {
        let labels: Vec<String> = (0..20).map(|n| format!("{n:02}")).collect();
        for label in &labels {
            shown.put(&histogram(name, &[(&[("n", label)], &[1.0], &[1, 2])]));
        }
    }
    let whole = shown.text(Format::OpenMetrics);
    for limit in [1, 100, 1_000] {
        let (mut cursor, mut pieces) = (Cursor::default(), String::new());
        loop {
            let mut piece = String::new();
            let more = render(&shown.store, &mut cursor, Format::OpenMetrics, shown.now, limit, &mut piece);
            assert!(piece.len() < limit + 400, "{} bytes in a piece of {limit}", piece.len());
            pieces.push_str(&piece);
            if !more {
                break;
            }
        }
        assert_eq!(pieces + EOF, whole);
    }
}

/// Between two pieces of one scrape a metric may vanish and another take its name: its header is missing, so it waits for
/// the next scrape.
#[test]
fn a_family_that_was_replaced_during_a_scrape_is_left_out() {
    let mut shown = Shown::new(100);
    shown.put(&gauge("a", &[(&[("n", "1")], 1), (&[("n", "2")], 2)]));
    shown.put(&gauge("b", &[(&[("n", "2")], 4)]));
    let (mut cursor, mut text) = (Cursor::default(), String::new());
    assert!(render(&shown.store, &mut cursor, Format::Text, shown.now, 1, &mut text));
    shown.now += EXPIRATION;
    shown.put(&gauge("b", &[(&[("n", "2")], 4)]));
    shown.pass(Duration::ZERO);
    shown.put(&counter("a", &[(&[("n", "2")], 3)]));
    while render(&shown.store, &mut cursor, Format::Text, shown.now, 1, &mut text) {}
    let samples = checker::check(&text, Format::Text).unwrap();
    assert_eq!(
        samples.into_iter().collect::<Vec<_>>(),
        [("a{n=\"1\"}".to_owned(), 1.0), ("b{n=\"2\"}".to_owned(), 4.0)]
    );
}

/// A series that ends and comes back during a scrape is there once: twice the same sample would make the scraper refuse
/// the whole answer.
#[test]
fn a_series_that_returns_during_a_scrape_is_written_once() {
    let mut shown = Shown::new(100);
    shown.put(&gauge("a", &[(&[("n", "1")], 1), (&[("n", "2")], 2)]));
    let (mut cursor, mut text) = (Cursor::default(), String::new());
    assert!(render(&shown.store, &mut cursor, Format::Text, shown.now, 1, &mut text));
    let mut end = gauge("a", &[(&[("n", "1")], 1)]);
    if let Some(Data::Gauge(gauge)) = &mut end.data {
        gauge.data_points[0].flags = DataPointFlags::NoRecordedValueMask as u32;
    }
    shown.put(&end);
    shown.put(&gauge("a", &[(&[("n", "1")], 3)]));
    while render(&shown.store, &mut cursor, Format::Text, shown.now, 1, &mut text) {}
    let samples = checker::check(&text, Format::Text).unwrap();
    let expected = [("a{n=\"1\"}".to_owned(), 1.0), ("a{n=\"2\"}".to_owned(), 2.0)];
    assert_eq!(samples.into_iter().collect::<Vec<_>>(), expected);
    assert!(shown.text(Format::Text).contains("a{n=\"1\"} 3"), "the next scrape shows the new value");
}

proptest! {
    /// Whatever metrics come, what is shown obeys both formats, and each point is shown or counted as dropped.
    #[test]
    fn every_answer_is_valid(metrics in prop::collection::vec(any_metric(), 0..12), max_series in 1_usize..20) {
        let mut shown = Shown::new(max_series);
        for metric in &metrics {
            shown.put(metric);
        }
        prop_assert!(shown.store.n_series() <= max_series);
        let mut sizes = Vec::new();
        for format in [Format::Text, Format::OpenMetrics] {
            match checker::check(&shown.text(format), format) {
                Ok(samples) => sizes.push(samples.len()),
                Err(err) => prop_assert!(false, "{err}\n{}", shown.text(format)),
            }
        }
        prop_assert_eq!(sizes[0], sizes[1], "both formats show the same");
    }

    /// What is shown is what was put: of metrics whose names and labels do not collide, no point is lost.
    #[test]
    fn every_value_is_shown(values in prop::collection::btree_map("[a-z]{1,3}", any::<u32>(), 0..20)) {
        let mut shown = Shown::new(1_000);
        for (label, value) in &values {
            shown.put(&counter("a", &[(&[("l", label)], i64::from(*value))]));
        }
        let expected: Samples =
            values.iter().map(|(label, value)| (format!("a_total{{l=\"{label}\"}}"), f64::from(*value))).collect();
        prop_assert_eq!(checker::check(&shown.text(Format::Text), Format::Text), Ok(expected));
    }
}

fn any_metric() -> impl Strategy<Value = Metric> {
    // Few names, which collide with each other, and any others.
    let name = prop_oneof![
        prop::sample::select(vec![
            "a",
            "a.total",
            "a_sum",
            "a.count",
            "a.bucket",
            "b",
            "target",
            "target.info"
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let unit = prop::sample::select(vec!["", "1", "s", "By/s", "{x}", "\"\n"]);
    let text = || {
        prop_oneof![
            prop::sample::select(vec!["le", "quantile", "a", "a.b", "a_b", "", "\\", "\"", "\n"])
                .prop_map(str::to_owned),
            any::<String>()
        ]
    };
    let attributes = prop::collection::vec((text(), text()), 0..4);
    let values =
        prop::collection::vec((attributes, any::<i64>(), prop::collection::vec(0_u64..9, 0..4)), 0..4);
    (name, unit, any::<String>(), values, 0..6).prop_map(|(name, unit, description, values, kind)| {
        let points = values.iter().map(|(attributes, value, _)| NumberDataPoint {
            attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
            value: Some(number_data_point::Value::AsInt(*value)),
            ..Default::default()
        });
        let doubles = points.clone().zip(&values).map(|(point, (_, value, _))| NumberDataPoint {
            value: Some(number_data_point::Value::AsDouble(f64::from_bits(value.cast_unsigned()))),
            ..point
        });
        let sum = |data_points, is_monotonic| {
            Data::Sum(Sum { data_points, is_monotonic, aggregation_temporality: 2 })
        };
        let data = match kind {
            0 => sum(points.collect(), true),
            1 => sum(doubles.collect(), true),
            2 => sum(points.collect(), false),
            3 => Data::Gauge(Gauge { data_points: doubles.collect() }),
            4 => {
                let data_points = points.zip(&values).map(|(point, (_, value, counts))| HistogramDataPoint {
                    attributes: point.attributes,
                    count: counts.iter().sum(),
                    sum: Some(f64::from_bits(value.cast_unsigned())),
                    bucket_counts: counts.clone(),
                    explicit_bounds: (1..counts.len()).map(|it| it as f64).collect(),
                    ..Default::default()
                });
                Data::Histogram(Histogram { data_points: data_points.collect(), aggregation_temporality: 2 })
            }
            _ => {
                let data_points = points.zip(&values).map(|(point, (_, value, counts))| SummaryDataPoint {
                    attributes: point.attributes,
                    count: value.cast_unsigned(),
                    sum: 1.0,
                    quantile_values: counts
                        .iter()
                        .map(|it| ValueAtQuantile { quantile: *it as f64 / 8.0, value: f64::NAN })
                        .collect(),
                    ..Default::default()
                });
                Data::Summary(Summary { data_points: data_points.collect() })
            }
        };
        Metric { name, unit: unit.to_owned(), description, data: Some(data), ..Default::default() }
    })
}

/// A store, and what a scrape of it shows.
struct Shown {
    store: Store,
    now: Instant,
}

impl Shown {
    fn new(max_series: usize) -> Self {
        Self {
            store: Store::new(Limits { max_series, expiration: EXPIRATION, resolution: 0 }),
            now: Instant::now(),
        }
    }

    fn put(&mut self, metric: &Metric) {
        let n = n_points(metric);
        self.store.put(metric, 0..n, &Source::default(), self.now, &mut ());
    }

    fn put_target(&mut self, attributes: &[(&str, &str)], labels: &[(&'static str, &'static str)]) {
        let attributes: Vec<KeyValue> = attributes.iter().map(|(key, value)| attribute(key, value)).collect();
        let labels = labels.iter().map(|(name, value)| (*name, Cow::Borrowed(*value))).collect();
        self.store.put_target(&attributes, &Source { labels, ..Source::default() }, self.now, &mut ());
    }

    /// Lets time pass, and sweeps.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        let mut swept = None;
        loop {
            swept = self.store.expire_next(swept, self.now, 3, &mut ());
            if swept.is_none() {
                break;
            }
        }
    }

    fn text(&self, format: Format) -> String {
        let mut out = String::new();
        assert!(!render(&self.store, &mut Cursor::default(), format, self.now, usize::MAX, &mut out));
        if format == Format::OpenMetrics {
            out.push_str(EOF);
        }
        out
    }

    /// Compares what a scrape shows, and what was dropped since the last check.
    #[track_caller]
    fn check(&mut self, samples: &[(&str, f64)], drops: &[(DropReason, u64)]) {
        let expected: Samples = samples.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        for format in [Format::Text, Format::OpenMetrics] {
            assert_eq!(checker::check(&self.text(format), format), Ok(expected.clone()));
        }
        let found = self.store.take_drops();
        let dropped: Vec<_> =
            DropReason::ALL.into_iter().map(|it| (it, found.of(it))).filter(|(_, n)| *n > 0).collect();
        assert_eq!(dropped, drops);
    }
}

type Labels<'a> = &'a [(&'a str, &'a str)];

fn counter(name: &str, points: &[(Labels<'_>, i64)]) -> Metric {
    let data_points = numbers(points);
    metric(name, Data::Sum(Sum { data_points, is_monotonic: true, aggregation_temporality: 2 }))
}

fn gauge(name: &str, points: &[(Labels<'_>, i64)]) -> Metric {
    metric(name, Data::Gauge(Gauge { data_points: numbers(points) }))
}

fn numbers(points: &[(Labels<'_>, i64)]) -> Vec<NumberDataPoint> {
    let point = |(labels, value): &(Labels<'_>, i64)| NumberDataPoint {
        attributes: labels.iter().map(|(key, value)| attribute(key, value)).collect(),
        value: Some(number_data_point::Value::AsInt(*value)),
        ..Default::default()
    };
    points.iter().map(point).collect()
}

fn histogram(name: &str, points: &[(Labels<'_>, &[f64], &[u64])]) -> Metric {
    let point = |(labels, bounds, counts): &(Labels<'_>, &[f64], &[u64])| {
        let count: u64 = counts.iter().sum();
        HistogramDataPoint {
            attributes: labels.iter().map(|(key, value)| attribute(key, value)).collect(),
            count,
            sum: Some(count as f64),
            bucket_counts: counts.to_vec(),
            explicit_bounds: bounds.to_vec(),
            ..Default::default()
        }
    };
    let data_points = points.iter().map(point).collect();
    metric(name, Data::Histogram(Histogram { data_points, aggregation_temporality: 2 }))
}

fn summary(name: &str, quantiles: &[(f64, f64)]) -> Metric {
    let quantile_values = quantiles
        .iter()
        .map(|(quantile, value)| ValueAtQuantile { quantile: *quantile, value: *value })
        .collect();
    let point = SummaryDataPoint { count: 4, sum: 6.5, quantile_values, ..Default::default() };
    metric(name, Data::Summary(Summary { data_points: vec![point] }))
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), data: Some(data), ..Default::default() }
}

/// Sets the time of a counter's points.
fn at(time: u64, mut metric: Metric) -> Metric {
    if let Some(Data::Sum(sum)) = &mut metric.data {
        for point in &mut sum.data_points {
            point.time_unix_nano = time;
        }
    }
    metric
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}
