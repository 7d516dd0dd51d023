use std::time::Duration;

use component::{
    BoxError, BoxFuture, Episode, EpisodeChange, ErrorChain, Input, Output, Processor, Telemetry,
};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::{
    Config,
    limiter::Limiter,
    memory::{self, MemoryError},
    metrics::Instruments,
};

/// How long there must have been memory to say that there is again.
const QUIET: Duration = Duration::from_secs(30);

/// Passes on what comes while there is memory.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    limiter: Limiter,
    check_interval: Duration,
    instruments: Instruments,
    refusing: Episode,
    is_too_much: bool,
    next_look: Instant,
}

impl MemoryLimiter {
    pub(crate) fn try_new(config: &Config, telemetry: &Telemetry) -> Result<Self, MemoryError> {
        // What cannot be read now cannot be read later.
        memory::used()?;
        Ok(Self {
            limiter: Limiter::try_new(config, memory::available)?,
            check_interval: config.check_interval,
            instruments: Instruments::new(telemetry),
            refusing: Episode::new(QUIET),
            is_too_much: false,
            next_look: Instant::now(),
        })
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        while let Some(batch) = input.recv().await {
            if self.is_too_much_now() {
                self.instruments.refused(&batch);
            } else {
                output.send(batch).await?;
            }
        }
        Ok(())
    }

    fn is_too_much_now(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next_look {
            return self.is_too_much;
        }
        self.next_look = now + self.check_interval;
        let used = match memory::used() {
            Ok(used) => used,
            Err(error) => {
                debug!(error = %ErrorChain(&error), "the memory is taken for what it was");
                return self.is_too_much;
            }
        };
        self.instruments.used.set(i64::try_from(used).unwrap_or(i64::MAX));
        self.is_too_much = self.limiter.is_too_much(used);
        let limit = self.limiter.soft();
        match self.refusing.update(self.is_too_much, now.into_std()) {
            Some(EpisodeChange::Began) => {
                warn!(used, limit, "too much memory: what comes is refused for now")
            }
            Some(EpisodeChange::Ended) => info!(used, limit, "there is memory again: what comes is taken"),
            None => {}
        }
        self.is_too_much
    }
}

impl Processor for MemoryLimiter {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}
