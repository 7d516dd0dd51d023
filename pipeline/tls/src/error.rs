use std::{io, path::PathBuf};

use rustls::pki_types::pem;

/// Certificates, keys or other files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no such file, or it may not be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not in the form that is expected.
    #[error("{} is not PEM with what is expected", path.display())]
    Form {
        /// Which one.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file is empty of what it is for.
    #[error("{} has no certificate", path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// A certificate is not understood, or is not that of the key.
    #[error("cannot use the certificates of {}", path.display())]
    Unusable {
        /// Where they are.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system's certificates cannot be read.
    #[error("cannot read the certificates that the system trusts; `tls.ca_file` can name others")]
    System(#[source] io::Error),
    /// The library has not what it needs.
    #[error("cannot use the TLS library")]
    Library(#[from] rustls::Error),
}
