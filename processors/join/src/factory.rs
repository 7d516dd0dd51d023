use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, metrics::Instruments, pairing::Pairing, processor::JoinProcessor};

/// Makes `join` processors.
pub fn factory() -> Factory {
    Factory::processor("join", &[Signal::Flows], create)
        .with_summary("pairs the two observations of one connection, so that it is counted once")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    let Config { wait, max_connections } = config;
    let pairing = Pairing::new(wait, max_connections);
    Ok(Box::new(JoinProcessor::new(pairing, Instruments::new(&context.telemetry))))
}
