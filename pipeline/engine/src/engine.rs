use std::{any::Any, collections::HashMap, error::Error, fmt, pin::pin, sync::Arc, time::Duration};

use component::{
    BoxError, BoxFuture, Closed, Context, Created, Dropped, ErrorChain, Exporter, Input, Kind, Notices,
    Output, Processor, Producers, Receiver, Registry, Shutdown, ShutdownTrigger, channel,
};
use config::{Checked, Reference};
use tokio::{
    task::{self, JoinError, JoinSet},
    time::{self, Instant},
};
use tracing::{debug, error, info, warn};

use crate::{
    CreateError, Failure, Instance,
    graph::{Graph, Node},
};

/// How much earlier than its own the deadline is that the engine gives to components, at most: one that uses all its time
/// must not be ended by force for it.
const MARGIN: Duration = Duration::from_millis(250);

/// How long components that were told to end at once may take to notice.
const ABORT_PATIENCE: Duration = Duration::from_secs(1);

/// Every component of a configuration, created and connected, ready to run.
#[derive(Debug)]
pub struct Engine {
    parts: Vec<Part>,
    registry: Arc<Registry>,
    notices: Notices,
    trigger: ShutdownTrigger,
    shutdown: Shutdown,
    shutdown_timeout: Duration,
}

/// One component, ready to run.
struct Part {
    instance: Instance,
    work: Work,
}

/// A component with the ends of channels that it will be given.
enum Work {
    Receiver(Box<dyn Receiver>, Output),
    Processor(Box<dyn Processor>, Input, Producers, Output),
    Exporter(Box<dyn Exporter>, Input, Producers),
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("instance", &self.instance).finish_non_exhaustive()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Report {
    /// The components that did not run to their proper end, in the order of their ends.
    pub failures: Vec<Failure>,
    /// Items that were on their way to a component, or held by it, when it ended.
    pub n_dropped: u64,
}

impl Report {
    /// Returns whether every component did all that it had to do.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.n_dropped == 0
    }
}

impl Engine {
    /// Creates every component, exporters first and receivers last.
    ///
    /// # Errors
    ///
    /// Fails with the first component that cannot be created; those before it are dropped.
    pub async fn create(config: &Checked, registry: &Arc<Registry>) -> Result<Self, CreateError> {
        let Checked { components, pipelines, service, warnings: _ } = config;
        let notices = Notices::default();
        let (trigger, shutdown) = ShutdownTrigger::new();
        let (mut senders, mut pending) = (Vec::new(), Vec::new());
        let graph = Graph::of(pipelines);
        for edges in graph.to_string().lines() {
            debug!(edges, "connecting");
        }
        for node in graph.nodes {
            let Instance { reference: Reference { kind, id }, pipeline } = &node.instance;
            let mut telemetry = registry.telemetry(*kind, id);
            if let Some(pipeline) = pipeline {
                telemetry = telemetry.in_pipeline(pipeline.to_string());
            }
            let (sender, input) = match kind {
                Kind::Receiver => (None, None),
                Kind::Processor | Kind::Connector | Kind::Exporter => {
                    let (sender, input) = channel(service.queue_size.get(), &telemetry);
                    let producers = sender.producers();
                    (Some(sender), Some((input, producers)))
                }
            };
            senders.push(sender);
            pending.push((node, telemetry, input));
        }
        let mut parts: Vec<Part> = Vec::with_capacity(pending.len());
        for (Node { instance, consumers }, telemetry, input) in pending {
            let component = &components[&instance.reference];
            let context = Context {
                id: instance.reference.id.clone(),
                telemetry: telemetry.clone(),
                registry: Arc::clone(registry),
                shutdown: shutdown.clone(),
                notices: notices.clone(),
            };
            let created = match component.settings.create(context).await {
                Ok(created) => created,
                Err(source) => {
                    return Err(CreateError { place: component.place.clone(), component: instance, source });
                }
            };
            let output = || {
                let sender = |(signal, idx): &(_, usize)| senders[*idx].clone().map(|it| it.only(*signal));
                Output::new(consumers.iter().filter_map(sender).collect(), &telemetry)
            };
            let work = match (created, input) {
                (Created::Receiver(it), None) => Work::Receiver(it, output()),
                (Created::Processor(it), Some((input, producers))) => {
                    Work::Processor(it, input, producers, output())
                }
                (Created::Exporter(it), Some((input, producers))) => Work::Exporter(it, input, producers),
                _ => unreachable!("a factory creates components of its own kind"),
            };
            parts.push(Part { instance, work });
        }
        let (registry, shutdown_timeout) = (Arc::clone(registry), service.shutdown_timeout);
        Ok(Self { parts, registry, notices, trigger, shutdown, shutdown_timeout })
    }

    /// Returns what the components tell the user, exporters' first.
    pub fn notices(&self) -> Vec<String> {
        self.notices.all()
    }

    /// Runs every component until all have ended.
    ///
    /// The drain begins when `stop` resolves, when a component fails, or when the last receiver has ended by itself.
    /// It lasts at most the configured time; components that have not ended then are dropped, with what they hold.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Report {
        let Self { parts, registry, notices: _, trigger, shutdown, shutdown_timeout } = self;
        info!(n_components = parts.len(), "pipelines are running");
        let mut run = Run::start(parts, &shutdown);
        let mut stop = pin!(stop);
        let mut deadline = None;
        let drain = |deadline: &mut Option<Instant>| {
            if deadline.is_none() {
                let end = Instant::now() + shutdown_timeout;
                trigger.request(end - MARGIN.min(shutdown_timeout / 10));
                *deadline = Some(end);
            }
        };
        loop {
            tokio::select! {
                () = &mut stop, if deadline.is_none() => {
                    info!(timeout = ?shutdown_timeout, "stopping: receivers first, then what is under way");
                    drain(&mut deadline);
                }
                ended = run.next_end() => {
                    if !ended {
                        break;
                    }
                    if run.must_drain() {
                        drain(&mut deadline);
                    }
                }
                () = until(deadline), if deadline.is_some() => {
                    run.abort(shutdown_timeout).await;
                    break;
                }
            }
        }
        run.report(&registry)
    }
}

/// The tasks of a run, and what became of those that ended.
struct Run {
    tasks: JoinSet<Result<End, BoxError>>,
    running: HashMap<task::Id, Instance>,
    n_receivers: usize,
    failures: Vec<Failure>,
}

/// How a component ended that did not fail.
enum End {
    /// Its input had ended, or it is a receiver.
    Proper,
    /// Its input had not ended.
    Early,
}

impl Run {
    fn start(parts: Vec<Part>, shutdown: &Shutdown) -> Self {
        let mut run =
            Self { tasks: JoinSet::new(), running: HashMap::new(), n_receivers: 0, failures: Vec::new() };
        for Part { instance, work } in parts {
            let (producers, task): (_, BoxFuture<Result<(), BoxError>>) = match work {
                Work::Receiver(it, output) => {
                    run.n_receivers += 1;
                    (None, it.run(output, shutdown.clone()))
                }
                Work::Processor(it, input, producers, output) => (Some(producers), it.run(input, output)),
                Work::Exporter(it, input, producers) => (Some(producers), it.run(input)),
            };
            let task = async move {
                task.await?;
                let ended = producers.is_none_or(|it| it.n_left() == 0);
                Ok(if ended { End::Proper } else { End::Early })
            };
            let handle = run.tasks.spawn(task);
            run.running.insert(handle.id(), instance);
        }
        run
    }

    /// Waits for the next component to end; false when all have. Cancel-safe.
    async fn next_end(&mut self) -> bool {
        let (id, result) = match self.tasks.join_next_with_id().await {
            None => return false,
            Some(Ok((id, result))) => (id, Ok(result)),
            Some(Err(err)) => (err.id(), Err(err)),
        };
        let component = self.running.remove(&id).expect("every task is entered when it is spawned");
        if component.reference.kind == Kind::Receiver {
            self.n_receivers -= 1;
        }
        if let Some(failure) = failure(component, result) {
            error!(error = %ErrorChain(&failure), "a component failed, stopping the others");
            self.failures.push(failure);
        }
        true
    }

    /// Returns whether going on makes no sense.
    fn must_drain(&self) -> bool {
        self.n_receivers == 0 || !self.failures.is_empty()
    }

    /// Ends every component that is left.
    async fn abort(&mut self, timeout: Duration) {
        let mut unfinished: Vec<Instance> = self.running.values().cloned().collect();
        unfinished.sort();
        for component in unfinished {
            let failure = Failure::Unfinished { component, timeout };
            error!(error = %failure, "a component is ended by force");
            self.failures.push(failure);
        }
        self.tasks.abort_all();
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        if time::timeout(ABORT_PATIENCE, all_ended).await.is_err() {
            warn!("a component does not yield; leaving without it");
        }
    }

    /// Tells what was dropped from the beginning: a run whose metrics nobody saw must not end as if it were nothing.
    fn report(self, registry: &Registry) -> Report {
        let mut n_dropped = 0;
        for dropped in registry.dropped() {
            let Dropped { component, reason, n_items } = &dropped;
            warn!(component, %reason, n_items, "dropped in this run");
            if dropped.is_at_shutdown() {
                n_dropped += n_items;
            }
        }
        Report { failures: self.failures, n_dropped }
    }
}

fn failure(component: Instance, result: Result<Result<End, BoxError>, JoinError>) -> Option<Failure> {
    match result {
        Ok(Ok(End::Proper)) => None,
        Ok(Ok(End::Early)) => Some(Failure::EndedEarly { component }),
        // The component that stopped is reported itself.
        Ok(Err(err)) if is_closed(&*err) => None,
        Ok(Err(source)) => Some(Failure::Failed { component, source }),
        Err(err) => {
            let message = err.try_into_panic().map_or_else(|err| err.to_string(), |it| panic_message(&*it));
            Some(Failure::Panicked { component, message })
        }
    }
}

/// Returns whether the error says only that the next component has stopped.
fn is_closed(err: &(dyn Error + Send + Sync + 'static)) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(err);
    while let Some(err) = cause {
        if err.is::<Closed>() {
            return true;
        }
        cause = err.source();
    }
    false
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|it| (*it).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

async fn until(deadline: Option<Instant>) {
    if let Some(deadline) = deadline {
        time::sleep_until(deadline).await;
    }
}
