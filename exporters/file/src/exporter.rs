use std::time::Duration;

use component::{BoxError, BoxFuture, Episode, EpisodeChange, ErrorChain, Exporter, Input};
use model::{Batch, Flow};
use tokio::{task, time::Instant};
use tracing::{error, info, warn};

use crate::{
    encode::Lines,
    metrics::Instruments,
    rotating_file::{RotatingFile, Written},
};

/// How long nothing must have failed until it is over: a full disk takes small batches between large ones.
const QUIET: Duration = Duration::from_secs(30);

/// Writes each batch before it takes the next.
#[derive(Debug)]
pub(crate) struct FileExporter {
    file: RotatingFile,
    instruments: Instruments,
}

impl FileExporter {
    pub(crate) fn new(file: RotatingFile, instruments: Instruments) -> Self {
        Self { file, instruments }
    }

    async fn drive(self, mut input: Input) -> Result<(), BoxError> {
        let Self { mut file, instruments } = self;
        let mut outage = Episode::new(QUIET);
        // Records lost in the outage.
        let mut lost = 0;
        while let Some(batch) = input.recv().await {
            let n_items = batch.n_items();
            let flows = match batch {
                Batch::Flows(flows) => flows,
                // The format has lines for flow records alone, so that this is no drop.
                Batch::Listeners(_) => {
                    instruments.unwritten_listeners.add(n_items);
                    continue;
                }
                Batch::Metrics(_) | Batch::Traces(_) | Batch::Logs(_) => {
                    instruments.wrong_signal.add(n_items);
                    continue;
                }
            };
            let n_records = flows.records.len();
            let written;
            (file, written) = task::spawn_blocking(move || write(file, &flows.records)).await?;
            let Written { n_lines, n_bytes, n_rotations, error } = written;
            instruments.written.add(n_bytes);
            instruments.rotations.add(n_rotations);
            let n_lost = (n_records - n_lines) as u64;
            instruments.write_failed.add(n_lost);
            lost += n_lost;
            match (outage.update(error.is_some(), Instant::now().into_std()), error) {
                (Some(EpisodeChange::Began), Some(err)) => {
                    error!(error = %ErrorChain(&err), "records are lost until this is over");
                }
                (Some(EpisodeChange::Ended), _) => {
                    info!(lost, "records are written again");
                    lost = 0;
                }
                _ => {}
            }
        }
        if let Err(err) = task::spawn_blocking(move || file.sync()).await? {
            warn!(error = %err, "the last records may not be on the disk");
        }
        Ok(())
    }
}

fn write(mut file: RotatingFile, records: &[Flow]) -> (RotatingFile, Written) {
    let written = file.write(&Lines::of(records));
    (file, written)
}

impl Exporter for FileExporter {
    fn run(self: Box<Self>, input: Input) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input))
    }
}
