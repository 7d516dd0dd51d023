//! What is expected of every component, and what only this one promises, through its public face.

use component::ErrorChain;
use component_test::{Compliance, Harness, flow, flows, listener, listeners, points};
use model::{CloseReason, Flow};
use tempfile::TempDir;

#[tokio::test]
async fn complies() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flows.jsonl");
    Compliance::new(file_exporter::factory(), env!("CARGO_MANIFEST_DIR"))
        .settings(format!("path: {}", path.display()))
        .input(flows([flow().opened(1), flow().closed(CloseReason::Normal)]))
        .input(listeners([listener()]))
        .check()
        .await;
}

#[tokio::test]
async fn what_goes_in_can_be_read_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flows.jsonl");
    let harness = Harness::start(&file_exporter::factory(), &format!("path: {}", path.display())).await;
    harness.send(flows([flow().id(1), flow().id(2)])).await;
    harness.send(flows([flow().id(3)])).await;
    let outcome = harness.finish().await;
    outcome.result.unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    let read: Vec<Flow> = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
    assert_eq!(read, [flow().id(1).build(), flow().id(2).build(), flow().id(3).build()]);
    assert_eq!(component_test::value(&outcome.registry, "ridley.file.written", &[]), text.len() as i64);
}

#[tokio::test]
async fn what_is_no_flow_record_is_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flows.jsonl");
    let harness = Harness::start(&file_exporter::factory(), &format!("path: {}", path.display())).await;
    harness.send(points(3)).await;
    let outcome = harness.finish().await;
    outcome.result.unwrap();
    assert_eq!(outcome.ledger.dropped, 3);
}

/// They come with flow records, and the file has no lines for them: that is no loss to warn of.
#[tokio::test]
async fn listening_sockets_are_not_written_and_no_drop() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flows.jsonl");
    let harness = Harness::start(&file_exporter::factory(), &format!("path: {}", path.display())).await;
    harness.send(listeners([listener(), listener()])).await;
    harness.send(flows([flow()])).await;
    let outcome = harness.finish().await;
    outcome.result.unwrap();
    assert_eq!((outcome.ledger.consumed, outcome.ledger.dropped), (3, 0));
    assert_eq!(component_test::value(&outcome.registry, "ridley.file.unwritten.listeners", &[]), 2);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
}

/// Whoever reads the error knows what to change, and where.
#[tokio::test]
async fn an_unwritable_path_is_named_with_its_setting() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("none/flows.jsonl");
    let yaml = format!("path: {}", path.display());
    let err = Harness::try_start(&file_exporter::factory(), &yaml).await.unwrap_err();
    let expected = format!(
        "cannot write to {}; set `exporters.file.path` to a file that can be written: No such file or directory \
         (os error 2)",
        path.display()
    );
    assert_eq!(ErrorChain(&*err).to_string(), expected);
}

/// Records that do not fit on the disk are counted, and the run goes on.
#[tokio::test]
async fn what_cannot_be_written_is_counted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("flows.jsonl");
    // A name that a full file cannot take.
    std::fs::create_dir_all(folder.path().join("flows.jsonl.1/inside")).unwrap();
    let yaml = format!("path: {}\nmax_bytes: 65536\nmax_files: 2", path.display());
    let harness = Harness::start(&file_exporter::factory(), &yaml).await;
    let n_records = 1_000;
    for _ in 0..2 {
        harness.send(flows((0..n_records / 2).map(|n| flow().id(n)))).await;
    }
    let outcome = harness.finish().await;
    outcome.result.unwrap();
    let n_written = std::fs::read_to_string(path).unwrap().lines().count() as u64;
    assert!(n_written > 0);
    assert_eq!(outcome.ledger.dropped + n_written, u64::from(n_records));
}
