use std::{
    mem,
    time::{Duration, Instant},
};

use component::{BoxError, BoxFuture, Episode, EpisodeChange, Input, Output, Processor};
use model::{Batch, Flow, Flows};
use tokio::time::{self, Instant as TokioInstant};
use tracing::{info, warn};

use crate::{
    metrics::Instruments,
    pairing::{Pairing, Report},
};

/// How long there must have been room for every connection to say that there is again.
const QUIET: Duration = Duration::from_mins(1);

/// Runs a [`Pairing`] between two channels.
#[derive(Debug)]
pub(crate) struct JoinProcessor {
    pairing: Pairing,
    instruments: Instruments,
    condensing: Episode,
    forgetting: Episode,
}

impl JoinProcessor {
    pub(crate) fn new(pairing: Pairing, instruments: Instruments) -> Self {
        let [condensing, forgetting] = [Episode::new(QUIET); 2];
        Self { pairing, instruments, condensing, forgetting }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        let mut records = Vec::new();
        loop {
            let due = self.pairing.next_due();
            tokio::select! {
                // What already waits in the channel may hold the other end's record: it comes before the timer.
                biased;
                batch = input.recv() => match batch {
                    Some(Batch::Flows(flows)) => self.pairing.push_batch(flows, now(), &mut records),
                    Some(other) => output.send(other).await?,
                    None => break,
                },
                () = sleep_until(due), if due.is_some() => {}
            }
            self.pairing.expire(now(), &mut records);
            self.send(&mut records, &output).await?;
        }
        self.pairing.finish(&mut records);
        self.send(&mut records, &output).await
    }

    async fn send(&mut self, records: &mut Vec<Flow>, output: &Output) -> Result<(), BoxError> {
        let report = self.pairing.take_report();
        self.log(report, now());
        self.instruments.add(report, self.pairing.len());
        if !records.is_empty() {
            output.send(Batch::Flows(Flows { records: mem::take(records) })).await?;
        }
        Ok(())
    }

    fn log(&mut self, report: Report, now: Instant) {
        let connections = self.pairing.len();
        match self.condensing.update(report.condensed > 0, now) {
            Some(EpisodeChange::Began) => warn!(
                connections,
                "more connections than `max_connections`, of the oldest only the end that counts is remembered; \
                 raise it to keep the names of both ends"
            ),
            Some(EpisodeChange::Ended) => info!(connections, "there is room for every connection again"),
            None => {}
        }
        match self.forgetting.update(report.forgotten > 0, now) {
            Some(EpisodeChange::Began) => warn!(
                connections,
                "far more connections than `max_connections`, those with both ends on this host may count twice; \
                 raise it"
            ),
            Some(EpisodeChange::Ended) => info!(connections, "no connection is forgotten any more"),
            None => {}
        }
    }
}

impl Drop for JoinProcessor {
    /// Counts what is still held, if the end did not wait for it: at the deadline of a drain, and when nobody takes
    /// records any more.
    fn drop(&mut self) {
        let mut held = Vec::new();
        self.pairing.finish(&mut held);
        self.instruments.add(self.pairing.take_report(), self.pairing.len());
        self.instruments.lost(held.len());
    }
}

impl Processor for JoinProcessor {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}

fn now() -> Instant {
    TokioInstant::now().into_std()
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        time::sleep_until(TokioInstant::from_std(due)).await;
    }
}
