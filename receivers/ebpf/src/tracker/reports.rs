//! What there is to report: what waits for the pipeline, bounded.

use std::collections::VecDeque;

use model::{End, Flow, Listener, Local};

use super::{
    Tracker,
    connections::{ConnectionIdx, Connections},
};
use crate::connection::Connection;

/// Most finished records that wait for the pipeline beside the connections that are followed.
pub(super) const MAX_FINISHED: usize = 1 << 14;

/// What waits to be reported, in order.
#[derive(Debug, Default)]
pub(super) struct Reports {
    // A connection is in it once at most.
    queue: VecDeque<Item>,
    n_finished: usize,
    // Connections that the next records may tell more of, since this drain and since the one before: whether they are the
    // agent's, or who reset them.
    held: [Vec<ConnectionIdx>; 2],
}

#[derive(Debug)]
enum Item {
    Connection(ConnectionIdx),
    Finished(Box<Flow>),
}

impl Reports {
    /// Sees to it that a connection is reported.
    pub(super) fn enqueue(&mut self, idx: ConnectionIdx, connection: &mut Connection) {
        if !connection.is_queued && !connection.is_held {
            connection.is_queued = true;
            self.queue.push_back(Item::Connection(idx));
        }
    }

    /// Holds a connection back until one more drain is over.
    pub(super) fn hold(&mut self, idx: ConnectionIdx, connection: &mut Connection) {
        if !connection.is_held {
            connection.is_held = true;
            self.held[0].push(idx);
        }
    }

    /// Lets go what was held back since the drain before.
    pub(super) fn end_drain(&mut self, connections: &mut Connections) {
        let [new, old] = &mut self.held;
        let mut free = std::mem::replace(old, std::mem::take(new));
        for idx in free.drain(..) {
            let connection = connections.at(idx);
            connection.is_held = false;
            self.enqueue(idx, connection);
        }
        self.held[0] = free;
    }

    /// Lets go all that is held back.
    pub(super) fn release(&mut self, connections: &mut Connections) {
        for _ in 0..self.held.len() {
            self.end_drain(connections);
        }
    }
}

impl Tracker {
    /// Returns whether there is something to report.
    pub(crate) fn has_reports(&self) -> bool {
        !self.reports.queue.is_empty() || self.has_listener_reports()
    }

    /// Returns how many records there are to report.
    pub(crate) fn n_reports(&self) -> usize {
        self.reports.queue.len() + self.accept_queues.n_due()
    }

    /// Returns whether there is something to report of listening sockets.
    pub(crate) fn has_listener_reports(&self) -> bool {
        self.accept_queues.n_due() > 0
    }

    /// Takes up to `max` reports on listening sockets out.
    pub(crate) fn take_listener_reports(&mut self, max: usize) -> Vec<Listener> {
        let Self { accept_queues, cgroups, own, scope, .. } = self;
        accept_queues.take_reports(max, |key, process, cgroup| {
            let cgroup = cgroups.path(cgroup);
            let is_passed = (!own.is_agent(process) || own.includes()) && scope.includes(cgroup.as_deref());
            is_passed.then(|| Local { cgroup, netns: key.netns, process: process.cloned() })
        })
    }

    /// Takes up to `max` records out.
    pub(crate) fn take_reports(&mut self, max: usize) -> Vec<Flow> {
        let mut flows = Vec::with_capacity(max.min(self.reports.queue.len()));
        while flows.len() < max
            && let Some(item) = self.reports.queue.pop_front()
        {
            match item {
                Item::Finished(flow) => {
                    self.reports.n_finished -= 1;
                    let is_own = self.own.is_agent(flow.local.process.as_ref())
                        || flow.id.is_some_and(|id| self.own.has_end(id));
                    if self.passes(&flow, is_own) {
                        flows.push(*flow);
                    }
                }
                Item::Connection(idx) => {
                    let connection = self.connections.at(idx);
                    connection.is_queued = false;
                    if connection.is_held {
                        continue;
                    }
                    if connection.is_new() {
                        connection.is_own = self.own.has_end(connection.key().id);
                    }
                    let is_own = connection.is_own;
                    let flow = connection.report(self.tick, |id| self.cgroups.path(id));
                    if connection.has_ended() {
                        let connection = self.connections.remove(idx);
                        if connection.has_vanished() {
                            self.metrics.repaired_ends.add(1);
                            self.ended.vanish(connection, self.walk.number);
                        }
                    }
                    if self.passes(&flow, is_own) {
                        flows.push(flow);
                    }
                }
            }
        }
        self.metrics.connections.set(i64::try_from(self.connections.len()).unwrap_or(i64::MAX));
        flows
    }

    /// Returns whether a record is to be passed on; counts a connection that is not, once.
    fn passes(&self, flow: &Flow, is_own: bool) -> bool {
        if !self.scope.includes(flow.local.cgroup.as_deref()) {
            let is_first = flow.begin.is_some() || matches!(flow.end, Some(End::Failed(_)));
            self.metrics.other_nodes.add(u64::from(is_first));
            return false;
        }
        !is_own || self.own.passes(flow, &self.metrics)
    }

    /// Queues a record of a connection that is not followed.
    pub(super) fn finish(&mut self, flow: Flow) {
        if self.reports.n_finished >= MAX_FINISHED {
            self.metrics.dropped_full.add(1);
            return;
        }
        self.reports.n_finished += 1;
        self.reports.queue.push_back(Item::Finished(Box::new(flow)));
    }
}
