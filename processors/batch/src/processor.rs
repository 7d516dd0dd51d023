use std::{collections::VecDeque, time::Duration};

use component::{BoxError, BoxFuture, Input, Output, Processor, Telemetry};
use model::Batch;
use tokio::time::{Instant, sleep_until};

use crate::{
    Config,
    held::Held,
    metrics::{Instruments, Trigger},
};

/// Sends what waits when it is enough, or has waited long enough.
#[derive(Debug)]
pub(crate) struct BatchProcessor {
    timeout: Duration,
    enough: u64,
    max_items: u64,
    instruments: Instruments,
    held: Held,
    /// What is sent next.
    ready: VecDeque<Batch>,
}

impl BatchProcessor {
    pub(crate) fn new(config: Config, telemetry: &Telemetry) -> Self {
        let Config { timeout, send_batch_size, send_batch_max_size } = config;
        Self {
            timeout,
            enough: if timeout.is_zero() { 0 } else { send_batch_size },
            max_items: send_batch_max_size,
            instruments: Instruments::new(telemetry),
            held: Held::default(),
            ready: VecDeque::new(),
        }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        let mut due = None;
        loop {
            let trigger = tokio::select! {
                biased;
                batch = input.recv() => match batch {
                    Some(batch) => {
                        self.held.push(batch);
                        due.get_or_insert_with(|| Instant::now() + self.timeout);
                        (self.held.n_items() >= self.enough).then_some(Trigger::Size)
                    }
                    None => Some(Trigger::End),
                },
                () = wait(due), if due.is_some() => None,
            };
            // What comes all the time must not keep what is there from being sent.
            let is_late = || due.is_some_and(|it| it <= Instant::now());
            if let Some(trigger) = trigger.or_else(|| is_late().then_some(Trigger::Timeout)) {
                due = None;
                self.send(trigger, &output).await?;
                if trigger == Trigger::End {
                    return Ok(());
                }
            }
        }
    }

    async fn send(&mut self, trigger: Trigger, output: &Output) -> Result<(), BoxError> {
        self.ready.extend(self.held.take(self.max_items));
        if !self.ready.is_empty() {
            self.instruments.sent(trigger);
        }
        while let Some(batch) = self.ready.pop_front() {
            output.send(batch).await?;
        }
        Ok(())
    }
}

impl Drop for BatchProcessor {
    /// Counts what is still held, if the end did not wait for it.
    fn drop(&mut self) {
        self.ready.extend(self.held.take(0));
        self.ready.iter().for_each(|it| self.instruments.lost(it));
    }
}

impl Processor for BatchProcessor {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}

async fn wait(due: Option<Instant>) {
    if let Some(due) = due {
        sleep_until(due).await;
    }
}
