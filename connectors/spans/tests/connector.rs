//! The connector between two channels, through its public interface.

use std::{fs, path::Path, time::Duration};

use component_test::{Compliance, Harness, flow, flows, listener, listeners};
use model::{Attribute, Batch, CloseReason, Entity, FailureReason, Observer, kind};
use opentelemetry_proto::tonic::trace::v1::{Span, TracesData};
use spans_connector::factory;
use tokio::time;

#[tokio::test(start_paused = true)]
async fn the_connector_does_what_every_component_does() {
    let records = [
        flow().opened(1).request(200).connect(Duration::from_micros(90)),
        flow().rtt(Duration::from_micros(120)).response(1_000),
        flow().started(1).closed(CloseReason::Normal).interval(2, 3),
        flow().id(2).opened(1),
    ];
    Compliance::new(factory(), env!("CARGO_MANIFEST_DIR"))
        .input(flows(records))
        .input(listeners([listener()]))
        .check()
        .await;
}

/// The form of spans is what people's dashboards and queries are made for. `UPDATE_GOLDEN=1` writes it anew.
#[tokio::test(start_paused = true)]
async fn spans_are_as_documented() {
    let mut cart = Entity::new("cart", "Deployment");
    cart.namespace = Some("shop".into());
    cart.set_attribute(Attribute::Pod, "cart-1");
    let mut db = Entity::new("db", "StatefulSet");
    db.namespace = Some("shop".into());
    let of_client = || flow().client_entity(cart.clone()).server_entity(db.clone()).server("10.96.0.7:5432");
    let harness = Harness::start(&factory(), "").await;
    harness
        .send(flows([
            of_client()
                .opened(1_767_225_600)
                .interval(1_767_225_600, 1_767_225_600)
                .connect(Duration::from_millis(1)),
            of_client()
                .started(1_767_225_600)
                .interval(1_767_225_600, 1_767_225_602)
                .request(517)
                .response(4_096)
                .rtts(Duration::from_micros(250), Duration::from_micros(200))
                .closed(CloseReason::ServerReset),
            flow()
                .observer(Observer::Server)
                .client("10.0.1.1:40000")
                .server_entity(db.clone())
                .opened(1_767_225_600)
                .interval(1_767_225_600, 1_767_225_602)
                .request(517)
                .response(4_096)
                .server_handshake(Duration::from_micros(300))
                .closed(CloseReason::ServerReset),
            flow()
                .client_entity(Entity::new("curl", kind::PROCESS))
                .server("[2001:db8::7]:22")
                .interval(1_767_225_600, 1_767_225_601)
                .failed(FailureReason::Refused),
        ]))
        .await;
    let batches = harness.finish().await.batches;
    let [Batch::Traces(traces)] = &batches[..] else { panic!("{batches:?}") };
    let found = serde_json::to_string_pretty(&*traces.decode().unwrap()).unwrap() + "\n";
    let found = found.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/spans.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let is_same = found == fs::read_to_string(&path).unwrap();
    assert!(is_same, "{} is not what is sent:\n{found}", path.display());
}

/// A connection that `join` made one record of has both spans.
#[tokio::test(start_paused = true)]
async fn a_joined_record_makes_two_spans() {
    let harness = Harness::start(&factory(), "").await;
    harness.send(flows([flow().joined().closed(CloseReason::Normal)])).await;
    let outcome = harness.finish().await;
    let spans = spans(&outcome.batches);
    let [client, server] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(client.trace_id, server.trace_id);
    assert_eq!((client.kind(), server.kind()), (3.try_into().unwrap(), 2.try_into().unwrap()));
    assert_eq!((server.parent_span_id.as_slice(), client.parent_span_id.len()), (&*client.span_id, 0));
}

/// Spans wait for others, not for a full batch.
#[tokio::test(start_paused = true)]
async fn a_span_is_sent_within_a_second_or_so() {
    let mut harness = Harness::start(&factory(), "").await;
    harness.send(flows([flow().closed(CloseReason::Normal)])).await;
    let batch = harness.recv_within(Duration::from_secs(2)).await.expect("the span");
    assert_eq!(spans(&[batch]).len(), 1);
    assert_eq!(harness.recv_within(Duration::from_secs(10)).await, None);
}

/// Batches stay below what receivers take.
#[tokio::test(start_paused = true)]
async fn many_spans_are_several_batches() {
    let mut harness = Harness::start(&factory(), "max_per_second: 100000").await;
    harness.send(flows((0..1_200).map(|n| flow().id(n).closed(CloseReason::Normal)))).await;
    let mut sizes = Vec::new();
    while let Some(batch) = harness.recv_within(Duration::from_secs(5)).await {
        sizes.push(batch.n_items());
    }
    assert_eq!(sizes, [512, 512, 176]);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_made_is_counted() {
    let harness = Harness::start(&factory(), "{ratio: 0.5, max_per_second: 10, max_connections: 1}").await;
    harness.send(flows((0..100).map(|n| flow().id(n).closed(CloseReason::Normal)))).await;
    // In a period that is not over.
    let open = |n| flow().id(n).interval(9_000_000_000, 9_000_000_000);
    harness.send(flows([open(1), open(2)])).await;
    time::sleep(Duration::from_secs(2)).await;
    let dropped = |reason| harness.value("ridley.dropped.items", &[("reason", reason)]);
    let (left, too_many) = (harness.value("ridley.spans.left.spans", &[]), dropped("max_per_second"));
    assert!((35..=65).contains(&left), "{left}");
    assert_eq!((left + too_many + 10, dropped("max_connections")), (100, 1));
    assert_eq!(harness.value("ridley.spans.connections", &[]), 1);
}

/// What was taken and could not be told is lost, and counted.
#[tokio::test(start_paused = true)]
async fn records_without_spans_at_a_forced_end_are_dropped() {
    let harness = Harness::start_blocked(&factory(), "").await;
    harness.send(flows([flow().id(1), flow().id(2).closed(CloseReason::Normal), flow().id(1)])).await;
    harness.send(listeners([listener()])).await;
    time::sleep(Duration::from_millis(1)).await;
    assert_eq!(harness.end_by_force(Duration::ZERO).await.ledger.dropped, 4);
}

fn spans(batches: &[Batch]) -> Vec<Span> {
    let decoded = batches.iter().map(|batch| match batch {
        Batch::Traces(traces) => TracesData::clone(&traces.decode().expect("the connector made it")),
        other => panic!("{other:?}"),
    });
    let resources = decoded.flat_map(|it| it.resource_spans);
    resources.flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
}
