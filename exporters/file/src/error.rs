use std::{io, path::PathBuf};

use component::Id;

/// The file cannot be written, as found at the start.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to {}; set `exporters.{id}.path` to a file that can be written", path.display())]
pub struct OpenError {
    /// Which exporter.
    pub id: Id,
    /// File from the configuration.
    pub path: PathBuf,
    /// What is in the way.
    #[source]
    pub source: io::Error,
}

/// Records could not be written while running.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file could not be opened, for the first time or again after another error.
    #[error("cannot open {}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// The file could not be written to.
    #[error("cannot write to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// A full file could not be given its next name.
    #[error("cannot rename {} to {}", from.display(), to.display())]
    Rename {
        /// Its name now.
        from: PathBuf,
        /// Its next name.
        to: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
}
