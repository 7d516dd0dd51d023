use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, processor::BatchProcessor};

/// Makes `batch` processors.
pub fn factory() -> Factory {
    Factory::processor("batch", &Signal::ALL, create)
        .with_summary("makes few large batches of many small ones")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    Ok(Box::new(BatchProcessor::new(config, &context.telemetry)))
}
