//! What is expected of every component.

use component_test::{Compliance, flow, flows, listener, listeners};

#[tokio::test(start_paused = true)]
async fn complies() {
    Compliance::new(process_processor::factory(), env!("CARGO_MANIFEST_DIR"))
        .free_form("services")
        .input(flows([flow().opened(100).process(7, "curl"), flow().id(2)]))
        .input(flows([flow().no_id()]))
        .input(listeners([listener()]))
        .check()
        .await;
}
