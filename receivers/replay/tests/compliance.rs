//! What is expected of every component, and what only this one promises, through its public face.

use std::{fs, time::Duration};

use component::ErrorChain;
use component_test::{Compliance, Harness, flow};
use model::{Batch, Flow};
use tempfile::TempDir;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn complies() {
    let recording = Recording::of(&[record(100), record(101), record(102)]);
    Compliance::new(replay_receiver::factory(), env!("CARGO_MANIFEST_DIR"))
        .settings(recording.settings(""))
        .check()
        .await;
}

#[tokio::test(start_paused = true)]
async fn records_come_as_far_apart_as_they_were_made() {
    let recording = Recording::of(&[record(100), record(100), record(103), record(113)]);
    for (speed, expected) in [
        ("1", vec![(0, 2), (3_000, 1), (13_000, 1)]),
        ("10", vec![(0, 2), (300, 1), (1_300, 1)]),
        ("0", vec![(0, 4)]),
    ] {
        let mut harness = recording.start(&format!("speed: {speed}")).await;
        let start = Instant::now();
        let mut found = Vec::new();
        while let Some(batch) = harness.recv_within(Duration::from_mins(1)).await {
            found.push((start.elapsed().as_millis(), batch.n_items()));
        }
        assert_eq!(found, expected, "speed {speed}");
        harness.finish().await.result.unwrap();
    }
}

/// The records of the file, moved so that the first is made now; or as they are.
#[tokio::test(start_paused = true)]
async fn times_are_moved_to_now_unless_kept() {
    let recording = Recording::of(&[record(100), record(103)]);
    let read = recording.read("speed: 0\ntimes: keep").await;
    assert_eq!(read, [record(100), record(103)]);

    let read = recording.read("speed: 0").await;
    let now = model::UnixNanos::from(std::time::SystemTime::now());
    assert!(now.saturating_since(read[0].interval.end) < Duration::from_secs(10));
    assert_eq!(read[1].interval.end.saturating_since(read[0].interval.end), Duration::from_secs(3));
}

/// The error names file and line, and says what to do; what came before is not lost.
#[tokio::test(start_paused = true)]
async fn a_mistake_ends_the_run_with_its_place() {
    let recording = Recording::of(&[record(100), record(101)]);
    recording.append("{\"observer\":1}\n");
    let harness = recording.start("speed: 0").await;
    let outcome = harness.finish().await;
    assert_eq!(outcome.n_items(), 2);
    let expected = format!(
        "{}:3: not a flow record; correct it, or set `receivers.replay.on_error` to `skip` to go on without it: \
         column 13: expected value",
        recording.path()
    );
    assert_eq!(ErrorChain(&*outcome.result.unwrap_err()).to_string(), expected);
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_skipped_and_counted_if_wanted() {
    let recording = Recording::of(&[record(100)]);
    recording.append("x\n\n");
    recording.append(&format!("{}\n{{}}", serde_json::to_string(&record(101)).unwrap()));
    let outcome = recording.start("speed: 0\non_error: skip").await.finish().await;
    outcome.result.as_ref().unwrap();
    assert_eq!((outcome.n_items(), outcome.ledger.dropped), (2, 2));
}

/// A pause of the recording is not a pause of the shutdown.
#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_the_next_record() {
    let recording = Recording::of(&[record(100), record(100_000)]);
    let mut harness = recording.start("").await;
    assert_eq!(harness.recv().await.map(|it| it.n_items()), Some(1));
    harness.request_shutdown(Duration::from_secs(10));
    let start = Instant::now();
    let outcome = harness.finish().await;
    outcome.result.as_ref().unwrap();
    assert_eq!((outcome.n_items(), start.elapsed()), (0, Duration::ZERO));
}

/// Nor for the rest of a file that is read as fast as possible: what is under way is sent, nothing more.
#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_the_end_of_the_file() {
    let recording = Recording::of(&vec![record(100); 2_000]);
    let harness = recording.start("speed: 0").await;
    harness.request_shutdown(Duration::from_secs(10));
    let outcome = harness.finish().await;
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.n_items(), 512);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_cannot_be_read_is_named_with_its_setting() {
    let err = Harness::try_start(&replay_receiver::factory(), "path: /no/such/file").await.unwrap_err();
    let expected = "cannot read /no/such/file; set `receivers.replay.path` to a file of flow records: No such file or \
                    directory (os error 2)";
    assert_eq!(ErrorChain(&*err).to_string(), expected);
}

fn record(end_secs: u64) -> Flow {
    flow().interval(90, end_secs).build()
}

/// A file of records.
struct Recording(TempDir);

impl Recording {
    fn of(records: &[Flow]) -> Self {
        let this = Self(TempDir::new().expect("a folder for the test"));
        let line = |flow| serde_json::to_string(flow).expect("a record can be written") + "\n";
        this.append(&records.iter().map(line).collect::<String>());
        this
    }

    fn append(&self, text: &str) {
        let before = fs::read_to_string(self.path()).unwrap_or_default();
        fs::write(self.path(), before + text).expect("the file of the test can be written");
    }

    fn path(&self) -> String {
        self.0.path().join("flows.jsonl").display().to_string()
    }

    fn settings(&self, more: &str) -> String {
        format!("path: {}\n{more}", self.path())
    }

    async fn start(&self, more: &str) -> Harness {
        Harness::start(&replay_receiver::factory(), &self.settings(more)).await
    }

    async fn read(&self, more: &str) -> Vec<Flow> {
        let outcome = self.start(more).await.finish().await;
        outcome.result.expect("the recording has no mistake");
        let flows = |batch| match batch {
            Batch::Flows(flows) => flows.records,
            _ => Vec::new(),
        };
        outcome.batches.into_iter().flat_map(flows).collect()
    }
}
