use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, processor::MemoryLimiter};

/// Makes `memory_limiter` processors.
pub fn factory() -> Factory {
    Factory::processor("memory_limiter", &[Signal::Metrics, Signal::Traces, Signal::Logs], create)
        .with_summary("refuses what comes while the process has too much memory")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    Ok(Box::new(MemoryLimiter::try_new(&config, &context.telemetry)?))
}
