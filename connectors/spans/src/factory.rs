use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Config, Periods, connector::SpansConnector, metrics::Instruments, sampler::Sampler};

/// Makes `spans` connectors.
pub fn factory() -> Factory {
    Factory::connector("spans", &[Signal::Flows], &[Signal::Traces], create)
        .with_summary("turns flows into spans: a client's and a server's of each connection, in one trace")
        .with_stability(Stability::Alpha)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    let Config { period, ratio, max_per_second, max_connections } = config;
    let periods = Periods::new(period, max_connections.get());
    let sampler = Sampler::new(ratio, max_per_second.get());
    Ok(Box::new(SpansConnector::new(periods, sampler, Instruments::new(&context.telemetry))))
}
