use std::collections::BTreeMap;

use component_test::{FlowBuilder, flow};
use model::{Begin, CloseReason, End, Entity, FailureReason, Observer, Traffic, kind};
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value},
    metrics::v1::{AggregationTemporality, Gauge, Sum, metric, number_data_point},
};
use proptest::prelude::*;

use super::*;

const START: UnixNanos = UnixNanos(1_000);
const IDLE: Duration = Duration::from_secs(60);

/// The simplest case: one connection, from its opening to its end, in two records.
#[test]
fn a_connection_is_counted_in_its_link() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1).request(200).connect(Duration::from_micros(80)));
    links.push(named(1, "web", "db").started(1).response(1_000).closed(CloseReason::Normal).interval(2, 4));
    links.check(
        "web>db bytes request 200\n\
         web>db bytes response 1000\n\
         web>db closed normal 1\n\
         web>db connect.duration 1 0.00008\n\
         web>db connection.duration 1 3\n\
         web>db opened 1",
    );
}

#[test]
fn a_live_connection_is_active_until_its_end() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1));
    links.push(named(2, "web", "db").found());
    links.push(named(1, "web", "db").rtt(Duration::from_millis(1)));
    links.check("web>db active 2\nweb>db opened 1\nweb>db rtt 1 0.001");
    links.push(named(1, "web", "db").closed(CloseReason::Timeout));
    links.push(named(2, "web", "db").closed(CloseReason::Unknown));
    links.check("web>db closed timeout 1\nweb>db closed unknown 1\nweb>db opened 1\nweb>db rtt 1 0.001");
}

/// A sample counts until the next, and none beyond the last connection.
#[test]
fn the_least_round_trip_time_is_that_of_the_last_samples() {
    let millis = |it| Duration::from_millis(it);
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1));
    assert_eq!(links.min_rtt(), None);
    links.push(named(1, "web", "db").rtts(millis(9), millis(3)));
    links.push(named(2, "web", "db").rtts(millis(9), millis(2)));
    assert_eq!(links.min_rtt(), Some(0.002));
    links.aggregate.sent(UnixNanos(5_000));
    assert_eq!(links.min_rtt(), Some(0.002), "no sample since");
    links.push(named(3, "web", "db").opened(3));
    links.push(named(3, "web", "db").rtts(millis(9), millis(5)).closed(CloseReason::Normal));
    assert_eq!(links.min_rtt(), Some(0.002), "no sample of what lives since");
    links.push(named(1, "web", "db").rtts(millis(9), millis(4)));
    assert_eq!(links.min_rtt(), Some(0.002), "the rest of the sample is to come");
    links.aggregate.sent(UnixNanos(6_000));
    links.push(named(2, "web", "db").rtts(millis(9), millis(6)));
    assert_eq!(links.min_rtt(), Some(0.004));
    links.push(named(1, "web", "db").closed(CloseReason::Normal));
    assert_eq!(links.min_rtt(), Some(0.004));
    links.push(named(2, "web", "db").closed(CloseReason::Normal));
    assert_eq!(links.min_rtt(), None);
}

/// It was taken for ended, and went on.
#[test]
fn a_connection_that_ends_again_is_closed_once() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1));
    links.push(named(1, "web", "db").closed(CloseReason::Unknown));
    links.push(named(1, "web", "db").found());
    links.check("web>db active 1\nweb>db closed unknown 1\nweb>db opened 1");
    links.push(named(1, "web", "db").closed_again());
    links.check("web>db closed unknown 1\nweb>db opened 1");
}

/// An attempt that failed opened nothing.
#[test]
fn a_failed_attempt_is_not_a_connection() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").failed(FailureReason::Refused));
    links.push(named(1, "web", "db").failed(FailureReason::Refused));
    links.push(named(1, "web", "db").failed(FailureReason::Timeout));
    links.check("web>db failed refused 2\nweb>db failed timeout 1");
}

/// Bytes never move between links: the name that counts is the one a connection began with.
#[test]
fn names_are_fixed_when_a_connection_begins() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1).request(1));
    links.push(named(1, "cron", "db").request(2));
    links.push(named(1, "cron", "db").request(4).closed(CloseReason::Normal));
    links.push(named(2, "cron", "db").opened(2).request(8).closed(CloseReason::Normal));
    links.check(
        "cron>db bytes request 8\ncron>db closed normal 1\ncron>db connection.duration 1 0\ncron>db opened 1\n\
         web>db bytes request 7\nweb>db closed normal 1\nweb>db opened 1",
    );
}

#[test]
fn retransmissions_are_counted_by_direction() {
    let mut links = Links::new(10, 10);
    let resent = |n| Traffic { retransmitted_segments: n, ..Traffic::default() };
    links.push(named(1, "web", "db").request_traffic(resent(3)).response_traffic(resent(4)));
    links.check("web>db retransmits request 3\nweb>db retransmits response 4");
}

/// A link that knows of none says so: what comes later is an increase then.
#[test]
fn quality_is_counted_by_direction() {
    let mut links = Links::new(10, 10);
    let poor = Traffic {
        retransmitted_bytes: 1_400,
        out_of_order_segments: 3,
        receive_window_limited: Duration::from_millis(250),
        ..Traffic::default()
    };
    links.push(named(1, "web", "db").request_traffic(poor));
    links.push(named(1, "web", "db").request_traffic(poor).response_traffic(poor));
    links.push(named(2, "web", "db").server_handshake(Duration::from_millis(500)));
    links.push(named(3, "cron", "db"));
    links.check(
        "web>db out_of_order.segments request 6\nweb>db out_of_order.segments response 3\n\
         web>db receive_window_limited.time request 500\nweb>db receive_window_limited.time response 250\n\
         web>db retransmitted.bytes request 2800\nweb>db retransmitted.bytes response 1400\n\
         web>db server_handshake.duration 1 0.5",
    );
    let mut zeros = Vec::new();
    links.each_number(|metric, point, value| {
        if text_of(point, "client.name") == "cron" && value == 0 && metric.contains(['.', '_']) {
            zeros.push(format!("{metric} {}", text_of(point, "direction")));
        }
    });
    zeros.sort_unstable();
    let both = ["out_of_order.segments", "receive_window_limited.time", "retransmitted.bytes"]
        .map(|it| [format!("{it} request"), format!("{it} response")]);
    assert_eq!(zeros, both.concat());
}

/// The other end's retransmissions may become known after the end; they do not bring the connection back.
#[test]
fn a_record_after_the_end_does_not_revive_the_connection() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1).closed(CloseReason::Normal));
    links.push(
        named(1, "web", "db").response_traffic(Traffic { retransmitted_segments: 1, ..Traffic::default() }),
    );
    links.check(
        "web>db closed normal 1\nweb>db connection.duration 1 0\nweb>db opened 1\nweb>db retransmits response 1",
    );
    assert_eq!(links.aggregate.n_connections(), 0);
}

/// Beyond the budget totals stay true, and the connections that were there first stay where they are.
#[test]
fn further_links_are_counted_as_other() {
    let mut links = Links::new(1, 10);
    links.push(named(1, "web", "db").opened(1).request(1));
    links.push(named(2, "cron", "db").opened(1).request(2));
    links.push(named(3, "mail", "db").opened(1).request(4));
    links.push(named(1, "web", "db").request(8));
    links.check(
        "other>other active 2\nother>other bytes request 6\nother>other opened 2\n\
         web>db active 1\nweb>db bytes request 9\nweb>db opened 1",
    );
    assert_eq!(links.aggregate.take_report(), Report { overflowed: 2, ..Report::default() });
    links.push(named(2, "cron", "db").closed(CloseReason::Normal));
    links.push(named(3, "mail", "db").closed(CloseReason::Normal));
    links.check(
        "other>other bytes request 6\nother>other closed normal 2\nother>other opened 2\n\
         web>db active 1\nweb>db bytes request 9\nweb>db opened 1",
    );
}

/// What is left of the identity in the overflow keeps the sums per observer true.
#[test]
fn each_observer_has_its_overflow() {
    let mut links = Links::new(1, 10);
    links.push(named(1, "web", "db").request(1));
    links.push(named(2, "cron", "db").request(2));
    links.push(named(2, "cron", "db").observer(Observer::Server).request(4));
    let attributes = |it: &[KeyValue]| it.iter().map(|it| it.key.clone()).collect::<Vec<_>>();
    let mut found = Vec::new();
    links.each_number(|metric, point, value| {
        if metric == "bytes" && text_of(point, "direction") == "request" && value == 2 {
            found = attributes(point);
        }
    });
    let expected = [
        "client.name",
        "client.kind",
        "server.name",
        "server.kind",
        "network.transport",
        "observer",
        "direction",
    ];
    assert_eq!(found, expected);
    assert_eq!(links.sum("bytes", "request", Observer::Client), 3);
    assert_eq!(links.sum("bytes", "request", Observer::Server), 4);
}

/// A connection that had to be forgotten is no longer active, and active again when it is sampled next.
#[test]
fn a_forgotten_connection_returns_with_its_next_sample() {
    let mut links = Links::new(10, 1);
    links.push(named(1, "web", "db").opened(1));
    links.push(named(2, "cron", "db").opened(1));
    links.check("cron>db active 1\ncron>db opened 1\nweb>db opened 1");
    links.push(named(1, "web", "db").rtt(Duration::from_secs(1)));
    links.check("cron>db opened 1\nweb>db active 1\nweb>db opened 1\nweb>db rtt 1 1");
    assert_eq!(links.aggregate.take_report(), Report { forgotten: 2, ..Report::default() });
    links.push(named(2, "cron", "db").closed(CloseReason::Normal));
    links.push(named(1, "web", "db").closed(CloseReason::Normal));
    links.check(
        "cron>db closed normal 1\ncron>db opened 1\nweb>db closed normal 1\nweb>db opened 1\nweb>db rtt 1 1",
    );
}

#[test]
fn a_link_without_connections_expires() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").opened(1).closed(CloseReason::Normal));
    links.push(named(2, "cron", "db").opened(1));
    links.pass(IDLE - Duration::from_secs(1));
    links.check(
        "cron>db active 1\ncron>db opened 1\nweb>db closed normal 1\nweb>db connection.duration 1 0\nweb>db opened 1",
    );
    links.pass(Duration::from_secs(1));
    links.check("cron>db active 1\ncron>db opened 1");
    assert_eq!(links.aggregate.take_report(), Report { expired: 1, ..Report::default() });
}

/// Every series that a link has told of is told to have ended, once, and nothing else is.
#[test]
fn the_series_of_an_expired_link_end() {
    let mut links = Links::new(10, 10);
    let rtt = Duration::from_millis(2);
    links.push(named(1, "web", "db").opened(1).rtt(rtt));
    links.aggregate.sent(UnixNanos(2_000));
    links.push(named(1, "web", "db").closed(CloseReason::ClientReset));
    links.push(named(2, "cron", "db").opened(1));
    let series = |batch: Option<(Metrics, usize)>, has_ended: bool| {
        let data = batch.map(|(metrics, _)| metrics.decode().unwrap());
        let mut found = Vec::new();
        for metric in data.iter().flat_map(|it| &it.resource_metrics[0].scope_metrics[0].metrics) {
            let points: Vec<_> = match metric.data.as_ref().unwrap() {
                metric::Data::Sum(Sum { data_points, .. }) | metric::Data::Gauge(Gauge { data_points }) => {
                    data_points.iter().map(|it| (&it.attributes, it.flags == 1, it.value.is_none())).collect()
                }
                metric::Data::Histogram(data) => {
                    let points = data.data_points.iter();
                    points.map(|it| (&it.attributes, it.flags == 1, it.flags == 1)).collect()
                }
                other => panic!("{other:?}"),
            };
            let of_web = points.into_iter().filter(|(it, ..)| text_of(it, "client.name") == "web");
            for (attributes, is_flagged, is_without_value) in of_web {
                assert_eq!(is_flagged, is_without_value);
                if is_flagged == has_ended {
                    found.push((metric.name.clone(), attributes.clone()));
                }
            }
        }
        found
    };
    let time = UnixNanos(3_000);
    let ended = series(links.aggregate.encode(0, time), true);
    assert_eq!(ended.len(), 1, "of a connection that lives no longer: {ended:?}");
    assert_eq!(ended[0].0, "ridley.link.min_rtt");
    let told = series(links.aggregate.encode(0, time), false);
    links.aggregate.sent(time);
    links.pass(IDLE);
    assert_eq!(series(links.aggregate.encode_ended(0, time), true), told);
    assert_eq!(series(links.aggregate.encode(0, time), false), []);
    links.aggregate.sent(time);
    assert_eq!(links.aggregate.encode_ended(0, time), None);
}

/// The room of an expired link is used again; the index finds the links that are left.
#[test]
fn an_expired_link_makes_room() {
    let mut links = Links::new(2, 10);
    links.push(named(1, "web", "db").request(1));
    links.push(named(2, "cron", "db").found().request(2));
    links.pass(IDLE);
    links.push(named(3, "mail", "db").request(4));
    links.push(named(4, "mail", "db").request(8));
    links.push(named(5, "cron", "db").request(16));
    links.check("cron>db active 1\ncron>db bytes request 18\nmail>db bytes request 12");
    assert_eq!(links.aggregate.links.len(), 2);
}

/// Counters of a link that comes back start at zero at a time after the last point they had.
#[test]
fn a_returning_link_starts_later() {
    let mut links = Links::new(10, 10);
    links.push(named(1, "web", "db").request(5));
    assert_eq!(links.starts(), [START]);
    links.aggregate.sent(UnixNanos(2_000));
    links.pass(IDLE);
    links.aggregate.sent(UnixNanos(3_000));
    links.push(named(1, "web", "db").request(1));
    links.check("web>db bytes request 1");
    assert_eq!(links.starts(), [UnixNanos(3_000)]);
}

/// Each batch holds whole links, and together they hold each link once.
#[test]
fn many_links_are_sent_in_several_batches() {
    let mut links = Links::new(1_000, 10);
    for n in 0..1_000 {
        links.push(named(n, &format!("client-{n}"), "db").request(1));
    }
    let (mut from, mut sizes) = (0, Vec::new());
    while let Some((metrics, next)) = links.aggregate.encode(from, UnixNanos(5_000)) {
        sizes.push(metrics.n_items());
        from = next;
    }
    assert_eq!(sizes.iter().sum::<u64>(), 13_000, "thirteen points for each link");
    assert!(sizes.iter().all(|it| *it < 1_100), "{sizes:?}");
    assert_eq!(links.sum("bytes", "request", Observer::Client), 1_000);
}

proptest! {
    /// The sum over all links is the sum over all records, and the sum of `active` is the number of connections
    /// that have begun and not ended, whatever the budgets and the order of records.
    #[test]
    fn sums_over_links_are_sums_over_records(
        records in prop::collection::vec(any_record(), 0..200),
        max_links in 1_u32..6,
        max_connections in prop::sample::select(vec![2, 1_000]),
    ) {
        let mut links = Links::new(max_links, max_connections);
        let mut expected = BTreeMap::<(&str, &str, Observer), u64>::new();
        let mut alive = std::collections::BTreeSet::new();
        for flow in &records {
            let mut add = |metric, word, n| *expected.entry((metric, word, flow.observer)).or_default() += n;
            add("bytes", "request", flow.request.bytes);
            add("bytes", "response", flow.response.bytes);
            add("retransmits", "request", flow.request.retransmitted_segments);
            add("retransmits", "response", flow.response.retransmitted_segments);
            add("out_of_order.segments", "request", flow.request.out_of_order_segments);
            add("out_of_order.segments", "response", flow.response.out_of_order_segments);
            add("opened", "", u64::from(flow.begin == Some(Begin::Opened)));
            add("rtt", "", u64::from(flow.rtt.is_some()));
            add("connect.duration", "", u64::from(flow.connect.is_some()));
            match flow.end {
                Some(End::Closed(reason)) => {
                    add("closed", reason.as_str(), 1);
                    add("connection.duration", "", u64::from(flow.started.is_some()));
                }
                Some(End::Failed(reason)) => add("failed", reason.as_str(), 1),
                Some(End::Again) | None => {}
            }
            if let Some(id) = flow.id {
                let key = (id, flow.observer);
                if flow.end.is_some() {
                    alive.remove(&key);
                } else if flow.begin.is_some() || flow.rtt.is_some() {
                    alive.insert(key);
                }
            }
            links.push(flow.clone());
        }
        let mut found = BTreeMap::new();
        links.each_number(|metric, point, value| {
            let word = ["direction", "reason", "error.type"].map(|it| text_of(point, it)).concat();
            let key = (metric.to_owned(), word, text_of(point, "observer"));
            *found.entry(key).or_default() += value;
        });
        for ((metric, word, observer), sum) in expected {
            let key = (metric.to_owned(), word.to_owned(), observer.as_str().to_owned());
            prop_assert_eq!(found.remove(&key).unwrap_or_default(), sum, "{:?}", key);
        }
        let active: u64 = found.iter().filter(|((metric, ..), _)| metric == "active").map(|(_, n)| n).sum();
        prop_assert_eq!(active, links.aggregate.n_connections() as u64);
        if max_connections as usize > records.len() {
            prop_assert_eq!(active, alive.len() as u64);
        }
        found.retain(|(metric, ..), value| metric != "active" && *value > 0);
        prop_assert_eq!(found, BTreeMap::new(), "nothing else is counted");
        prop_assert!(links.aggregate.n_links() <= max_links as usize);
    }
}

fn any_record() -> impl Strategy<Value = Flow> {
    let end = prop::option::weighted(
        0.3,
        prop_oneof![
            prop::sample::select(CloseReason::ALL.to_vec()).prop_map(End::Closed),
            prop::sample::select(FailureReason::ALL.to_vec()).prop_map(End::Failed),
            Just(End::Again),
        ],
    );
    let begin = prop::option::of(prop::sample::select(vec![Begin::Opened, Begin::Found]));
    // Up to 2^30: sums of 200 stay below what OTLP can count.
    let bytes = || 0_u64..1 << 30;
    let who = (prop::option::weighted(0.9, 0_u32..12), 0_u8..4, 0_u8..3, any::<bool>());
    let what = (begin, end, bytes(), bytes(), 0_u64..5, any::<[bool; 3]>());
    (who, what).prop_map(
        |((id, client, server, at_server), (begin, end, request, response, resent, known))| {
            let mut flow = named(id.unwrap_or_default(), &format!("c{client}"), &format!("s{server}"));
            if id.is_none() {
                flow = flow.no_id();
            }
            if at_server {
                flow = flow.observer(Observer::Server);
            }
            if known[0] {
                flow = flow.rtt(Duration::from_nanos(request));
            }
            if known[1] {
                flow = flow.connect(Duration::from_nanos(response));
            }
            if known[2] {
                flow = flow.started(1);
            }
            let mut flow = flow.interval(2, 3).build();
            (flow.begin, flow.end) = (begin, end);
            flow.request = Traffic { bytes: request, retransmitted_segments: resent, ..Traffic::default() };
            flow.response =
                Traffic { bytes: response, out_of_order_segments: resent / 2, ..Traffic::default() };
            flow
        },
    )
}

fn named(id: u32, client: &str, server: &str) -> FlowBuilder {
    flow()
        .id(id)
        .client_entity(Entity::new(client, kind::UNIT))
        .server_entity(Entity::new(server, kind::UNIT))
}

/// An aggregate whose clock the test moves.
struct Links {
    aggregate: Aggregate,
    now: Instant,
}

impl Links {
    fn new(max_links: u32, max_connections: u32) -> Self {
        let limits = Limits {
            links: NonZeroU32::new(max_links).unwrap(),
            connections: NonZeroU32::new(max_connections).unwrap(),
            expire_after: IDLE,
        };
        let aggregate = Aggregate::new(limits, &[], &Buckets::default(), &[], START);
        Self { aggregate, now: Instant::now() }
    }

    fn push(&mut self, flow: impl Into<Flow>) {
        self.aggregate.push(&flow.into(), self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.aggregate.expire(self.now);
    }

    /// Compares every value but zero, one a line, sorted: link, metric, reason or direction, value (and sum).
    #[track_caller]
    fn check(&self, expected: &str) {
        let mut lines = Vec::new();
        self.each_point(|metric, attributes, value, sum| {
            if value > 0 {
                let link =
                    format!("{}>{}", text_of(attributes, "client.name"), text_of(attributes, "server.name"));
                let words = ["direction", "reason", "error.type"].map(|it| text_of(attributes, it)).concat();
                let sum = sum.map(|it| format!(" {it}")).unwrap_or_default();
                let word = if words.is_empty() { words } else { format!(" {words}") };
                lines.push(format!("{link} {metric}{word} {value}{sum}"));
            }
        });
        lines.sort_unstable();
        assert_eq!(lines.join("\n"), expected);
    }

    fn sum(&self, metric: &str, direction: &str, observer: Observer) -> u64 {
        let mut sum = 0;
        self.each_number(|name, point, value| {
            let matches =
                text_of(point, "direction") == direction && text_of(point, "observer") == observer.as_str();
            if name == metric && matches {
                sum += value;
            }
        });
        sum
    }

    fn starts(&self) -> Vec<UnixNanos> {
        self.aggregate.links.iter().flatten().map(|it| it.start).collect()
    }

    /// Calls with each point: the metric's name without the prefix, the attributes, the value or count.
    fn each_number(&self, mut call: impl FnMut(&str, &[KeyValue], u64)) {
        self.each_point(|metric, attributes, value, _sum| call(metric, attributes, value));
    }

    fn each_point(&self, mut call: impl FnMut(&str, &[KeyValue], u64, Option<f64>)) {
        let mut from = 0;
        while let Some((metrics, next)) = self.aggregate.encode(from, UnixNanos(5_000)) {
            from = next;
            let data = metrics.decode().unwrap();
            let scopes = data.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
            for metric in scopes.flat_map(|it| &it.metrics) {
                let name = metric.name.strip_prefix("ridley.link.").unwrap();
                let name = name.strip_prefix("connections.").unwrap_or(name);
                let cumulative = AggregationTemporality::Cumulative as i32;
                match metric.data.as_ref().unwrap() {
                    metric::Data::Sum(sum) => {
                        assert_eq!(
                            (sum.aggregation_temporality, sum.is_monotonic),
                            (cumulative, name != "active")
                        );
                        for point in &sum.data_points {
                            let value = match point.value {
                                Some(number_data_point::Value::AsInt(value)) => value.cast_unsigned(),
                                // A time, in milliseconds.
                                Some(number_data_point::Value::AsDouble(secs)) => {
                                    u64::try_from(Duration::from_secs_f64(secs).as_millis()).unwrap()
                                }
                                None => panic!("{name}"),
                            };
                            assert_eq!(point.time_unix_nano, 5_000);
                            call(name, &point.attributes, value, None);
                        }
                    }
                    metric::Data::Histogram(histogram) => {
                        assert_eq!(histogram.aggregation_temporality, cumulative);
                        for point in &histogram.data_points {
                            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                            assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                            call(name, &point.attributes, point.count, point.sum);
                        }
                    }
                    metric::Data::Gauge(_) if name == "min_rtt" => {}
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    }

    /// Returns the least round-trip time of the only link that tells one, in seconds.
    fn min_rtt(&self) -> Option<f64> {
        let (metrics, _next) = self.aggregate.encode(0, UnixNanos(5_000))?;
        let data = metrics.decode().unwrap();
        let scopes = data.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
        let points: Vec<_> = scopes
            .flat_map(|it| &it.metrics)
            .filter_map(|metric| match metric.data.as_ref() {
                Some(metric::Data::Gauge(gauge)) if metric.name == "ridley.link.min_rtt" => {
                    Some(gauge.data_points.iter())
                }
                _ => None,
            })
            .flatten()
            .filter(|it| it.flags == 0)
            .collect();
        assert!(points.len() <= 1, "{points:?}");
        points.first().map(|point| match point.value {
            Some(number_data_point::Value::AsDouble(secs)) => secs,
            ref other => panic!("{other:?}"),
        })
    }
}

fn text_of(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|it| it.key == key).and_then(|it| it.value.as_ref());
    match value.and_then(|it| it.value.as_ref()) {
        None => String::new(),
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(other) => panic!("{key}: {other:?}"),
    }
}
