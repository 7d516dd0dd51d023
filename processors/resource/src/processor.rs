use component::{BoxError, BoxFuture, Counter, Input, Output, Processor, Telemetry};
use model::{Batch, Otlp, OtlpData};

use crate::{Change, Config, actions::apply};

/// Changes the resources of whatever comes.
#[derive(Debug)]
pub(crate) struct ResourceProcessor {
    changes: Vec<Change>,
    unreadable: Counter,
}

impl ResourceProcessor {
    pub(crate) fn new(config: Config, telemetry: &Telemetry) -> Self {
        let unreadable = telemetry.counter(
            "ridley.resource.unreadable.items",
            "{item}",
            "Items that were passed on as they came, since their resource cannot be read.",
            &[],
        );
        Self { changes: config.attributes, unreadable }
    }

    async fn drive(self, mut input: Input, output: Output) -> Result<(), BoxError> {
        while let Some(mut batch) = input.recv().await {
            match &mut batch {
                Batch::Metrics(metrics) => self.change(metrics),
                Batch::Traces(traces) => self.change(traces),
                Batch::Logs(logs) => self.change(logs),
                Batch::Flows(_) | Batch::Listeners(_) => {}
            }
            output.send(batch).await?;
        }
        Ok(())
    }

    fn change<D: OtlpData>(&self, batch: &mut Otlp<D>) {
        if batch.change_resources(|it| apply(&self.changes, it)).is_err() {
            self.unreadable.add(batch.n_items());
        }
    }
}

impl Processor for ResourceProcessor {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}
