use component::{BoxError, Context, Exporter, Factory, Stability};
use model::Signal;

use crate::{Config, exporter::PrometheusExporter};

/// Makes `prometheus` exporters.
pub fn factory() -> Factory {
    Factory::exporter("prometheus", &[Signal::Metrics], create)
        .with_summary("serves metrics to be scraped by Prometheus")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Exporter>, BoxError> {
    Ok(Box::new(PrometheusExporter::bind(config, context).await?))
}
