//! What the engine guarantees, with fakes for components and paused time.

#![expect(clippy::unwrap_used, reason = "what cannot be done fails the test")]

use std::{
    future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use component::{BoxError, Config, Context, ErrorChain, Exporter, Factory, Kind, Receiver, Registry};
use component_test::{
    Ledger,
    fakes::{self, Recorder},
    flow, flows, points,
};
use config::{Checked, Embedded, Sources};
use engine::{CreateError, Engine, Report};
use model::{Batch, Signal};
use proptest::prelude::*;
use serde::Deserialize;
use tokio::time::{self, Instant};

const FLOWS: &[Signal] = &[Signal::Flows];
const METRICS: &[Signal] = &[Signal::Metrics];

/// A receiver, a processor and an exporter in one line.
const CHAIN: &str = "
receivers: {source: }
processors: {pass: }
exporters: {record: }
service:
  pipelines:
    flows: {receivers: [source], processors: [pass], exporters: [record]}
";

#[tokio::test(start_paused = true)]
async fn what_is_received_is_delivered() {
    let recorder = Recorder::default();
    let factories = [
        fakes::burst("source", FLOWS, vec![records(2), records(3)]),
        fakes::passing("pass", FLOWS),
        recorder.factory("record", FLOWS),
    ];
    let report = run(CHAIN, &factories, Duration::from_secs(1)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(recorder.batches(), [records(2), records(3)]);
}

/// Replaying a file ends by itself: nobody has to send a signal.
#[tokio::test(start_paused = true)]
async fn a_run_ends_cleanly_with_its_last_receiver() {
    let recorder = Recorder::default();
    let brief =
        fakes::receiver("source", FLOWS, |output, _| async move { Ok(output.send(records(4)).await?) });
    let factories = [brief, fakes::passing("pass", FLOWS), recorder.factory("record", FLOWS)];
    let (engine, _) = create(CHAIN, &factories).await.unwrap();
    let report = engine.run(future::pending()).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(recorder.n_items(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_connector_feeds_the_next_pipeline() {
    let (raw, counted) = (Recorder::default(), Recorder::default());
    let factories = [
        fakes::burst("source", FLOWS, vec![records(2), records(1)]),
        fakes::connector("count", FLOWS, METRICS, |batch| points(batch.n_items())),
        raw.factory("record", FLOWS),
        counted.factory("record_metrics", METRICS),
    ];
    let yaml = "
receivers: {source: }
connectors: {count: }
exporters: {record: , record_metrics: }
service:
  pipelines:
    flows: {receivers: [source], exporters: [count, record]}
    metrics: {receivers: [count], exporters: [record_metrics]}
";
    let report = run(yaml, &factories, Duration::from_secs(1)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(raw.batches(), [records(2), records(1)]);
    assert_eq!(counted.batches(), [points(2), points(1)]);
}

/// One exporter binds one port, however many pipelines end there; processors remember one pipeline's data each.
#[tokio::test(start_paused = true)]
async fn exporters_are_shared_and_processors_are_not() {
    let recorder = Recorder::default();
    let n_instances = Arc::new(AtomicUsize::new(0));
    let counting = {
        let n_instances = Arc::clone(&n_instances);
        fakes::processor("pass", FLOWS, move |mut input, output| {
            n_instances.fetch_add(1, Ordering::Relaxed);
            async move {
                while let Some(batch) = input.recv().await {
                    output.send(batch).await?;
                }
                Ok(())
            }
        })
    };
    let factories =
        [fakes::burst("source", FLOWS, vec![records(5)]), counting, recorder.factory("record", FLOWS)];
    let yaml = "
receivers: {source: }
processors: {pass: }
exporters: {record: }
service:
  pipelines:
    flows: {receivers: [source], processors: [pass], exporters: [record]}
    flows/second: {receivers: [source], processors: [pass], exporters: [record]}
";
    let report = run(yaml, &factories, Duration::from_secs(1)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((recorder.n_items(), n_instances.load(Ordering::Relaxed)), (10, 2));
}

/// A consumer that takes nothing stops its producers at the bound, and nothing is lost when it goes on.
#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_the_producer() {
    let recorder = Recorder::default();
    let late = {
        let recorder = recorder.clone();
        fakes::exporter("record", FLOWS, move |mut input| {
            let recorder = recorder.clone();
            async move {
                time::sleep(Duration::from_secs(5)).await;
                while let Some(batch) = input.recv().await {
                    recorder.push(batch);
                }
                Ok(())
            }
        })
    };
    let factories = [fakes::burst("source", FLOWS, vec![records(1); 100]), late];
    let yaml = "
receivers: {source: }
exporters: {record: }
service:
  queue_size: 3
  pipelines:
    flows: {receivers: [source], exporters: [record]}
";
    let (engine, registry) = create(yaml, &factories).await.unwrap();
    let run = tokio::spawn(engine.run(time::sleep(Duration::from_secs(6))));
    time::sleep(Duration::from_secs(4)).await;
    let ledger = Ledger::of(&registry, Kind::Exporter, "record");
    let produced = Ledger::of(&registry, Kind::Receiver, "source").produced;
    assert_eq!((ledger.queued, produced), (3, 4), "three wait in the queue, the fourth waits for room");
    let report = run.await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(recorder.n_items(), 100);
}

/// What a processor holds until its input ends still reaches the exporter: each ends after what feeds it.
#[tokio::test(start_paused = true)]
async fn a_drain_goes_downstream() {
    let ends: Arc<Mutex<Vec<&str>>> = Arc::default();
    let note = |who| {
        let ends = Arc::clone(&ends);
        move || ends.lock().unwrap().push(who)
    };
    let (received, processed, exported) = (note("receiver"), note("processor"), note("exporter"));
    let recorder = Recorder::default();
    let sink = recorder.clone();
    let factories = [
        fakes::receiver("source", FLOWS, move |output, mut shutdown| {
            let received = received.clone();
            async move {
                shutdown.requested().await;
                output.send(records(7)).await?;
                received();
                Ok(())
            }
        }),
        fakes::processor("pass", FLOWS, move |mut input, output| {
            let processed = processed.clone();
            async move {
                let mut held = Vec::new();
                while let Some(batch) = input.recv().await {
                    held.push(batch);
                }
                time::sleep(Duration::from_secs(3)).await;
                for batch in held {
                    output.send(batch).await?;
                }
                processed();
                Ok(())
            }
        }),
        fakes::exporter("record", FLOWS, move |mut input| {
            let (exported, sink) = (exported.clone(), sink.clone());
            async move {
                while let Some(batch) = input.recv().await {
                    sink.push(batch);
                }
                exported();
                Ok(())
            }
        }),
    ];
    let report = run(CHAIN, &factories, Duration::from_secs(1)).await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(*ends.lock().unwrap(), ["receiver", "processor", "exporter"]);
    assert_eq!(recorder.n_items(), 7);
}

/// The time to drain is one for the whole. What is left at its end is counted, and the components are named.
#[tokio::test(start_paused = true)]
async fn a_drain_ends_at_the_deadline() {
    let stuck = fakes::exporter("record", FLOWS, |input| async move {
        let _held_and_never_read = input;
        future::pending().await
    });
    let yaml = "
receivers: {source: }
exporters: {record: }
service:
  shutdown_timeout: 4s
  pipelines:
    flows: {receivers: [source], exporters: [record]}
";
    let factories = [fakes::burst("source", FLOWS, vec![records(2), records(3)]), stuck];
    let (engine, registry) = create(yaml, &factories).await.unwrap();
    let start = Instant::now();
    let report = engine.run(time::sleep(Duration::from_secs(1))).await;
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    check_failures(&report, &["exporter `record` did not finish within 4s"]);
    assert_eq!(report.n_dropped, 5);
    let ledger = Ledger::of(&registry, Kind::Exporter, "record");
    assert_eq!(ledger, Ledger { consumed: 5, produced: 0, dropped: 5, queued: 0 });
}

/// A processor is an instance of its own in each pipeline, and what each of them leaves is in the sum.
#[tokio::test(start_paused = true)]
async fn what_every_instance_leaves_at_the_deadline_is_counted() {
    let stuck = fakes::processor("pass", FLOWS, |input, _| async move {
        let _held_and_never_read = input;
        future::pending().await
    });
    let yaml = "
receivers: {source: }
processors: {pass: }
exporters: {record: }
service:
  pipelines:
    flows: {receivers: [source], processors: [pass], exporters: [record]}
    flows/second: {receivers: [source], processors: [pass], exporters: [record]}
";
    let recorder = Recorder::default();
    let factories =
        [fakes::burst("source", FLOWS, vec![records(2)]), stuck, recorder.factory("record", FLOWS)];
    let report = run(yaml, &factories, Duration::from_secs(1)).await;
    assert_eq!(report.n_dropped, 4, "{report:?}");
}

/// A component that works until the deadline it was given has kept it.
#[tokio::test(start_paused = true)]
async fn a_component_may_use_all_its_time() {
    let brief = fakes::receiver("source", FLOWS, |output, mut shutdown| async move {
        shutdown.requested().await;
        output.send(records(1)).await?;
        time::sleep_until(shutdown.deadline().unwrap()).await;
        Ok(())
    });
    let recorder = Recorder::default();
    let factories = [brief, fakes::passing("pass", FLOWS), recorder.factory("record", FLOWS)];
    let report = run(CHAIN, &factories, Duration::from_secs(1)).await;
    assert!(report.is_clean(), "{report:?}");
}

/// A replay must not hang for ever because a backend does not answer.
#[tokio::test(start_paused = true)]
async fn the_deadline_holds_when_receivers_end_by_themselves() {
    let brief =
        fakes::receiver("source", FLOWS, |output, _| async move { Ok(output.send(records(4)).await?) });
    let stuck = fakes::exporter("record", FLOWS, |mut input| async move {
        input.recv().await;
        future::pending().await
    });
    let (engine, _) = create(CHAIN, &[brief, fakes::passing("pass", FLOWS), stuck]).await.unwrap();
    let report = engine.run(future::pending()).await;
    check_failures(&report, &["exporter `record` did not finish within 10s"]);
}

/// A bug in one exporter stops the run, and takes nothing from the others.
#[tokio::test(start_paused = true)]
async fn a_panic_stops_the_run_with_a_drain() {
    check_fault(|_| async { panic!("index 7 of 3") }, &["exporter `faulty` panicked: index 7 of 3"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_error_stops_the_run_with_a_drain() {
    check_fault(
        |_| async { Err("the disk is gone".into()) },
        &["exporter `faulty` failed: the disk is gone"],
    )
    .await;
}

/// The producers' complaint that nobody listens any more is not what went wrong.
#[tokio::test(start_paused = true)]
async fn a_component_that_ends_before_its_input_is_a_failure() {
    check_fault(|_| async { Ok(()) }, &["exporter `faulty` ended before its input"]).await;
}

/// A port that is taken, a kernel that refuses: nothing runs, and what was acquired is given back.
#[tokio::test(start_paused = true)]
async fn a_component_that_cannot_be_created_is_named_with_its_place() {
    let n_alive = Arc::new(AtomicUsize::new(0));
    let created = Arc::new(Mutex::new(Vec::new()));
    let exporter = {
        let (n_alive, created) = (Arc::clone(&n_alive), Arc::clone(&created));
        Factory::exporter("record", FLOWS, move |_: NoSettings, context: Context| {
            created.lock().unwrap().push(context.id.to_string());
            n_alive.fetch_add(1, Ordering::Relaxed);
            let alive = Alive(Arc::clone(&n_alive));
            async { Ok(Box::new(alive) as Box<dyn Exporter>) }
        })
    };
    let receiver = {
        let created = Arc::clone(&created);
        Factory::receiver("source", FLOWS, move |_: NoSettings, context: Context| {
            created.lock().unwrap().push(context.id.to_string());
            async { Err::<Box<dyn Receiver>, BoxError>("operation not permitted".into()) }
        })
    };
    let Err(err) = create(CHAIN, &[receiver, fakes::passing("pass", FLOWS), exporter]).await else {
        panic!("the receiver cannot be created");
    };
    let expected = "test.yaml:2:13: cannot create receiver `source`: operation not permitted";
    assert_eq!(ErrorChain(&err).to_string(), expected);
    assert_eq!(*created.lock().unwrap(), ["record", "source"], "exporters come first");
    assert_eq!(n_alive.load(Ordering::Relaxed), 0, "the exporter is dropped");
}

proptest! {
    /// Whatever goes wrong and whenever the run is stopped, each item that a component took was passed on, delivered
    /// or counted as dropped, and each item that one passed on was taken by all who come next.
    #[test]
    fn every_item_is_accounted_for(
        n_batches in 0_usize..40,
        stop_after_ms in 0_u64..600,
        delivery_ms in prop::array::uniform2(0_u64..50),
        fault in prop::option::of((0_usize..2, 0_usize..40)),
    ) {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(check_ledger(n_batches, Duration::from_millis(stop_after_ms), delivery_ms, fault));
    }
}

async fn check_ledger(
    n_batches: usize,
    stop_after: Duration,
    delivery_ms: [u64; 2],
    fault: Option<(usize, usize)>,
) {
    let recorders = [Recorder::default(), Recorder::default()];
    let exporter = |idx: usize| {
        let recorder = recorders[idx].clone();
        let pause = Duration::from_millis(delivery_ms[idx]);
        let panics_at = fault.filter(|(faulty, _)| *faulty == idx).map(|(_, n)| n);
        fakes::exporter(["first", "second"][idx], FLOWS, move |mut input| {
            let recorder = recorder.clone();
            async move {
                let mut n_taken = 0;
                while let Some(batch) = input.recv().await {
                    recorder.push(batch);
                    if panics_at == Some(n_taken) {
                        // As a panic, without its noise in the output of the test.
                        std::panic::resume_unwind(Box::new("a bug"));
                    }
                    n_taken += 1;
                    time::sleep(pause).await;
                }
                Ok(())
            }
        })
    };
    let batches = (0..n_batches).map(|n| records(n % 5)).collect();
    let factories =
        [fakes::burst("source", FLOWS, batches), fakes::passing("pass", FLOWS), exporter(0), exporter(1)];
    let yaml = "
receivers: {source: }
processors: {pass: }
exporters: {first: , second: }
service:
  queue_size: 2
  shutdown_timeout: 200ms
  pipelines:
    flows: {receivers: [source], processors: [pass], exporters: [first, second]}
";
    let (engine, registry) = create(yaml, &factories).await.unwrap();
    let report = engine.run(time::sleep(stop_after)).await;

    let source = Ledger::of(&registry, Kind::Receiver, "source");
    let pass = Ledger::of(&registry, Kind::Processor, "pass");
    assert_eq!(pass.consumed, source.produced, "{report:?}");
    assert_eq!(pass.consumed, pass.produced + pass.dropped, "{report:?}");
    let mut n_dropped = pass.dropped;
    for (id, recorder) in ["first", "second"].into_iter().zip(&recorders) {
        let ledger = Ledger::of(&registry, Kind::Exporter, id);
        assert_eq!(ledger.consumed, pass.produced, "{id}: {report:?}");
        assert_eq!(ledger.consumed, recorder.n_items() + ledger.dropped, "{id}: {report:?}");
        assert_eq!(ledger.queued, 0, "{id}: {report:?}");
        n_dropped += ledger.dropped;
    }
    assert_eq!(report.n_dropped, n_dropped, "{report:?}");
}

/// Runs an exporter that ends in its own way after one batch, beside one that must not suffer from it.
async fn check_fault<F, Fut>(end: F, expected: &[&str])
where
    F: Fn(()) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    let recorder = Recorder::default();
    let faulty = fakes::exporter("faulty", FLOWS, move |mut input| {
        let end = end.clone();
        async move {
            input.recv().await;
            end(()).await
        }
    });
    // Sends its last batch when the drain begins.
    let source = fakes::receiver("source", FLOWS, |output, mut shutdown| async move {
        output.send(records(1)).await?;
        shutdown.requested().await;
        output.send(records(2)).await?;
        Ok(())
    });
    let yaml = "
receivers: {source: }
processors: {pass: }
exporters: {record: , faulty: }
service:
  pipelines:
    flows: {receivers: [source], processors: [pass], exporters: [faulty, record]}
";
    let factories = [source, fakes::passing("pass", FLOWS), recorder.factory("record", FLOWS), faulty];
    let (engine, _) = create(yaml, &factories).await.unwrap();
    let report = engine.run(future::pending()).await;
    check_failures(&report, expected);
    assert_eq!((recorder.n_items(), report.n_dropped), (3, 2));
}

#[track_caller]
fn check_failures(report: &Report, expected: &[&str]) {
    let failures: Vec<String> = report.failures.iter().map(|it| ErrorChain(it).to_string()).collect();
    assert_eq!(failures, expected);
    assert!(!report.is_clean());
}

/// Runs a configuration until `stop_after`.
async fn run(yaml: &'static str, factories: &[Factory], stop_after: Duration) -> Report {
    let (engine, _) = create(yaml, factories).await.unwrap();
    engine.run(time::sleep(stop_after)).await
}

async fn create(yaml: &'static str, factories: &[Factory]) -> Result<(Engine, Arc<Registry>), CreateError> {
    let embedded = Some(Embedded { name: "test.yaml", text: yaml });
    let sources = Sources { embedded, ..Sources::default() };
    let checked: Checked = match config::load(&sources, factories) {
        Ok(checked) => checked,
        Err(errors) => panic!("{errors}"),
    };
    let registry = Arc::new(Registry::default());
    Engine::create(&checked, &registry).await.map(|engine| (engine, registry))
}

fn records(n: usize) -> Batch {
    flows(vec![flow(); n])
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NoSettings {}

impl Config for NoSettings {}

/// Something that is acquired when it is created, such as a port.
struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Exporter for Alive {
    fn run(self: Box<Self>, _: component::Input) -> component::BoxFuture<Result<(), BoxError>> {
        unreachable!("nothing runs when a component cannot be created")
    }
}
