//! A server of OTLP that does what a test says: takes, refuses, resets, is slow or says nothing.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{HeaderMap, Request, Response, body::Incoming, header::HeaderValue, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::oneshot,
    task::JoinSet,
    time::sleep,
};

use crate::ledger::numbers_of;

/// What is done with a request, or with who comes to send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is taken.
    Taken,
    /// It is taken, and the answer comes late.
    Late(Duration),
    /// This code of HTTP.
    Http(u16),
    /// This code of gRPC.
    Grpc(u8),
    /// This code of gRPC, with the time after which to come again.
    GrpcWithRetryInfo(u8),
    /// The connection is closed as soon as it is there.
    Reset,
    /// The connection stays open, and nothing comes.
    Silence,
}

/// What a server does with a request of these numbers.
type Script = Arc<dyn Fn(&[u64]) -> Answer + Send + Sync>;

/// A server of OTLP, over gRPC and HTTP. It is gone with this value.
#[derive(Debug)]
pub struct Backend {
    state: Arc<State>,
    _running: oneshot::Sender<()>,
    thread: Option<thread::JoinHandle<()>>,
}

struct State {
    script: Mutex<Script>,
    taken: Arc<Mutex<Vec<u64>>>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}

/// The numbers that were taken, in their order, by one backend or several after another.
pub type Taken = Arc<Mutex<Vec<u64>>>;

impl Backend {
    /// Starts it at an address of loopback, to keep what it takes with `taken`.
    ///
    /// # Errors
    ///
    /// It cannot listen there.
    pub fn start(
        address: SocketAddr,
        taken: &Taken,
        script: impl Fn(&[u64]) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = Arc::new(State { script: Mutex::new(Arc::new(script)), taken: Arc::clone(taken) });
        let listener = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(64)
        });
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let (running, ended) = oneshot::channel::<()>();
        let of_thread = Arc::clone(&state);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, of_thread) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Self { state, _running: running, thread: Some(thread) })
    }

    /// Has it follow another script from now on.
    pub fn follow(&self, script: impl Fn(&[u64]) -> Answer + Send + Sync + 'static) {
        *self.state.script.lock().expect("nobody panics while replacing") = Arc::new(script);
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        // The thread ends when the sender is gone, and connections with it.
        let (running, _ended) = oneshot::channel();
        drop(std::mem::replace(&mut self._running, running));
        let _joined = self.thread.take().map(thread::JoinHandle::join);
    }
}

impl State {
    fn answer(&self, numbers: &[u64]) -> Answer {
        let script = Arc::clone(&*self.script.lock().expect("nobody panics while replacing"));
        script(numbers)
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(converse(stream, Arc::clone(&state)));
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, state: Arc<State>) {
    match state.answer(&[]) {
        Answer::Reset => return,
        Answer::Silence => return std::future::pending().await,
        _ => {}
    }
    let answer = service_fn(move |request| answer(request, Arc::clone(&state)));
    // Whoever sends may go away at any time.
    let _ended =
        auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

async fn answer(request: Request<Incoming>, state: Arc<State>) -> anyhow::Result<Reply> {
    let is_grpc = request
        .headers()
        .get("content-type")
        .is_some_and(|it| it.as_bytes().starts_with(b"application/grpc"));
    let body = request.into_body().collect().await?.to_bytes();
    // A message of gRPC is behind a flag and its length.
    let numbers = numbers_of(if is_grpc { body.get(5..).unwrap_or_default() } else { &body });
    let take = || state.taken.lock().expect("nobody panics while appending").extend(&numbers);
    let (status, code, details) = match state.answer(&numbers) {
        Answer::Taken => {
            take();
            (200, 0, None)
        }
        Answer::Late(delay) => {
            take();
            sleep(delay).await;
            (200, 0, None)
        }
        Answer::Http(status) => (status, 2, None),
        Answer::Grpc(code) => (503, code, None),
        Answer::GrpcWithRetryInfo(code) => (503, code, Some(RETRY_INFO)),
        Answer::Reset => anyhow::bail!("the connection is to be closed"),
        Answer::Silence => std::future::pending().await,
    };
    if !is_grpc {
        return Ok(Response::builder().status(status).body(Full::new(Bytes::new()).boxed())?);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(code)));
    if let Some(details) = details {
        trailers.insert("grpc-status-details-bin", HeaderValue::from_static(details));
    }
    // An answer of no bytes.
    let message = Full::new(Bytes::from_static(&[0; 5]));
    let body = message.with_trailers(async move { Some(Ok(trailers)) }).boxed();
    Ok(Response::builder().header("content-type", "application/grpc").body(body)?)
}

/// A `google.rpc.Status` of code 8 with a `RetryInfo` of a millisecond.
const RETRY_INFO: &str = "CAgaMgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIGCgQQwIQ9";
