use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use component::{BoxError, Context, Episode, EpisodeChange, ErrorChain, Input, Shutdown};
use model::{Batch, Signal, Space};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tracing::{debug, error, info, warn};

use crate::{
    Queue, Retry,
    instruments::{Instruments, Reason},
};

/// How much longer each pause is than the one before, as in the OpenTelemetry Collector.
const FACTOR: f32 = 1.5;
/// What a request that waits takes beside its bytes, at least.
const OVERHEAD: usize = 256;
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

/// Delivers what comes in to one server, in the order in which it came.
#[derive(Debug)]
pub struct Delivery<S> {
    way: Arc<Way<S>>,
    queue: Queue,
    shutdown: Shutdown,
}

/// What the requests that are on their way share.
#[derive(Debug)]
struct Way<S> {
    to: S,
    retry: Retry,
    instruments: Instruments,
    outage: Mutex<Episode>,
    losses: Mutex<Episode>,
}

impl<S: Send> Delivery<S> {
    /// Makes the delivery of an exporter.
    pub fn new(to: S, queue: Queue, retry: Retry, context: &Context) -> Self {
        let way = Way {
            to,
            retry,
            instruments: Instruments::new(context.telemetry.clone()),
            outage: Mutex::new(Episode::new(QUIET)),
            losses: Mutex::new(Episode::new(QUIET)),
        };
        Self { way: Arc::new(way), queue, shutdown: context.shutdown.clone() }
    }

    /// Runs until the input has ended and everything has been delivered, or until the time for that is over.
    ///
    /// `request` makes what is sent of a batch.
    pub async fn run(self, mut input: Input, request: impl Fn(&Batch) -> Option<Request>) {
        let Self { way, queue: Queue { queue_size, num_consumers }, mut shutdown } = self;
        let mut waiting: VecDeque<Held<S>> = VecDeque::new();
        let mut sending = JoinSet::new();
        let mut is_open = true;
        let mut n_bytes = 0;
        loop {
            while sending.len() < num_consumers.get()
                && let Some(held) = waiting.pop_front()
            {
                sending.spawn(held.deliver());
            }
            if !is_open && sending.is_empty() {
                return;
            }
            tokio::select! {
                batch = input.recv(), if is_open => match batch {
                    Some(batch) => {
                        let Some(request) = request(&batch) else { continue };
                        let held = Held::new(&way, request);
                        let size = held.size();
                        if n_bytes + size > queue_size.get() {
                            if let Some(receipt) = batch.receipt() {
                                receipt.refuse();
                            }
                            held.drop_for(Reason::QueueFull);
                            way.tell_loss("the queue is full: the server is too slow, or away for too long");
                        } else {
                            n_bytes += size;
                            waiting.push_back(held);
                        }
                    }
                    None => is_open = false,
                },
                Some(done) = sending.join_next() => n_bytes -= done.expect("it is not aborted, and does not panic"),
                // What is left is dropped with this, and counted.
                () = shutdown.over() => return,
            }
            way.instruments.queued_bytes.set(i64::try_from(n_bytes).unwrap_or(i64::MAX));
        }
    }
}

impl<S> Way<S> {
    fn tell_loss(&self, why: &str) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        if losses.update(true, Instant::now().into_std()) == Some(EpisodeChange::Began) {
            error!(why, "items are dropped");
        }
    }

    fn tell_outage(&self, failure: Option<&BoxError>) {
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

/// A request whose items are not accounted for yet: as long as nobody says what became of them they count as dropped when it is.
#[derive(Debug)]
struct Held<S> {
    way: Arc<Way<S>>,
    request: Request,
    is_settled: bool,
}

impl<S> Held<S> {
    fn new(way: &Arc<Way<S>>, request: Request) -> Self {
        Self { way: Arc::clone(way), request, is_settled: false }
    }

    fn size(&self) -> usize {
        self.request.payload.len() + OVERHEAD
    }

    fn drop_for(mut self, reason: Reason) {
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
        if !self.is_settled {
            let Request { signal, n_items, .. } = &self.request;
            self.way.instruments.dropped_at_shutdown(*signal, *n_items);
        }
    }
}

impl<S: Send> Held<S> {
    /// Sends it until the server has taken or refused it, or until that takes too long. Returns its size.
    async fn deliver(self) -> usize {
        let way = Arc::clone(&self.way);
        let size = self.size();
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
                    self.take(n_rejected);
                    return size;
                }
                Verdict::Refused(error) => {
                    way.tell_loss(&format!("the server refuses them: {}", ErrorChain(&*error)));
                    self.drop_for(Reason::Refused);
                    return size;
                }
                Verdict::Failed { error, wait } => {
                    way.tell_outage(Some(&error));
                    let pause = pauses.next().unwrap_or(max_interval).max(wait.unwrap_or_default());
                    let is_limited = !max_elapsed_time.is_zero();
                    if !enabled || is_limited && began.elapsed() + pause > max_elapsed_time {
                        way.tell_loss(&format!("the server has not taken them: {}", ErrorChain(&*error)));
                        self.drop_for(Reason::RetriesExhausted);
                        return size;
                    }
                    way.instruments.retries.add(1);
                    sleep(pause).await;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;
