//! Flow records as log records, over HTTP.

use component_test::{Harness, flow, listener};
use flow_records::{encode_flows, encode_listeners};
use model::{Batch, Flow, Flows, Listeners, Logs, Signal};
use opentelemetry_proto::tonic::{logs::v1::LogsData, resource::v1::Resource};
use tokio::task::spawn_blocking;

/// Records come out as they went in; whatever else comes to a pipeline of flows is counted.
#[tokio::test]
async fn records_are_read() {
    let mut server = Server::start(Some(Signal::Flows)).await;
    let records: Vec<Flow> = (0..300).map(|n| flow().id(n).request(n.into()).build()).collect();
    let listeners = encode_listeners(&Listeners { records: vec![listener()] });
    let body = [request(&records), listeners.encode(&Resource::default()).into(), mixed()].concat();
    assert_eq!(server.post(body).await, 200);
    let mut flows = Vec::new();
    while flows.len() < 301 {
        flows.extend(server.flows().await);
    }
    assert_eq!((&flows[..300], &flows[300]), (&records[..], &flow().build()));
    let batch = server.harness.recv().await;
    assert_eq!(batch, Some(Batch::Listeners(Listeners { records: vec![listener()] })));
    assert_eq!([server.dropped("no_flow_record"), server.dropped("malformed")], [1, 1]);
    assert_eq!(server.harness.value("ridley.otlp.taken.requests", &[]), 1);
    assert_eq!(server.harness.value("ridley.otlp.in_flight.size", &[]), 0);
}

/// Where a pipeline of logs begins at the same receiver it gets everything as it came.
#[tokio::test]
async fn records_go_to_both_pipelines() {
    let mut server = Server::start(None).await;
    let answer = server.post_later(mixed());
    let Some(Batch::Logs(logs)) = server.harness.recv().await else { panic!("no logs") };
    assert_eq!(logs.encode(&Resource::default()), mixed());
    drop(logs);
    assert_eq!(answer.await.unwrap(), 200);
    assert_eq!(server.flows().await, [flow().build()]);
    assert_eq!([server.dropped("no_flow_record"), server.dropped("malformed")], [0, 1]);
}

/// A sender that is not answered sends again, and its records would count twice.
#[tokio::test]
async fn the_answer_does_not_wait_for_what_is_behind() {
    let mut server = Server::start(Some(Signal::Flows)).await;
    let records: Vec<Flow> = (0..1_500).map(|n| flow().id(n).build()).collect();
    // These are six batches, and there is room for four.
    assert_eq!(server.post(request(&records)).await, 200);
    let mut found = Vec::new();
    while found.len() < records.len() {
        found.extend(server.flows().await);
    }
    assert!(found == records, "in their order");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let server = Server::start(Some(Signal::Flows)).await;
    // A resource with a scope with a record whose body is no message.
    assert_eq!(server.post(b"\x0a\x09\x12\x07\x12\x05\x2a\x03GET".to_vec()).await, 400);
    assert_eq!(server.harness.value("ridley.otlp.refused.requests", &[("reason", "unreadable")]), 1);
}

/// A request with a flow record, one that lacks what it must have, and a log record of an application.
fn mixed() -> Vec<u8> {
    let mut data = LogsData::clone(
        &encode_flows(&Flows { records: vec![flow().build(); 3] }).decode().expect("it is decoded"),
    );
    let records = &mut data.resource_logs[0].scope_logs[0].log_records;
    records[1].attributes.clear();
    records[2].event_name = "cart.checkout".to_owned();
    Logs::new(data.resource_logs).encode(&Resource::default()).into()
}

fn request(records: &[Flow]) -> Vec<u8> {
    encode_flows(&Flows { records: records.to_vec() }).encode(&Resource::default()).into()
}

struct Server {
    harness: Harness,
    url: String,
}

impl Server {
    async fn start(only: Option<Signal>) -> Self {
        let (factory, yaml) = (otlp_receiver::factory(), "protocols: {http: {endpoint: '127.0.0.1:0'}}");
        let harness = match only {
            Some(signal) => Harness::start_only(&factory, yaml, signal, 4).await,
            None => Harness::start(&factory, yaml).await,
        };
        let notices = harness.notices();
        let address = notices.iter().find_map(|it| it.strip_prefix("OTLP over HTTP at "));
        let url = format!("http://{}/v1/logs", address.expect("it tells where it listens"));
        Self { harness, url }
    }

    async fn post(&self, body: Vec<u8>) -> u16 {
        self.post_later(body).await.expect("the server answers")
    }

    fn post_later(&self, body: Vec<u8>) -> tokio::task::JoinHandle<u16> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let call = agent.post(&self.url).header("Content-Type", "application/x-protobuf");
        spawn_blocking(move || call.send(&body).expect("the server answers").status().as_u16())
    }

    async fn flows(&mut self) -> Vec<Flow> {
        match self.harness.recv().await {
            Some(Batch::Flows(flows)) => flows.records,
            other => panic!("{other:?}"),
        }
    }

    fn dropped(&self, reason: &'static str) -> i64 {
        self.harness.value("ridley.dropped.items", &[("reason", reason)])
    }
}
