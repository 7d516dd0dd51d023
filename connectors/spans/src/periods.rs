use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::Entry};
use model::{ConnectionId, Flow, Observer, TraceId, UnixNanos};

use crate::observed::Observed;

/// Into how many parts connections are divided, each with a beginning of its periods: spans of those that stay open would else
/// all come at once.
const N_PARTS: usize = 1 << PART_BITS;
const PART_BITS: u32 = 6;

/// Gathers what is reported of each end of a connection in a period.
///
/// Nothing is kept beyond a period: what is reported later is of the next one.
#[derive(Debug)]
pub struct Periods {
    /// In nanoseconds.
    period: u64,
    max_connections: usize,
    parts: Vec<Part>,
    n_connections: usize,
    n_refused: u64,
}

#[derive(Debug, Default)]
struct Part {
    open: HashMap<(ConnectionId, Observer), Observed, RandomState>,
    /// The period that is not over.
    current: u64,
}

impl Periods {
    /// Makes one that has seen nothing.
    pub fn new(period: Duration, max_connections: usize) -> Self {
        let period = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX).max(1);
        let parts = std::iter::repeat_with(Part::default).take(N_PARTS).collect();
        Self { period, max_connections, parts, n_connections: 0, n_refused: 0 }
    }

    /// Takes a record. What is complete by it goes to `done`.
    pub(crate) fn push(&mut self, flow: &Flow, done: &mut Vec<Observed>) {
        let Some(id) = flow.id else {
            let trace = TraceId::of_attempt(flow);
            let period = self.period_of(part_of(trace), flow.interval.end);
            done.push(Observed::new(flow, trace, period));
            return;
        };
        let trace = TraceId::of_connection(id);
        let part = part_of(trace);
        let period = self.period_of(part, flow.interval.end);
        match self.parts[part].open.entry((id, flow.observer)) {
            Entry::Occupied(mut known) => {
                // An earlier one can only be of a clock that was set back.
                if known.get().period >= period {
                    known.get_mut().add(flow);
                } else {
                    done.push(known.insert(Observed::new(flow, trace, period)));
                }
                if flow.end.is_some() {
                    self.n_connections -= 1;
                    done.push(known.remove());
                }
            }
            Entry::Vacant(_) if flow.end.is_some() => done.push(Observed::new(flow, trace, period)),
            Entry::Vacant(_) if self.n_connections >= self.max_connections => self.n_refused += 1,
            Entry::Vacant(room) => {
                self.n_connections += 1;
                room.insert(Observed::new(flow, trace, period));
            }
        }
    }

    /// Ends the periods that are over at a time: what was reported in them goes to `done`.
    pub(crate) fn pass(&mut self, now: UnixNanos, done: &mut Vec<Observed>) {
        for idx in 0..N_PARTS {
            let current = self.period_of(idx, now);
            let part = &mut self.parts[idx];
            // Once in each period: where clocks differ records may always be of one that is over.
            if part.current != current {
                part.current = current;
                done.extend(part.open.extract_if(|_, it| it.period < current).map(|(_, it)| it));
            }
        }
        self.count();
    }

    /// Ends everything, at the end of the input.
    pub(crate) fn drain(&mut self, done: &mut Vec<Observed>) {
        done.extend(self.parts.iter_mut().flat_map(|it| it.open.drain()).map(|(_, it)| it));
        self.count();
    }

    /// Returns how many ends of connections are remembered.
    pub(crate) fn n_connections(&self) -> usize {
        self.n_connections
    }

    /// Returns how many of the records that were taken are in what is remembered.
    pub(crate) fn n_records(&self) -> u64 {
        self.parts.iter().flat_map(|it| it.open.values()).map(|it| it.n_records).sum()
    }

    /// Returns how many records found no room since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.n_refused)
    }

    fn count(&mut self) {
        self.n_connections = self.parts.iter().map(|it| it.open.len()).sum();
    }

    /// Returns the number of the period that a moment is in, counted from 1970.
    fn period_of(&self, part: usize, time: UnixNanos) -> u64 {
        let offset = self.period / N_PARTS as u64 * part as u64;
        time.0.saturating_add(offset) / self.period
    }
}

/// Returns the part of a trace: by its highest bits, for a sampler takes the lower ones.
fn part_of(trace: TraceId) -> usize {
    usize::try_from(trace.spread() >> (u64::BITS - PART_BITS)).expect("it is a few bits")
}

#[cfg(test)]
#[path = "periods_tests.rs"]
mod tests;
