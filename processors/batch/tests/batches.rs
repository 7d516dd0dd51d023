//! When what waits is sent, and who is told.

use std::{sync::mpsc, time::Duration};

use bytes::Bytes;
use component_test::Harness;
use model::{Batch, Logs, Receipt};
use tokio::time::Instant;

/// A resource with a scope with a log record without anything.
const LOG: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];

#[tokio::test(start_paused = true)]
async fn what_is_not_enough_waits_for_a_while() {
    let mut harness = Harness::start(&batch_processor::factory(), "{send_batch_size: 3}").await;
    let began = Instant::now();
    harness.send(logs(1)).await;
    harness.send(logs(1)).await;
    assert_eq!(harness.recv().await, Some(logs(2)));
    assert_eq!(began.elapsed(), Duration::from_millis(200));
    harness.send(logs(1)).await;
    harness.send(logs(2)).await;
    assert_eq!(harness.recv().await, Some(logs(3)));
    assert_eq!(began.elapsed(), Duration::from_millis(200), "it was enough");
    harness.send(logs(1)).await;
    let outcome = harness.finish().await;
    assert_eq!(outcome.batches, [logs(1)], "at the end it is sent");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_divided() {
    let settings = "{send_batch_size: 2, send_batch_max_size: 2}";
    let harness = Harness::start(&batch_processor::factory(), settings).await;
    harness.send(logs(5)).await;
    let items: Vec<_> = harness.finish().await.batches.iter().map(Batch::n_items).collect();
    assert_eq!(items, [2, 2, 1]);
}

/// A sender is told that its batch was taken when what it was made part of was, and not when it only waits.
#[tokio::test(start_paused = true)]
async fn senders_are_told_what_became_of_the_whole() {
    for is_refused in [false, true] {
        let mut harness = Harness::start(&batch_processor::factory(), "{}").await;
        let (told, results) = mpsc::channel();
        for _ in 0..2 {
            let told = told.clone();
            let receipt = Receipt::new(move |it| told.send(it).expect("the test listens"));
            let Batch::Logs(logs) = logs(1) else { unreachable!("they are logs") };
            harness.send(Batch::Logs(logs.awaited(receipt, std::sync::Arc::new(())))).await;
        }
        let batch = harness.recv().await.expect("it is sent");
        assert!(results.try_recv().is_err(), "nobody has taken it yet");
        if is_refused {
            batch.receipt().expect("senders wait").refuse();
        }
        drop(batch);
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [!is_refused; 2]);
    }
}

/// What still waits when the time is over is sent again by whoever sent it.
#[tokio::test(start_paused = true)]
async fn what_is_lost_at_the_end_is_refused() {
    let harness = Harness::start(&batch_processor::factory(), "{timeout: 5s}").await;
    let (told, results) = mpsc::channel();
    let receipt = Receipt::new(move |it| told.send(it).expect("the test listens"));
    let Batch::Logs(logs) = logs(3) else { unreachable!("they are logs") };
    harness.send(Batch::Logs(logs.awaited(receipt, std::sync::Arc::new(())))).await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    let outcome = harness.end_by_force(Duration::ZERO).await;
    assert_eq!((outcome.ledger.dropped, outcome.n_items()), (3, 0));
    assert_eq!(results.try_iter().collect::<Vec<_>>(), [false]);
}

fn logs(n: usize) -> Batch {
    Batch::Logs(Logs::from_encoded(Bytes::from(LOG.repeat(n))).expect("it is a request"))
}
