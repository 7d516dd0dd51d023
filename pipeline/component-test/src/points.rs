use model::{Batch, Metrics};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
};

/// Makes a batch of one metric with `n` empty data points, for tests that only count.
pub fn points(n: u64) -> Batch {
    let data_points = (0..n).map(|_| NumberDataPoint::default()).collect();
    let metric = Metric {
        name: "test.points".to_owned(),
        data: Some(Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    Batch::Metrics(Metrics::new(vec![ResourceMetrics {
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    }]))
}
