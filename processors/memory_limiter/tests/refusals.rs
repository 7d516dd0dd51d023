//! Who is told when there is too much memory.

use std::sync::{Arc, mpsc};

use bytes::Bytes;
use component_test::Harness;
use model::{Batch, Logs, Receipt};

/// A resource with a scope with a log record without anything.
const LOG: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];

/// Its sender is told to come back, and the items count.
#[tokio::test(start_paused = true)]
async fn what_comes_while_there_is_too_much_is_refused() {
    for (settings, is_taken) in [("limit_mib: 1000000", true), ("limit_mib: 1", false)] {
        let harness = Harness::start(&memory_limiter_processor::factory(), settings).await;
        let (told, results) = mpsc::channel();
        let receipt = Receipt::new(move |it| told.send(it).expect("the test listens"));
        let logs = Logs::from_encoded(Bytes::from_static(LOG)).expect("it is a request");
        harness.send(Batch::Logs(logs.awaited(receipt, Arc::new(())))).await;
        let outcome = harness.finish().await;
        assert_eq!((outcome.ledger.produced, outcome.ledger.dropped), (is_taken.into(), (!is_taken).into()));
        drop(outcome);
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [is_taken]);
    }
}
