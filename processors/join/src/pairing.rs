use std::{
    collections::VecDeque,
    mem,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use model::{ConnectionId, ConnectionMap, Flow, Flows, Observer};

use crate::{
    entry::{Entry, Step},
    merge::{Known, Missed},
    outline::{Outline, Outlines},
};

/// How many connections are remembered by their owner alone, for each that is remembered in full.
const OUTLINES_PER_CONNECTION: usize = 4;

/// Least number of them, which is about two megabytes.
const MIN_OUTLINES: usize = 65_536;

/// Decides of each connection which end's records count, and merges the other end's records into them.
///
/// Every record goes in by [`push`](Self::push) and comes out, now or later, exactly once: as itself, or merged into
/// another; but for those of a connection that is left to the observer of another node. The first end to be seen waits for the other; the decision then stays until the connection is over.
///
/// When there are too many connections the oldest is decided by what is known of it, and from then on only the decision
/// is remembered: which end's records pass. Of those there are many times more.
#[derive(Debug)]
pub struct Pairing {
    wait: Duration,
    // Both observers' records meet in one entry, filed under the client.
    entries: ConnectionMap<Entry>,
    outlines: Outlines,
    // Every wait is equally long, so the order of insertion is the order of time. A timer whose time is no longer what
    // its entry is due at is a leftover.
    timers: VecDeque<(Instant, ConnectionId)>,
    max_connections: usize,
    max_timers: usize,
    report: Report,
}

/// What happened since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Records that became part of another record.
    pub merged: u64,
    /// Records of the other end that came after the decision was made without it, or after the end.
    pub late: u64,
    /// Records that carry the id of a connection they cannot belong to.
    pub unrelated: u64,
    /// Records left out because the client's, of another node's observer, count.
    pub left: u64,
    /// Connections of which both ends were observed in time.
    pub paired: u64,
    /// Connections of which only the owner is remembered, because there are too many.
    pub condensed: u64,
    /// Connections of which nothing is remembered before their end, because there are far too many.
    pub forgotten: u64,
    /// Connections whose two ends counted different bytes.
    pub mismatched_connections: u64,
    /// Bytes by which they differ.
    pub mismatched_bytes: u64,
    /// What the other end told that no record could take any more.
    pub missed: Missed,
}

impl Pairing {
    /// Creates a pairing that remembers nothing yet.
    pub fn new(wait: Duration, max_connections: NonZeroUsize) -> Self {
        Self {
            wait,
            entries: ConnectionMap::new(max_connections.get()),
            outlines: Outlines::new(
                max_connections.get().saturating_mul(OUTLINES_PER_CONNECTION).max(MIN_OUTLINES),
            ),
            timers: VecDeque::new(),
            max_connections: max_connections.get(),
            // Twice what the entries can be due at, so that sweeping out the leftovers is rare.
            max_timers: max_connections.get().saturating_mul(2),
            report: Report::default(),
        }
    }

    /// Takes a batch; what can be passed on goes to `out`. `now` never goes back.
    ///
    /// The servers' records come before the clients', so that a client's record can take what its server adds. When there
    /// may be no room for all, both ends' come together, so that they meet before one has to make room.
    pub fn push_batch(&mut self, mut flows: Flows, now: Instant, out: &mut Vec<Flow>) {
        if self.entries.len() + flows.records.len() > self.max_connections {
            flows.records.sort_by_key(|it| (it.id, it.observer == Observer::Client));
            for flow in flows.records {
                self.push(flow, now, out);
            }
            return;
        }
        out.reserve(flows.records.len());
        for flow in flows.records.extract_if(.., |it| it.observer == Observer::Server) {
            self.push(flow, now, out);
        }
        for flow in flows.records {
            self.push(flow, now, out);
        }
    }

    /// Takes a record; what can be passed on goes to `out`. `now` never goes back.
    pub fn push(&mut self, flow: Flow, now: Instant, out: &mut Vec<Flow>) {
        let Some(id) = flow.id else {
            out.push(flow);
            return;
        };
        let due = now + self.wait;
        let mut step = Step { report: &mut self.report, out, due };
        let due_before;
        match self.entries.get_mut(id, Observer::Client) {
            None => {
                if let Some(outline) = self.outlines.take(id) {
                    self.follow(id, outline, flow, out);
                    return;
                }
                due_before = None;
                let oldest = self.entries.insert(id, Observer::Client, Entry::new(id, flow, due));
                if let Some(oldest) = oldest {
                    let (id, outline) = oldest.condense(&mut step);
                    step.report.forgotten += self.outlines.put(id, outline);
                }
            }
            Some(entry) if entry.matches(&flow) => {
                due_before = entry.due();
                entry.push(flow, &mut step);
                if entry.due() == due_before && !entry.is_over() {
                    return;
                }
            }
            Some(_) => {
                step.report.unrelated += 1;
                step.out.push(flow);
                return;
            }
        }
        self.settle(id, due_before);
    }

    /// Decides what has waited long enough.
    pub fn expire(&mut self, now: Instant, out: &mut Vec<Flow>) {
        while let Some((at, id)) = self.timers.pop_front_if(|(at, _)| *at <= now) {
            self.fire(at, id, now + self.wait, out);
        }
    }

    /// Returns when [`expire`](Self::expire) has something to do.
    pub fn next_due(&self) -> Option<Instant> {
        self.timers.front().map(|(at, _)| *at)
    }

    /// Passes on everything that is held, and forgets everything.
    pub fn finish(&mut self, out: &mut Vec<Flow>) {
        // Whatever holds a record back has a timer.
        while let Some((at, id)) = self.timers.pop_front() {
            self.fire(at, id, at, out);
        }
        for entry in self.entries.drain() {
            self.report.missed.add(entry.untold());
        }
        self.outlines.clear();
    }

    /// Returns how many connections are remembered in full.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether no connection is remembered in full.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what happened since the last call.
    pub fn take_report(&mut self) -> Report {
        mem::take(&mut self.report)
    }

    /// Takes a record of a connection of which only the owner is remembered.
    fn follow(&mut self, id: ConnectionId, mut outline: Outline, flow: Flow, out: &mut Vec<Flow>) {
        outline.note(&flow);
        if flow.observer == outline.owner && outline.is_left {
            self.report.left += 1;
        } else if flow.observer == outline.owner {
            out.push(flow);
        } else {
            self.report.merged += 1;
            self.report.missed.add(Known::of(&flow));
        }
        if !outline.is_over() {
            self.report.forgotten += self.outlines.put(id, outline);
        }
    }

    fn fire(&mut self, at: Instant, id: ConnectionId, due: Instant, out: &mut Vec<Flow>) {
        let Some(entry) = self.entries.get_mut(id, Observer::Client).filter(|it| it.due() == Some(at)) else {
            return;
        };
        if entry.fire(&mut Step { report: &mut self.report, out, due }) {
            self.forget(id);
        } else {
            self.settle(id, None);
        }
    }

    /// Forgets the entry if nothing more can come, else sees to it that it is woken if it wants to be.
    fn settle(&mut self, id: ConnectionId, due_before: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(id, Observer::Client) else { return };
        if entry.is_over() {
            self.report.compare(entry);
            self.forget(id);
        } else if let Some(due) = entry.due()
            && Some(due) != due_before
        {
            self.timers.push_back((due, id));
            self.sweep();
        }
    }

    fn forget(&mut self, id: ConnectionId) {
        if let Some(entry) = self.entries.remove(id, Observer::Client) {
            self.report.missed.add(entry.untold());
        }
    }

    fn sweep(&mut self) {
        if self.timers.len() > self.max_timers {
            let entries = &mut self.entries;
            self.timers.retain(|(at, id)| {
                entries.get_mut(*id, Observer::Client).is_some_and(|it| it.due() == Some(*at))
            });
        }
    }
}

impl Report {
    fn compare(&mut self, entry: &Entry) {
        let bytes = entry.difference();
        self.mismatched_bytes = self.mismatched_bytes.saturating_add(bytes);
        self.mismatched_connections += u64::from(bytes > 0);
    }
}

#[cfg(test)]
#[path = "pairing_tests.rs"]
mod tests;
