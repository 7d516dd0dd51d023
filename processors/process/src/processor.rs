use std::time::Duration;

use component::{BoxError, BoxFuture, Episode, EpisodeChange, Input, Output, Processor};
use model::Batch;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{metrics::Instruments, naming::Naming};

/// How long there must have been room for every connection to say that there is again.
const QUIET: Duration = Duration::from_mins(1);

/// Runs a [`Naming`] between two channels.
#[derive(Debug)]
pub(crate) struct ProcessProcessor {
    naming: Naming,
    instruments: Instruments,
    forgetting: Episode,
}

impl ProcessProcessor {
    pub(crate) fn new(naming: Naming, instruments: Instruments) -> Self {
        Self { naming, instruments, forgetting: Episode::new(QUIET) }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        while let Some(mut batch) = input.recv().await {
            match &mut batch {
                Batch::Flows(flows) => {
                    for flow in &mut flows.records {
                        self.naming.name(flow);
                    }
                    let n_forgotten = self.instruments.update(&mut self.naming);
                    self.log(n_forgotten);
                }
                Batch::Listeners(listeners) => {
                    for listener in &mut listeners.records {
                        self.naming.name_listener(listener);
                    }
                }
                Batch::Metrics(_) | Batch::Traces(_) | Batch::Logs(_) => {}
            }
            output.send(batch).await?;
        }
        Ok(())
    }

    fn log(&mut self, n_forgotten: u64) {
        let connections = self.naming.n_connections();
        match self.forgetting.update(n_forgotten > 0, Instant::now().into_std()) {
            Some(EpisodeChange::Began) => warn!(
                connections,
                "more connections than `max_connections`, the oldest are named anew by their next record; raise it"
            ),
            Some(EpisodeChange::Ended) => info!(connections, "there is room for every connection again"),
            None => {}
        }
    }
}

impl Processor for ProcessProcessor {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}
