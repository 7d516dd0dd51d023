use std::{sync::Arc, time::Duration};

use component::{
    BoxError, Closed, Context, Created, ErrorChain, Factory, Id, Input, Kind, Notices, Output, Registry,
    ShutdownTrigger, channel,
};
use model::{Batch, Flows, Signal};
use tokio::{
    task::{JoinError, JoinHandle},
    time::{self, Instant},
};

use crate::{Ledger, settings, value};

/// Longest that anything a test waits for may take. Under paused time it costs nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// How much later than its deadline a component is ended by force.
const MARGIN: Duration = Duration::from_millis(250);

/// Batches that fit into each channel around a component under test.
const CAPACITY: usize = 1024;

/// One component, running between channels that the test holds.
///
/// Must be used inside a tokio runtime.
#[derive(Debug)]
pub struct Harness {
    kind: Kind,
    id: Id,
    registry: Arc<Registry>,
    notices: Notices,
    trigger: ShutdownTrigger,
    /// The test's end of the component's input, which ends when this is dropped.
    input: Option<Output>,
    /// The test's end of the component's output.
    output: Option<Input>,
    task: JoinHandle<Result<(), BoxError>>,
}

/// How a component ended.
#[derive(Debug)]
pub struct Outcome {
    /// Batches that had not been received when the end was awaited.
    pub batches: Vec<Batch>,
    /// What the component's `run` returned.
    pub result: Result<(), BoxError>,
    /// Items by what became of them.
    pub ledger: Ledger,
    /// The component's counters and gauges.
    pub registry: Arc<Registry>,
}

impl Harness {
    /// Creates a component from the YAML of its section and runs it.
    ///
    /// # Panics
    ///
    /// If the settings are refused or the component cannot be created.
    pub async fn start(factory: &Factory, yaml: &str) -> Self {
        Self::try_start(factory, yaml).await.unwrap_or_else(|err| refused(factory, &err))
    }

    /// Creates a component from the YAML of its section and runs it.
    ///
    /// # Errors
    ///
    /// Fails as the component's `create` does.
    ///
    /// # Panics
    ///
    /// If the settings are refused.
    pub async fn try_start(factory: &Factory, yaml: &str) -> Result<Self, BoxError> {
        Self::try_start_with_capacity(factory, yaml, CAPACITY).await
    }

    /// As [`Harness::try_start`], with channels of `capacity` batches on both sides.
    ///
    /// # Errors
    ///
    /// Fails as the component's `create` does.
    ///
    /// # Panics
    ///
    /// If the settings are refused.
    pub async fn try_start_with_capacity(
        factory: &Factory,
        yaml: &str,
        capacity: usize,
    ) -> Result<Self, BoxError> {
        Self::assemble(factory, yaml, capacity, false, None).await
    }

    /// As [`Harness::start`], with channels of `capacity` batches, and an output that takes one signal only: a pipeline of
    /// another begins nowhere.
    ///
    /// # Panics
    ///
    /// If the settings are refused or the component cannot be created.
    pub async fn start_only(factory: &Factory, yaml: &str, signal: Signal, capacity: usize) -> Self {
        let assembled = Self::assemble(factory, yaml, capacity, false, Some(signal)).await;
        assembled.unwrap_or_else(|err| refused(factory, &err))
    }

    /// As [`Harness::start`], with an output that never takes anything: the component waits for room.
    ///
    /// # Panics
    ///
    /// If the settings are refused or the component cannot be created.
    pub async fn start_blocked(factory: &Factory, yaml: &str) -> Self {
        Self::assemble(factory, yaml, CAPACITY, true, None).await.unwrap_or_else(|err| refused(factory, &err))
    }

    async fn assemble(
        factory: &Factory,
        yaml: &str,
        capacity: usize,
        is_blocked: bool,
        only: Option<Signal>,
    ) -> Result<Self, BoxError> {
        let settings = match settings(factory, yaml) {
            Ok(settings) => settings,
            Err(message) => panic!("`{}` refuses its settings: {message}", factory.type_name()),
        };
        let id: Id = factory.type_name().parse().expect("a component's type is an id");
        let registry = Arc::new(Registry::default());
        let telemetry = registry.telemetry(factory.kind(), &id);
        let (trigger, shutdown) = ShutdownTrigger::new();
        let notices = Notices::default();
        let context = Context {
            id: id.clone(),
            telemetry: telemetry.clone(),
            registry: Arc::clone(&registry),
            shutdown: shutdown.clone(),
            notices: notices.clone(),
        };
        let created = settings.create(context).await?;

        // What the test itself takes and passes on is not the component's.
        let outside = Arc::new(Registry::default());
        let test = outside.telemetry(Kind::Exporter, &"test".parse().expect("`test` is an id"));
        let (sender, own_input) = channel(capacity, &telemetry);
        let input = Output::new(vec![sender], &test);
        let (sender, output) = channel(if is_blocked { 1 } else { capacity }, &test);
        if is_blocked {
            let filler = Output::new(vec![sender.clone()], &test);
            filler.send(Batch::Flows(Flows::default())).await?;
        }
        let sender = match only {
            Some(signal) => sender.only(signal),
            None => sender,
        };
        let own_output = || Output::new(vec![sender], &telemetry);

        let (input, output, task) = match created {
            Created::Receiver(it) => (None, Some(output), spawn(it.run(own_output(), shutdown))),
            Created::Processor(it) => (Some(input), Some(output), spawn(it.run(own_input, own_output()))),
            Created::Exporter(it) => (Some(input), None, spawn(it.run(own_input))),
        };
        Ok(Self { kind: factory.kind(), id, registry, notices, trigger, input, output, task })
    }

    /// Sends a batch into the component, waiting while its queue is full.
    ///
    /// # Errors
    ///
    /// Fails if the component has ended.
    ///
    /// # Panics
    ///
    /// If the component takes no input, or does not take it for a minute.
    pub async fn try_send(&self, batch: Batch) -> Result<(), Closed> {
        let input = self.input.as_ref().expect("a receiver takes no input");
        patiently("takes its input", input.send(batch)).await
    }

    /// Sends a batch into the component, waiting while its queue is full.
    ///
    /// # Panics
    ///
    /// If the component has ended, takes no input, or does not take it for a minute.
    pub async fn send(&self, batch: Batch) {
        self.try_send(batch).await.expect("the component takes input until its input ends");
    }

    /// Waits for the component's next batch; `None` when its output has ended.
    ///
    /// # Panics
    ///
    /// If the component has no output, or stays silent for a minute.
    pub async fn recv(&mut self) -> Option<Batch> {
        let output = self.output.as_mut().expect("an exporter has no output");
        patiently("sends a batch", output.recv()).await
    }

    /// Returns the batch that the component sends within `wait`, if it sends one.
    ///
    /// # Panics
    ///
    /// If the component has no output.
    pub async fn recv_within(&mut self, wait: Duration) -> Option<Batch> {
        let output = self.output.as_mut().expect("an exporter has no output");
        time::timeout(wait, output.recv()).await.unwrap_or_default()
    }

    /// Drops the test's end of the component's output, as if the next component had stopped.
    pub fn close_output(&mut self) {
        self.output = None;
    }

    /// Tells the component to shut down within `timeout`.
    pub fn request_shutdown(&self, timeout: Duration) {
        self.trigger.request(Instant::now() + timeout);
    }

    /// Returns what the component says of itself: the sum over every series that has the attributes.
    pub fn value(&self, name: &str, attributes: &[(&str, &str)]) -> i64 {
        value(&self.registry, name, attributes)
    }

    /// Returns what became of the items so far.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.registry, self.kind, self.id.as_str())
    }

    /// Returns every component's counters and gauges, as the component was given them.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Returns what the component told the user when it was created, such as the address it is bound to.
    pub fn notices(&self) -> Vec<String> {
        self.notices.all()
    }

    /// Ends the input, collects what still comes out, and waits for the end.
    ///
    /// A receiver has no input: it ends by itself, or after [`Harness::request_shutdown`].
    ///
    /// # Panics
    ///
    /// If the component panics, or does not end within a minute.
    pub async fn finish(self) -> Outcome {
        let Self { kind, id, registry, notices: _, trigger, input, output, task } = self;
        drop(input);
        let mut batches = Vec::new();
        if let Some(mut output) = output {
            while let Some(batch) = patiently("ends its output after its input", output.recv()).await {
                batches.push(batch);
            }
        }
        let result = result_of(patiently("ends after its input", task).await);
        // Held until here: a component may watch for shutdown while it ends.
        drop(trigger);
        let ledger = Ledger::of(&registry, kind, id.as_str());
        Outcome { batches, result, ledger, registry }
    }

    /// Requests shutdown within `timeout`, ends the input and, as the engine does, the component itself if it has not ended a
    /// moment after that; the outcome's result then is an error that says so. Nothing comes out meanwhile. Without any time
    /// the component is ended where it is.
    ///
    /// # Panics
    ///
    /// If the component panics.
    pub async fn end_by_force(self, timeout: Duration) -> Outcome {
        self.request_shutdown(timeout);
        let Self { kind, id, registry, notices: _, trigger: _trigger, input, output: _output, mut task } =
            self;
        drop(input);
        let ended = match timeout {
            Duration::ZERO => None,
            timeout => time::timeout(timeout + MARGIN, &mut task).await.ok(),
        };
        let result = match ended {
            Some(ended) => result_of(ended),
            None => {
                task.abort();
                // Whatever it returns: it was too late.
                drop(task.await);
                Err("the component was ended by force".into())
            }
        };
        let ledger = Ledger::of(&registry, kind, id.as_str());
        Outcome { batches: Vec::new(), result, ledger, registry }
    }
}

impl Outcome {
    /// Returns how many items came out.
    pub fn n_items(&self) -> u64 {
        self.batches.iter().map(Batch::n_items).sum()
    }
}

fn spawn(run: component::BoxFuture<Result<(), BoxError>>) -> JoinHandle<Result<(), BoxError>> {
    tokio::spawn(run)
}

fn refused(factory: &Factory, err: &BoxError) -> ! {
    panic!("cannot create `{}`: {}", factory.type_name(), ErrorChain(&**err))
}

fn result_of(ended: Result<Result<(), BoxError>, JoinError>) -> Result<(), BoxError> {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(err)) => panic!("the component was stopped: {err}"),
    }
}

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    match time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_elapsed) => panic!("waited {PATIENCE:?} for a component that {what}"),
    }
}
