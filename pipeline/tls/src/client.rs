use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use component::{BoxError, Telemetry};
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{self, CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
    version::{TLS12, TLS13},
};
use tower_service::Service;

use crate::{ClientTls, Files, MinVersion, TlsError, Watched, files::unusable};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may say nothing on a connection that is used before it is asked whether it is there, and how long it may
/// take to answer that.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Sends requests with bodies of a type over HTTP, and keeps connections.
pub type Client<B> = legacy::Client<Connector, B>;

/// Which versions of HTTP are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// What the server likes best.
    Any,
    /// Version 2, also where nothing is encrypted: gRPC needs it.
    Two,
}

/// Makes connections, each by what the files say then.
#[derive(Clone, Debug)]
pub struct Connector(Arc<Watched<HttpsConnector<HttpConnector>>>);

impl Service<Uri> for Connector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = <HttpsConnector<HttpConnector> as Service<Uri>>::Error;
    type Future = <HttpsConnector<HttpConnector> as Service<Uri>>::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Connections of TCP can be made at any time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        self.0.current().call(to)
    }
}

impl ClientTls {
    /// Makes a client, reading the files.
    ///
    /// # Errors
    ///
    /// A file is missing, or has not what it must have.
    pub fn client<B>(
        &self,
        versions: Versions,
        is_encrypted: bool,
        telemetry: &Telemetry,
    ) -> Result<Client<B>, BoxError>
    where
        B: http_body::Body + Send + 'static + Unpin,
        B::Data: Send,
    {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let Self { ca_file, cert_file, key_file, .. } = self;
        let paths =
            [ca_file, cert_file, key_file].into_iter().flatten().filter(|_| is_encrypted).cloned().collect();
        let tls = self.clone();
        let name = self.server_name_override.clone().map(ServerName::try_from).transpose();
        let name = name.map_err(|_invalid| rustls::Error::UnsupportedNameType)?;
        let make = move |files: &Files| {
            let config = if is_encrypted { tls.encrypted(files)? } else { plain()? };
            let mut connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http();
            if let Some(name) = &name {
                connector = connector.with_server_name_resolver(FixedServerNameResolver::new(name.clone()));
            }
            Ok(match versions {
                Versions::Any => connector.enable_http1().enable_http2().wrap_connector(tcp.clone()),
                Versions::Two => connector.enable_http2().wrap_connector(tcp.clone()),
            })
        };
        let connector = Connector(Arc::new(Watched::open(paths, self.reload_interval, telemetry, make)?));
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder.timer(TokioTimer::new()).pool_timer(TokioTimer::new());
        builder.http2_only(versions == Versions::Two);
        builder.http2_keep_alive_interval(KEEP_ALIVE).http2_keep_alive_timeout(KEEP_ALIVE);
        Ok(builder.build(connector))
    }

    fn encrypted(&self, files: &Files) -> Result<ClientConfig, TlsError> {
        let Self { ca_file, cert_file, key_file, insecure_skip_verify, min_version, .. } = self;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(min_version.versions())?;
        let builder = match ca_file {
            _ if *insecure_skip_verify => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
            Some(path) => builder.with_root_certificates(files.roots(path)?),
            None => builder.with_native_roots().map_err(TlsError::System)?,
        };
        match cert_file.as_deref().zip(key_file.as_deref()) {
            Some((certificate, key)) => {
                let chain = files.certificates(certificate)?;
                builder.with_client_auth_cert(chain, files.key(key)?).map_err(unusable(certificate))
            }
            None => Ok(builder.with_no_client_auth()),
        }
    }
}

impl MinVersion {
    pub(crate) const fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        const ALL: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
        match self {
            Self::Tls12 => ALL,
            Self::Tls13 => NEWEST,
        }
    }
}

/// What a connector has for TLS that is never spoken: it trusts nobody.
fn plain() -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Takes any server for the right one, if it has the key of the certificate that it shows.
struct Anybody(Arc<CryptoProvider>);

impl fmt::Debug for Anybody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Anybody")
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
