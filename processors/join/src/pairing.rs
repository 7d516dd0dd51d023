use std::{collections::VecDeque, num::NonZeroUsize, time::Duration, time::Instant};

use model::{ConnectionId, ConnectionMap, Flow, Observer};

use crate::entry::Entry;

/// Timers that one entry can have outstanding at a time: its decision, its close reason, what it owes, two ends.
const TIMERS_PER_ENTRY: usize = 5;

/// Decides of each connection which end's records count, and folds the other end's records into them.
///
/// Every record goes in by [`push`](Self::push) and comes out, now or later, exactly once: as itself, or merged into
/// another. The first end to be seen waits for the other; once decided, the decision stays until both are over.
#[derive(Debug)]
pub struct Pairing {
    wait: Duration,
    // Both observers' records meet in one entry, filed under the client.
    entries: ConnectionMap<Entry>,
    // All timers run for the same time, so that the order of insertion is the order of time.
    timers: VecDeque<Timer>,
    max_timers: usize,
    next_number: u64,
    report: Report,
}

/// What happened since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that became part of another record.
    pub merged: u64,
    /// Records of the other end that came after the decision had been made without it.
    pub late: u64,
    /// Connections of which both ends were observed in time.
    pub paired: u64,
    /// Connections forgotten before their end because too many were remembered.
    pub forgotten: u64,
    /// Connections whose two ends counted different bytes.
    pub mismatched_connections: u64,
    /// Bytes by which they differ.
    pub mismatched_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Timer {
    at: Instant,
    id: ConnectionId,
    // Which life of the id it belongs to: an id can come back after its connection was forgotten.
    number: u64,
    due: Due,
}

/// What an entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// The other end's first record.
    Decision,
    /// The other end's reason for the close.
    Reason,
    /// A record of the owner that can take what the other end added.
    Owed,
    /// Late records of an end that was never seen.
    Forget,
}

/// What an entry needs of the pairing while it handles a record.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) report: &'a mut Report,
    pub(crate) out: &'a mut Vec<Flow>,
    timers: &'a mut VecDeque<Timer>,
    at: Instant,
    id: ConnectionId,
    number: u64,
}

impl Step<'_> {
    /// Has the entry called back when the wait is over.
    pub(crate) fn schedule(&mut self, due: Due) {
        self.timers.push_back(Timer { at: self.at, id: self.id, number: self.number, due });
    }
}

impl Pairing {
    /// Creates a pairing that remembers nothing yet.
    pub fn new(wait: Duration, max_connections: NonZeroUsize) -> Self {
        Self {
            wait,
            entries: ConnectionMap::new(max_connections.get()),
            timers: VecDeque::new(),
            // Twice what the entries can have outstanding, so that sweeping out the stale ones is rare.
            max_timers: max_connections.get().saturating_mul(2 * TIMERS_PER_ENTRY),
            next_number: 0,
            report: Report::default(),
        }
    }

    /// Takes a record; what can be passed on goes to `out`. `now` never goes back.
    pub fn push(&mut self, flow: Flow, now: Instant, out: &mut Vec<Flow>) {
        let Some(id) = flow.id else {
            out.push(flow);
            return;
        };
        let at = now + self.wait;
        if self.entries.get_mut(id, Observer::Client).is_none() {
            let entry = Entry::new(id, self.next_number);
            self.next_number += 1;
            if let Some(mut forgotten) = self.entries.insert(id, Observer::Client, entry) {
                self.report.forgotten += 1;
                let (id, number) = (forgotten.id(), forgotten.number());
                let (report, timers) = (&mut self.report, &mut self.timers);
                forgotten.release(&mut Step { report, out, timers, at, id, number });
            }
        }
        let entry = self.entries.get_mut(id, Observer::Client).expect("it was found or inserted above");
        let (report, timers, number) = (&mut self.report, &mut self.timers, entry.number());
        entry.push(flow, &mut Step { report, out, timers, at, id, number });
        if entry.is_over() {
            self.report.count_difference(entry);
            self.entries.remove(id, Observer::Client);
        }
        if self.timers.len() > self.max_timers {
            let entries = &mut self.entries;
            self.timers.retain(|timer| {
                entries.get_mut(timer.id, Observer::Client).is_some_and(|it| it.number() == timer.number)
            });
        }
    }

    /// Decides what has waited long enough.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Flow>) {
        while let Some(timer) = self.timers.pop_front_if(|it| it.at <= now) {
            self.fire(timer, out);
        }
    }

    /// Returns when [`expire`](Self::expire) has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.timers.front().map(|it| it.at)
    }

    /// Passes on everything that is held. Whatever holds something back has a timer.
    pub fn finish(&mut self, out: &mut Vec<Flow>) {
        while let Some(timer) = self.timers.pop_front() {
            self.fire(timer, out);
        }
    }

    /// Returns how many connections are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether no connection is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what happened since the last call.
    pub fn take_report(&mut self) -> Report {
        std::mem::take(&mut self.report)
    }

    fn fire(&mut self, timer: Timer, out: &mut Vec<Flow>) {
        let Timer { at, id, number, due } = timer;
        let entry = self.entries.get_mut(id, Observer::Client).filter(|it| it.number() == number);
        let Some(entry) = entry else { return };
        let (report, timers) = (&mut self.report, &mut self.timers);
        entry.fire(due, &mut Step { report, out, timers, at, id, number });
        if due == Due::Forget && !entry.both_seen() {
            self.entries.remove(id, Observer::Client);
        }
    }
}

impl Report {
    fn count_difference(&mut self, entry: &Entry) {
        let bytes = entry.difference();
        self.mismatched_bytes = self.mismatched_bytes.saturating_add(bytes);
        self.mismatched_connections += u64::from(bytes > 0);
    }
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
mod tests;
