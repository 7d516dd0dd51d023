use std::{
    net::{Ipv4Addr, Ipv6Addr, TcpListener},
    path::Path,
    time::Duration,
};

use component::{BoxError, Context, ErrorChain, Factory, Receiver, Stability};
use model::Signal;
use tracing::{debug, info, warn};

use crate::{
    clock::Moment,
    config::{Config, Nodes},
    memory,
    metrics::Metrics,
    observer::Observer,
    receiver::EbpfReceiver,
    scope::Scope,
    seed,
    source::Source,
};

/// How long the processes of sockets that are older than the receiver are looked up at the start.
const MAX_SCAN: Duration = Duration::from_secs(2);

/// Makes `ebpf` receivers.
pub fn factory() -> Factory {
    Factory::receiver("ebpf", &[Signal::Flows], create)
        .with_summary("observes the TCP connections of this host in its kernel")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Receiver>, BoxError> {
    // On this thread, which may still do more than those of the runtime.
    memory::raise_limit();
    let ring_bytes = config.ring_bytes.get();
    // Reading the kernel's type information and having programs verified takes some hundred milliseconds.
    let loading = tokio::task::spawn_blocking(move || Observer::load(ring_bytes));
    let (mut observer, mut degraded) = loading.await??;
    degraded.extend(observer.measure_tick().await);
    let scope = match config.nodes {
        Nodes::All => Scope::Machine,
        Nodes::Own => own_scope(&mut observer),
    };
    for it in degraded {
        warn!(missing = it.missing, "this kernel does not tell everything: {}", it.effect);
    }
    let metrics = Metrics::new(&context.telemetry);
    // After the programs record, so that who begins to listen meanwhile is not missed; before what they recorded is read,
    // so that all of that is newer. On this thread, which may still look into the processes of others.
    let began = Moment::now();
    let mut seed = seed::scan(Path::new("/proc"), || Moment::now().since(began) > MAX_SCAN);
    if seed.n_skipped > 0 {
        metrics.forgotten_processes.add(seed.n_skipped);
        warn!(
            processes = seed.n_skipped,
            "more sockets than can be looked up, the processes of other connections and servers older than the agent are not \
             known"
        );
    }
    seed.renumber(std::process::id(), observer.process());
    Ok(Box::new(EbpfReceiver::new(&config, observer, scope, seed, metrics, Moment::now)))
}

/// Finds which node this process is on, if it shares the kernel with others.
fn own_scope(observer: &mut Observer) -> Scope {
    let found = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .or_else(|_| TcpListener::bind((Ipv6Addr::LOCALHOST, 0)))
        .map(|listener| observer.own_cgroup(&listener));
    let scope = match found {
        Ok(Ok(Some(path))) => Scope::of_agent(&path),
        Ok(Ok(None)) => Scope::Machine,
        Ok(Err(error)) => {
            debug!(error = %ErrorChain(&error), "the cgroup of this process stays unknown");
            Scope::Machine
        }
        Err(error) => {
            debug!(%error, "the cgroup of this process stays unknown");
            Scope::Machine
        }
    };
    if let Scope::Node(node) = &scope {
        info!(
            cgroup = &**node,
            "several nodes share this kernel, only the connections of this one are observed"
        );
    }
    scope
}
