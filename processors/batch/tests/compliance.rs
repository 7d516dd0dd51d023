//! What is expected of every component.

use component_test::{Compliance, flow, flows, listener, listeners, otlp};

#[tokio::test(start_paused = true)]
async fn complies() {
    for settings in ["{}", "{send_batch_max_size: 1, send_batch_size: 1}", "{timeout: 0s}"] {
        Compliance::new(batch_processor::factory(), env!("CARGO_MANIFEST_DIR"))
            .settings(settings)
            .input(flows([flow().id(1), flow().id(2)]))
            .input(listeners([listener()]))
            .inputs(otlp())
            .check()
            .await;
    }
}
