use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Instant,
};

use foldhash::fast::RandomState;
use model::{ConnectionId, Flow, Observer};

/// Records that wait for their names, in the order in which they came, bounded.
#[derive(Debug)]
pub(crate) struct Held {
    records: VecDeque<(Instant, Flow)>,
    /// Records of each connection: what comes after one that is held must wait, too.
    connections: HashMap<(ConnectionId, Observer), usize, RandomState>,
    capacity: usize,
}

impl Held {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { records: VecDeque::new(), connections: HashMap::default(), capacity }
    }

    /// Returns whether a record of the same connection is held.
    pub(crate) fn holds(&self, flow: &Flow) -> bool {
        flow.id.is_some_and(|id| self.connections.contains_key(&(id, flow.observer)))
    }

    /// Holds a record until a time at most. Returns the oldest if there are too many.
    pub(crate) fn push(&mut self, flow: Flow, until: Instant) -> Option<Flow> {
        if let Some(id) = flow.id {
            *self.connections.entry((id, flow.observer)).or_default() += 1;
        }
        self.records.push_back((until, flow));
        if self.records.len() > self.capacity { self.pop() } else { None }
    }

    /// Takes out the oldest if its time is over.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Flow> {
        let (until, _) = self.records.front()?;
        if *until <= now { self.pop() } else { None }
    }

    /// Takes out the oldest.
    pub(crate) fn pop(&mut self) -> Option<Flow> {
        let (_, flow) = self.records.pop_front()?;
        self.release(&flow);
        Some(flow)
    }

    /// Takes out what is ready, in order: of one connection nothing after a record that is not.
    pub(crate) fn take_ready(
        &mut self,
        mut is_ready: impl FnMut(&mut Flow) -> bool,
        mut out: impl FnMut(Flow),
    ) {
        let mut waiting: HashSet<(ConnectionId, Observer), RandomState> = HashSet::default();
        for _ in 0..self.records.len() {
            let Some((until, mut flow)) = self.records.pop_front() else { break };
            let key = flow.id.map(|id| (id, flow.observer));
            let is_behind = key.is_some_and(|it| waiting.contains(&it));
            if !is_behind && is_ready(&mut flow) {
                self.release(&flow);
                out(flow);
            } else {
                waiting.extend(key);
                self.records.push_back((until, flow));
            }
        }
    }

    /// Returns when the time of the oldest is over.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.records.front().map(|(until, _)| *until)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    fn release(&mut self, flow: &Flow) {
        let Some(id) = flow.id else { return };
        let key = (id, flow.observer);
        if let Some(n) = self.connections.get_mut(&key) {
            *n -= 1;
            if *n == 0 {
                self.connections.remove(&key);
            }
        }
    }
}
