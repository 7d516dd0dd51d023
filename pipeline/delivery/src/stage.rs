use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
};

use model::{MaxSize, Signal};
use tokio::time::Instant;
use tracing::debug;

use crate::{Batching, Sizer, held::Held};

/// Requests in memory that are sent next, and what makes few of many. Knows no clock.
#[derive(Debug)]
pub(crate) struct Stage<S> {
    batching: Option<Batching>,
    lines: BTreeMap<Signal, Line<S>>,
    /// Parts of what was too large.
    parts: VecDeque<Held<S>>,
}

/// Requests of one signal, from the oldest.
#[derive(Debug)]
struct Line<S> {
    waiting: VecDeque<(Instant, Held<S>)>,
    size: u64,
}

impl<S> Stage<S> {
    pub(crate) const fn new(batching: Option<Batching>) -> Self {
        Self { batching, lines: BTreeMap::new(), parts: VecDeque::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.lines.values().all(|it| it.waiting.is_empty())
    }

    pub(crate) fn push(&mut self, held: Held<S>, now: Instant) {
        let size = size(self.batching.as_ref(), &held);
        let empty = || Line { waiting: VecDeque::new(), size: 0 };
        let line = self.lines.entry(held.request.signal).or_insert_with(empty);
        line.size += size;
        line.waiting.push_back((now, held));
    }

    /// Returns when something is to be sent, if nothing comes before; may be in the past.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        self.lines.values().filter_map(|it| self.ready_at_of(it)).min()
    }

    fn ready_at_of(&self, line: &Line<S>) -> Option<Instant> {
        let (since, _) = line.waiting.front()?;
        Some(match &self.batching {
            Some(Batching { flush_timeout, min_size, .. }) if line.size < *min_size => {
                *since + *flush_timeout
            }
            _ => *since,
        })
    }

    /// Returns what is sent next, if it should be now: at the end, everything should.
    pub(crate) fn pop(&mut self, now: Instant, is_ending: bool) -> Option<Held<S>> {
        if self.parts.is_empty() {
            let due = self.lines.iter().filter_map(|(signal, line)| {
                let is_due = is_ending || self.ready_at_of(line)? <= now;
                is_due.then_some((*signal, line.waiting.front()?.0))
            });
            let (signal, _) = due.max_by_key(|(_, since)| Reverse(*since))?;
            let held = self.next_of(signal)?;
            self.parts.extend(divided(self.batching.as_ref(), held));
        }
        self.parts.pop_front()
    }

    /// Takes the first of a line, and what it is put together with.
    fn next_of(&mut self, signal: Signal) -> Option<Held<S>> {
        let line = self.lines.get_mut(&signal)?;
        let mut parts = Vec::new();
        let mut total = 0;
        while let Some((_, held)) = line.waiting.front() {
            let size = size(self.batching.as_ref(), held);
            let fits = self.batching.as_ref().is_some_and(|Batching { min_size, max_size, .. }| {
                total < *min_size && (*max_size == 0 || total + size <= *max_size)
            });
            if !parts.is_empty() && !fits {
                break;
            }
            total += size;
            line.size -= size;
            parts.extend(line.waiting.pop_front().map(|(_, held)| held));
        }
        Held::merged(parts)
    }
}

fn size<S>(batching: Option<&Batching>, held: &Held<S>) -> u64 {
    match batching.map(|it| it.sizer) {
        Some(Sizer::Items) => held.request.n_items,
        Some(Sizer::Bytes) => held.request.payload.len() as u64,
        None => 0,
    }
}

/// Divides what is too large. Something that cannot be read is sent as it is: the server has its own opinion.
fn divided<S>(batching: Option<&Batching>, held: Held<S>) -> Vec<Held<S>> {
    let Some(Batching { max_size, sizer, .. }) = batching.filter(|it| it.max_size > 0) else {
        return vec![held];
    };
    if size(batching, &held) <= *max_size {
        return vec![held];
    }
    let max = match sizer {
        Sizer::Items => MaxSize::Items(*max_size),
        Sizer::Bytes => MaxSize::Bytes(*max_size),
    };
    match model::split(held.request.signal, &held.request.payload, max) {
        Ok(parts) if !parts.is_empty() => held.divided(parts).collect(),
        Ok(_) => vec![held],
        Err(error) => {
            debug!(%error, "a request that is too large is not divided");
            vec![held]
        }
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
