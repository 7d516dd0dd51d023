//! What is expected of every component.

use component_test::{Compliance, otlp};

#[tokio::test(start_paused = true)]
async fn complies() {
    // Far more than a test has, and far less.
    for settings in ["limit_mib: 1000000", "limit_mib: 1"] {
        Compliance::new(memory_limiter_processor::factory(), env!("CARGO_MANIFEST_DIR"))
            .settings(settings)
            .inputs(otlp())
            .check()
            .await;
    }
}
