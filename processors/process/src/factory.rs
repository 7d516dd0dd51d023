use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, metrics::Instruments, naming::Naming, processor::ProcessProcessor};

/// Makes `process` processors.
pub fn factory() -> Factory {
    Factory::processor("process", &[Signal::Flows], create)
        .with_summary("names both ends on a plain host: container, systemd unit or process, and address")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    let instruments = Instruments::new(&context.telemetry);
    Ok(Box::new(ProcessProcessor::new(Naming::new(&config), instruments)))
}
