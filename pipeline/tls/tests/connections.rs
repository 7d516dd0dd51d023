//! Clients and servers that know each other, or do not, over real sockets.

use std::{convert::Infallible, fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use component::{ErrorChain, Kind, Registry, Telemetry};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::{body::Bytes, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tls::{Client, ClientTls, MinVersion, ServerTls, Versions};
use tokio::{net::TcpListener, time::sleep};

/// Long enough that files are looked at again.
const RELOAD: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_server_is_known_by_who_signed_it() {
    let case = Case::new();
    let address = case.server(|_| ()).await;
    let trusting = ClientTls { ca_file: Some(case.path("ca.pem")), ..ClientTls::default() };
    check(&trusting, address, Ok(())).await;
    let stranger = case.authority("other");
    fs::write(case.path("other.pem"), stranger.pem()).unwrap();
    let wrong = ClientTls { ca_file: Some(case.path("other.pem")), ..ClientTls::default() };
    check(&wrong, address, Err("UnknownIssuer")).await;
    check(&ClientTls { insecure_skip_verify: true, ..wrong }, address, Ok(())).await;
    let renamed = |name: &str| ClientTls { server_name_override: Some(name.to_owned()), ..trusting.clone() };
    check(&renamed("elsewhere"), address, Err("NotValidForName")).await;
    check(&renamed("collector.internal"), address, Ok(())).await;
}

#[tokio::test]
async fn who_has_no_certificate_is_not_let_in_where_one_is_needed() {
    let case = Case::new();
    let address = case.server(|it| it.client_ca_file = Some(case.path("ca.pem"))).await;
    let nobody = ClientTls { ca_file: Some(case.path("ca.pem")), ..ClientTls::default() };
    check(&nobody, address, Err("")).await;
    let known = ClientTls {
        cert_file: Some(case.path("cert.pem")),
        key_file: Some(case.path("key.pem")),
        min_version: MinVersion::Tls13,
        ..nobody
    };
    check(&known, address, Ok(())).await;
}

/// A certificate that is replaced while the server runs is served from then on, and who is connected stays so.
#[tokio::test]
async fn a_certificate_that_is_replaced_is_used_from_then_on() {
    let case = Case::new();
    let address = case.server(|_| ()).await;
    let trusting = ClientTls { ca_file: Some(case.path("ca.pem")), ..ClientTls::default() };
    let connected = client(&trusting);
    get(&connected, address).await.unwrap();

    let other = case.authority("other");
    case.certify(&other);
    sleep(RELOAD).await;
    check(&trusting, address, Err("UnknownIssuer")).await;
    fs::write(case.path("ca.pem"), other.pem()).unwrap();
    check(&trusting, address, Ok(())).await;
    get(&connected, address).await.expect("its connection goes on");

    // Half a replacement is none.
    fs::write(case.path("key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    sleep(RELOAD).await;
    check(&trusting, address, Ok(())).await;
    let counter =
        |result| case.telemetry.counter("ridley.file.reloads", "{reload}", "", &[("result", result)]).value();
    assert_eq!(counter("used"), 1);
    assert!(counter("failed") >= 1);
}

/// The same client, for it is one exporter that runs on.
#[tokio::test]
async fn a_client_shows_the_certificate_that_its_files_have_now() {
    let case = Case::new();
    let server_side = case.authority("clients");
    fs::write(case.path("clients.pem"), server_side.pem()).unwrap();
    let address = case.server(|it| it.client_ca_file = Some(case.path("clients.pem"))).await;
    let files = Case::new();
    let settings = ClientTls {
        ca_file: Some(case.path("ca.pem")),
        cert_file: Some(files.path("cert.pem")),
        key_file: Some(files.path("key.pem")),
        reload_interval: RELOAD,
        ..ClientTls::default()
    };
    let client = client(&settings);
    get(&client, address).await.expect_err("it is not known yet");
    files.certify(&server_side);
    sleep(RELOAD).await;
    get(&client, address).await.expect("it is known");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let case = Case::new();
    fs::write(case.path("empty.pem"), "").unwrap();
    let (cert, key) = (case.path("cert.pem"), case.path("key.pem"));
    let server = |cert_file: &PathBuf, key_file: &PathBuf| {
        let tls = settings(cert_file.clone(), key_file.clone());
        let error = tls.acceptor(Versions::Any, &case.telemetry).expect_err("it cannot be used");
        ErrorChain(&*error).to_string().replace(case.folder.path().to_str().expect("a text"), "")
    };
    assert_eq!(server(&case.path("empty.pem"), &key), "/empty.pem has no certificate");
    assert_eq!(
        server(&cert, &case.path("missing")),
        "cannot read /missing: No such file or directory (os error 2)"
    );
    assert!(server(&cert, &cert).starts_with("/cert.pem is not PEM with what is expected"));
    fs::write(&key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    assert!(server(&cert, &key).starts_with("cannot use the certificates of /cert.pem"));
}

async fn check(settings: &ClientTls, address: SocketAddr, expected: Result<(), &str>) {
    let found = get(&client(settings), address).await;
    match (found, expected) {
        (Ok(()), Ok(())) => {}
        (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
        (found, expected) => panic!("expected {expected:?}, found {found:?}"),
    }
}

fn client(settings: &ClientTls) -> Client<Empty<Bytes>> {
    settings.client(Versions::Two, true, &telemetry()).expect("the files are there")
}

/// Says everything that went wrong.
async fn get(client: &Client<Empty<Bytes>>, address: SocketAddr) -> Result<(), String> {
    let url = format!("https://localhost:{}/", address.port());
    let request = Request::get(url).body(Empty::new()).expect("a request");
    let response = client.request(request).await;
    response.map(drop).map_err(|error| format!("{} {error:?}", ErrorChain(&error)))
}

fn telemetry() -> Telemetry {
    Arc::new(Registry::default()).telemetry(Kind::Exporter, &"test".parse().expect("an id"))
}

fn settings(cert_file: PathBuf, key_file: PathBuf) -> ServerTls {
    ServerTls {
        cert_file,
        key_file,
        client_ca_file: None,
        min_version: MinVersion::Tls12,
        reload_interval: RELOAD,
    }
}

/// A folder with a certificate, its key, and who signed it.
struct Case {
    folder: tempfile::TempDir,
    telemetry: Telemetry,
}

impl Case {
    fn new() -> Self {
        let this = Self { folder: tempfile::tempdir().expect("a folder"), telemetry: telemetry() };
        let authority = this.authority("ours");
        fs::write(this.path("ca.pem"), authority.pem()).expect("it is written");
        this.certify(&authority);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn authority(&self, name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it is signed")
    }

    /// Writes a certificate that is signed, and its key.
    fn certify(&self, by: &CertifiedIssuer<'static, KeyPair>) {
        let key = KeyPair::generate().expect("a key");
        let names = ["localhost", "collector.internal"].map(str::to_owned);
        let params = CertificateParams::new(names).expect("names");
        let certificate = params.signed_by(&key, by).expect("it is signed");
        fs::write(self.path("cert.pem"), certificate.pem()).expect("it is written");
        fs::write(self.path("key.pem"), key.serialize_pem()).expect("it is written");
    }

    /// Runs a server that answers with nothing, until the test ends.
    async fn server(&self, change: impl FnOnce(&mut ServerTls)) -> SocketAddr {
        let mut tls = settings(self.path("cert.pem"), self.path("key.pem"));
        change(&mut tls);
        let acceptor = tls.acceptor(Versions::Two, &self.telemetry).expect("the files are there");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it listens");
        let address = listener.local_addr().expect("it is bound");
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                let Ok(stream) = acceptor.accept(stream).await else { continue };
                tokio::spawn(async move {
                    let answer =
                        service_fn(async |_| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
                    let connection = http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(stream), answer)
                        .await;
                    drop(connection);
                });
            }
        });
        address
    }
}
