use std::{
    future, mem,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use component::{ErrorChain, Id};
use disk_queue::{Damage, DiskQueue, Limits, OpenError, Opened, Read, Record, Token, WriteError};
use model::{Receipt, Signal};
use tokio::{
    task::{self, JoinHandle},
    time::Instant,
};
use tracing::{error, info, warn};

use crate::{
    Disk, Sync,
    held::{Held, OVERHEAD, Request, Stored, Way},
    instruments::Reason,
};

/// How often what was written is had on the disk.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The queue on disk cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot have a queue on disk; set `exporters.{id}.sending_queue.disk.directory` to a directory of its own"
)]
pub struct DiskError {
    /// Which exporter.
    pub id: Id,
    /// What is in the way.
    #[source]
    pub source: OpenError,
}

/// Somebody who waits for a request to be safe.
#[derive(Debug)]
pub(crate) struct Awaited(Option<Receipt>);

impl Awaited {
    pub(crate) const fn new(receipt: Option<Receipt>) -> Self {
        Self(receipt)
    }

    /// Says that it is.
    pub(crate) fn take(mut self) {
        self.0 = None;
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some(receipt) = &self.0 {
            receipt.refuse();
        }
    }
}

/// The queue on disk, which does one thing at a time, where it may block.
#[derive(Debug)]
pub(crate) struct Storage<S> {
    way: Arc<Way<S>>,
    /// What was read takes room of this.
    memory: Arc<AtomicUsize>,
    state: State,
    sync: Sync,
    /// What is to be written.
    incoming: Vec<(Held<S>, Awaited)>,
    done: Arc<Mutex<Vec<Token>>>,
    is_at_end: bool,
    /// Since when something may not be on the disk.
    dirty_since: Option<Instant>,
}

#[derive(Debug)]
enum State {
    Idle(Box<DiskQueue>),
    Busy(JoinHandle<Turned>),
    /// The thread that had it is gone.
    Lost,
}

/// What is done in one turn, in this order.
struct Turn<S> {
    way: Arc<Way<S>>,
    done: Vec<Token>,
    write: Vec<(Held<S>, Awaited)>,
    sync: bool,
    /// About how many bytes are read.
    read: usize,
}

#[derive(Debug)]
pub(crate) struct Turned {
    queue: Box<DiskQueue>,
    records: Vec<Record>,
}

impl<S: crate::Send> Storage<S> {
    pub(crate) async fn open(
        disk: Disk,
        id: &Id,
        way: &Arc<Way<S>>,
        memory: &Arc<AtomicUsize>,
    ) -> Result<Self, DiskError> {
        let Disk { directory, max_bytes, sync } = disk;
        let limits = Limits { max_bytes, is_synced: sync != Sync::Never };
        let opened = task::spawn_blocking(move || DiskQueue::open(&directory, limits));
        let opened = opened.await.expect("opening does not panic");
        let (queue, Opened { n_bytes, n_torn }) =
            opened.map_err(|source| DiskError { id: id.clone(), source })?;
        if n_bytes > 0 {
            info!(n_bytes, "what the queue on disk holds from earlier is sent first");
        }
        if n_torn > 0 {
            info!(n_torn, "what a crash left unfinished at the end of the queue was cut off");
        }
        Ok(Self {
            way: Arc::clone(way),
            memory: Arc::clone(memory),
            state: State::Idle(queue.into()),
            sync,
            incoming: Vec::new(),
            done: Arc::default(),
            is_at_end: false,
            dirty_since: None,
        })
    }

    pub(crate) fn push(&mut self, held: Held<S>, awaited: Awaited) {
        self.incoming.push((held, awaited));
    }

    /// Returns whether nothing is to be done here, and nothing to be had.
    pub(crate) fn is_finished(&self) -> bool {
        let is_done = self.done.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        self.incoming.is_empty() && is_done && self.is_at_end && !matches!(self.state, State::Busy(_))
    }

    /// Returns whether everything that was written has been read.
    pub(crate) const fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// Returns whether everything that came was written.
    pub(crate) fn is_written(&self) -> bool {
        self.incoming.is_empty() && !matches!(self.state, State::Busy(_))
    }

    /// Returns when something should be had on the disk.
    pub(crate) fn sync_at(&self) -> Option<Instant> {
        let due = self.dirty_since.filter(|_| self.sync == Sync::Interval)?;
        matches!(self.state, State::Idle(_)).then_some(due + SYNC_INTERVAL)
    }

    /// Begins to do what there is to do, if it does nothing yet; reads about so many bytes.
    pub(crate) fn begin(&mut self, read: usize, is_ending: bool) {
        let now = Instant::now();
        let sync = match self.sync {
            Sync::Always => !self.incoming.is_empty(),
            Sync::Interval => self.dirty_since.is_some_and(|it| is_ending || it + SYNC_INTERVAL <= now),
            Sync::Never => false,
        };
        let read = if self.is_at_end && self.incoming.is_empty() { 0 } else { read };
        let is_done = self.done.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if self.incoming.is_empty() && is_done && !sync && read == 0 {
            return;
        }
        let queue = match mem::replace(&mut self.state, State::Lost) {
            State::Idle(queue) => queue,
            other => {
                self.state = other;
                return;
            }
        };
        if sync {
            self.dirty_since = None;
        } else if !self.incoming.is_empty() {
            self.dirty_since.get_or_insert(now);
        }
        let done = mem::take(&mut *self.done.lock().unwrap_or_else(PoisonError::into_inner));
        let turn =
            Turn { way: Arc::clone(&self.way), done, write: mem::take(&mut self.incoming), sync, read };
        self.state = State::Busy(task::spawn_blocking(move || turn.run(queue)));
    }

    /// Waits for what was begun; for ever, if nothing was. Cancel-safe.
    pub(crate) async fn turned(&mut self) -> Turned {
        let State::Busy(turn) = &mut self.state else { return future::pending().await };
        let turned = turn.await;
        self.state = State::Lost;
        turned.expect("it does not panic, and nobody stops it")
    }

    /// Takes the queue back, and returns what was read.
    pub(crate) fn end(&mut self, Turned { queue, records }: Turned) -> Vec<Held<S>> {
        self.is_at_end = queue.is_at_end();
        self.way.instruments.stored_bytes.set(i64::try_from(queue.n_bytes()).unwrap_or(i64::MAX));
        self.state = State::Idle(queue);
        let mut read = Vec::new();
        for Record { token, kind, n_items, payload } in records {
            let stored = Stored::new(token, &self.done);
            match signal(kind) {
                Some(signal) => {
                    let request = Request { signal, payload: payload.into(), n_items, space: None };
                    read.push(Held::new(&self.way, request, &self.memory).of(stored));
                }
                None => self.way.instruments.damaged.add(1),
            }
        }
        read
    }

    /// Writes what is left to be written, and notes what is done.
    pub(crate) async fn finish(mut self) {
        for _ in 0..2 {
            if matches!(self.state, State::Busy(_)) {
                let turned = self.turned().await;
                self.end(turned);
            }
            self.begin(0, true);
        }
        if matches!(self.state, State::Busy(_)) {
            self.turned().await;
        }
    }
}

impl<S: crate::Send> Turn<S> {
    fn run(self, mut queue: Box<DiskQueue>) -> Turned {
        let Self { way, done, write, sync, read } = self;
        if let Err(error) = queue.done(done) {
            warn!(error = %ErrorChain(&error), "what was delivered may be sent again after the next start");
        }
        let mut written = Vec::with_capacity(write.len());
        for (held, awaited) in write {
            let Request { signal, payload, n_items, .. } = &held.request;
            let n_items = *n_items;
            match queue.push(kind(*signal), n_items, payload) {
                Ok(()) => {
                    held.hand_over();
                    way.instruments.stored.add(n_items);
                    written.push(awaited);
                }
                Err(WriteError::Full) => {
                    way.tell_loss("the queue on disk is full: the server is too slow, or away for too long");
                    held.drop_for(Reason::QueueFull);
                }
                Err(error) => {
                    way.tell_loss(&format!("the queue on disk fails: {}", ErrorChain(&error)));
                    held.drop_for(Reason::WriteFailed);
                }
            }
        }
        let synced = if sync { queue.sync() } else { Ok(()) };
        if let Err(error) = &synced {
            error!(error = %ErrorChain(error), "what the queue holds may not survive a power failure");
        }
        for awaited in written {
            // What is sent again is in the queue twice then: nobody knows whether it is there once.
            if synced.is_ok() {
                awaited.take();
            }
        }
        let records = read_some(&mut queue, read, &way);
        Turned { queue, records }
    }
}

fn read_some<S>(queue: &mut DiskQueue, n_bytes: usize, way: &Way<S>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    let mut left = n_bytes;
    while left > 0 {
        match queue.read() {
            Ok(Read::End) => break,
            Ok(Read::Record(record)) => {
                left = left.saturating_sub(record.payload.len() + OVERHEAD);
                records.push(record);
            }
            // It was never whole, and nobody was told that it was taken.
            Ok(Read::Damaged(Damage::Torn)) => {}
            Ok(Read::Damaged(damage)) => {
                way.instruments.damaged.add(1);
                if let Damage::Payload { kind, n_items } = damage
                    && let Some(signal) = signal(kind)
                {
                    way.instruments.dropped(signal, Reason::Damaged, n_items);
                }
                way.tell_loss("what is on the disk is not what was written");
            }
            Err(error) => {
                way.instruments.damaged.add(1);
                error!(error = %ErrorChain(&error), "the rest of a file of the queue is left out");
            }
        }
    }
    records
}

/// The number of a signal in the queue's files.
const fn kind(signal: Signal) -> u8 {
    match signal {
        Signal::Metrics => 1,
        Signal::Traces => 2,
        Signal::Logs => 3,
        Signal::Flows => 4,
    }
}

fn signal(of: u8) -> Option<Signal> {
    [Signal::Metrics, Signal::Traces, Signal::Logs, Signal::Flows].into_iter().find(|it| kind(*it) == of)
}
