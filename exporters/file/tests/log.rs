//! What the log tells of a disk that is full. Alone in its process: which lines are of interest is decided for all threads.

use std::{
    fs::{self, File},
    sync::Arc,
    time::Duration,
};

use component_test::{Harness, flow, flows};
use tempfile::TempDir;
use tokio::time;
use tracing_subscriber::util::SubscriberInitExt;

/// Where large batches find no room small ones still do: the log tells one failure, and its end when it is over.
#[tokio::test(start_paused = true)]
async fn what_fails_now_and_then_is_told_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flows.jsonl");
    let log_path = folder.path().join("log");
    let log = Arc::new(File::create(&log_path).unwrap());
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log).finish();
    let _logged = subscriber.set_default();
    // A name that a full file cannot take.
    fs::create_dir_all(folder.path().join("flows.jsonl.1/inside")).unwrap();
    let yaml = format!("path: {}\nmax_bytes: 65536\nmax_files: 2", path.display());
    let harness = Harness::start(&file_exporter::factory(), &yaml).await;
    let long_name = "a".repeat(10_000);
    for _ in 0..4 {
        harness.send(flows((0..10).map(|n| flow().id(n).cgroup(&long_name)))).await;
        time::sleep(Duration::from_secs(1)).await;
        harness.send(flows([flow().id(10)])).await;
        time::sleep(Duration::from_secs(1)).await;
    }
    let told = fs::read_to_string(&log_path).unwrap();
    assert_eq!((told.matches("ERROR").count(), told.lines().count()), (1, 1), "{told}");
    assert_eq!(harness.ledger().dropped, 10 - 6 + 3 * 10, "of the small batches, each is written");

    time::sleep(Duration::from_mins(1)).await;
    harness.send(flows([flow().id(10)])).await;
    harness.finish().await.result.unwrap();
    let told = fs::read_to_string(&log_path).unwrap();
    let last = told.lines().last().unwrap();
    assert!(last.contains("records are written again") && last.contains("lost=34"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}
