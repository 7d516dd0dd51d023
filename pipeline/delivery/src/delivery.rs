use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use component::{Context, Input, Shutdown};
use model::Batch;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    Queue, Request, Retry, Send,
    held::{Held, Way},
    instruments::{Instruments, Reason},
    stage::Stage,
    storage::{Awaited, DiskError, Storage},
};

/// About how much is read from the disk at a time, if there is so much room.
const READ_BYTES: usize = 256 * 1024;

/// Delivers what comes in to one server, in the order in which it came.
#[derive(Debug)]
pub struct Delivery<S> {
    way: Arc<Way<S>>,
    queue: Queue,
    shutdown: Shutdown,
    storage: Option<Storage<S>>,
    memory: Memory,
}

/// Bytes that requests take.
#[derive(Clone, Debug, Default)]
struct Memory {
    /// Those that are to be written to the disk.
    unwritten: Arc<AtomicUsize>,
    /// Those that are sent next, or are on their way.
    staged: Arc<AtomicUsize>,
}

impl Memory {
    fn n_bytes(&self) -> usize {
        self.unwritten.load(Ordering::Relaxed) + self.staged.load(Ordering::Relaxed)
    }
}

impl<S: Send> Delivery<S> {
    /// Makes the delivery of an exporter, and opens its queue on disk if it has one.
    ///
    /// # Errors
    ///
    /// There can be no queue where it is said to be.
    pub async fn open(to: S, mut queue: Queue, retry: Retry, context: &Context) -> Result<Self, DiskError> {
        let way = Arc::new(Way::new(to, retry, Instruments::new(context.telemetry.clone())));
        let memory = Memory::default();
        let storage = match queue.disk.take() {
            Some(disk) => Some(Storage::open(disk, &context.id, &way, &memory.staged).await?),
            None => None,
        };
        Ok(Self { way, queue, shutdown: context.shutdown.clone(), storage, memory })
    }

    /// Runs until the input has ended and everything has been delivered, or until the time for that is over.
    ///
    /// With a queue on disk it also ends when the input has ended and the server takes nothing: what waits is sent after the
    /// next start. `request` makes what is sent of a batch.
    pub async fn run(self, mut input: Input, request: impl Fn(&Batch) -> Option<Request>) {
        let Self { way, queue, mut shutdown, storage, memory } = self;
        let mut pending = Pending { way: Arc::clone(&way), queue, storage, memory, sending: JoinSet::new() };
        let mut stage = Stage::new(pending.queue.batch.clone());
        let mut is_failing = way.is_failing.subscribe();
        let mut is_open = true;
        loop {
            pending.proceed(&mut stage, !is_open);
            if !is_open && pending.is_finished(&stage) {
                break;
            }
            let is_kept = !is_open && pending.storage.as_ref().is_some_and(Storage::is_written);
            let flush_at = stage.ready_at().filter(|_| pending.has_slot());
            let sync_at = pending.storage.as_ref().and_then(Storage::sync_at);
            tokio::select! {
                batch = input.recv(), if is_open => match batch {
                    Some(batch) => if let Some(request) = request(&batch) {
                        pending.take(&mut stage, request, &batch);
                    },
                    None => is_open = false,
                },
                held = turned(&mut pending.storage) => {
                    let now = Instant::now();
                    held.into_iter().for_each(|it| stage.push(it, now));
                },
                Some(done) = pending.sending.join_next() => done.expect("it is not aborted, and does not panic"),
                () = sleep_until_some(flush_at) => {}
                () = sleep_until_some(sync_at) => {}
                // Nobody drops what is watched.
                _ = is_failing.wait_for(|it| *it), if is_kept => break,
                // What is left is dropped with this, and counted, or stays on the disk.
                () = shutdown.over() => break,
            }
        }
        drop(stage);
        pending.finish().await;
    }
}

/// What has come in and is not in the stage.
struct Pending<S> {
    way: Arc<Way<S>>,
    queue: Queue,
    storage: Option<Storage<S>>,
    memory: Memory,
    sending: JoinSet<()>,
}

impl<S: Send> Pending<S> {
    /// Begins whatever can be begun.
    fn proceed(&mut self, stage: &mut Stage<S>, is_ending: bool) {
        // What is on the disk may still be put together with what is not.
        let is_last = is_ending && self.storage.as_ref().is_none_or(Storage::is_at_end);
        while self.has_slot()
            && let Some(held) = stage.pop(Instant::now(), is_last)
        {
            self.sending.spawn(held.deliver());
        }
        let staged = self.memory.staged.load(Ordering::Relaxed);
        let room = if staged == 0 { READ_BYTES } else { self.half().saturating_sub(staged) };
        let read = if self.has_slot() { room.min(READ_BYTES) } else { 0 };
        if let Some(storage) = &mut self.storage {
            storage.begin(read, is_ending);
        }
        self.way.instruments.queued_bytes.set(i64::try_from(self.memory.n_bytes()).unwrap_or(i64::MAX));
    }

    fn has_slot(&self) -> bool {
        self.sending.len() < self.queue.num_consumers.get()
    }

    /// Half of the memory that there is, for what is written to the disk or for what comes from there.
    fn half(&self) -> usize {
        self.queue.queue_size.get() / 2
    }

    fn is_finished(&self, stage: &Stage<S>) -> bool {
        self.sending.is_empty() && stage.is_empty() && self.storage.as_ref().is_none_or(Storage::is_finished)
    }

    /// Takes a request, if there is room for it.
    fn take(&mut self, stage: &mut Stage<S>, request: Request, batch: &Batch) {
        let (memory, max) = match &self.storage {
            Some(_) => (&self.memory.unwritten, self.half()),
            None => (&self.memory.staged, self.queue.queue_size.get()),
        };
        let is_first = self.storage.is_some() && memory.load(Ordering::Relaxed) == 0;
        let held = Held::new(&self.way, request, memory);
        let awaited = Awaited::new(batch.receipt().cloned());
        if memory.load(Ordering::Relaxed) > max && !is_first {
            held.drop_for(Reason::QueueFull);
            self.way.tell_loss(if self.storage.is_some() {
                "the queue is full: the disk is too slow"
            } else {
                "the queue is full: the server is too slow, or away for too long"
            });
            return;
        }
        match &mut self.storage {
            Some(storage) => storage.push(held, awaited),
            None => {
                awaited.take();
                stage.push(held, Instant::now());
            }
        }
    }

    async fn finish(mut self) {
        self.sending.shutdown().await;
        if let Some(storage) = self.storage {
            storage.finish().await;
        }
        self.way.instruments.queued_bytes.set(i64::try_from(self.memory.n_bytes()).unwrap_or(i64::MAX));
    }
}

async fn turned<S: Send>(storage: &mut Option<Storage<S>>) -> Vec<Held<S>> {
    let Some(storage) = storage else { return future::pending().await };
    let turned = storage.turned().await;
    storage.end(turned)
}

async fn sleep_until_some(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => future::pending().await,
    }
}

#[cfg(test)]
#[path = "delivery_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "storage_tests.rs"]
mod storage_tests;
