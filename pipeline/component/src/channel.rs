use std::fmt;

use model::Batch;
use tokio::sync::mpsc;

use crate::{Counter, Gauge, Telemetry};

/// Creates a bounded way from one component into another.
///
/// `capacity` counts batches. The consumer's telemetry counts what it consumes and shows what is queued.
pub fn channel(capacity: usize, consumer: &Telemetry) -> (ChannelSender, Input) {
    let (sender, receiver) = mpsc::channel(capacity);
    let queued = consumer.queued();
    let input = Input { receiver, queued: queued.clone(), consumed: consumer.consumed() };
    (ChannelSender { sender, queued }, input)
}

/// The sending end of one [`channel`]; an [`Output`] is made of any number of them.
#[derive(Clone, Debug)]
pub struct ChannelSender {
    sender: mpsc::Sender<Batch>,
    queued: Gauge,
}

impl ChannelSender {
    async fn send(&self, batch: Batch) -> Result<(), Closed> {
        let permit = self.sender.reserve().await.map_err(|_closed| Closed)?;
        self.queued.add(batch.n_items().cast_signed());
        permit.send(batch);
        Ok(())
    }
}

/// The component at the other end has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the next component has stopped")
    }
}

impl std::error::Error for Closed {}

/// Where a component sends its batches: every consumer behind it gets each batch.
#[derive(Debug)]
pub struct Output {
    consumers: Vec<ChannelSender>,
    produced: Counter,
}

impl Output {
    /// Fans out to `consumers`, counting for `producer`.
    pub fn new(consumers: Vec<ChannelSender>, producer: &Telemetry) -> Self {
        Self { consumers, produced: producer.produced() }
    }

    /// Sends a batch to every consumer, waiting for those whose queue is full.
    ///
    /// Not cancel-safe: some consumers may have got the batch.
    ///
    /// # Errors
    ///
    /// Fails if a consumer has stopped; the others got the batch.
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
        self.produced.add(batch.n_items());
        let Some((last, others)) = self.consumers.split_last() else { return Ok(()) };
        let mut result = Ok(());
        for consumer in others {
            result = result.and(consumer.send(batch.clone()).await);
        }
        result.and(last.send(batch).await)
    }

    /// Returns whether a batch can be sent without waiting, for receivers that cannot wait.
    ///
    /// Another producer of the same consumer may take the room first; `send` then waits.
    pub fn has_room(&self) -> bool {
        self.consumers.iter().all(|it| it.sender.capacity() > 0 || it.sender.is_closed())
    }
}

/// Where a component's batches come from.
#[derive(Debug)]
pub struct Input {
    receiver: mpsc::Receiver<Batch>,
    queued: Gauge,
    consumed: Counter,
}

impl Input {
    /// Waits for the next batch; `None` when every producer has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Batch> {
        let batch = self.receiver.recv().await?;
        self.queued.add(-batch.n_items().cast_signed());
        self.consumed.add(batch.n_items());
        Some(batch)
    }
}
