//! What is expected of every component.

use component_test::{Compliance, flow, flows, listener, listeners};
use model::{CloseReason, Observer};

#[tokio::test(start_paused = true)]
async fn complies() {
    let whole = |observer| flow().observer(observer).opened(100).request(1).closed(CloseReason::Normal);
    Compliance::new(join_processor::factory(), env!("CARGO_MANIFEST_DIR"))
        .input(flows([whole(Observer::Client), whole(Observer::Server)]))
        .input(flows([flow().id(2).opened(100), flow().id(3).opened(100)]))
        .input(listeners([listener()]))
        .merging("ridley.join.merged.items")
        .check()
        .await;
}
