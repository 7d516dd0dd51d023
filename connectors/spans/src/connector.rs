use std::{
    mem,
    time::{Duration, Instant, SystemTime},
};

use component::{BoxError, BoxFuture, Closed, Episode, EpisodeChange, Input, Output, Processor};
use model::{Batch, Flows};
use tokio::time::{self, MissedTickBehavior};
use tracing::{info, warn};

use crate::{
    Periods,
    encode::encode,
    metrics::Instruments,
    observed::Observed,
    sampler::{Choice, Sampler},
};

/// How long a span waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// A batch is full when it has this many: about half a megabyte, well below the 4 MiB that OTLP receivers take.
const MAX_BATCH: usize = 512;
/// How long there must have been room for everything to say that there is again.
const QUIET: Duration = Duration::from_mins(1);

/// Runs [`Periods`] between two channels.
#[derive(Debug)]
pub(crate) struct SpansConnector {
    periods: Periods,
    sampler: Sampler,
    instruments: Instruments,
    /// Of what spans are about to be made.
    done: Vec<Observed>,
    /// Reports on listening sockets, of which there is nothing to tell, since spans were sent.
    n_listeners: u64,
    refusing: Episode,
}

impl SpansConnector {
    pub(crate) fn new(periods: Periods, sampler: Sampler, instruments: Instruments) -> Self {
        let refusing = Episode::new(QUIET);
        Self { periods, sampler, instruments, done: Vec::new(), n_listeners: 0, refusing }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        let mut ticks = time::interval_at(time::Instant::now() + WAIT, WAIT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                // The timer first: a queue that is never empty must not silence the output.
                biased;
                _ = ticks.tick() => {
                    self.take(|periods, done| periods.pass(SystemTime::now().into(), done));
                    self.report();
                    self.send(&output).await?;
                }
                batch = input.recv() => match batch {
                    Some(Batch::Flows(Flows { records })) => {
                        self.take(|periods, done| records.iter().for_each(|it| periods.push(it, done)));
                        if self.done.len() >= MAX_BATCH {
                            self.send(&output).await?;
                        }
                    }
                    Some(batch @ Batch::Listeners(_)) => self.n_listeners += batch.n_items(),
                    Some(other) => self.instruments.wrong_signal.add(other.n_items()),
                    None => break,
                }
            }
        }
        self.take(Periods::drain);
        self.report();
        self.send(&output).await?;
        Ok(())
    }

    /// Keeps of what became complete that of which spans are made.
    fn take(&mut self, complete: impl FnOnce(&mut Periods, &mut Vec<Observed>)) {
        let Self { periods, sampler, instruments, done, .. } = self;
        let n_before = done.len();
        complete(periods, done);
        let now = now();
        let mut idx = 0;
        done.retain(|observed| {
            idx += 1;
            if idx <= n_before {
                return true;
            }
            let n_spans = observed.observers().len() as u64;
            match sampler.choose(observed, now) {
                Choice::Take => return true,
                Choice::Leave => instruments.left.add(n_spans),
                Choice::TooMany => instruments.too_many.add(n_spans),
            }
            false
        });
    }

    async fn send(&mut self, output: &Output) -> Result<(), Closed> {
        self.n_listeners = 0;
        let mut done = mem::take(&mut self.done);
        while !done.is_empty() {
            let later = done.split_off(done.len().min(MAX_BATCH));
            let traces = encode(&done);
            // If this is ended by force they are still to be accounted for.
            self.done = later;
            output.send(Batch::Traces(traces)).await?;
            done = mem::take(&mut self.done);
        }
        Ok(())
    }

    fn report(&mut self) {
        let n_connections = self.periods.n_connections();
        self.instruments.remembered(n_connections);
        let n_refused = self.periods.take_refused();
        self.instruments.refused.add(n_refused);
        match self.refusing.update(n_refused > 0, now()) {
            Some(EpisodeChange::Began) => {
                warn!(
                    n_connections,
                    "more connections than `max_connections`: spans leave out records; raise it"
                )
            }
            Some(EpisodeChange::Ended) => info!(n_connections, "there is room for every connection again"),
            None => {}
        }
    }
}

impl Drop for SpansConnector {
    /// Counts what no span will tell of any more, if the end did not wait for it.
    fn drop(&mut self) {
        self.instruments.refused.add(self.periods.take_refused());
        let in_spans: u64 = self.done.iter().map(|it| it.n_records).sum();
        self.instruments.dropped_shutdown.add(in_spans + self.periods.n_records() + self.n_listeners);
    }
}

impl Processor for SpansConnector {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}

fn now() -> Instant {
    time::Instant::now().into_std()
}
