use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use component::{BoxError, Episode, EpisodeChange, ErrorChain};
use disk_queue::Token;
use model::{Signal, Space};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{debug, error, info, warn};

use crate::{
    Retry,
    instruments::{Instruments, Reason},
};

/// How much longer each pause is than the one before, as in the OpenTelemetry Collector.
const FACTOR: f32 = 1.5;
/// For how long a server is left alone at most, whatever it asks for.
const MAX_WAIT: Duration = Duration::from_hours(1);
/// What a request that waits takes beside its bytes, at least.
pub(crate) const OVERHEAD: usize = 256;
/// How long nothing must have failed until an outage is over, and how long nothing must have been dropped until there is room
/// again.
const QUIET: Duration = Duration::from_secs(30);

/// What is sent at once.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is about.
    pub signal: Signal,
    /// What is sent, before compression.
    pub payload: Bytes,
    /// How many items are inside.
    pub n_items: u64,
    /// What it takes of a receiver's memory budget.
    pub space: Option<Space>,
}

/// What a server said to a request.
#[derive(Debug)]
pub enum Verdict {
    /// It took it, but for so many items, for the reason that it told.
    Taken {
        /// Items that it did not take.
        n_rejected: u64,
        /// Why, in the server's words, or a warning; may be empty.
        message: String,
    },
    /// It will never take it.
    Refused(BoxError),
    /// It did not take it now, or nobody knows whether it did.
    Failed {
        /// Why.
        error: BoxError,
        /// How long it asks to be left alone, if it does.
        wait: Option<Duration>,
    },
}

/// Sends requests to one server.
pub trait Send: std::marker::Send + Sync + 'static {
    /// Sends a request once, and waits for the answer, for a limited time.
    fn send(&self, request: &Request) -> impl Future<Output = Verdict> + std::marker::Send;
}

/// What the requests that are on their way share.
#[derive(Debug)]
pub(crate) struct Way<S> {
    to: S,
    retry: Retry,
    pub(crate) instruments: Instruments,
    /// Whether the last attempt failed.
    pub(crate) is_failing: watch::Sender<bool>,
    outage: Mutex<Episode>,
    losses: Mutex<Episode>,
}

impl<S> Way<S> {
    pub(crate) fn new(to: S, retry: Retry, instruments: Instruments) -> Self {
        Self {
            to,
            retry,
            instruments,
            is_failing: watch::Sender::new(false),
            outage: Mutex::new(Episode::new(QUIET)),
            losses: Mutex::new(Episode::new(QUIET)),
        }
    }

    pub(crate) fn tell_loss(&self, why: &str) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        if losses.update(true, Instant::now().into_std()) == Some(EpisodeChange::Began) {
            error!(why, "items are dropped");
        }
    }

    fn tell_outage(&self, failure: Option<&BoxError>) {
        self.is_failing.send_replace(failure.is_some());
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        match (outage.update(failure.is_some(), Instant::now().into_std()), failure) {
            (Some(EpisodeChange::Began), Some(error)) => {
                warn!(error = %ErrorChain(&**error), "cannot deliver for now; trying again");
            }
            (Some(EpisodeChange::Ended), _) => info!("the server takes what is sent again"),
            _ => {}
        }
    }
}

/// What a request takes of the memory that there is for its like, until it is dropped.
#[derive(Debug)]
struct Room {
    size: usize,
    of: Arc<AtomicUsize>,
}

impl Room {
    fn new(size: usize, of: &Arc<AtomicUsize>) -> Self {
        of.fetch_add(size, Ordering::Relaxed);
        Self { size, of: Arc::clone(of) }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.size, Ordering::Relaxed);
    }
}

/// A record of the queue on disk, which is done when the last part of it is gone.
#[derive(Debug)]
pub(crate) struct Stored {
    token: Token,
    is_kept: AtomicBool,
    done: Arc<Mutex<Vec<Token>>>,
}

impl Stored {
    /// Makes one that is added to `done` when it is.
    pub(crate) fn new(token: Token, done: &Arc<Mutex<Vec<Token>>>) -> Self {
        Self { token, is_kept: AtomicBool::new(false), done: Arc::clone(done) }
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        if !*self.is_kept.get_mut() {
            self.done.lock().unwrap_or_else(PoisonError::into_inner).push(self.token);
        }
    }
}

/// A request whose items are not accounted for yet: as long as nobody says what became of them, they are kept on disk if they
/// are there, and count as dropped if not, when it is.
#[derive(Debug)]
pub(crate) struct Held<S> {
    pub(crate) way: Arc<Way<S>>,
    pub(crate) request: Request,
    room: Room,
    stored: Vec<Arc<Stored>>,
    is_settled: bool,
}

impl<S> Held<S> {
    /// Holds a request, which takes its room of `memory`.
    pub(crate) fn new(way: &Arc<Way<S>>, request: Request, memory: &Arc<AtomicUsize>) -> Self {
        let room = Room::new(request.payload.len() + OVERHEAD, memory);
        Self { way: Arc::clone(way), request, room, stored: Vec::new(), is_settled: false }
    }

    /// Says that it is on disk.
    pub(crate) fn of(mut self, stored: Stored) -> Self {
        self.stored.push(Arc::new(stored));
        self
    }

    /// Puts requests of one signal together, whose payloads can follow each other.
    pub(crate) fn merged(parts: Vec<Self>) -> Option<Self> {
        let len = parts.iter().map(|it| it.request.payload.len()).sum();
        let mut parts = parts.into_iter();
        let mut whole = parts.next()?;
        if parts.len() == 0 {
            return Some(whole);
        }
        let mut payload = BytesMut::with_capacity(len);
        payload.extend_from_slice(&whole.request.payload);
        let mut spaces = Vec::from_iter(whole.request.space.take());
        for mut part in parts {
            part.is_settled = true;
            payload.extend_from_slice(&part.request.payload);
            whole.request.n_items += part.request.n_items;
            spaces.extend(part.request.space.take());
            whole.stored.append(&mut part.stored);
        }
        whole.request.payload = payload.freeze();
        whole.request.space = (!spaces.is_empty()).then(|| Arc::new(spaces) as Space);
        whole.room = Room::new(len + OVERHEAD, &whole.room.of);
        Some(whole)
    }

    /// Divides it into requests with these payloads and numbers of items, which together are what it was.
    pub(crate) fn divided(mut self, parts: Vec<(Bytes, u64)>) -> impl Iterator<Item = Self> {
        self.is_settled = true;
        parts.into_iter().map(move |(payload, n_items)| {
            let request = Request { payload, n_items, ..self.request.clone() };
            let mut part = Self::new(&self.way, request, &self.room.of);
            part.stored.clone_from(&self.stored);
            part
        })
    }

    /// Says that it is somewhere else from now on, whoever has it there accounting for it.
    pub(crate) fn hand_over(mut self) {
        self.is_settled = true;
    }

    pub(crate) fn drop_for(mut self, reason: Reason) {
        self.is_settled = true;
        self.way.instruments.dropped(self.request.signal, reason, self.request.n_items);
    }

    fn take(mut self, n_rejected: u64) {
        self.is_settled = true;
        let (instruments, Request { signal, n_items, .. }) = (&self.way.instruments, &self.request);
        let n_rejected = n_rejected.min(*n_items);
        instruments.delivered.add(n_items - n_rejected);
        instruments.dropped(*signal, Reason::Rejected, n_rejected);
    }
}

impl<S> Drop for Held<S> {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        for stored in mem::take(&mut self.stored) {
            stored.is_kept.store(true, Ordering::Relaxed);
            self.is_settled = true;
        }
        if !self.is_settled {
            let Request { signal, n_items, .. } = &self.request;
            self.way.instruments.dropped_at_shutdown(*signal, *n_items);
        }
    }
}

impl<S: Send> Held<S> {
    /// Sends it until the server has taken or refused it, or until that takes too long.
    pub(crate) async fn deliver(self) {
        let way = Arc::clone(&self.way);
        let Retry { enabled, initial_interval, max_interval, max_elapsed_time } = way.retry;
        let builder = ExponentialBuilder::default().with_factor(FACTOR).with_jitter().without_max_times();
        let mut pauses = builder.with_min_delay(initial_interval).with_max_delay(max_interval).build();
        let began = Instant::now();
        loop {
            way.instruments.requests.add(1);
            match way.to.send(&self.request).await {
                Verdict::Taken { n_rejected, message } => {
                    way.tell_outage(None);
                    if n_rejected > 0 {
                        way.tell_loss(&format!("the server took not all: {message}"));
                    } else if !message.is_empty() {
                        debug!(message, "the server took all, and has something to say");
                    }
                    return self.take(n_rejected);
                }
                Verdict::Refused(error) => {
                    way.tell_loss(&format!("the server refuses them: {}", ErrorChain(&*error)));
                    return self.drop_for(Reason::Refused);
                }
                Verdict::Failed { error, wait } => {
                    way.tell_outage(Some(&error));
                    let wait = wait.unwrap_or_default().min(MAX_WAIT);
                    let pause = pauses.next().unwrap_or(max_interval).max(wait);
                    let is_limited = !max_elapsed_time.is_zero() && self.stored.is_empty();
                    if !enabled || is_limited && began.elapsed().saturating_add(pause) > max_elapsed_time {
                        way.tell_loss(&format!("the server has not taken them: {}", ErrorChain(&*error)));
                        return self.drop_for(Reason::RetriesExhausted);
                    }
                    way.instruments.retries.add(1);
                    sleep(pause).await;
                }
            }
        }
    }
}
