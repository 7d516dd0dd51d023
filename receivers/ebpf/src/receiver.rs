//! The run loop: only this file awaits.

use std::{mem, pin::pin, time::Duration};

use abi::{SkipReason, Socket};
use component::{BoxError, BoxFuture, Episode, EpisodeChange, ErrorChain, Output, Receiver, Shutdown};
use model::{Batch, Flow, Flows, Listener, Listeners};
use tokio::{
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tracing::{info, warn};

use crate::{
    clock::Moment,
    config::Config,
    error::RunProgramError,
    metrics::Metrics,
    own::Own,
    scope::Scope,
    seed::Seed,
    source::{ListeningStep, Program, Source, Step},
    tracker::{Surroundings, Tracker},
};

/// Records in one batch: enough to be worth the way, few enough to be little memory in every queue.
const MAX_BATCH: usize = 256;

// Blocks of 128 KiB the allocator gets from the kernel and gives back, page by page: a batch must be smaller.
const _: () = assert!(MAX_BATCH * size_of::<Flow>() < 128 * 1024);
const _: () = assert!(size_of::<Listener>() <= size_of::<Flow>());

/// How long nothing was skipped before the log says that it is over.
const QUIET: Duration = Duration::from_mins(1);

/// Longest time that drains count as one for what is held back or remembered until the next, however rare they are.
const MAX_ROUND: Duration = Duration::from_millis(100);

/// How long listening sockets are not looked at again: their table is visited bucket by bucket, and has tens of thousands
/// on a large machine.
const LISTENING_INTERVAL: Duration = Duration::from_secs(1);

/// Observes connections and sends what it learns.
pub(crate) struct EbpfReceiver<S> {
    source: S,
    tracker: Tracker,
    metrics: Metrics,
    now: fn() -> Moment,
    sample_interval: Duration,
    drain_interval: Duration,
    // When the last round of drains was over.
    round_end: Moment,
    sockets: Vec<Socket>,
    walk_fails: bool,
    skipping: Episode,
    // What no program had seen at the last sample.
    nested: u64,
    listeners_turn: bool,
    // When listening sockets were looked at.
    looked_at_listening: Option<Moment>,
}

/// Everything that can happen.
enum Event {
    Drain,
    Sample,
    Shutdown,
    Deadline,
}

/// What events come from.
struct Clockwork {
    drain: Interval,
    sample: Interval,
    shutdown: Shutdown,
    is_stopping: bool,
}

impl<S: Source + 'static> EbpfReceiver<S> {
    /// Creates a receiver of what is in a scope. `seed` is what is known of processes, looked up since the source records;
    /// `now` reads the clocks.
    pub(crate) fn new(
        config: &Config,
        source: S,
        scope: Scope,
        seed: Seed,
        metrics: Metrics,
        now: fn() -> Moment,
    ) -> Self {
        let Config { sample_interval, drain_interval, ring_bytes: _, max_connections, own_traffic, nodes: _ } =
            config;
        let own = Own::new(source.process(), *own_traffic);
        let surroundings = Surroundings { scope, sees_resets: source.sees_resets(), tick: source.tick() };
        let tracker = Tracker::new(*max_connections, own, seed, surroundings, metrics.clone());
        Self {
            source,
            tracker,
            metrics,
            now,
            sample_interval: *sample_interval,
            drain_interval: *drain_interval,
            round_end: now(),
            sockets: Vec::new(),
            walk_fails: false,
            skipping: Episode::new(QUIET),
            nested: 0,
            listeners_turn: false,
            looked_at_listening: None,
        }
    }

    async fn observe(mut self, output: Output, shutdown: Shutdown) -> Result<(), BoxError> {
        let mut clockwork = Clockwork {
            drain: ticks(self.drain_interval),
            sample: ticks(self.sample_interval),
            shutdown,
            is_stopping: false,
        };
        while !clockwork.is_stopping {
            if self.tracker.has_reports() {
                self.send(&output, &mut clockwork).await?;
            } else {
                let event = clockwork.next(&mut self.source).await;
                self.handle(event).await;
            }
        }
        // What happened until now, and where every connection stands; nothing is held back any longer.
        self.looked_at_listening = None;
        self.sample().await;
        self.drain();
        loop {
            // Also what was drained while the pipeline took the rest.
            self.tracker.release();
            if !self.tracker.has_reports() || clockwork.is_over() {
                break;
            }
            self.send(&output, &mut clockwork).await?;
        }
        let n_left = self.tracker.n_reports();
        if n_left > 0 {
            self.metrics.dropped_shutdown.add(n_left as u64);
            warn!(n_left, "the pipeline did not take the last records in time");
        }
        Ok(())
    }

    /// Sends a batch. While the pipeline does not take it, the kernel's buffer is drained all the same: what cannot be
    /// sent yet is merged per connection.
    async fn send(&mut self, output: &Output, clockwork: &mut Clockwork) -> Result<(), BoxError> {
        let batch = self.next_batch();
        if batch.n_items() == 0 {
            // All that there was to report is held back, or the agent's own.
            return Ok(());
        }
        let mut sending = pin!(output.send(batch));
        loop {
            let event = tokio::select! {
                biased;
                sent = &mut sending => return Ok(sent?),
                event = clockwork.next(&mut self.source) => event,
            };
            if matches!(event, Event::Deadline) {
                // The batch is the output's: given up, it counts as dropped by whom it did not reach.
                return Ok(());
            }
            self.handle(event).await;
        }
    }

    /// Takes what is to be sent next: connections and listening sockets in turns, so that neither wait for all of the other.
    fn next_batch(&mut self) -> Batch {
        self.listeners_turn = !self.listeners_turn && self.tracker.has_listener_reports();
        if self.listeners_turn {
            Batch::Listeners(Listeners { records: self.tracker.take_listener_reports(MAX_BATCH) })
        } else {
            Batch::Flows(Flows { records: self.tracker.take_reports(MAX_BATCH) })
        }
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Drain => self.drain(),
            Event::Sample => self.sample().await,
            Event::Shutdown | Event::Deadline => {}
        }
    }

    fn drain(&mut self) {
        let Self { source, tracker, now, drain_interval, round_end, .. } = self;
        let moment = now();
        source.drain(|record| tracker.on_record(record, moment));
        // A walk drains at each step and a full buffer wakes at any time: what waits for records to come would not wait at
        // all. Half the interval, for ticks come a little early, too.
        if moment.since(*round_end) >= MAX_ROUND.min(*drain_interval) / 2 || tracker.remembers_many() {
            *round_end = moment;
            tracker.end_drain();
        }
    }

    /// Walks all sockets. Each step's are taken after the records that are older than it.
    async fn sample(&mut self) {
        match self.walk_all().await {
            Ok(()) if self.walk_fails => {
                self.walk_fails = false;
                info!("sockets are sampled again");
            }
            Ok(()) => {}
            Err(err) => {
                self.metrics.failed_walks.add(1);
                if !self.walk_fails {
                    self.walk_fails = true;
                    warn!(error = %ErrorChain(&err), "cannot sample sockets; begins and ends of connections are still observed");
                }
            }
        }
        self.report_skipped();
    }

    async fn walk_all(&mut self) -> Result<(), RunProgramError> {
        self.walks().await?;
        self.walk_listening().await
    }

    /// Walks all listening sockets, if the kernel tells where they are and it is time to.
    async fn walk_listening(&mut self) -> Result<(), RunProgramError> {
        let now = (self.now)();
        if self.looked_at_listening.is_some_and(|it| now.since(it) < LISTENING_INTERVAL) {
            return Ok(());
        }
        self.looked_at_listening = Some(now);
        let mut sockets = Vec::new();
        let mut next = Some(0);
        let mut is_complete = true;
        while let Some(first) = next {
            let Some(step) = self.source.walk_listening(first, &mut sockets) else { return Ok(()) };
            let ListeningStep { next: following, complete } = step?;
            next = following;
            is_complete &= complete;
            yield_now().await;
        }
        self.drain();
        self.tracker.name_cgroups_of(&sockets);
        self.name_cgroups();
        self.tracker.on_listening_sockets(&sockets, is_complete, (self.now)());
        Ok(())
    }

    fn report_skipped(&mut self) {
        for program in Program::ALL {
            let (missed, taken_over) = (self.source.missed(program), self.source.taken_over(program));
            self.metrics.program_is(program, missed, taken_over);
        }
        let (mut n_skipped, mut reasons) = (0, Vec::new());
        for reason in SkipReason::ALL {
            let Some(mut count) = self.source.skipped(reason) else { continue };
            if reason == SkipReason::Nested {
                // What a program is about to take over, and was preempted before, is gone from it at the next sample.
                count = count.min(mem::replace(&mut self.nested, count));
            }
            let growth = self.metrics.skipped_is(reason, count);
            if growth > 0 {
                n_skipped += growth;
                reasons.push(reason.as_str());
            }
        }
        match self.skipping.update(n_skipped > 0, Instant::now().into_std()) {
            Some(EpisodeChange::Began) => warn!(
                n_skipped,
                reasons = reasons.join(","),
                "the kernel could not record everything, short connections may be missing; `ridley.ebpf.skipped` counts on"
            ),
            Some(EpisodeChange::Ended) => info!("the kernel records everything again"),
            None => {}
        }
    }

    /// Walks once, or twice if that is what it takes to report what was found.
    async fn walks(&mut self) -> Result<(), RunProgramError> {
        self.walk().await?;
        if self.tracker.wants_walk() {
            self.walk().await?;
        }
        Ok(())
    }

    async fn walk(&mut self) -> Result<(), RunProgramError> {
        self.drain();
        let complete = self.source.begin_walk()?;
        let with_ends = self.tracker.wants_ends();
        self.tracker.begin_walk(complete, with_ends);
        loop {
            self.sockets.clear();
            let step = self.source.walk_step(with_ends, &mut self.sockets);
            self.drain();
            match step {
                Ok(Step::Sockets { complete }) => {
                    if !complete {
                        self.tracker.miss_sockets();
                    }
                }
                Ok(Step::End) => break,
                Err(err) => {
                    self.tracker.break_off();
                    self.tracker.end_walk((self.now)());
                    return Err(err);
                }
            }
            let moment = (self.now)();
            for socket in &self.sockets {
                self.tracker.on_socket(socket, moment);
            }
            // Other tasks of this thread wait for one step, not for all.
            yield_now().await;
        }
        self.tracker.end_walk((self.now)());
        self.name_cgroups();
        Ok(())
    }

    fn name_cgroups(&mut self) {
        for (id, node) in self.tracker.take_unnamed_cgroups() {
            let names = self.source.name_cgroup(node).ok();
            self.tracker.on_cgroup(id, names.as_ref());
        }
    }
}

impl<S: Source + 'static> Receiver for EbpfReceiver<S> {
    fn run(self: Box<Self>, output: Output, shutdown: Shutdown) -> BoxFuture<Result<(), BoxError>> {
        Box::pin(self.observe(output, shutdown))
    }
}

impl Clockwork {
    /// Returns whether the time for shutdown is over.
    fn is_over(&self) -> bool {
        self.shutdown.deadline().is_some_and(|it| it <= Instant::now())
    }

    /// Waits for the next event. Cancel-safe.
    async fn next(&mut self, source: &mut impl Source) -> Event {
        let Self { drain, sample, shutdown, is_stopping } = self;
        let deadline = shutdown.deadline();
        tokio::select! {
            biased;
            () = shutdown.requested(), if !*is_stopping => {
                *is_stopping = true;
                Event::Shutdown
            }
            () = until(deadline), if *is_stopping => Event::Deadline,
            _ = sample.tick() => Event::Sample,
            _ = drain.tick() => Event::Drain,
            () = source.woken() => Event::Drain,
        }
    }
}

/// Waits for an instant; for ever if there is none.
async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn ticks(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests;
