use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use crate::Tls;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may say nothing on a connection that is used before it is asked whether it is there, and how long it may
/// take to answer that.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Sends requests with bodies of a type over HTTP, and keeps connections.
pub type Client<B> = legacy::Client<HttpsConnector<HttpConnector>, B>;

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// What the server likes best.
    Any,
    /// Version 2, also where nothing is encrypted: gRPC needs it.
    Two,
}

/// Certificates or a key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", path.display())]
    File { path: PathBuf, source: pem::Error },
    #[error("{} has no certificate", path.display())]
    Empty { path: PathBuf },
    #[error("cannot use the certificates of {}", path.display())]
    Unusable { path: PathBuf, source: rustls::Error },
    #[error("cannot read the certificates that the system trusts; `tls.ca_file` can name others")]
    System(#[source] io::Error),
    #[error("cannot use the TLS library")]
    Library(#[from] rustls::Error),
}

impl Tls {
    /// Makes a client, reading the files.
    ///
    /// # Errors
    ///
    /// A file is missing, or has not what it must have.
    pub fn client<B>(&self, versions: Versions, is_encrypted: bool) -> Result<Client<B>, TlsError>
    where
        B: http_body::Body + std::marker::Send + 'static + Unpin,
        B::Data: std::marker::Send,
    {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = if is_encrypted { self.encrypted()? } else { plain()? };
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        let connector = match versions {
            Versions::Any => connector.enable_http1().enable_http2().wrap_connector(tcp),
            Versions::Two => connector.enable_http2().wrap_connector(tcp),
        };
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.http2_only(versions == Versions::Two);
        builder.http2_keep_alive_interval(KEEP_ALIVE).http2_keep_alive_timeout(KEEP_ALIVE);
        Ok(builder.build(connector))
    }

    fn encrypted(&self) -> Result<ClientConfig, TlsError> {
        let Self { ca_file, cert_file, key_file } = self;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?;
        let builder = match ca_file {
            Some(path) => builder.with_root_certificates(roots(path)?),
            None => builder.with_native_roots().map_err(TlsError::System)?,
        };
        match cert_file.as_deref().zip(key_file.as_deref()) {
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(file_error(key))?;
                let unusable = |source| TlsError::Unusable { path: certificate.to_owned(), source };
                builder.with_client_auth_cert(chain, key).map_err(unusable)
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

/// What a connector has for TLS that is never spoken: it trusts nobody.
fn plain() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates: Vec<_> = read.map_err(file_error(path))?;
    if certificates.is_empty() {
        return Err(TlsError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

fn file_error(path: &Path) -> impl Fn(pem::Error) -> TlsError {
    move |source| TlsError::File { path: path.to_owned(), source }
}
