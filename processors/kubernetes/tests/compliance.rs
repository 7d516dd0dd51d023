//! What is expected of every component.

use bytes::Bytes;
use component_test::{Compliance, flow, flows, listener, listeners, points};
use model::{Batch, Logs, Traces};

/// A request with one item of a resource that says nothing of itself.
const ITEM: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];

/// Without an API server names are given by what is known.
#[tokio::test(start_paused = true)]
async fn complies() {
    let kubeconfig = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/kubeconfig");
    Compliance::new(kubernetes_processor::factory(), env!("CARGO_MANIFEST_DIR"))
        .free_form("networks")
        .settings(format!("kubeconfig: {kubeconfig}\nsync_timeout: 1s"))
        .input(flows([flow().opened(100).process(7, "curl"), flow().id(2)]))
        .input(flows([flow().no_id()]))
        .input(listeners([listener()]))
        .input(points(3))
        .input(Batch::Traces(Traces::from_encoded(Bytes::from_static(ITEM)).unwrap()))
        .input(Batch::Logs(Logs::from_encoded(Bytes::from_static(ITEM)).unwrap()))
        .check()
        .await;
}
