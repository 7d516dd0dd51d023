use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, processor::ResourceProcessor};

/// Makes `resource` processors.
pub fn factory() -> Factory {
    Factory::processor("resource", &[Signal::Metrics, Signal::Traces, Signal::Logs], create)
        .with_summary("changes attributes of resources")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    Ok(Box::new(ResourceProcessor::new(config, &context.telemetry)))
}
