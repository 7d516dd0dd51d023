use component::{BoxError, Context, Exporter, Factory, Stability};
use model::Signal;

use crate::{Config, exporter::OtlpExporter};

/// Makes `otlp` exporters.
pub fn factory() -> Factory {
    Factory::exporter("otlp", &Signal::ALL, create)
        .with_summary("sends metrics, spans, log records and flow records by OTLP, over gRPC or HTTP")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Exporter>, BoxError> {
    Ok(Box::new(OtlpExporter::open(config, &context).await?))
}
