//! What is expected of every component.

use component_test::Compliance;
use model::{Batch, Logs, Metrics, Traces};
use opentelemetry_proto::tonic::{
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};

#[tokio::test(start_paused = true)]
async fn complies() {
    Compliance::new(resource_processor::factory(), env!("CARGO_MANIFEST_DIR"))
        .settings("attributes: [{key: a, action: upsert, value: b}]")
        .input(Batch::Metrics(metrics()))
        .input(Batch::Traces(traces()))
        .input(Batch::Logs(logs()))
        .check()
        .await;
}

fn metrics() -> Metrics {
    let data = Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); 2] });
    let metrics = vec![Metric { data: Some(data), ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    Metrics::new(vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }])
}

fn traces() -> Traces {
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 3], ..ScopeSpans::default() }];
    Traces::new(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }])
}

fn logs() -> Logs {
    let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() }];
    Logs::new(vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }])
}
