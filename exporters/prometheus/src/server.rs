use std::{collections::HashMap, io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use component::{Episode, EpisodeChange};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time,
};
use tracing::{debug, info, warn};

use crate::{
    metrics::{CloseReason, ConnectionInstruments},
    watched::{self, Activity, WatchedStream},
};

/// Most connections at a time; a further one takes the place of the one that is of least use.
const MAX_CONNECTIONS: usize = 32;

/// Longest that a client may take to send the head of a request, or to think of another one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest that a connection is used for further requests.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(120);

/// Longest that a client may take to read the answer once its connection's lifetime is over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest that clients may take to read what was answered when the exporter ends.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long there must have been room for every connection to say that there is again.
const QUIET: Duration = Duration::from_mins(1);

/// Most headers of a request, and most bytes of its head.
const MAX_HEADERS: usize = 64;
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// The connections that are served.
struct Connections {
    router: Router,
    instruments: ConnectionInstruments,
    stop: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    by_task: HashMap<Id, (AbortHandle, Arc<Activity>)>,
    full: Episode,
}

/// Answers requests until told to stop; then finishes the answers under way, as far as clients read them.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    instruments: ConnectionInstruments,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = Connections {
        router,
        instruments,
        stop: stop.clone(),
        tasks: JoinSet::new(),
        by_task: HashMap::new(),
        full: Episode::new(QUIET),
    };
    let mut failing = false;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    if let Err(error) = stream.set_nodelay(true) {
                        debug!(error = %error, "a scraper's connection failed");
                    } else {
                        connections.add(stream).await;
                    }
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
    connections.finish().await;
}

impl Connections {
    fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Serves a further connection, in place of another one if there are too many.
    async fn add(&mut self, stream: TcpStream) {
        let is_full = self.tasks.len() >= MAX_CONNECTIONS;
        if is_full {
            self.close_least();
        }
        self.log(is_full);
        // What was told to end does so as soon as it has its turn.
        while self.tasks.len() >= MAX_CONNECTIONS {
            self.join_next().await;
        }
        let (stream, activity) = WatchedStream::new(stream);
        let task = self.tasks.spawn(serve_connection(stream, self.router.clone(), self.stop.clone()));
        self.by_task.insert(task.id(), (task, activity));
        self.instruments.set_open(self.tasks.len());
    }

    fn close_least(&mut self) {
        let now = watched::now();
        let least = self.by_task.iter().min_by_key(|(_, (_, activity))| activity.worth(now));
        let least = least.map(|(id, _)| *id);
        if let Some((task, activity)) = least.and_then(|it| self.by_task.remove(&it)) {
            task.abort();
            let reason = if activity.is_blocked() { CloseReason::Stalled } else { CloseReason::Idle };
            self.instruments.closed(reason);
        }
    }

    /// Waits until a connection has ended.
    async fn join_next(&mut self) {
        match self.tasks.join_next_with_id().await {
            None => {}
            Some(Ok((id, ()))) => drop(self.by_task.remove(&id)),
            Some(Err(error)) => {
                self.by_task.remove(&error.id());
                log_panic(&error);
            }
        }
        self.instruments.set_open(self.tasks.len());
    }

    fn log(&mut self, is_full: bool) {
        match self.full.update(is_full, watched::now()) {
            Some(EpisodeChange::Began) => warn!(
                connections = MAX_CONNECTIONS,
                "too many connections of scrapers, each further one closes the one that is idle or stalled for longest"
            ),
            Some(EpisodeChange::Ended) => info!("there is room for every scraper's connection again"),
            None => {}
        }
    }

    /// Lets clients read what was answered, for some time.
    async fn finish(&mut self) {
        let close = async {
            while !self.is_empty() {
                self.join_next().await;
            }
        };
        if time::timeout(CLOSE_TIMEOUT, close).await.is_err() {
            self.tasks.shutdown().await;
        }
        self.instruments.set_open(0);
    }
}

async fn serve_connection(stream: WatchedStream, router: Router, mut stop: watch::Receiver<bool>) {
    if let Err(error) = try_serve_connection(stream, router, &mut stop).await {
        debug!(error = %error, "a scraper's connection failed");
    }
}

async fn try_serve_connection(
    stream: WatchedStream,
    router: Router,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), io::Error> {
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

fn log_panic(error: &JoinError) {
    if error.is_panic() {
        warn!(error = %error, "an answer to a scraper failed");
    }
}
