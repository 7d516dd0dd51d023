//! What is expected of every component.

use component_test::{Compliance, flow, flows, listener, listeners};
use model::{Batch, CloseReason, Listener, Metrics};
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data,
};

#[tokio::test(start_paused = true)]
async fn complies() {
    Compliance::new(debug_exporter::factory(), env!("CARGO_MANIFEST_DIR"))
        .input(flows([flow().opened(1).request(5), flow().closed(CloseReason::Normal)]))
        .input(listeners([listener(), Listener { dropped: 3, ..listener() }]))
        .input(Batch::Metrics(metrics("ridley.link.bytes")))
        .input(Batch::Metrics(metrics("process.cpu.time")))
        .check()
        .await;
}

fn metrics(name: &str) -> Metrics {
    let data = Data::Sum(Sum { data_points: vec![NumberDataPoint::default()], ..Sum::default() });
    let metric = Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    Metrics::new(vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }])
}
