use opentelemetry_proto::tonic::{
    common::v1::AnyValue,
    metrics::v1::{Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum},
};

use super::*;

#[test]
fn the_first_look_shows_everything_since_the_start() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000), bytes(0, 10, "response", 20_000)]));
    check(&mut links, &[Row { request: 500.0, response: 2_000.0, ..row() }]);
}

#[test]
fn later_looks_show_what_came_since() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000), sum(OPENED, 0, 10, &[], 7)]));
    links.look();
    links.push(&metrics([bytes(0, 15, "request", 6_000), sum(OPENED, 0, 15, &[], 9)]));
    check(&mut links, &[Row { request: 200.0, opened: 2, ..row() }]);
}

/// Tables may be rarer than metrics.
#[test]
fn a_look_spans_all_metrics_since_the_last() {
    let mut links = Links::default();
    for (time, total) in [(10, 100), (15, 200), (20, 400)] {
        links.push(&metrics([bytes(0, time, "request", total)]));
        if time == 10 {
            links.look();
        }
    }
    check(&mut links, &[Row { request: 30.0, ..row() }]);
}

#[test]
fn reasons_and_directions_are_added_up() {
    let mut links = Links::default();
    links.push(&metrics([
        sum(CLOSED, 0, 10, &[("reason", "normal")], 5),
        sum(CLOSED, 0, 10, &[("reason", "timeout")], 1),
        sum(FAILED, 0, 10, &[("error.type", "refused")], 2),
        sum(FAILED, 0, 10, &[("error.type", "timeout")], 3),
        sum(RETRANSMITS, 0, 10, &[("direction", "request")], 1),
        sum(RETRANSMITS, 0, 10, &[("direction", "response")], 2),
        sum(ACTIVE, 0, 10, &[], 4),
    ]));
    check(&mut links, &[Row { closed: 6, failed: 5, resent: 3, open: 4, ..row() }]);
}

#[test]
fn the_round_trip_time_is_that_of_the_new_samples() {
    let mut links = Links::default();
    links.push(&metrics([rtt(0, 10, 4, 0.4)]));
    links.look();
    links.push(&metrics([rtt(0, 15, 6, 0.402)]));
    let look = links.look();
    assert_eq!(look.rows[0].rtt.mean(), Some(Duration::from_millis(1)));
}

#[test]
fn without_new_samples_there_is_no_round_trip_time() {
    let mut links = Links::default();
    links.push(&metrics([rtt(0, 10, 4, 0.4)]));
    links.look();
    links.push(&metrics([rtt(0, 15, 4, 0.4)]));
    assert_eq!(links.look().rows[0].rtt.mean(), None);
}

/// A link that expired and came back counts from its new beginning.
#[test]
fn a_new_start_is_not_a_step_back() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000)]));
    links.look();
    links.push(&metrics([bytes(20, 30, "request", 100)]));
    check(&mut links, &[Row { request: 10.0, ..row() }]);
}

/// A total that goes down is a mistake of the sender; the table shows nothing, and goes on.
#[test]
fn a_total_that_goes_down_is_nothing() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000)]));
    links.look();
    links.push(&metrics([bytes(0, 20, "request", 100)]));
    check(&mut links, &[row()]);
}

#[test]
fn links_that_say_nothing_are_not_shown() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000)]));
    links.look();
    check(&mut links, &[]);
}

/// Two connectors may send at different paces: what one sent once in a while is not its whole past each time.
#[test]
fn a_link_is_remembered_between_its_metrics() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000)]));
    for _ in 0..5 {
        links.look();
    }
    links.push(&metrics([bytes(0, 40, "request", 5_300)]));
    check(&mut links, &[Row { request: 10.0, ..row() }]);
}

#[test]
fn a_link_that_is_gone_is_forgotten() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 10, "request", 5_000)]));
    links.look();
    let mut other = bytes(0, 10 + 601, "request", 1);
    rename(&mut other, "other");
    links.push(&metrics([other]));
    links.look();
    assert_eq!(links.links.len(), 1);
}

/// The heading tells the time of the latest, whichever connector's metrics come last.
#[test]
fn time_does_not_go_back() {
    let mut links = Links::default();
    links.push(&metrics([bytes(0, 20, "request", 1)]));
    links.push(&metrics([sum(BYTES, 0, 10, &[("client.address", "10.0.0.1")], 1)]));
    assert_eq!(links.look().time, UnixNanos(20_000_000_000));
}

/// Attributes that the table does not show keep links apart all the same.
#[test]
fn a_link_is_all_its_attributes() {
    let mut links = Links::default();
    let addressed =
        |address, total| sum(BYTES, 0, 10, &[("direction", "request"), ("client.address", address)], total);
    links.push(&metrics([addressed("10.0.0.1", 10), addressed("10.0.0.2", 20)]));
    let mut rows = links.look().rows;
    rows.sort_by(|a, b| a.request.total_cmp(&b.request));
    assert_eq!(rows, [Row { request: 1.0, ..row() }, Row { request: 2.0, ..row() }]);
}

#[test]
fn names_carry_their_namespace_and_ports_their_service() {
    let mut links = Links::default();
    links.push(&metrics([sum(
        OPENED,
        0,
        10,
        &[("client.namespace", "shop"), ("server.service", "https")],
        1,
    )]));
    check(&mut links, &[Row { client: "curl (shop)".into(), port: "443 https".into(), opened: 1, ..row() }]);
}

#[test]
fn hostile_names_are_harmless() {
    let mut links = Links::default();
    let mut metric = sum(OPENED, 0, 10, &[], 1);
    for (client, shown) in [("\u{1b}[2J", "?[2J"), ("   ", "\"   \"")] {
        rename(&mut metric, client);
        links.push(&metrics([metric.clone()]));
        assert_eq!(links.look().rows[0].client, shown);
    }
}

#[test]
fn other_metrics_are_counted_as_such() {
    let mut links = Links::default();
    let mut cpu = sum(OPENED, 0, 10, &[], 1);
    cpu.name = "process.cpu.time".to_owned();
    let point = points(&mut cpu)[0].clone();
    let gauge = Metric {
        name: "ridley.link.bytes".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points: vec![point.clone(), point] })),
        ..Metric::default()
    };
    let mut duration = rtt(0, 10, 1, 0.1);
    duration.name = "ridley.link.connection.duration".to_owned();
    let untold = ["ridley.link.out_of_order.segments", "ridley.listener.drops"]
        .map(|name| Metric { name: name.to_owned(), ..sum(OPENED, 0, 10, &[], 1) });
    let min_rtt = Metric { name: "ridley.link.min_rtt".to_owned(), ..gauge.clone() };
    let ignored = links.push(&metrics([cpu, gauge, duration, min_rtt].into_iter().chain(untold)));
    assert_eq!(ignored, Ignored { unknown: 3, over_budget: 0 });
    check(&mut links, &[]);
}

#[test]
fn the_number_of_links_is_bounded() {
    let mut links = Links::default();
    let mut metric = sum(OPENED, 0, 10, &[], 1);
    let point = points(&mut metric)[0].clone();
    let numbered = |n: usize| {
        let mut point = point.clone();
        point.attributes.push(text("client.address", &n.to_string()));
        point
    };
    *points(&mut metric) = (0..MAX_LINKS + 3).map(numbered).collect();
    let batch = metrics([metric]);
    assert_eq!(links.push(&batch), Ignored { unknown: 0, over_budget: 3 });
    assert_eq!(links.links.len(), MAX_LINKS);
}

const BYTES: &str = "ridley.link.bytes";
const OPENED: &str = "ridley.link.connections.opened";
const CLOSED: &str = "ridley.link.connections.closed";
const FAILED: &str = "ridley.link.connections.failed";
const ACTIVE: &str = "ridley.link.connections.active";
const RETRANSMITS: &str = "ridley.link.retransmits";

/// What a link from curl to nginx looks like of which nothing is known.
pub(crate) fn row() -> Row {
    Row {
        client: "curl".to_owned(),
        server: "nginx".to_owned(),
        port: "443".to_owned(),
        request: 0.0,
        response: 0.0,
        open: 0,
        opened: 0,
        closed: 0,
        failed: 0,
        resent: 0,
        rtt: RttSamples::default(),
    }
}

/// Makes a point of the bytes of the link from curl to nginx.
pub(crate) fn bytes(start_secs: u64, time_secs: u64, direction: &str, total: i64) -> Metric {
    sum(BYTES, start_secs, time_secs, &[("direction", direction)], total)
}

pub(crate) fn metrics(metrics: impl IntoIterator<Item = Metric>) -> MetricsData {
    let metrics = metrics.into_iter().collect();
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    MetricsData { resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }] }
}

fn sum(name: &str, start_secs: u64, time_secs: u64, more: &[(&str, &str)], total: i64) -> Metric {
    let point = NumberDataPoint {
        attributes: attributes(more),
        start_time_unix_nano: start_secs * 1_000_000_000,
        time_unix_nano: time_secs * 1_000_000_000,
        value: Some(number_data_point::Value::AsInt(total)),
        ..NumberDataPoint::default()
    };
    let data = Data::Sum(Sum { data_points: vec![point], ..Sum::default() });
    Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }
}

fn rtt(start_secs: u64, time_secs: u64, count: u64, sum_secs: f64) -> Metric {
    let point = HistogramDataPoint {
        attributes: attributes(&[]),
        start_time_unix_nano: start_secs * 1_000_000_000,
        time_unix_nano: time_secs * 1_000_000_000,
        count,
        sum: Some(sum_secs),
        ..HistogramDataPoint::default()
    };
    let data = Data::Histogram(Histogram { data_points: vec![point], ..Histogram::default() });
    Metric { name: "ridley.link.rtt".to_owned(), data: Some(data), ..Metric::default() }
}

fn attributes(more: &[(&str, &str)]) -> Vec<KeyValue> {
    let port = AnyValue { value: Some(any_value::Value::IntValue(443)) };
    let port = KeyValue { key: "server.port".to_owned(), value: Some(port), ..KeyValue::default() };
    let own = [("client.name", "curl"), ("client.kind", "Process"), ("server.name", "nginx")];
    own.iter().chain(more).map(|(key, value)| text(key, value)).chain([port]).collect()
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

pub(crate) fn rename(metric: &mut Metric, client: &str) {
    points(metric)[0].attributes[0] = text("client.name", client);
}

fn points(metric: &mut Metric) -> &mut Vec<NumberDataPoint> {
    match &mut metric.data {
        Some(Data::Sum(sum)) => &mut sum.data_points,
        _ => panic!("not a sum"),
    }
}

#[track_caller]
fn check(links: &mut Links, expected: &[Row]) {
    assert_eq!(links.look().rows, expected);
}
