use std::{io, path::PathBuf};

/// The queue cannot be used, as found at the start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there and cannot be made.
    #[error("cannot make the directory {}", path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// Another process has it.
    #[error("another process, or another exporter of this one, uses {}; each needs a directory of its own", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file, or the directory.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// A segment is not of this version's making.
    #[error(
        "{} is of version {found} of the format, expected {}; use another directory, or a newer version of this program",
        path.display(),
        crate::format::VERSION
    )]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its version.
        found: u8,
    },
}

/// A record is not in the queue.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// There is no room for it.
    #[error("there is no room for it")]
    Full,
    /// A segment cannot be begun.
    #[error("cannot make {}", path.display())]
    Create {
        /// The segment.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write to {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
    /// It is written, and nobody knows whether it is on the disk.
    #[error("cannot have {} on the disk", path.display())]
    Sync {
        /// The file, or the directory.
        path: PathBuf,
        /// What the operating system answered.
        #[source]
        source: io::Error,
    },
}

/// What is in a segment cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct ReadError {
    /// The segment.
    pub path: PathBuf,
    /// What the operating system answered.
    #[source]
    pub source: io::Error,
}
