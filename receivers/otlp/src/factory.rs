use component::{BoxError, Context, Factory, Receiver, Stability};
use model::Signal;

use crate::{Config, receiver::OtlpReceiver};

/// Makes `otlp` receivers.
pub fn factory() -> Factory {
    Factory::receiver("otlp", &Signal::ALL, create)
        .with_summary("takes metrics, spans, log records and flow records by OTLP, over gRPC and HTTP")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Receiver>, BoxError> {
    Ok(Box::new(OtlpReceiver::bind(&config, context).await?))
}
