use model::{Batch, Logs, Metrics, Traces};
use opentelemetry_proto::tonic::{
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data},
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};

/// Makes a batch of each signal of OTLP: two data points, three spans and a log record, all of them without anything in them.
pub fn otlp() -> [Batch; 3] {
    let data = Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); 2] });
    let metrics = vec![Metric { data: Some(data), ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let scope_spans = vec![ScopeSpans { spans: vec![Span::default(); 3], ..ScopeSpans::default() }];
    let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() }];
    [
        Batch::Metrics(Metrics::new(vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }])),
        Batch::Traces(Traces::new(vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }])),
        Batch::Logs(Logs::new(vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }])),
    ]
}
