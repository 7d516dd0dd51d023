//! The connector between two channels, through its public interface.

use std::time::Duration;

use component_test::{Compliance, Harness, flow, flows, listener, listeners};
use links_connector::factory;
use model::{Batch, CloseReason, Listener, Traffic};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric, number_data_point};
use tokio::time;

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_every_component_does() {
    let records = [
        flow().opened(1).request(200).connect(Duration::from_micros(90)),
        flow().rtt(Duration::from_micros(120)).response(1_000),
        flow().started(1).closed(CloseReason::Normal).interval(2, 3),
    ];
    Compliance::new(factory(), env!("CARGO_MANIFEST_DIR"))
        .input(flows(records))
        .input(listeners([listener()]))
        .check()
        .await;
}

/// Totals come at each interval, also when nothing happened in it: whoever reads them must see that they still hold.
#[tokio::test(start_paused = true)]
async fn totals_are_sent_at_each_interval() {
    let mut harness = Harness::start(&factory(), "interval: 1s").await;
    harness.send(flows([flow().opened(1).request(5)])).await;
    let first = harness.recv().await.unwrap();
    let second = harness.recv().await.unwrap();
    assert_eq!([bytes(&first), bytes(&second)], [5, 5]);
    assert!(time(&first) < time(&second), "the points' time goes on");
    harness.send(flows([flow().request(2)])).await;
    assert_eq!(bytes(&harness.recv().await.unwrap()), 7);
}

/// Whoever has just started the program does not wait a whole interval to see what it found.
#[tokio::test(start_paused = true)]
async fn the_first_totals_come_early() {
    let mut harness = Harness::start(&factory(), "interval: 1h\nexpire_after: 1h").await;
    harness.send(flows([flow().opened(1).request(5)])).await;
    let first = harness.recv_within(Duration::from_secs(1)).await.expect("the first totals");
    assert_eq!(bytes(&first), 5);
    harness.send(flows([flow().request(2)])).await;
    let second = harness.recv_within(Duration::from_secs(2)).await.expect("what came a little later");
    assert_eq!(bytes(&second), 7);
    harness.send(flows([flow().request(3)])).await;
    assert_eq!(harness.recv_within(Duration::from_mins(59)).await, None, "the interval holds from then on");
    assert_eq!(bytes(&harness.recv_within(Duration::from_mins(2)).await.expect("the third totals")), 10);
}

/// The counts of a new link were zero when the totals were sent last, and no earlier: a link of the same name may have been
/// there until then.
#[tokio::test(start_paused = true)]
async fn a_new_link_starts_where_the_last_emission_was() {
    let mut harness = Harness::start(&factory(), "interval: 1s").await;
    harness.send(flows([flow().id(1)])).await;
    let first = harness.recv().await.unwrap();
    harness.send(flows([flow().id(2).client("10.0.0.9:1")])).await;
    let second = harness.recv().await.unwrap();
    let starts: Vec<u64> = points(&second).iter().map(|it| it.start_time_unix_nano).collect();
    let [old, new] = [points(&first)[0].start_time_unix_nano, time(&first)];
    assert_eq!(starts, [old, old, new, new], "two directions of each link");
}

/// The last bytes before the end are delivered, without waiting for the interval.
#[tokio::test(start_paused = true)]
async fn the_drain_sends_the_last_totals() {
    let harness = Harness::start(&factory(), "interval: 1h\nexpire_after: 1h").await;
    harness.send(flows([flow().opened(1).request(5), flow().request(6).closed(CloseReason::Normal)])).await;
    let outcome = harness.finish().await;
    assert_eq!(outcome.batches.iter().map(bytes).collect::<Vec<_>>(), [11]);
}

/// What was added up and could not be told is lost, and counted, whether totals are on their way or not yet due.
#[tokio::test(start_paused = true)]
async fn records_without_totals_at_a_forced_end_are_dropped() {
    for (wait, sends) in [(Duration::from_millis(1), false), (Duration::from_secs(1), true)] {
        let harness = Harness::start_blocked(&factory(), "").await;
        harness.send(flows([flow().opened(1).request(5), flow().request(6)])).await;
        time::sleep(wait).await;
        let outcome = harness.end_by_force(Duration::ZERO).await;
        assert_eq!((outcome.ledger.produced > 0, outcome.ledger.dropped), (sends, 2));
    }
}

/// What totals have told of is not lost.
#[tokio::test(start_paused = true)]
async fn only_what_came_after_the_last_totals_is_dropped() {
    let mut harness = Harness::start(&factory(), "interval: 1s").await;
    harness.send(flows([flow().opened(1), flow().request(6)])).await;
    assert!(harness.recv().await.is_some());
    harness.send(flows([flow().request(7)])).await;
    time::sleep(Duration::from_millis(1)).await;
    assert_eq!(harness.end_by_force(Duration::ZERO).await.ledger.dropped, 1);
}

#[tokio::test(start_paused = true)]
async fn a_link_is_no_longer_sent_when_it_has_expired() {
    let mut harness = Harness::start(&factory(), "interval: 1s\nexpire_after: 3s").await;
    harness.send(flows([flow().id(1).request(1)])).await;
    let mut sent = Vec::new();
    while let Some(batch) = harness.recv_within(Duration::from_secs(10)).await {
        sent.push(points(&batch).iter().all(|it| it.value.is_none() && it.flags == 1));
        assert!(sent.len() < 10, "the link is still sent");
    }
    // At the end its series are told to have ended.
    assert_eq!(sent.pop(), Some(true));
    assert!((2..=3).contains(&sent.len()) && !sent.contains(&true), "{sent:?}");
    assert_eq!(harness.value("ridley.links.expired.links", &[]), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_before_there_is_a_link() {
    let mut harness = Harness::start(&factory(), "interval: 1s").await;
    assert_eq!(harness.recv_within(Duration::from_secs(10)).await, None);
}

/// A queue that is never empty must not keep the totals back.
#[tokio::test(start_paused = true)]
async fn totals_are_sent_under_load() {
    let mut harness = Harness::try_start_with_capacity(&factory(), "interval: 1s", 2).await.unwrap();
    let mut sent = 0;
    let received = loop {
        harness.send(flows([flow().request(1)])).await;
        sent += 1;
        if let Some(batch) = harness.recv_within(Duration::from_millis(1)).await {
            break bytes(&batch);
        }
        assert!(sent < 10_000, "{sent} records and no totals");
    };
    assert!((1..=sent).contains(&received), "{received} bytes of {sent}");
}

#[tokio::test(start_paused = true)]
async fn what_the_budget_could_not_keep_apart_is_counted() {
    let harness = Harness::start(&factory(), "max_series: 1\nmax_connections: 1").await;
    let resent = Traffic { retransmitted_segments: 1, ..Traffic::default() };
    harness
        .send(flows([
            flow().id(1).opened(1),
            flow().id(2).opened(1).client("10.0.0.9:1").request_traffic(resent),
            flow().id(2).client("10.0.0.9:1"),
        ]))
        .await;
    let outcome = harness.finish().await;
    let value = |name| component_test::value(&outcome.registry, name, &[]);
    assert_eq!(value("ridley.links.overflow.items"), 2);
    assert_eq!(value("ridley.links.forgotten.connections"), 1);
    assert_eq!(value("ridley.links.links"), 1);
    assert_eq!(value("ridley.links.connections"), 1);
}

/// They come with flow records, and are told of without any connection.
#[tokio::test(start_paused = true)]
async fn servers_that_listen_are_sent_at_each_interval() {
    let mut harness = Harness::start(&factory(), "interval: 1s").await;
    harness.send(listeners([Listener { dropped: 2, queued: 7, ..listener() }])).await;
    for _ in 0..2 {
        assert_eq!(listening(&harness.recv().await.unwrap()), [2, 7, 128]);
    }
    let mut later = Listener { dropped: 3, ..listener() };
    later.interval.end.0 += 1;
    harness.send(listeners([later])).await;
    assert_eq!(listening(&harness.recv().await.unwrap()), [5, 0, 128]);
    assert_eq!(harness.value("ridley.links.listeners", &[]), 1);
}

#[tokio::test(start_paused = true)]
async fn servers_that_there_is_no_room_for_are_counted() {
    let harness = Harness::start(&factory(), "max_series: 1").await;
    let mut other = listener();
    other.server.port = 81;
    harness.send(listeners([listener(), other.clone(), other])).await;
    let outcome = harness.finish().await;
    assert_eq!(component_test::value(&outcome.registry, "ridley.links.overflow.items", &[]), 2);
    assert_eq!(outcome.batches.iter().map(Batch::n_items).sum::<u64>(), 8, "of the server, and of `other`");
}

/// Returns what is told of the one server: drops, length and limit of its queue.
fn listening(batch: &Batch) -> [i64; 3] {
    let metrics = metrics(batch);
    ["drops", "queue.length", "queue.limit"].map(|name| {
        let metric = metrics.iter().find(|it| it.name == format!("ridley.listener.{name}"));
        match metric.and_then(|it| it.data.as_ref()) {
            Some(metric::Data::Sum(sum)) => number(&sum.data_points[0]),
            other => panic!("{name}: {other:?}"),
        }
    })
}

/// Returns the sum of `ridley.link.bytes` over all points.
fn bytes(batch: &Batch) -> i64 {
    points(batch).iter().map(number).sum()
}

fn number(point: &NumberDataPoint) -> i64 {
    match point.value {
        Some(number_data_point::Value::AsInt(value)) => value,
        other => panic!("{other:?}"),
    }
}

fn time(batch: &Batch) -> u64 {
    points(batch)[0].time_unix_nano
}

fn points(batch: &Batch) -> Vec<NumberDataPoint> {
    let bytes = metrics(batch).into_iter().find(|it| it.name == "ridley.link.bytes");
    match bytes.and_then(|it| it.data) {
        Some(metric::Data::Sum(sum)) => sum.data_points,
        other => panic!("{other:?}"),
    }
}

fn metrics(batch: &Batch) -> Vec<Metric> {
    let Batch::Metrics(metrics) = batch else { panic!("{batch:?}") };
    let data = metrics.decode().expect("the connector made it");
    data.resource_metrics[0].scope_metrics[0].metrics.clone()
}
