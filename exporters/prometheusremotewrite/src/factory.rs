use component::{BoxError, Context, Exporter, Factory, Stability};
use model::Signal;

use crate::{Config, exporter::RemoteWriteExporter};

/// Makes `prometheusremotewrite` exporters.
pub fn factory() -> Factory {
    Factory::exporter("prometheusremotewrite", &[Signal::Metrics], create)
        .with_summary("sends metrics by Prometheus' remote write")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Exporter>, BoxError> {
    Ok(Box::new(RemoteWriteExporter::open(config, &context).await?))
}
