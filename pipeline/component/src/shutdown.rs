use std::future;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// Tells receivers to stop and everyone how long the drain may take.
///
/// Receivers stop when it is requested; everything downstream runs until its input ends.
#[derive(Clone, Debug)]
pub struct Shutdown {
    deadline: watch::Receiver<Option<Instant>>,
}

impl Shutdown {
    /// Waits until shutdown is requested. Cancel-safe.
    pub async fn requested(&mut self) {
        if self.deadline.wait_for(Option::is_some).await.is_err() {
            // Whoever could request it is gone without doing so.
            future::pending().await
        }
    }

    /// Waits until the drain must be over. Cancel-safe.
    pub async fn over(&mut self) {
        self.requested().await;
        if let Some(deadline) = self.deadline() {
            sleep_until(deadline).await;
        }
    }

    /// Returns when the drain must be over, once shutdown is requested.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.borrow()
    }
}

/// The other end of a [`Shutdown`]: whoever runs the pipeline holds it.
#[derive(Debug)]
pub struct ShutdownTrigger {
    deadline: watch::Sender<Option<Instant>>,
}

impl ShutdownTrigger {
    /// Creates a trigger and the handle that components are given.
    pub fn new() -> (Self, Shutdown) {
        let (sender, receiver) = watch::channel(None);
        (Self { deadline: sender }, Shutdown { deadline: receiver })
    }

    /// Requests shutdown; the first request fixes the deadline.
    pub fn request(&self, deadline: Instant) {
        self.deadline.send_if_modified(|it| {
            let first = it.is_none();
            it.get_or_insert(deadline);
            first
        });
    }
}
