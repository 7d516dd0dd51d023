use std::sync::Arc;

use component::{Kind, Output, Registry, ShutdownTrigger, Telemetry, channel};
use component_test::{flow, flows, value};
use model::Metrics;
use opentelemetry_proto::tonic::metrics::v1::MetricsData;

use super::*;
use crate::{
    links::tests::{bytes, metrics, rename},
    screen::tests::Shared,
};

const PRINTING: Display =
    Display { interval: Duration::from_secs(5), max_links: 20, redraw: false, color: false, size: || None };

/// Soon, for tests of what is written: the thread that writes knows no paused time.
const REDRAWING: Display = Display { interval: SETTLE, redraw: true, size: || Some((60, 24)), ..PRINTING };

#[tokio::test]
async fn flow_records_are_lines() {
    let mut run = Run::start(PRINTING);
    run.send(flows([flow().no_id(), flow().no_id().server("10.0.0.3:443")])).await;
    let expected = "\
00:00:00 tcp 10.0.0.1:40000 -> 10.0.0.2:80 open seen by the client
00:00:00 tcp 10.0.0.1:40000 -> 10.0.0.3:443 open seen by the client
";
    assert_eq!(run.finish().await, expected);
}

/// What came after the last table is shown at the end: the drain's totals are not lost.
#[tokio::test]
async fn the_end_shows_what_no_table_has_shown() {
    let mut run = Run::start(PRINTING);
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    let expected = "\
00:00:10  1 link  0 open  5 B/s requested  0 B/s answered
CLIENT  SERVER  PORT  REQUEST  RESPONSE  OPEN  OPENED  CLOSED  FAILED  RESENT  RTT
curl    nginx    443    5 B/s         -     -       -       -       -       -    -

";
    assert_eq!(run.finish().await, expected);
}

/// Metrics of one round come in several batches; the table waits for the last.
#[tokio::test(start_paused = true)]
async fn a_round_of_metrics_is_one_table() {
    let mut run = Run::start(PRINTING);
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    run.send(batch(metrics([bytes(0, 10, "response", 70)]))).await;
    time::sleep(FIRST_SETTLE + SETTLE).await;
    assert_eq!(run.tables(), 1);
}

/// What was found at the start comes in several rounds; the first table shows it whole, and soon.
#[tokio::test(start_paused = true)]
async fn the_first_table_waits_for_what_was_found() {
    let mut run = Run::start(PRINTING);
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    time::sleep(FIRST_SETTLE / 2).await;
    run.send(batch(metrics([bytes(0, 11, "request", 60)]))).await;
    assert_eq!(run.tables(), 0);
    time::sleep(FIRST_SETTLE).await;
    assert_eq!(run.tables(), 1);
}

#[tokio::test(start_paused = true)]
async fn tables_are_no_more_frequent_than_the_interval() {
    let mut run = Run::start(PRINTING);
    for second in 1..=20 {
        run.send(batch(metrics([bytes(0, second, "request", 1)]))).await;
        time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(run.tables(), 4);
}

/// Metrics that come faster than a table waits for more of them must not put it off for ever.
#[tokio::test(start_paused = true)]
async fn a_table_is_not_put_off() {
    let mut run = Run::start(Display { interval: SETTLE, ..PRINTING });
    for second in 1..=20 {
        run.send(batch(metrics([bytes(0, second, "request", 1)]))).await;
        time::sleep(SETTLE * 95 / 100).await;
    }
    assert!(run.tables() >= 9, "{} tables", run.tables());
}

#[tokio::test(start_paused = true)]
async fn metrics_of_something_else_draw_nothing() {
    let mut run = Run::start(PRINTING);
    let mut metric = bytes(0, 10, "request", 50);
    metric.name = "process.cpu.time".to_owned();
    run.send(batch(metrics([metric]))).await;
    time::sleep(FIRST_SETTLE * 2).await;
    assert_eq!(run.tables(), 0);
    assert_eq!(run.finish().await, "");
}

/// A table that is higher than the terminal could not be redrawn in place.
#[tokio::test]
async fn a_table_is_not_higher_than_the_terminal() {
    let cases: [(Size, usize); 4] = [
        (|| Some((80, 100)), 21),
        (|| Some((80, 8)), 7),
        (|| Some((80, 5)), 4),
        // Less is no table.
        (|| Some((80, 1)), 4),
    ];
    for (size, n_lines) in cases {
        let mut run = Run::start(Display { size, ..REDRAWING });
        let numbered = |n: u64| {
            let mut metric = bytes(0, 10, "request", 50);
            rename(&mut metric, &format!("client {n}"));
            metric
        };
        run.send(batch(metrics((0..19).map(numbered)))).await;
        run.wait_for_tables(1).await;
        let text = run.finish().await;
        let (_, table) = text.split_once("\u{1b}[J").unwrap();
        assert_eq!(table.lines().count(), n_lines, "{:?}:\n{table}", size());
    }
}

/// A table takes the place of the one before it, as high as that was.
#[tokio::test]
async fn a_terminal_is_redrawn_in_place() {
    let mut run = Run::start(REDRAWING);
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    run.wait_for_tables(1).await;
    let expected = "\
waiting for the first connections
\u{1b}[1F\u{1b}[J00:00:10  1 link  0 open  5 B/s requested  0 B/s answered
CLIENT  SERVER  PORT  REQUEST  RESPONSE  OPEN  FAILED  RTT
curl    nginx    443    5 B/s         -     -       -    -
";
    assert_eq!(run.finish().await, expected);
}

/// What asks to stop says so below the table, and where the cursor is then nobody knows: nothing may be erased any more,
/// neither while what is under way is drained nor at the end.
#[tokio::test]
async fn the_last_tables_are_printed_below() {
    let mut run = Run::start(REDRAWING);
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    run.wait_for_tables(1).await;
    run.trigger.request(Instant::now());
    run.send(batch(metrics([bytes(0, 11, "request", 60)]))).await;
    run.wait_for_tables(2).await;
    run.send(batch(metrics([bytes(0, 12, "request", 80)]))).await;
    let text = run.finish().await;
    let (_, last) = text.split_once("    5 B/s         -     -       -    -\n").unwrap();
    let expected = "
00:00:11  1 link  0 open  10 B/s requested  0 B/s answered
CLIENT  SERVER  PORT  REQUEST  RESPONSE  OPEN  FAILED  RTT
curl    nginx    443   10 B/s         -     -       -    -

00:00:12  1 link  0 open  20 B/s requested  0 B/s answered
CLIENT  SERVER  PORT  REQUEST  RESPONSE  OPEN  FAILED  RTT
curl    nginx    443   20 B/s         -     -       -    -
";
    assert_eq!(last, expected);
}

/// Lines that were printed in between must not be erased.
#[tokio::test]
async fn a_table_does_not_replace_flow_records() {
    let mut run = Run::start(Display { redraw: true, ..PRINTING });
    run.send(flows([flow().no_id()])).await;
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    let text = run.finish().await;
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

/// `ridley run | head -1`: what cannot be printed is counted, and the run goes on.
#[tokio::test]
async fn a_closed_output_is_no_failure() {
    struct Closed;
    impl std::io::Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut run = Run::start_with(PRINTING, Screen::start(Closed).unwrap());
    while run.value("ridley.dropped.items", &[("reason", "output_closed")]) == 0 {
        run.send(flows([flow()])).await;
    }
    run.send(batch(metrics([bytes(0, 10, "request", 50)]))).await;
    let registry = Arc::clone(&run.registry);
    assert_eq!(run.finish().await, "");
    assert_eq!(value(&registry, "ridley.debug.skipped.tables", &[]), 1);
}

/// An exporter that runs between a channel and an output that can be looked at.
struct Run {
    out: Shared,
    registry: Arc<Registry>,
    input: Output,
    trigger: ShutdownTrigger,
    task: tokio::task::JoinHandle<Result<(), BoxError>>,
}

impl Run {
    fn start(display: Display) -> Self {
        let out = Shared::default();
        let run = Self::start_with(display, Screen::start(out.clone()).unwrap());
        Self { out, ..run }
    }

    fn start_with(display: Display, screen: Screen) -> Self {
        let registry = Arc::<Registry>::default();
        let telemetry = |kind| -> Telemetry { registry.telemetry(kind, &"debug".parse().unwrap()) };
        let own = telemetry(Kind::Exporter);
        let (sender, input) = channel(16, &own);
        let (trigger, shutdown) = ShutdownTrigger::new();
        let exporter = DebugExporter::new(display, screen, Instruments::new(&own), shutdown);
        let task = tokio::spawn(Box::new(exporter).run(input));
        let output = Output::new(vec![sender], &telemetry(Kind::Receiver));
        Self { out: Shared::default(), registry, input: output, trigger, task }
    }

    async fn send(&mut self, batch: Batch) {
        self.input.send(batch).await.unwrap();
        tokio::task::yield_now().await;
    }

    fn value(&self, name: &str, attributes: &[(&str, &str)]) -> i64 {
        value(&self.registry, name, attributes)
    }

    fn tables(&self) -> i64 {
        self.value("ridley.debug.tables", &[])
    }

    async fn wait_for_tables(&self, n_tables: i64) {
        let begun = Instant::now();
        while self.tables() < n_tables {
            assert!(begun.elapsed() < Duration::from_secs(60), "{} tables", self.tables());
            time::sleep(SETTLE / 10).await;
        }
    }

    async fn finish(self) -> String {
        let Self { out, registry: _, input, trigger: _, task } = self;
        drop(input);
        task.await.unwrap().unwrap();
        out.text()
    }
}

fn batch(data: MetricsData) -> Batch {
    Batch::Metrics(Metrics::new(data.resource_metrics))
}
