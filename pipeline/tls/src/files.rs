use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::TlsError;

/// Most bytes of a file: the certificates that a system trusts are a quarter of it.
const MAX_SIZE: u64 = 1024 * 1024;

/// Files as they were when they were read.
#[derive(Clone, PartialEq, Eq)]
pub struct Files(Vec<(PathBuf, Vec<u8>)>);

impl Files {
    /// Reads files.
    ///
    /// # Errors
    ///
    /// One is missing, is no file or is too large.
    pub fn read<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Self, TlsError> {
        let read = |path: &Path| match contents(path) {
            Ok(contents) => Ok((path.to_owned(), contents)),
            Err(source) => Err(TlsError::File { path: path.to_owned(), source }),
        };
        paths.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Returns what a file has; nothing if it is none of these.
    pub fn of(&self, path: &Path) -> &[u8] {
        self.0.iter().find(|(it, _)| it == path).map_or(&[], |(_, contents)| contents)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }

    pub(crate) fn certificates(&self, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.of(path)).collect();
        let certificates = read.map_err(|source| TlsError::Form { path: path.to_owned(), source })?;
        if certificates.is_empty() {
            return Err(TlsError::Empty { path: path.to_owned() });
        }
        Ok(certificates)
    }

    pub(crate) fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        let key = PrivateKeyDer::from_pem_slice(self.of(path));
        key.map_err(|source| TlsError::Form { path: path.to_owned(), source })
    }

    pub(crate) fn roots(&self, path: &Path) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates(path)? {
            roots.add(certificate).map_err(unusable(path))?;
        }
        Ok(roots)
    }
}

/// Some are private keys.
impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.paths()).finish()
    }
}

pub(crate) fn unusable<E>(path: &Path) -> impl Fn(E) -> TlsError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |source| TlsError::Unusable { path: path.to_owned(), source: source.into() }
}

fn contents(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would be waited for.
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut contents = Vec::new();
    let n_read = File::open(path)?.take(MAX_SIZE + 1).read_to_end(&mut contents)?;
    if n_read as u64 > MAX_SIZE {
        return Err(io::Error::other(format!("it has more than {MAX_SIZE} bytes")));
    }
    Ok(contents)
}
