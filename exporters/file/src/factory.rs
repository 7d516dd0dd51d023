use component::{BoxError, Context, Exporter, Factory, Stability};
use model::Signal;
use tokio::task;

use crate::{Config, OpenError, exporter::FileExporter, metrics::Instruments, rotating_file::RotatingFile};

/// Makes `file` exporters.
pub fn factory() -> Factory {
    Factory::exporter("file", &[Signal::Flows], create)
        .with_summary("writes flow records to a file as JSON lines, which `replay` reads back")
        .with_stability(Stability::Beta)
}

async fn create(config: Config, context: Context) -> Result<Box<dyn Exporter>, BoxError> {
    let Config { path, mode, max_bytes, max_files } = config;
    let opening = path.clone();
    let opened = task::spawn_blocking(move || RotatingFile::open(opening, mode, max_bytes, max_files.get()));
    let file = opened.await?.map_err(|source| OpenError { id: context.id, path, source })?;
    Ok(Box::new(FileExporter::new(file, Instruments::new(&context.telemetry))))
}
