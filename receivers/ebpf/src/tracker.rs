//! What is known of every connection: from records and walks to flow records.
//!
//! A walk tells what lives, records tell what begins and ends. The programs are attached before the first walk, so a
//! connection that walks find and no record announced is older than the receiver if the first walks do, else its record
//! was lost. The other way round, a connection that two walks do not find has ended without a record, unless it is found
//! again. Either may be told twice; each connection is counted once.

mod beyond;
mod connections;
mod ended;
mod records;
mod reports;
mod walk;

use std::{collections::HashMap, num::NonZeroUsize, time::Duration};

use abi::{CgroupNames, Role, Socket};
use model::Process;

use self::{
    beyond::Beyond,
    connections::{ConnectionIdx, Connections},
    ended::Ended,
    reports::Reports,
    walk::Walk,
};
use crate::{
    accept_queues::AcceptQueues,
    cgroups::Cgroups,
    connection::{Connection, Key, address, observer},
    listeners::{Listener, Listeners},
    metrics::Metrics,
    own::Own,
    scope::Scope,
    seed::Seed,
};

/// Follows connections; does no I/O and reads no clock.
#[derive(Debug)]
pub(crate) struct Tracker {
    connections: Connections,
    max_connections: usize,
    beyond: Beyond,
    ended: Ended,
    reports: Reports,
    scope: Scope,
    sees_resets: bool,
    // How long a tick of the kernel's clock takes; zero if unknown.
    tick: Duration,
    own: Own,
    listeners: Listeners,
    accept_queues: AcceptQueues,
    cgroups: Cgroups,
    // Cgroups whose names are to be asked for, with the address of their node.
    unnamed: HashMap<u64, u64>,
    // Processes by the inode of a socket they held when the receiver started; needed until the first walk is over.
    processes: HashMap<u64, Process>,
    walk: Walk,
    metrics: Metrics,
}

/// Where a tracker is, and what can be seen from there.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    /// Whose connections are reported.
    pub(crate) scope: Scope,
    /// Whether resets that are sent are told of.
    pub(crate) sees_resets: bool,
    /// How long a tick of the kernel's clock takes, if that is known.
    pub(crate) tick: Option<Duration>,
}

impl Tracker {
    /// Follows nothing yet. `seed` is what was known of processes before the first record is taken.
    pub(crate) fn new(
        max_connections: NonZeroUsize,
        mut own: Own,
        seed: Seed,
        surroundings: Surroundings,
        metrics: Metrics,
    ) -> Self {
        let Seed { listeners: found, processes, n_skipped: _ } = seed;
        let Surroundings { scope, sees_resets, tick } = surroundings;
        let mut listeners = Listeners::new(metrics.forgotten_listeners.clone());
        for listener in found {
            if own.is_agent(Some(&listener.process)) {
                own.add_port(listener.port);
            }
            listeners.insert(listener);
        }
        Self {
            connections: Connections::default(),
            max_connections: max_connections.get(),
            beyond: Beyond::new(max_connections.get()),
            ended: Ended::new(metrics.forgotten_vanished.clone()),
            reports: Reports::default(),
            scope,
            sees_resets,
            tick: tick.unwrap_or_default(),
            own,
            listeners,
            accept_queues: AcceptQueues::default(),
            cgroups: Cgroups::new(metrics.forgotten_cgroups.clone()),
            unnamed: HashMap::new(),
            processes,
            walk: Walk::default(),
            metrics,
        }
    }

    /// Takes note that every record that waited was taken, and that a while passed since the time before: what was held back
    /// since then is let go at the next.
    pub(crate) fn end_drain(&mut self) {
        self.reports.end_drain(&mut self.connections);
        self.ended.end_drain();
    }

    /// Returns whether so much is remembered since [`Tracker::end_drain`] that it should not wait any longer.
    pub(crate) fn remembers_many(&self) -> bool {
        self.ended.is_full()
    }

    /// Lets go whatever is held back: no records are to come.
    pub(crate) fn release(&mut self) {
        self.reports.release(&mut self.connections);
    }

    /// Returns the cgroups whose names no record told, each with the address of its node.
    pub(crate) fn take_unnamed_cgroups(&mut self) -> HashMap<u64, u64> {
        std::mem::take(&mut self.unnamed)
    }

    /// Takes the answer for a cgroup that was asked for; another cgroup's names are no answer.
    pub(crate) fn on_cgroup(&mut self, id: u64, names: Option<&CgroupNames>) {
        match names {
            Some(names) if names.id == id => self.cgroups.insert(names),
            _ => self.cgroups.insert_unknown(id),
        }
    }

    /// Finds the connection that a socket belongs to.
    fn find(&self, socket: &Socket) -> Option<ConnectionIdx> {
        let likely = socket.likely_role();
        let find = |role| self.connections.find(&Key::new(socket, role));
        find(likely).or_else(|| find(likely.other()))
    }

    /// Returns what the connection of a socket may be known by, its likely role first.
    fn keys(&self, socket: &Socket) -> [Key; 2] {
        let likely = self.likely_role(socket);
        [likely, likely.other()].map(|role| Key::new(socket, role))
    }

    /// Returns whether a connection is known, or was until a moment ago.
    fn is_known(&self, key: &Key) -> bool {
        self.connections.find(key).is_some()
            || self.beyond.contains(key)
            || self.ended.has_closed(key)
            || self.ended.has_vanished(key)
    }

    /// Begins to follow a connection that is not known, if there is room.
    fn follow(&mut self, mut connection: Connection) -> Option<ConnectionIdx> {
        connection.last_walk = self.walk.number;
        let key = connection.key();
        let is_own = self.own.is_agent(connection.process());
        if is_own {
            self.own.add_end(key.id, observer(key.role));
        }
        // The agent's end opens a moment after this one, and its record may be of the next drain.
        let is_held = !is_own && key.role == Role::Client && self.own.listens_at(connection.ends().remote.1);
        if self.is_full() {
            self.metrics.untracked.add(1);
            let is_old = connection.is_found();
            if !self.beyond.insert(key, is_old, connection.cgroup_id(), self.walk.number) && is_old {
                self.walk.misses_the_old = true;
            }
            return None;
        }
        let idx = self.connections.insert(connection);
        let connection = self.connections.at(idx);
        if is_held {
            self.reports.hold(idx, connection);
        }
        self.reports.enqueue(idx, connection);
        Some(idx)
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= self.max_connections
    }

    /// Tells the role of a socket that is not known; see [`Socket::likely_role`] for where it errs.
    fn likely_role(&self, socket: &Socket) -> Role {
        match socket.likely_role() {
            // Accepted from `listen(fd, 0)`.
            Role::Client if self.listener(socket).is_some() => Role::Server,
            role => role,
        }
    }

    fn listener(&self, socket: &Socket) -> Option<&Listener> {
        self.listeners.find(socket.netns, address(socket.local_address), socket.local_port)
    }

    fn listener_process(&self, socket: &Socket) -> Option<Process> {
        self.listener(socket).map(|it| it.process.clone())
    }

    /// Returns the process of a socket that no record announced.
    fn process_of_socket(&self, socket: &Socket, role: Role) -> Option<Process> {
        if socket.inode != 0
            && let Some(process) = self.processes.get(&socket.inode)
        {
            return Some(process.clone());
        }
        match role {
            Role::Client => None,
            Role::Server => self.listener_process(socket),
        }
    }
}

#[cfg(test)]
mod tests;
