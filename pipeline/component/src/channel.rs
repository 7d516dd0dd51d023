use std::fmt;

use model::{Batch, Signal};
use tokio::sync::mpsc;

use crate::{Counter, Gauge, Telemetry};

/// Creates a bounded way from one component into another.
///
/// `capacity` counts batches. The consumer's telemetry counts what it consumes and shows what is queued. What is still
/// under way when the consumer ends counts as consumed and dropped, with the reason `shutdown`.
pub fn channel(capacity: usize, consumer: &Telemetry) -> (ChannelSender, Input) {
    let (sender, receiver) = mpsc::channel(capacity);
    let consumer =
        Consumer { queued: consumer.queued(), consumed: consumer.consumed(), telemetry: consumer.clone() };
    (ChannelSender { sender, consumer: consumer.clone(), only: None }, Input { receiver, consumer })
}

/// What both ends of a channel count for the component behind it.
#[derive(Clone, Debug)]
struct Consumer {
    queued: Gauge,
    consumed: Counter,
    telemetry: Telemetry,
}

impl Consumer {
    fn drop_batch(&self, batch: &Batch) {
        if let Some(receipt) = batch.receipt() {
            receipt.refuse();
        }
        self.consumed.add(batch.n_items());
        self.telemetry.dropped_at_shutdown(batch.signal()).add(batch.n_items());
    }
}

/// The sending end of one [`channel`]; an [`Output`] is made of any number of them.
#[derive(Clone, Debug)]
pub struct ChannelSender {
    sender: mpsc::Sender<Batch>,
    consumer: Consumer,
    /// The only signal that goes this way.
    only: Option<Signal>,
}

impl ChannelSender {
    /// Restricts an output's use of it to batches of one signal: a producer may stand in pipelines of several.
    #[must_use]
    pub fn only(mut self, signal: Signal) -> Self {
        self.only = Some(signal);
        self
    }

    fn takes(&self, signal: Signal) -> bool {
        self.only.is_none_or(|it| it == signal)
    }

    /// Returns a way to ask how many producers are left, which does not keep the channel open itself.
    pub fn producers(&self) -> Producers {
        Producers(self.sender.downgrade())
    }
}

/// The producers of one [`channel`].
#[derive(Clone, Debug)]
pub struct Producers(mpsc::WeakSender<Batch>);

impl Producers {
    /// Returns how many sending ends exist; the input has ended when there are none.
    pub fn n_left(&self) -> usize {
        self.0.strong_count()
    }
}

/// A batch on its way into a channel: counted as dropped if it does not get there.
#[derive(Debug)]
struct Pending<'a> {
    batch: Option<Batch>,
    to: &'a ChannelSender,
}

impl<'a> Pending<'a> {
    fn new(batch: Batch, to: &'a ChannelSender) -> Self {
        Self { batch: Some(batch), to }
    }

    async fn send(mut self) -> Result<(), Closed> {
        let permit = self.to.sender.reserve().await.map_err(|_closed| Closed)?;
        if let Some(batch) = self.batch.take() {
            self.to.consumer.queued.add(batch.n_items().cast_signed());
            permit.send(batch);
        }
        Ok(())
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.to.consumer.drop_batch(&batch);
        }
    }
}

/// Every component that would take the batch has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the next component has stopped")
    }
}

impl std::error::Error for Closed {}

/// Where a component sends its batches: every consumer behind it that takes the signal gets each batch.
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
    /// A consumer that has stopped does not keep the batch from the others. Not cancel-safe: some consumers may have
    /// got the batch; for the rest it counts as dropped.
    ///
    /// # Errors
    ///
    /// Fails if every consumer has stopped: nobody got the batch.
    pub async fn send(&self, batch: Batch) -> Result<(), Closed> {
        self.produced.add(batch.n_items());
        let mut consumers = self.consumers_of(batch.signal());
        let Some(last) = consumers.next_back() else { return Ok(()) };
        // All are made before the first wait, so that each consumer's share is accounted for if this is cancelled.
        let others: Vec<Pending<'_>> = consumers.map(|it| Pending::new(batch.clone(), it)).collect();
        let last = Pending::new(batch, last);
        let mut result = Err(Closed);
        for pending in others {
            result = result.or(pending.send().await);
        }
        result.or(last.send().await)
    }

    /// Returns whether there is a consumer for a signal: whether a pipeline of it begins here.
    pub fn takes(&self, signal: Signal) -> bool {
        self.consumers_of(signal).next().is_some()
    }

    /// Returns whether a batch of a signal can be sent without waiting, for receivers that cannot wait.
    ///
    /// Another producer of the same consumer may take the room first; `send` then waits.
    pub fn has_room(&self, signal: Signal) -> bool {
        self.consumers_of(signal).all(|it| it.sender.capacity() > 0 || it.sender.is_closed())
    }

    fn consumers_of(&self, signal: Signal) -> impl DoubleEndedIterator<Item = &ChannelSender> {
        self.consumers.iter().filter(move |it| it.takes(signal))
    }
}

/// Where a component's batches come from.
#[derive(Debug)]
pub struct Input {
    receiver: mpsc::Receiver<Batch>,
    consumer: Consumer,
}

impl Input {
    /// Waits for the next batch; `None` when every producer has stopped. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Batch> {
        let batch = self.receiver.recv().await?;
        self.consumer.queued.add(-batch.n_items().cast_signed());
        self.consumer.consumed.add(batch.n_items());
        Some(batch)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(batch) = self.receiver.try_recv() {
            self.consumer.queued.add(-batch.n_items().cast_signed());
            self.consumer.drop_batch(&batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use model::Flows;
    use tokio::time;

    use super::*;
    use crate::{Kind, Registry};

    /// An empty batch would be worth nothing to count, so each test batch is a metric point.
    fn batch() -> Batch {
        use opentelemetry_proto::tonic::metrics::v1::{
            Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        };
        let data = Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] });
        let metrics = vec![Metric { data: Some(data), ..Default::default() }];
        let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
        let resource = ResourceMetrics { scope_metrics, ..Default::default() };
        Batch::Metrics(model::Metrics::new(vec![resource]))
    }

    fn telemetry(id: &str) -> Telemetry {
        Arc::new(Registry::default()).telemetry(Kind::Exporter, &id.parse().unwrap())
    }

    #[track_caller]
    fn check(consumer: &Telemetry, consumed: u64, dropped: u64, queued: i64) {
        let found = (
            consumer.consumed().value(),
            consumer.dropped_at_shutdown(Signal::Metrics).value(),
            consumer.queued().value(),
        );
        assert_eq!(found, (consumed, dropped, queued), "consumed, dropped, queued");
    }

    /// A receiver of several signals is one in the pipelines of all.
    #[tokio::test]
    async fn a_batch_goes_to_the_consumers_of_its_signal() {
        let [metrics, flows, all] = ["metrics", "flows", "all"].map(telemetry);
        let (metrics_sender, _metrics_input) = channel(1, &metrics);
        let (flows_sender, _flows_input) = channel(1, &flows);
        let (all_sender, _all_input) = channel(2, &all);
        let senders =
            vec![metrics_sender.only(Signal::Metrics), flows_sender.only(Signal::Flows), all_sender];
        let output = Output::new(senders, &telemetry("producer"));
        output.send(batch()).await.unwrap();
        check(&metrics, 0, 0, 1);
        check(&flows, 0, 0, 0);
        check(&all, 0, 0, 1);
        assert!(!output.has_room(Signal::Metrics) && output.has_room(Signal::Flows));
        let (sender, _input) = channel(1, &metrics);
        let output = Output::new(vec![sender.only(Signal::Metrics)], &telemetry("producer"));
        assert!(output.takes(Signal::Metrics) && !output.takes(Signal::Traces));
    }

    #[tokio::test]
    async fn what_is_queued_when_the_consumer_ends_is_dropped() {
        let consumer = telemetry("consumer");
        let (sender, mut input) = channel(4, &consumer);
        let output = Output::new(vec![sender], &telemetry("producer"));
        for _ in 0..3 {
            output.send(batch()).await.unwrap();
        }
        assert!(input.recv().await.is_some());
        check(&consumer, 1, 0, 2);
        drop(input);
        check(&consumer, 3, 2, 0);
        assert_eq!(output.send(batch()).await, Err(Closed));
        check(&consumer, 4, 3, 0);
    }

    /// A send that is given up because the pipeline's time is over must not lose its batch silently, for any consumer.
    #[tokio::test(start_paused = true)]
    async fn what_waits_for_room_when_its_producer_ends_is_dropped() {
        let (full, free) = (telemetry("full"), telemetry("free"));
        let (full_sender, _full_input) = channel(1, &full);
        let (free_sender, _free_input) = channel(2, &free);
        let output = Output::new(vec![full_sender, free_sender], &telemetry("producer"));
        output.send(batch()).await.unwrap();
        assert!(!output.has_room(Signal::Metrics));
        assert!(time::timeout(Duration::from_secs(1), output.send(batch())).await.is_err());
        check(&full, 1, 1, 1);
        check(&free, 1, 1, 1);
    }

    #[tokio::test]
    async fn a_consumer_that_stopped_keeps_nothing_from_the_others() {
        let (stopped, living) = (telemetry("stopped"), telemetry("living"));
        let (stopped_sender, stopped_input) = channel(1, &stopped);
        let (living_sender, mut living_input) = channel(1, &living);
        drop(stopped_input);
        let output = Output::new(vec![stopped_sender, living_sender], &telemetry("producer"));
        assert!(output.has_room(Signal::Metrics));
        assert_eq!(output.send(batch()).await, Ok(()));
        assert_eq!(living_input.recv().await, Some(batch()));
        check(&stopped, 1, 1, 0);
    }

    #[tokio::test]
    async fn an_input_ends_with_its_last_producer() {
        let (sender, mut input) = channel(1, &telemetry("consumer"));
        let producers = sender.producers();
        let second = sender.clone();
        assert_eq!(producers.n_left(), 2);
        drop((sender, second));
        assert_eq!(producers.n_left(), 0);
        assert_eq!(input.recv().await, None);
    }

    /// Nobody listens to what a pipeline without consumers would send: sending is free, and not an error.
    #[tokio::test]
    async fn an_output_without_consumers_takes_everything() {
        let output = Output::new(Vec::new(), &telemetry("producer"));
        assert_eq!(output.send(Batch::Flows(Flows::default())).await, Ok(()));
    }
}
