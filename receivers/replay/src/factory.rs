use component::{BoxError, Context, Factory, Receiver, Stability};
use model::Signal;
use tokio::task;

use crate::{Config, OpenError, metrics::Instruments, receiver::ReplayReceiver, recording::Recording};

/// Makes `replay` receivers.
pub fn factory() -> Factory {
    Factory::receiver("replay", &[Signal::Flows], create)
        .with_summary("reads flow records from a file that `file` wrote, as if they happened now")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Receiver>, BoxError> {
    let path = config.path.clone();
    let opened = task::spawn_blocking(move || Recording::open(&path)).await?;
    let failed = |source| OpenError { id: context.id.clone(), path: config.path.clone(), source };
    let recording = opened.map_err(failed)?;
    let instruments = Instruments::new(&context.telemetry);
    Ok(Box::new(ReplayReceiver::new(context.id, config, recording, instruments)))
}
