use std::{
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use integration::plan::{Ending, Event, Report, Traffic};
use rustix::time::{ClockId, Timespec, clock_gettime};
use tokio::sync::watch;

/// What this peer's connections have done so far, and what the harness wants.
pub(crate) struct Ledger {
    report: Mutex<Report>,
    holding: Mutex<u64>,
    connections: Option<u64>,
    releases: watch::Sender<u64>,
    stopped: watch::Sender<bool>,
}

impl Ledger {
    pub(crate) fn new(traffic: &Traffic) -> Self {
        Self {
            report: Mutex::default(),
            holding: Mutex::default(),
            connections: traffic.connections,
            releases: watch::Sender::new(0),
            stopped: watch::Sender::new(false),
        }
    }

    pub(crate) fn report(&self) -> Report {
        self.entry().clone()
    }

    pub(crate) fn opened(&self) {
        let mut report = self.entry();
        report.opened += 1;
        report.open += 1;
    }

    pub(crate) fn connected(&self, after: Duration) {
        let now = now();
        let mut report = self.entry();
        report.connecting += u64::try_from(after.as_nanos()).expect("no attempt takes centuries");
        report.connected_at = report.connected_at.wrapping_add(now);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.entry().wrote += bytes as u64;
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.entry().read += bytes as u64;
    }

    pub(crate) fn left_unread(&self, bytes: u64) {
        self.entry().unread += bytes;
    }

    /// Takes note of the end of a connection that this side has closed just now.
    pub(crate) fn ended(&self, ending: Ending, closing_at: u64) {
        let now = now();
        let mut report = self.entry();
        report.open -= 1;
        report.closing_at = report.closing_at.wrapping_add(closing_at);
        report.closed_at = report.closed_at.wrapping_add(now);
        *report.ended.entry(ending).or_default() += 1;
    }

    pub(crate) fn failed(&self, reason: &str) {
        *self.entry().failed.entry(reason.to_owned()).or_default() += 1;
    }

    /// Waits until the harness has let go `nth` times. The last connection to arrive tells the harness.
    pub(crate) async fn hold(&self, nth: u64) -> anyhow::Result<()> {
        let all_wait = {
            let mut holding = self.holding.lock().expect("nobody panics while counting");
            *holding += 1;
            self.connections.is_some_and(|connections| *holding == nth * connections)
        };
        if all_wait {
            crate::tell(&Event::Holding(self.report()))?;
        }
        let mut releases = self.releases.subscribe();
        releases.wait_for(|n| *n >= nth).await.expect("the ledger outlives its connections");
        Ok(())
    }

    pub(crate) fn release(&self) {
        self.releases.send_modify(|n| *n += 1);
    }

    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    pub(crate) async fn until_stopped(&self) {
        let mut stopped = self.stopped.subscribe();
        stopped.wait_for(|stopped| *stopped).await.expect("the ledger outlives its connections");
    }

    fn entry(&self) -> MutexGuard<'_, Report> {
        self.report.lock().expect("nobody panics while counting")
    }
}

/// Returns the time of the clock that all processes of a machine share, in nanoseconds.
pub(crate) fn now() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec.cast_unsigned() * 1_000_000_000 + tv_nsec.cast_unsigned()
}
