use std::sync::Arc;

use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, metric::Data};

/// A batch of OpenTelemetry metrics; cloning it shares the payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The payload, one entry per resource, as OTLP groups it.
    pub resource_metrics: Arc<Vec<ResourceMetrics>>,
}

impl Metrics {
    /// Wraps an OTLP payload.
    pub fn new(resource_metrics: Vec<ResourceMetrics>) -> Self {
        Self { resource_metrics: Arc::new(resource_metrics) }
    }

    /// Returns how many data points are inside.
    pub fn n_points(&self) -> u64 {
        let metrics = self
            .resource_metrics
            .iter()
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| &scope.metrics);
        metrics.map(n_points).sum::<usize>() as u64
    }
}

/// Returns how many data points a metric has.
pub fn n_points(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
    }
}
