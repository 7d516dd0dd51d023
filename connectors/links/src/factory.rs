use std::time::SystemTime;

use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{Aggregate, Config, Limits, connector::LinksConnector, metrics::Instruments};

/// Makes `links` connectors.
pub fn factory() -> Factory {
    Factory::connector("links", &[Signal::Flows], &[Signal::Metrics], create)
        .with_summary("turns flows into metrics per link: bytes, connections, failures, round-trip times")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    let Config { interval, max_series, max_connections, expire_after, attributes, buckets } = config;
    let limits = Limits { links: max_series, connections: max_connections, expire_after };
    let aggregate = Aggregate::new(limits, &attributes, &buckets, SystemTime::now().into());
    Ok(Box::new(LinksConnector::new(aggregate, interval, Instruments::new(&context.telemetry))))
}
