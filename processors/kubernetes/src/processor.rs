//! The run loop: only this file awaits, but for the watches.

use std::{
    collections::VecDeque,
    future::pending,
    mem,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use component::{BoxError, BoxFuture, Episode, EpisodeChange, ErrorChain, Input, Output, Processor};
use model::{Batch, Flows, Listeners, Signal, UnixNanos};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use tracing::{debug, info, warn};

use crate::{
    heard::Heard,
    metrics::Instruments,
    namer::{Named, Namer, Report},
    resources::Resources,
    watch::{Told, Watches},
};

/// How long there must have been room for every connection to say that there is again.
const QUIET: Duration = Duration::from_mins(1);

/// How long the API server must have told without failing to say that it tells again.
const WELL: Duration = Duration::from_secs(30);

/// How often what nobody else wakes it for is looked at: what is gone for long, how old knowledge is.
const TICK: Duration = Duration::from_secs(1);

/// Most of what was told that is taken before records are.
const MAX_TOLD: usize = 1_000;

/// Runs a [`Namer`] between two channels and the API server.
#[derive(Debug)]
pub(crate) struct KubernetesProcessor {
    namer: Namer,
    named: Named,
    resources: Resources,
    /// Metrics, spans and log records that wait for all objects, so many items at most.
    early: VecDeque<Batch>,
    max_early: u64,
    watches: Watches,
    heard: Heard,
    instruments: Instruments,
    forgetting: Episode,
    failing: Episode,
}

enum Event {
    Told(Told),
    Batch(Option<Batch>),
    Wake,
}

impl KubernetesProcessor {
    pub(crate) fn new(
        namer: Namer,
        resources: Resources,
        max_early: u64,
        watches: Watches,
        heard: Heard,
        instruments: Instruments,
    ) -> Self {
        let (forgetting, failing) = (Episode::new(QUIET), Episode::new(WELL));
        let (named, early) = (Named::default(), VecDeque::new());
        Self { namer, named, resources, early, max_early, watches, heard, instruments, forgetting, failing }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_closed = false;
        while !is_closed || self.namer.n_held() > 0 || !self.early.is_empty() {
            // Whoever sends more meanwhile is told to wait.
            let takes_more = !is_closed && self.n_early() < self.max_early;
            let event = self.next(takes_more.then_some(&mut input), &mut ticks).await;
            let now = Instant::now().into_std();
            match event {
                Event::Told(told) => self.take(told),
                Event::Batch(Some(Batch::Flows(flows))) => {
                    for flow in flows.records {
                        self.namer.push(flow, now, &mut self.named);
                    }
                }
                Event::Batch(Some(Batch::Listeners(listeners))) => {
                    for listener in listeners.records {
                        self.namer.push_listener(listener, now, &mut self.named);
                    }
                }
                Event::Batch(Some(batch @ (Batch::Metrics(_) | Batch::Traces(_) | Batch::Logs(_)))) => {
                    self.early.push_back(batch);
                }
                Event::Batch(None) => {
                    is_closed = true;
                    self.namer.close(now);
                }
                Event::Wake => {}
            }
            self.namer.wake(now, wall(), &mut self.named);
            self.update();
            self.send(&output).await?;
            if !self.namer.is_starting(now) {
                self.send_resources(&output).await?;
            }
        }
        Ok(())
    }

    /// Sends metrics, spans and log records, with what is known of whose they are. What is not sent yet if it is cancelled is counted
    /// in the end.
    async fn send_resources(&mut self, output: &Output) -> Result<(), BoxError> {
        while let Some(mut batch) = self.early.pop_front() {
            let Self { resources, namer, .. } = self;
            let (index, at) = (&mut namer.naming.index, wall());
            let named = match &mut batch {
                Batch::Metrics(metrics) => resources.name(metrics, index, at),
                Batch::Traces(traces) => resources.name(traces, index, at),
                Batch::Logs(logs) => resources.name(logs, index, at),
                Batch::Flows(_) | Batch::Listeners(_) => Ok(0),
            };
            match named {
                Ok(n_unknown) => self.instruments.unknown_resources.add(n_unknown),
                Err(error) => {
                    self.instruments.unreadable_requests.add(1);
                    debug!(error = %ErrorChain(&error), "a resource cannot be read");
                }
            }
            output.send(batch).await?;
        }
        Ok(())
    }

    fn n_early(&self) -> u64 {
        self.early.iter().map(Batch::n_items).sum()
    }

    /// Sends what has names. What is not sent yet if it is cancelled is counted in the end.
    async fn send(&mut self, output: &Output) -> Result<(), BoxError> {
        if !self.named.flows.is_empty() {
            let records = mem::take(&mut self.named.flows);
            output.send(Batch::Flows(Flows { records })).await?;
        }
        if !self.named.listeners.is_empty() {
            let records = mem::take(&mut self.named.listeners);
            output.send(Batch::Listeners(Listeners { records })).await?;
        }
        Ok(())
    }

    /// Waits for what happens next. Cancel-safe.
    async fn next(&mut self, input: Option<&mut Input>, ticks: &mut Interval) -> Event {
        let due = self.namer.due().map(Instant::from_std);
        tokio::select! {
            biased;
            Some(told) = self.watches.next() => Event::Told(told),
            batch = recv(input) => Event::Batch(batch),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Event::Wake,
            _ = ticks.tick() => Event::Wake,
        }
    }

    /// Takes what was told, and what else was by now.
    fn take(&mut self, first: Told) {
        let wall = wall();
        let mut next = Some(first);
        for _ in 0..MAX_TOLD {
            let Some(told) = next else { break };
            if let Told::Failed(resource, error) = &told {
                self.instruments.failed_watches.add(1);
                if self.failing.update(true, Instant::now().into_std()) == Some(EpisodeChange::Began) {
                    warn!(
                        resource,
                        error = %ErrorChain(error),
                        "the API server does not tell of all objects, names are given by what is known; it is asked again"
                    );
                }
            }
            self.namer.on_told(told, wall);
            next = self.watches.next_ready();
        }
    }

    fn update(&mut self) {
        let now = Instant::now().into_std();
        let Report { late, full } = self.namer.take_report();
        self.instruments.unsettled_late.add(late);
        self.instruments.unsettled_full.add(full);
        self.instruments.held.set(i64::try_from(self.namer.n_held()).unwrap_or(i64::MAX));
        let age = self.heard.age(now).as_secs();
        self.instruments.age.set(i64::try_from(age).unwrap_or(i64::MAX));
        let n_forgotten = self.instruments.update(&mut self.namer.naming);
        let connections = self.namer.naming.n_connections();
        match self.forgetting.update(n_forgotten > 0, now) {
            Some(EpisodeChange::Began) => warn!(
                connections,
                "more connections than `max_connections`, the oldest are named anew by their next record; raise it"
            ),
            Some(EpisodeChange::Ended) => info!(connections, "there is room for every connection again"),
            None => {}
        }
        if self.failing.update(false, now) == Some(EpisodeChange::Ended) {
            info!("the API server tells of all objects again");
        }
    }
}

impl Drop for KubernetesProcessor {
    /// Counts what is still held, or was not sent yet, if the end did not wait for it.
    fn drop(&mut self) {
        let Named { flows, listeners } = &self.named;
        let n_left = self.namer.n_held() + flows.len() + listeners.len();
        self.instruments.drop_at_shutdown(Signal::Flows, n_left as u64);
        for batch in &self.early {
            self.instruments.drop_at_shutdown(batch.signal(), batch.n_items());
        }
    }
}

impl Processor for KubernetesProcessor {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}

/// Waits for a batch; for ever if there is no input any more. Cancel-safe.
async fn recv(input: Option<&mut Input>) -> Option<Batch> {
    match input {
        Some(input) => input.recv().await,
        None => pending().await,
    }
}

fn wall() -> UnixNanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixNanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
