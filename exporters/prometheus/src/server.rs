use std::{io, pin::pin, time::Duration};

use axum::Router;
use component::Gauge;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tracing::{debug, warn};

/// Most connections at a time; further ones wait in the kernel until one ends.
const MAX_CONNECTIONS: usize = 32;

/// Longest that a client may take to send the head of a request, or to think of another one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest that a connection is used for further requests.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);

/// Longest that a client may take to read the answer once its connection's lifetime is over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest that clients may take to read what was answered when the exporter ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Most headers of a request, and most bytes of its head.
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Answers requests until told to stop; then finishes the answers under way, as far as clients read them.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    connections: Gauge,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    let mut failing = false;
    loop {
        connections.set(i64::try_from(tasks.len()).unwrap_or(i64::MAX));
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(result) = tasks.join_next() => log_panic(result),
            accepted = listener.accept(), if tasks.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    tasks.spawn(serve_connection(stream, router.clone(), stop.clone()));
                }
                Err(error) => {
                    if !failing {
                        warn!(error = %error, "cannot accept connections");
                        failing = true;
                    }
                    // Out of descriptors, mostly: another connection must end first.
                    time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(listener);
    let close = async {
        while let Some(result) = tasks.join_next().await {
            log_panic(result);
        }
    };
    if time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
        tasks.shutdown().await;
    }
    connections.set(0);
}

async fn serve_connection(stream: TcpStream, router: Router, mut stop: watch::Receiver<bool>) {
    if let Err(error) = try_serve_connection(stream, router, &mut stop).await {
        debug!(error = %error, "a scraper's connection failed");
    }
}

async fn try_serve_connection(
    stream: TcpStream,
    router: Router,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), io::Error> {
    stream.set_nodelay(true)?;
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return result.map_err(io::Error::other),
        () = stopped(stop) => {}
        () = time::sleep(CONNECTION_LIFETIME) => {}
    }
    // Finishes the answer under way, if there is one.
    connection.as_mut().graceful_shutdown();
    match time::timeout(ANSWER_TIMEOUT, connection).await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // Whoever could say it being gone says the same.
    drop(stop.wait_for(|it| *it).await);
}

fn log_panic(result: Result<(), tokio::task::JoinError>) {
    if let Err(error) = result {
        warn!(error = %error, "an answer to a scraper failed");
    }
}
