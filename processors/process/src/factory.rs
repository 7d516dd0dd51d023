use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, metrics::Instruments, naming::Naming, processor::ProcessProcessor, services::Services};

/// Makes `process` processors.
pub fn factory() -> Factory {
    Factory::processor("process", &[Signal::Flows], create)
        .with_summary("names both ends on a plain host: container, systemd unit or process, and address")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    let Config { services, max_connections, max_entities } = config;
    let naming = Naming::new(Services::new(&services), max_connections, max_entities);
    Ok(Box::new(ProcessProcessor::new(naming, Instruments::new(&context.telemetry))))
}
