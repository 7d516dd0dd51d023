use std::{sync::Arc, time::Duration};

use axum::Router;
use component::Shutdown;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time::sleep};
use tracing::{debug, warn};

/// Most connections at a time. Those beyond wait until another ends.
const MAX_CONNECTIONS: usize = 512;
/// Longest that a client may take to send the head of a request by HTTP/1.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client of HTTP/2 may say nothing before it is asked whether it is there, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Most requests at a time on one connection.
const MAX_STREAMS: u32 = 64;

/// Answers requests until shutdown is requested; then finishes what is under way, as long as there is time.
pub(crate) async fn serve(listener: TcpListener, router: Router, mut shutdown: Shutdown) {
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
    let mut is_failing = false;
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await.expect("it is never closed");
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = shutdown.requested() => break,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                is_failing = false;
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(error = %error, "a connection failed");
                    continue;
                }
                let service = TowerToHyperService::new(router.clone());
                let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        debug!(error = %error, "a connection failed");
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
