use std::{io, path::PathBuf};

use component::Id;

use crate::Malformed;

/// The file cannot be read, as found at the start.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}; set `receivers.{id}.path` to a file of flow records", path.display())]
pub struct OpenError {
    /// Which receiver.
    pub id: Id,
    /// File from the configuration.
    pub path: PathBuf,
    /// What is in the way.
    #[source]
    pub source: io::Error,
}

/// A line of the file is not a record.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}:{line}: not a flow record; correct it, or set `receivers.{id}.on_error` to `skip` to go on without it",
    path.display()
)]
pub struct MalformedError {
    /// Which receiver.
    pub id: Id,
    /// File from the configuration.
    pub path: PathBuf,
    /// Number of the line; the first is 1.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub source: Malformed,
}
