//! Who may connect and who may send, over both forms and real sockets.

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use component::{Kind, Registry};
use component_test::Harness;
use http::{HeaderMap, Request, StatusCode, header::WWW_AUTHENTICATE};
use http_body_util::Full;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tls::{Client, ClientTls, Versions};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A resource with a scope with a log record without anything.
const LOG: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];
const UNAUTHENTICATED: &str = "16";

/// "If the client's credentials are missing or wrong": UNAUTHENTICATED, and 401 with what is to be said.
#[tokio::test]
async fn who_does_not_say_who_it_is_is_refused() {
    let bearer = "auth: {bearer: {tokens: [one, two]}}";
    let basic = "auth: {basic: {htpasswd: {inline: 'ridley:secret'}}}";
    for (settings, header, is_taken) in [
        (bearer, None, false),
        (bearer, Some("Bearer three"), false),
        (bearer, Some("Bearer two"), true),
        (basic, Some("Bearer two"), false),
        (basic, Some("Basic cmlkbGV5OnNlY3JldA=="), true),
    ] {
        let mut server = Server::start(settings, "", None).await;
        let client = ClientTls::default();
        let answer = server.post(&client, header).await;
        let challenge = answer.1.get(WWW_AUTHENTICATE).map(|it| it.to_str().expect("a text").to_owned());
        let grpc_status = server.call(&client, header).await;
        if is_taken {
            assert_eq!((answer.0, challenge, grpc_status.as_deref()), (StatusCode::OK, None, None));
            assert_eq!(server.harness.value("ridley.otlp.taken.requests", &[]), 2);
        } else {
            let scheme =
                if settings == bearer { "Bearer" } else { "Basic realm=\"ridley\", charset=\"UTF-8\"" };
            assert_eq!((answer.0, challenge.as_deref()), (StatusCode::UNAUTHORIZED, Some(scheme)));
            assert_eq!(grpc_status.as_deref(), Some(UNAUTHENTICATED));
            let refused = [("reason", "unauthenticated")];
            assert_eq!(server.harness.value("ridley.otlp.refused.requests", &refused), 2);
        }
        server.finish().await;
    }
}

#[tokio::test]
async fn only_who_has_a_certificate_is_let_in() {
    let files = Files::new();
    let mut server = Server::start("", "client_ca_file: ca.pem", Some(&files)).await;
    let known = ClientTls {
        ca_file: Some(files.path("ca.pem")),
        cert_file: Some(files.path("cert.pem")),
        key_file: Some(files.path("key.pem")),
        ..ClientTls::default()
    };
    assert_eq!(server.post(&known, None).await.0, StatusCode::OK);
    assert_eq!(server.call(&known, None).await, None);
    let unknown = ClientTls { cert_file: None, key_file: None, ..known };
    let client: Client<Full<Bytes>> = client(&unknown, Versions::Any, true);
    client.request(server.request(None)).await.expect_err("it is not let in");
    // The client may know before the server has counted it.
    while server.harness.value("ridley.otlp.failed.handshakes", &[]) == 0 {
        tokio::task::yield_now().await;
    }
    server.finish().await;
}

/// Connections that say nothing, or not what is expected, keep nobody else out.
#[tokio::test]
async fn who_does_not_speak_tls_keeps_nobody_out() {
    let files = Files::new();
    let mut server = Server::start("", "", Some(&files)).await;
    let mut silent = Vec::new();
    for _ in 0..50 {
        silent.push(TcpStream::connect(server.http).await.expect("it listens"));
    }
    let mut plain = TcpStream::connect(server.http).await.expect("it listens");
    plain.write_all(b"POST /v1/logs HTTP/1.1\r\n\r\n").await.expect("it is open");
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).await.expect("it is closed in order");
    assert!(!answer.starts_with(b"HTTP"), "nothing but an alert: {answer:?}");
    let trusting = ClientTls { ca_file: Some(files.path("ca.pem")), ..ClientTls::default() };
    assert_eq!(server.post(&trusting, None).await.0, StatusCode::OK);
    assert_eq!(server.harness.value("ridley.otlp.failed.handshakes", &[]), 1);
    // Those that still say nothing do not keep it from ending.
    server.finish().await;
    drop(silent);
}

struct Server {
    harness: Harness,
    grpc: SocketAddr,
    http: SocketAddr,
    is_encrypted: bool,
}

impl Server {
    /// Starts one; `more` are further settings of TLS, with the names of files as they are in the folder.
    async fn start(settings: &str, more: &str, files: Option<&Files>) -> Self {
        let tls = files.map_or(String::new(), |files| {
            let more = more.replace("ca.pem", &format!("'{}'", files.path("ca.pem").display()));
            let [cert, key] = ["cert.pem", "key.pem"].map(|it| files.path(it).display().to_string());
            format!(", tls: {{cert_file: '{cert}', key_file: '{key}', {more}}}")
        });
        let endpoint = format!("{{endpoint: '127.0.0.1:0'{tls}}}");
        let settings = format!("{{protocols: {{grpc: {endpoint}, http: {endpoint}}}, {settings}}}");
        let harness = Harness::start(&otlp_receiver::factory(), &settings).await;
        let notices = harness.notices();
        let address = |form: &str| {
            let found = notices.iter().find_map(|it| it.strip_prefix(form));
            found.and_then(|it| it.parse().ok()).expect("it tells where it listens")
        };
        let (grpc, http) = (address("OTLP over gRPC at "), address("OTLP over HTTP at "));
        Self { harness, grpc, http, is_encrypted: files.is_some() }
    }

    fn request(&self, header: Option<&str>) -> Request<Full<Bytes>> {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}/v1/logs", self.http.port());
        let mut request = Request::post(url).header("content-type", "application/x-protobuf");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        request.body(Full::new(Bytes::from_static(LOG))).expect("a request")
    }

    /// Sends a request, takes what comes out of the receiver, and returns its answer.
    async fn post(&mut self, tls: &ClientTls, header: Option<&str>) -> (StatusCode, HeaderMap) {
        let client: Client<Full<Bytes>> = client(tls, Versions::Any, self.is_encrypted);
        let answer = client.request(self.request(header));
        let response = self.letting_go(answer).await.expect("an answer");
        (response.status(), response.headers().clone())
    }

    /// Like `post`, by gRPC. Returns the status if it is known before the answer.
    async fn call(&mut self, tls: &ClientTls, header: Option<&str>) -> Option<String> {
        let client: Client<Full<Bytes>> = client(tls, Versions::Two, self.is_encrypted);
        let mut request = self.request(header);
        let (scheme, port) = (request.uri().scheme_str().expect("a scheme").to_owned(), self.grpc.port());
        let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        *request.uri_mut() = format!("{scheme}://localhost:{port}{path}").parse().expect("a URL");
        request.headers_mut().insert("content-type", "application/grpc".parse().expect("a header"));
        let message = [&[0, 0, 0, 0, 6], LOG].concat();
        *request.body_mut() = Full::new(message.into());
        let answer = client.request(request);
        let response = self.letting_go(answer).await.expect("an answer");
        response.headers().get("grpc-status").map(|it| it.to_str().expect("a number").to_owned())
    }

    /// Waits for an answer, letting go of whatever the receiver passes on.
    async fn letting_go<T>(&mut self, answer: impl Future<Output = T>) -> T {
        tokio::pin!(answer);
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                batch = self.harness.recv() => drop(batch.expect("it runs")),
            }
        }
    }

    async fn finish(self) {
        self.harness.request_shutdown(Duration::from_secs(10));
        self.harness.finish().await.result.expect("it ends in order");
    }
}

fn client(tls: &ClientTls, versions: Versions, is_encrypted: bool) -> Client<Full<Bytes>> {
    let telemetry = Arc::new(Registry::default()).telemetry(Kind::Exporter, &"test".parse().expect("an id"));
    tls.client(versions, is_encrypted, &telemetry).expect("the files are there")
}

/// A certificate of `localhost`, its key, and who signed it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let this = Self(tempfile::tempdir().expect("a folder"));
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("it is signed");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &authority).expect("it is signed");
        for (name, text) in
            [("ca.pem", authority.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            fs::write(this.path(name), text).expect("it is written");
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}
