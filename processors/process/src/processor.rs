use component::{BoxError, BoxFuture, Input, Output, Processor};
use model::Batch;

use crate::{metrics::Instruments, naming::Naming};

/// Runs a [`Naming`] between two channels.
#[derive(Debug)]
pub(crate) struct ProcessProcessor {
    naming: Naming,
    instruments: Instruments,
}

impl ProcessProcessor {
    pub(crate) fn new(naming: Naming, instruments: Instruments) -> Self {
        Self { naming, instruments }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        while let Some(mut batch) = input.recv().await {
            if let Batch::Flows(flows) = &mut batch {
                for flow in &mut flows.records {
                    self.naming.name(flow);
                }
                self.instruments.update(&mut self.naming);
            }
            output.send(batch).await?;
        }
        Ok(())
    }
}

impl Processor for ProcessProcessor {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}
