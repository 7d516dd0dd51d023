//! What is expected of every component.

use component_test::Compliance;

#[tokio::test(start_paused = true)]
async fn complies() {
    Compliance::new(otlp_receiver::factory(), env!("CARGO_MANIFEST_DIR"))
        .settings("protocols: { grpc: { endpoint: '127.0.0.1:0' }, http: { endpoint: '127.0.0.1:0' } }")
        .check()
        .await;
}
