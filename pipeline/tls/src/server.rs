use std::{io, sync::Arc, time::Duration};

use component::{BoxError, Telemetry};
use rustls::{ServerConfig, crypto::ring, server::WebPkiClientVerifier};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{Files, ServerTls, TlsError, Versions, Watched, files::unusable};

/// How long a client may take until both ends know each other.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Begins TLS on connections that clients make, each by what the files say then.
#[derive(Debug)]
pub struct Acceptor(Watched<TlsAcceptor>);

impl Acceptor {
    /// Waits until both ends know each other, for a limited time.
    ///
    /// # Errors
    ///
    /// The client is none that may connect, does not speak TLS, takes too long or is gone.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepted = self.0.current().accept(stream);
        timeout(HANDSHAKE_TIMEOUT, accepted).await.map_err(io::Error::from)?
    }
}

impl ServerTls {
    /// Makes the acceptor of a server, reading the files.
    ///
    /// # Errors
    ///
    /// A file is missing, or has not what it must have.
    pub fn acceptor(&self, versions: Versions, telemetry: &Telemetry) -> Result<Acceptor, BoxError> {
        let Self { cert_file, key_file, client_ca_file, min_version: _, reload_interval } = self;
        let paths = [Some(cert_file), Some(key_file), client_ca_file.as_ref()];
        let paths = paths.into_iter().flatten().cloned().collect();
        let tls = self.clone();
        let make = move |files: &Files| {
            let mut config = tls.encrypted(files)?;
            config.alpn_protocols = match versions {
                Versions::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
                Versions::Two => vec![b"h2".to_vec()],
            };
            // Sessions go on without showing certificates again; with files that have changed, they do not.
            Ok(TlsAcceptor::from(Arc::new(config)))
        };
        Ok(Acceptor(Watched::open(paths, *reload_interval, telemetry, make)?))
    }

    fn encrypted(&self, files: &Files) -> Result<ServerConfig, TlsError> {
        let Self { cert_file, key_file, client_ca_file, min_version, reload_interval: _ } = self;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(min_version.versions())?;
        let builder = match client_ca_file {
            Some(path) => {
                let roots = Arc::new(files.roots(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
                builder.with_client_cert_verifier(verifier.map_err(unusable(path))?)
            }
            None => builder.with_no_client_auth(),
        };
        let chain = files.certificates(cert_file)?;
        builder.with_single_cert(chain, files.key(key_file)?).map_err(unusable(cert_file))
    }
}
