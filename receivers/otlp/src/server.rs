use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use component::Shutdown;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{
        conn::auto,
        graceful::{GracefulShutdown, Watcher},
    },
    service::TowerToHyperService,
};
use tls::Acceptor;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
    time::sleep,
};
use tracing::{debug, warn};

use crate::metrics::Instruments;

/// Most connections at a time. Those beyond wait until another ends.
const MAX_CONNECTIONS: usize = 512;
/// Longest that a client may take to send the head of a request by HTTP/1.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client of HTTP/2 may say nothing before it is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Most requests at a time on one connection.
const MAX_STREAMS: u32 = 64;

/// Most connections at a time on which both ends do not know each other yet. Those beyond wait.
const MAX_HANDSHAKES: usize = 64;

/// Where connections come in.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) listener: TcpListener,
    /// How what is said on them is encrypted, if it is.
    pub(crate) tls: Option<Arc<Acceptor>>,
}

/// Who sends the requests of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Answers requests until shutdown is requested; then finishes what is under way, as long as there is time.
pub(crate) async fn serve(
    entrance: Entrance,
    router: Router,
    instruments: Arc<Instruments>,
    mut shutdown: Shutdown,
) {
    let Entrance { listener, tls } = entrance;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .max_concurrent_streams(MAX_STREAMS);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut is_failing = false;
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
            let turn = Arc::clone(&handshakes).acquire_owned().await.expect("it is never closed");
            (listener.accept().await, permit, turn)
        };
        let (accepted, permit, turn) = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                is_failing = false;
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(error = %error, "a connection failed");
                    continue;
                }
                let answering = Answering {
                    builder: builder.clone(),
                    watcher: graceful.watcher(),
                    router: router.clone().layer(Extension(Peer(peer.ip().to_canonical()))),
                };
                let Some(tls) = tls.clone() else {
                    tokio::spawn(async move {
                        answering.answer(stream).await;
                        drop(permit);
                    });
                    continue;
                };
                let (instruments, mut shutdown) = (Arc::clone(&instruments), shutdown.clone());
                tokio::spawn(async move {
                    let accepted = tokio::select! {
                        accepted = tls.accept(stream) => accepted,
                        () = shutdown.requested() => return,
                    };
                    drop(turn);
                    match accepted {
                        Ok(stream) => answering.answer(stream).await,
                        Err(error) => {
                            instruments.failed_handshakes.add(1);
                            debug!(error = %error, "a client and this server did not come to terms");
                        }
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                if !is_failing {
                    warn!(error = %error, "cannot accept connections");
                    is_failing = true;
                }
                // Out of descriptors, mostly: a connection must end first.
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = shutdown.over() => {}
    }
}

/// What the requests of one connection are answered with.
struct Answering {
    builder: auto::Builder<TokioExecutor>,
    watcher: Watcher,
    router: Router,
}

impl Answering {
    async fn answer<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { builder, watcher, router } = self;
        let service = TowerToHyperService::new(router);
        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            debug!(error = %error, "a connection failed");
        }
    }
}
