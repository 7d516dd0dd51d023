use std::time::{Duration, Instant, SystemTime};

use component::{BoxError, BoxFuture, Closed, Episode, EpisodeChange, Input, Output, Processor};
use model::{Batch, UnixNanos};
use tokio::time::{self, MissedTickBehavior};
use tracing::{info, warn};

use crate::{Aggregate, listeners::ListenerTotals, metrics::Instruments};

/// Pauses before the first emissions, counted from the first record: who has just started the program wants to see
/// what it found, and a connection whose other end is elsewhere comes later than the others, for a `join` waits for it.
const EARLY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(1)];

/// How long there must have been room for everything to say that there is again.
const QUIET: Duration = Duration::from_mins(1);

/// Runs an [`Aggregate`] between two channels.
#[derive(Debug)]
pub(crate) struct LinksConnector {
    aggregate: Aggregate,
    listeners: ListenerTotals,
    interval: Duration,
    instruments: Instruments,
    overflowing: Episode,
    listeners_overflowing: Episode,
    forgetting: Episode,
    last_sent: UnixNanos,
    /// Records that no totals have told of that were sent as a whole.
    n_untold: u64,
}

impl LinksConnector {
    pub(crate) fn new(
        aggregate: Aggregate,
        listeners: ListenerTotals,
        interval: Duration,
        instruments: Instruments,
    ) -> Self {
        let [overflowing, listeners_overflowing, forgetting] = [Episode::new(QUIET); 3];
        let last_sent = UnixNanos::default();
        Self {
            aggregate,
            listeners,
            interval,
            instruments,
            overflowing,
            listeners_overflowing,
            forgetting,
            last_sent,
            n_untold: 0,
        }
    }

    async fn drive(mut self, mut input: Input, output: Output) -> Result<(), BoxError> {
        let mut ticks = time::interval_at(time::Instant::now() + self.interval, self.interval);
        // After a stall one emission is enough: totals are cumulative.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let interval = self.interval;
        let mut early = EARLY.into_iter().filter(|pause| *pause < interval);
        let mut has_begun = false;
        loop {
            tokio::select! {
                // The timer first: a queue that is never empty must not silence the output.
                biased;
                _ = ticks.tick() => {
                    self.aggregate.expire(now());
                    self.listeners.expire(now());
                    self.emit(&output).await?;
                    if has_begun && let Some(pause) = early.next() {
                        ticks.reset_after(pause);
                    }
                }
                batch = input.recv() => match batch {
                    Some(Batch::Flows(flows)) => {
                        let now = now();
                        self.n_untold += flows.records.len() as u64;
                        for flow in &flows.records {
                            self.aggregate.push(flow, now);
                        }
                        if !has_begun && let Some(pause) = early.next() {
                            ticks.reset_after(pause);
                        }
                        has_begun = true;
                    }
                    Some(Batch::Listeners(listeners)) => {
                        let now = now();
                        self.n_untold += listeners.records.len() as u64;
                        for listener in &listeners.records {
                            self.listeners.push(listener, now);
                        }
                    }
                    Some(other) => self.instruments.refuse(other.n_items()),
                    None => break,
                }
            }
        }
        self.emit(&output).await?;
        Ok(())
    }

    /// Sends the totals of every link. No record is counted meanwhile: all points are of one time.
    async fn emit(&mut self, output: &Output) -> Result<(), Closed> {
        self.report();
        let time = after(self.last_sent, SystemTime::now().into());
        let mut from = 0;
        while let Some((metrics, next)) = self.aggregate.encode(from, time) {
            output.send(Batch::Metrics(metrics)).await?;
            from = next;
        }
        from = 0;
        while let Some((metrics, next)) = self.aggregate.encode_ended(from, time) {
            output.send(Batch::Metrics(metrics)).await?;
            from = next;
        }
        for metrics in self.listeners.encode(time) {
            output.send(Batch::Metrics(metrics)).await?;
        }
        self.aggregate.sent(time);
        self.listeners.sent(time);
        self.last_sent = time;
        self.n_untold = 0;
        Ok(())
    }

    fn report(&mut self) {
        let now = now();
        let report = self.instruments.add(&mut self.aggregate);
        let links = self.aggregate.n_links();
        match self.overflowing.update(report.overflowed > 0, now) {
            Some(EpisodeChange::Began) => warn!(
                links,
                "too many links to keep apart, further ones are counted as `other`; raise `max_series` or select \
                 fewer attributes"
            ),
            Some(EpisodeChange::Ended) => info!(links, "every link is kept apart again"),
            None => {}
        }
        let overflowed = self.instruments.add_listeners(&mut self.listeners);
        let servers = self.listeners.len();
        match self.listeners_overflowing.update(overflowed > 0, now) {
            Some(EpisodeChange::Began) => warn!(
                servers,
                "too many servers that listen to keep apart, further ones are counted as `other`; raise `max_series`"
            ),
            Some(EpisodeChange::Ended) => info!(servers, "every server that listens is kept apart again"),
            None => {}
        }
        let connections = self.aggregate.n_connections();
        match self.forgetting.update(report.forgotten > 0, now) {
            Some(EpisodeChange::Began) => warn!(
                connections,
                "more connections than `max_connections`, the oldest do not count as active; raise it"
            ),
            Some(EpisodeChange::Ended) => info!(connections, "there is room for every connection again"),
            None => {}
        }
    }
}

impl Drop for LinksConnector {
    /// Counts what no totals will tell of any more, if the end did not wait for them: at the deadline of a drain, and when
    /// nobody takes totals any more.
    fn drop(&mut self) {
        self.instruments.lost(self.n_untold);
    }
}

impl Processor for LinksConnector {
    fn run(self: Box<Self>, input: Input, output: Output) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.drive(input, output))
    }
}

fn now() -> Instant {
    time::Instant::now().into_std()
}

/// Returns the present time, or just after `last` if the clock was set back: points of one series must not go back in time.
fn after(last: UnixNanos, now: UnixNanos) -> UnixNanos {
    now.max(UnixNanos(last.0 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_when_the_clock_is_set_back() {
        assert_eq!(after(UnixNanos(5), UnixNanos(9)), UnixNanos(9));
        assert_eq!(after(UnixNanos(5), UnixNanos(5)), UnixNanos(6));
        assert_eq!(after(UnixNanos(5), UnixNanos(2)), UnixNanos(6));
    }
}
