use std::{mem, time::Instant};

use component::{BoxError, BoxFuture, Input, Output, Processor};
use model::{Batch, Flow, Flows};
use tokio::time::{self, Instant as TokioInstant};

use crate::{metrics::Instruments, pairing::Pairing};

/// Runs a [`Pairing`] between two channels.
#[derive(Debug)]
pub(crate) struct JoinProcessor {
    pairing: Pairing,
    instruments: Instruments,
}

impl JoinProcessor {
    pub(crate) fn new(pairing: Pairing, instruments: Instruments) -> Self {
        Self { pairing, instruments }
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
        self.instruments.add(self.pairing.take_report(), self.pairing.len());
        if !records.is_empty() {
            output.send(Batch::Flows(Flows { records: mem::take(records) })).await?;
        }
        Ok(())
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
