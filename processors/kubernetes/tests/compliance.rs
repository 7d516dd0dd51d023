//! What is expected of every component.

use component_test::{Compliance, flow, flows, listener, listeners};

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
        .check()
        .await;
}
