//! Deliveries with a queue on disk. Time is paused, but not while something is written or read.

use std::{fs, path::Path, sync::mpsc, time::Duration};

use component_test::points;
use model::Receipt;
use tempfile::TempDir;
use tokio::time;

use super::{
    tests::{Run, failed, taken},
    *,
};
use crate::{Disk, Sync};

#[tokio::test(start_paused = true)]
async fn what_is_on_disk_is_sent_in_its_order() {
    for sync in [Sync::Always, Sync::Interval, Sync::Never] {
        let folder = TempDir::new().unwrap();
        let queue = queue(folder.path(), sync);
        let mut run = Run::start(queue, Retry::default(), |_attempt| taken(0)).await;
        for n in 1..=5 {
            run.push(n).await;
        }
        assert_eq!(run.finish().await.sent(), [1, 2, 3, 4, 5], "{sync:?}");
        run.check(15, &[]);
        assert_eq!(run.value("ridley.exporter.stored.items"), 15);
    }
}

/// Whoever stops the agent during an outage need not wait, and loses nothing.
#[tokio::test(start_paused = true)]
async fn what_a_server_does_not_take_is_sent_after_the_next_start() {
    let folder = TempDir::new().unwrap();
    let queue = queue(folder.path(), Sync::default());
    let mut run = Run::start(queue.clone(), Retry::default(), |_attempt| failed(None)).await;
    for n in 1..=3 {
        run.push(n).await;
    }
    run.finish().await;
    run.check_kept(0, &[], 6);
    let mut run = Run::start(queue.clone(), Retry::default(), |_attempt| taken(0)).await;
    run.push(4).await;
    assert_eq!(run.finish().await.sent(), [1, 2, 3, 4]);
    assert_eq!(run.value("ridley.exporter.delivered.items"), 10);
    let mut run = Run::start(queue, Retry::default(), |_attempt| taken(0)).await;
    assert_eq!(run.finish().await.sent(), [], "what was taken is not sent again");
}

/// The deadline of a drain is for what would be lost.
#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_at_the_end_is_sent_after_the_next_start() {
    let folder = TempDir::new().unwrap();
    let queue = queue(folder.path(), Sync::default());
    let mut run = Run::start(queue.clone(), Retry::default(), |_attempt| failed(None)).await;
    run.push(3).await;
    run.trigger.request(time::Instant::now());
    run.finish().await;
    run.check_kept(0, &[], 3);
    let mut run = Run::start(queue, Retry::default(), |_attempt| taken(0)).await;
    assert_eq!(run.finish().await.sent(), [3]);
}

/// As when the process is killed: nothing that ends it in order is run.
#[tokio::test(start_paused = true)]
async fn what_was_taken_survives_whatever_ends_the_delivery() {
    let folder = TempDir::new().unwrap();
    let queue = queue(folder.path(), Sync::Always);
    let mut run = Run::start(queue.clone(), Retry::default(), |attempt| match attempt {
        0..2 => taken(0),
        _ => failed(None),
    })
    .await;
    for n in 1..=5 {
        run.push(n).await;
    }
    run.abort().await;
    let mut run = Run::start(queue, Retry::default(), |_attempt| taken(0)).await;
    let sent = run.finish().await.sent();
    assert!(sent.ends_with(&[3, 4, 5]) && sent.len() <= 5, "{sent:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_on_disk_is_not_given_up() {
    let folder = TempDir::new().unwrap();
    let retry = Retry { max_elapsed_time: Duration::from_secs(60), ..Retry::default() };
    let mut run = Run::start(queue(folder.path(), Sync::default()), retry, |attempt| match attempt {
        0..300 => failed(None),
        _ => taken(0),
    })
    .await;
    run.push(3).await;
    time::sleep(Duration::from_hours(24)).await;
    assert_eq!(run.finish().await.sent().len(), 301);
    run.check(3, &[]);
}

/// Whoever sent it need not have it any more, whether the server takes it or not.
#[tokio::test(start_paused = true)]
async fn the_sender_is_told_when_it_is_on_disk() {
    let folder = TempDir::new().unwrap();
    let mut run =
        Run::start(queue(folder.path(), Sync::Always), Retry::default(), |_attempt| failed(None)).await;
    assert_eq!(push_awaited(&run, 3).await, Some(true));
    run.finish().await;
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_on_the_disk_is_dropped_and_its_sender_told() {
    let folder = TempDir::new().unwrap();
    let mut queue = queue(folder.path(), Sync::default());
    // A segment's header and seven records.
    queue.disk.as_mut().unwrap().max_bytes = 16 + 7 * 128;
    let mut run = Run::start(queue, Retry::default(), |attempt| match attempt {
        0 => failed(None),
        _ => taken(0),
    })
    .await;
    for _ in 0..7 {
        assert_eq!(push_awaited(&run, 1).await, Some(true));
    }
    assert_eq!(push_awaited(&run, 2).await, Some(false));
    // There is room when the server takes it.
    time::sleep(Duration::from_secs(5)).await;
    assert_eq!(push_awaited(&run, 1).await, Some(true));
    assert_eq!(run.finish().await.sent(), [1; 9]);
    run.check(8, &[("queue_full", 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_dropped_and_its_sender_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("queue");
    let mut run = Run::start(queue(&path, Sync::default()), Retry::default(), |_attempt| taken(0)).await;
    fs::remove_dir_all(&path).unwrap();
    assert_eq!(push_awaited(&run, 3).await, Some(false));
    run.finish().await;
    run.check(0, &[("write_failed", 3)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_damaged_is_counted_and_the_rest_sent() {
    let folder = TempDir::new().unwrap();
    let queue = queue(folder.path(), Sync::default());
    let mut run = Run::start(queue.clone(), Retry::default(), |_attempt| failed(None)).await;
    for n in [1, 5, 7, 2] {
        run.push(n).await;
    }
    run.finish().await;
    let files = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path());
    let [path] = files.filter(|it| it.extension().is_some()).collect::<Vec<_>>().try_into().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    // The payload of the second, and the header of the third.
    bytes[16 + 128 + 50] ^= 1;
    bytes[16 + 2 * 128 + 5] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut run = Run::start(queue, Retry::default(), |_attempt| taken(0)).await;
    assert_eq!(run.finish().await.sent(), [1, 2]);
    assert_eq!(run.value("ridley.exporter.queue.disk.damaged"), 2);
    assert_eq!(run.dropped("damaged"), 5, "of the other nobody knows how many items it had");
}

#[tokio::test(start_paused = true)]
async fn a_directory_has_one_exporter() {
    let folder = TempDir::new().unwrap();
    let queue = queue(folder.path(), Sync::default());
    let mut first = Run::start(queue.clone(), Retry::default(), |_attempt| taken(0)).await;
    let error = Run::open(queue, Retry::default(), |_attempt| taken(0)).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "cannot have a queue on disk; set `exporters.test.sending_queue.disk.directory` to a directory of its own"
    );
    first.finish().await;
}

/// Sends a batch and returns what its sender is told soon.
async fn push_awaited(run: &Run, n_items: u64) -> Option<bool> {
    let (tell, told) = mpsc::channel();
    let Batch::Metrics(metrics) = points(n_items) else { unreachable!("points are metrics") };
    let receipt = Receipt::new(move |is_taken| tell.send(is_taken).expect("the test listens"));
    run.send(Batch::Metrics(metrics.awaited(receipt, Arc::new(())))).await;
    told.try_recv().ok()
}

fn queue(directory: &Path, sync: Sync) -> Queue {
    let disk = Disk { directory: directory.to_owned(), max_bytes: 1 << 20, sync };
    Queue { disk: Some(disk), ..Queue::default() }
}
