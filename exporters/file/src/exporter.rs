use component::{BoxError, BoxFuture, ErrorChain, Exporter, Input};
use model::{Batch, Flow};
use tokio::task;
use tracing::{error, info, warn};

use crate::{
    encode::Lines,
    metrics::Instruments,
    rotating_file::{RotatingFile, Written},
};

/// Writes each batch before it takes the next.
#[derive(Debug)]
pub(crate) struct FileExporter {
    file: RotatingFile,
    instruments: Instruments,
    /// Whether the last batch could not be written.
    failing: bool,
}

impl FileExporter {
    pub(crate) fn new(file: RotatingFile, instruments: Instruments) -> Self {
        Self { file, instruments, failing: false }
    }

    async fn drive(self, mut input: Input) -> Result<(), BoxError> {
        let Self { mut file, instruments, mut failing } = self;
        while let Some(batch) = input.recv().await {
            let Batch::Flows(flows) = batch else {
                instruments.wrong_signal.add(batch.n_items());
                continue;
            };
            let n_records = flows.records.len();
            let written;
            (file, written) = task::spawn_blocking(move || write(file, &flows.records)).await?;
            let Written { n_lines, n_bytes, n_rotations, error } = written;
            instruments.written.add(n_bytes);
            instruments.rotations.add(n_rotations);
            instruments.write_failed.add((n_records - n_lines) as u64);
            match error {
                Some(err) if !failing => {
                    error!(error = %ErrorChain(&err), "records are not written until this is over");
                    failing = true;
                }
                None if failing => {
                    info!("records are written again");
                    failing = false;
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
