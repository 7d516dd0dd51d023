//! Which connections are the agent's own: scrapes that it answers, what it exports.

use std::collections::{HashMap, HashSet, VecDeque};

use model::{Begin, ConnectionId, End, Flow, Observer, Process};

use crate::{config::OwnTraffic, metrics::Metrics};

/// Most of the agent's connections that are remembered for the sake of their other ends, which come soon if they do.
const MAX_IDS: usize = 1 << 12;

/// What is known of the agent's own connections.
///
/// The agent's end is known by its process: the one that connected, or that listens. The other end, if it is on this
/// host, is known by the connection's id, which is equal at both ends.
#[derive(Debug)]
pub(crate) struct Own {
    process: u32,
    policy: OwnTraffic,
    // By the ends of each that are the agent's.
    ids: HashMap<ConnectionId, HashSet<Observer>>,
    order: VecDeque<ConnectionId>,
    // Where it listens, whatever the address: others on this host may know it by another.
    ports: HashSet<u16>,
}

impl Own {
    /// Knows none yet. `process` is the agent's, as the kernel numbers it.
    pub(crate) fn new(process: u32, policy: OwnTraffic) -> Self {
        Self { process, policy, ids: HashMap::new(), order: VecDeque::new(), ports: HashSet::new() }
    }

    /// Returns whether a process is the agent.
    pub(crate) fn is_agent(&self, process: Option<&Process>) -> bool {
        process.is_some_and(|it| it.pid == self.process)
    }

    /// Takes note that the agent listens at a port.
    pub(crate) fn add_port(&mut self, port: u16) {
        self.ports.insert(port);
    }

    /// Returns whether the agent listens at a port, in some network namespace.
    pub(crate) fn listens_at(&self, port: u16) -> bool {
        self.ports.contains(&port)
    }

    /// Takes note of an end that is the agent's.
    pub(crate) fn add_end(&mut self, id: ConnectionId, end: Observer) {
        let ends = self.ids.entry(id).or_insert_with(|| {
            self.order.push_back(id);
            HashSet::new()
        });
        ends.insert(end);
        if self.order.len() > MAX_IDS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    /// Returns whether one end of a connection is the agent's.
    pub(crate) fn has_end(&self, id: ConnectionId) -> bool {
        self.ids.contains_key(&id)
    }

    /// Returns whether what is the agent's own is to be passed on.
    pub(crate) fn includes(&self) -> bool {
        self.policy == OwnTraffic::Include
    }

    /// Returns whether a record of an own connection is to be passed on; counts it, each connection once.
    pub(crate) fn passes(&self, flow: &Flow, metrics: &Metrics) -> bool {
        let client_counts = || {
            let ends = flow.id.and_then(|id| self.ids.get(&id));
            flow.observer == Observer::Server && ends.is_some_and(|it| it.contains(&Observer::Client))
        };
        if self.is_agent(flow.local.process.as_ref()) && !client_counts() {
            metrics.own_request_bytes.add(flow.request.bytes);
            metrics.own_response_bytes.add(flow.response.bytes);
            metrics
                .own_connections
                .add(u64::from(flow.begin == Some(Begin::Opened) || flow.before.is_some()));
            metrics.own_failed.add(u64::from(matches!(flow.end, Some(End::Failed(_)))));
        }
        self.includes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten() {
        let mut own = Own::new(1, OwnTraffic::Exclude);
        let id = |n: usize| ConnectionId::from_sequence_numbers(u32::try_from(n).unwrap(), 0);
        for n in 0..=MAX_IDS {
            own.add_end(id(n), Observer::Client);
            own.add_end(id(n), Observer::Server);
        }
        assert!(!own.has_end(id(0)));
        assert!(own.has_end(id(1)) && own.has_end(id(MAX_IDS)));
        assert_eq!((own.ids.len(), own.order.len()), (MAX_IDS, MAX_IDS));
    }
}
