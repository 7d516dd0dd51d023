//! Deliveries to servers that answer by a script. Time is paused: pauses cost nothing and are exact.

use std::{num::NonZeroUsize, sync::Mutex, time::Duration};

use component::{Id, Kind, Notices, Output, Registry, ShutdownTrigger, channel};
use component_test::{Ledger, points, value};
use tokio::{task::JoinHandle, time};

use super::*;
use crate::{Verdict, held::OVERHEAD};

/// Bytes of each request.
const SIZE: usize = 100;

#[tokio::test(start_paused = true)]
async fn what_is_taken_is_delivered_in_its_order() {
    let mut run = Run::start(Queue::default(), Retry::default(), |_attempt| taken(0)).await;
    for n in 1..=5 {
        run.push(n).await;
    }
    let server = run.finish().await;
    assert_eq!(server.sent(), [1, 2, 3, 4, 5]);
    run.check(15, &[]);
}

#[tokio::test(start_paused = true)]
async fn what_failed_for_now_is_sent_again_after_growing_pauses() {
    let mut run = Run::start(Queue::default(), Retry::default(), |attempt| match attempt {
        0..4 => failed(None),
        _ => taken(0),
    })
    .await;
    run.push(7).await;
    let server = run.finish().await;
    let pauses = server.pauses();
    // One second, half as long again each time, and up to twice that by chance.
    for (pause, least) in pauses.iter().zip([1.0, 1.5, 2.25, 3.375]) {
        assert!((least..=2.0 * least + 0.01).contains(pause), "{pauses:?}");
    }
    assert_eq!((server.sent().len(), pauses.len()), (5, 4));
    run.check(7, &[]);
    assert_eq!(run.value("ridley.exporter.retries"), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_is_not_asked_before_the_time_that_it_names() {
    let wait = Duration::from_secs(120);
    let mut run = Run::start(Queue::default(), Retry::default(), move |attempt| match attempt {
        0 => failed(Some(wait)),
        _ => taken(0),
    })
    .await;
    run.push(1).await;
    let pauses = run.finish().await.pauses();
    assert!(pauses.len() == 1 && pauses[0] >= 120.0, "{pauses:?}");
}

/// A pause of half a trillion years is a mistake, and a sum with it has no place in a number.
#[tokio::test(start_paused = true)]
async fn a_server_is_asked_again_after_an_hour_at_the_latest() {
    let never = |attempt| if attempt == 0 { failed(Some(Duration::from_secs(u64::MAX))) } else { taken(0) };
    let mut run = Run::start(Queue::default(), Retry::default(), never).await;
    run.push(3).await;
    assert_eq!(run.finish().await.sent(), [3]);
    run.check(0, &[("retries_exhausted", 3)]);

    let retry = Retry { max_elapsed_time: Duration::ZERO, ..Retry::default() };
    let mut run = Run::start(Queue::default(), retry, never).await;
    run.push(3).await;
    assert_eq!(run.finish().await.pauses(), [3600.0]);
    run.check(3, &[]);
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_too_long_is_given_up() {
    let retry = Retry { max_elapsed_time: Duration::from_secs(60), ..Retry::default() };
    let mut run = Run::start(Queue::default(), retry, |_attempt| failed(None)).await;
    run.push(3).await;
    let server = run.finish().await;
    let elapsed: f64 = server.pauses().iter().sum();
    assert!((15.0..=60.0).contains(&elapsed), "{elapsed} s");
    run.check(0, &[("retries_exhausted", 3)]);
}

#[tokio::test(start_paused = true)]
async fn what_may_fail_for_ever_is_not_given_up() {
    let retry = Retry { max_elapsed_time: Duration::ZERO, ..Retry::default() };
    let mut run = Run::start(Queue::default(), retry, |attempt| match attempt {
        0..500 => failed(None),
        _ => taken(0),
    })
    .await;
    run.push(3).await;
    assert_eq!(run.finish().await.sent().len(), 501);
    run.check(3, &[]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_is_not_sent_again() {
    let mut run = Run::start(Queue::default(), Retry::default(), |attempt| match attempt {
        0 => Verdict::Refused("no such tenant".into()),
        _ => taken(0),
    })
    .await;
    run.push(3).await;
    run.push(4).await;
    assert_eq!(run.finish().await.sent(), [3, 4]);
    run.check(4, &[("refused", 3)]);
}

#[tokio::test(start_paused = true)]
async fn retries_can_be_switched_off() {
    let retry = Retry { enabled: false, ..Retry::default() };
    let mut run = Run::start(Queue::default(), retry, |_attempt| failed(None)).await;
    run.push(3).await;
    assert_eq!(run.finish().await.sent(), [3]);
    run.check(0, &[("retries_exhausted", 3)]);
}

/// A server cannot take less than nothing.
#[tokio::test(start_paused = true)]
async fn what_a_server_takes_in_part_is_counted_in_part() {
    let mut run = Run::start(Queue::default(), Retry::default(), |attempt| taken([2, 99][attempt])).await;
    run.push(5).await;
    run.push(6).await;
    run.finish().await;
    run.check(3, &[("rejected", 8)]);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_room_is_dropped() {
    let queue = Queue { queue_size: NonZeroUsize::new(3 * (SIZE + OVERHEAD)).unwrap(), ..Queue::default() };
    let mut run = Run::start(queue, Retry::default(), |attempt| match attempt {
        0..3 => failed(None),
        _ => taken(0),
    })
    .await;
    for n in 1..=5 {
        run.push(n).await;
    }
    assert_eq!(run.value("ridley.exporter.queue.size"), 3 * (100 + 256));
    assert_eq!(run.finish().await.sent(), [1, 1, 1, 1, 2, 3]);
    run.check(6, &[("queue_full", 9)]);
    assert_eq!(run.value("ridley.exporter.queue.size"), 0);
}

#[tokio::test(start_paused = true)]
async fn so_many_are_on_their_way_at_a_time() {
    let queue = Queue { num_consumers: NonZeroUsize::new(3).unwrap(), ..Queue::default() };
    // The first three fail at first.
    let mut run =
        Run::start(queue, Retry::default(), |attempt| if attempt < 3 { failed(None) } else { taken(0) })
            .await;
    for n in 1..=5 {
        run.push(n).await;
    }
    let server = run.finish().await;
    assert_eq!(server.sent()[..3], [1, 2, 3], "before any is sent again");
    run.check(15, &[]);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_when_the_time_is_over_is_counted() {
    let mut run = Run::start(Queue::default(), Retry::default(), |_attempt| failed(None)).await;
    for n in 1..=3 {
        run.push(n).await;
    }
    run.trigger.request(time::Instant::now() + Duration::from_secs(10));
    run.finish().await;
    run.check(0, &[("shutdown", 6)]);
}

/// A server that answers each attempt by a script.
struct Scripted<F> {
    script: F,
    attempts: Arc<Mutex<Vec<(u64, Instant)>>>,
}

impl<F: Fn(usize) -> Verdict + std::marker::Send + Sync + 'static> Send for Scripted<F> {
    async fn send(&self, request: &Request) -> Verdict {
        let mut attempts = self.attempts.lock().unwrap();
        attempts.push((request.n_items, Instant::now()));
        (self.script)(attempts.len() - 1)
    }
}

/// What a server saw.
pub(super) struct Seen(Vec<(u64, Instant)>);

impl Seen {
    /// Returns how many items each request had.
    pub(super) fn sent(&self) -> Vec<u64> {
        self.0.iter().map(|(n_items, _)| *n_items).collect()
    }

    /// Returns the seconds between each attempt and the next.
    fn pauses(&self) -> Vec<f64> {
        self.0.windows(2).map(|it| (it[1].1 - it[0].1).as_secs_f64()).collect()
    }
}

/// A delivery that runs.
pub(super) struct Run {
    registry: Arc<Registry>,
    pub(super) trigger: ShutdownTrigger,
    input: Option<Output>,
    attempts: Arc<Mutex<Vec<(u64, Instant)>>>,
    task: Option<JoinHandle<()>>,
}

impl Run {
    pub(super) async fn start(
        queue: Queue,
        retry: Retry,
        script: impl Fn(usize) -> Verdict + std::marker::Send + Sync + 'static,
    ) -> Self {
        Self::open(queue, retry, script).await.unwrap()
    }

    pub(super) async fn open(
        queue: Queue,
        retry: Retry,
        script: impl Fn(usize) -> Verdict + std::marker::Send + Sync + 'static,
    ) -> Result<Self, DiskError> {
        let registry = Arc::new(Registry::default());
        let id: Id = "test".parse().unwrap();
        let telemetry = registry.telemetry(Kind::Exporter, &id);
        let (trigger, shutdown) = ShutdownTrigger::new();
        let (sender, input) = channel(16, &telemetry);
        let outside = Arc::new(Registry::default()).telemetry(Kind::Receiver, &id);
        let context =
            Context { id, telemetry, registry: Arc::clone(&registry), shutdown, notices: Notices::default() };
        let attempts = Arc::new(Mutex::new(Vec::new()));
        let server = Scripted { script, attempts: Arc::clone(&attempts) };
        let delivery = Delivery::open(server, queue, retry, &context).await?;
        let request = |batch: &Batch| {
            Some(Request {
                signal: batch.signal(),
                payload: vec![0; SIZE].into(),
                n_items: batch.n_items(),
                space: None,
            })
        };
        let task = tokio::spawn(delivery.run(input, request));
        Ok(Self {
            registry,
            trigger,
            input: Some(Output::new(vec![sender], &outside)),
            attempts,
            task: Some(task),
        })
    }

    /// Sends a batch of so many items, and lets the delivery take it.
    pub(super) async fn push(&self, n_items: u64) {
        self.send(points(n_items)).await;
    }

    /// Sends a batch, and lets the delivery take it.
    pub(super) async fn send(&self, batch: Batch) {
        self.input.as_ref().unwrap().send(batch).await.unwrap();
        time::sleep(Duration::from_millis(1)).await;
    }

    /// Ends the input and waits for the end of the delivery.
    pub(super) async fn finish(&mut self) -> Seen {
        self.input = None;
        self.task.take().unwrap().await.unwrap();
        Seen(self.attempts.lock().unwrap().clone())
    }

    /// Stops the delivery wherever it is.
    pub(super) async fn abort(&mut self) {
        let task = self.task.take().unwrap();
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    /// Returns how many items were dropped for a reason.
    pub(super) fn dropped(&self, reason: &str) -> i64 {
        value(&self.registry, "ridley.dropped.items", &[("reason", reason)])
    }

    pub(super) fn value(&self, name: &str) -> i64 {
        value(&self.registry, name, &[])
    }

    /// Checks how many items were delivered, and that those for each reason and no others were dropped.
    #[track_caller]
    pub(super) fn check(&self, delivered: i64, dropped: &[(&str, i64)]) {
        self.check_kept(delivered, dropped, 0);
    }

    /// As [`Run::check`], with so many items that are on the disk.
    #[track_caller]
    pub(super) fn check_kept(&self, delivered: i64, dropped: &[(&str, i64)], n_kept: i64) {
        let n_dropped: i64 = dropped.iter().map(|(_, n)| n).sum();
        assert_eq!(self.value("ridley.exporter.delivered.items"), delivered);
        for (reason, n) in dropped {
            assert_eq!(self.dropped(reason), *n, "{reason}");
        }
        let ledger = Ledger::of(&self.registry, Kind::Exporter, "test");
        assert_eq!(
            (ledger.consumed, ledger.dropped),
            ((delivered + n_dropped + n_kept).cast_unsigned(), n_dropped.cast_unsigned())
        );
    }
}

pub(super) const fn taken(n_rejected: u64) -> Verdict {
    Verdict::Taken { n_rejected, message: String::new() }
}

pub(super) fn failed(wait: Option<Duration>) -> Verdict {
    Verdict::Failed { error: "not now".into(), wait }
}
