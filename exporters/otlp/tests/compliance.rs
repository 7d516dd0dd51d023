//! What is expected of every component.

use bytes::Bytes;
use component_test::{Compliance, flow, flows, listener, listeners, points};
use model::{Batch, Logs, Traces};

/// Nobody listens there, and nothing is sent again.
#[tokio::test(start_paused = true)]
async fn complies() {
    // A resource with a scope with a span or log record, each without anything.
    let one = Bytes::from_static(&[0x0a, 4, 0x12, 2, 0x12, 0]);
    Compliance::new(otlp_exporter::factory(), env!("CARGO_MANIFEST_DIR"))
        .settings("{endpoint: 'http://127.0.0.1:1', retry_on_failure: {enabled: false}}")
        .free_form("headers")
        .input(points(3))
        .input(Batch::Traces(Traces::from_encoded(one.clone()).unwrap()))
        .input(Batch::Logs(Logs::from_encoded(one).unwrap()))
        .input(flows([flow()]))
        .input(listeners([listener()]))
        .check()
        .await;
}
