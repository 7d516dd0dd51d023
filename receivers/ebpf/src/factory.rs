use std::path::PathBuf;

use component::{BoxError, Context, Factory, Receiver, Stability};
use model::Signal;
use tracing::warn;

use crate::{clock::Moment, config::Config, metrics::Metrics, observer::Observer, receiver::EbpfReceiver};

/// Makes `ebpf` receivers.
pub fn factory() -> Factory {
    Factory::receiver("ebpf", &[Signal::Flows], create)
        .with_summary("observes the TCP connections of this host in its kernel")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Receiver>, BoxError> {
    let ring_bytes = config.ring_bytes.get();
    // Reading the kernel's type information and having programs verified takes some hundred milliseconds.
    let loading = tokio::task::spawn_blocking(move || Observer::load(ring_bytes));
    let (observer, degraded) = loading.await??;
    for it in degraded {
        warn!(missing = it.missing, "this kernel does not tell everything: {}", it.effect);
    }
    let metrics = Metrics::new(&context.telemetry);
    Ok(Box::new(EbpfReceiver::new(&config, observer, metrics, Moment::now, PathBuf::from("/proc"))))
}
