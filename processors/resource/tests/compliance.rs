//! What is expected of every component.

use component_test::{Compliance, otlp};

#[tokio::test(start_paused = true)]
async fn complies() {
    Compliance::new(resource_processor::factory(), env!("CARGO_MANIFEST_DIR"))
        .settings("attributes: [{key: a, action: upsert, value: b}]")
        .inputs(otlp())
        .check()
        .await;
}
