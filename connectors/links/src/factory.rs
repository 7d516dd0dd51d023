use std::time::SystemTime;

use component::{BoxError, Context, Factory, Processor, Stability};
use model::Signal;

use crate::{
    Aggregate, Config, Limits, connector::LinksConnector, listeners::ListenerTotals, metrics::Instruments,
};

/// Makes `links` connectors.
pub fn factory() -> Factory {
    Factory::connector("links", &[Signal::Flows], &[Signal::Metrics], create)
        .with_summary("turns flows into metrics per link: bytes, connections, failures, round-trip times")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Processor>, BoxError> {
    let Config { interval, max_series, max_connections, expire_after, attributes, buckets, shapes } = config;
    let limits = Limits { links: max_series, connections: max_connections, expire_after };
    let start = SystemTime::now().into();
    let aggregate = Aggregate::new(limits, &attributes, &buckets, &shapes, start);
    let listeners = ListenerTotals::new(max_series.get() as usize, expire_after, start);
    let instruments = Instruments::new(&context.telemetry);
    Ok(Box::new(LinksConnector::new(aggregate, listeners, interval, instruments)))
}
