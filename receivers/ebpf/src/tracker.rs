//! What is known of every connection: from records and walks to flow records.
//!
//! A walk tells what lives, records tell what begins and ends. The programs are attached before the first walk, so a
//! connection that a walk finds and no record announced is older than the receiver if it is the first walk, else its
//! record was lost. The other way round, a connection that two walks do not find has ended without a record.

mod connections;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use abi::{CgroupNames, ConnectionRecord, ListenerRecord, Record, Role, Socket, state};
use model::{CloseReason, End, Flow, Interval, Local, Process, Traffic, Transport, UnixNanos};

use self::connections::{ConnectionIdx, Connections};
use crate::{
    cgroups::Cgroups,
    clock::Moment,
    connection::{Connection, Ends, Key, address, observer},
    listeners::{Listener, Listeners},
    metrics::Metrics,
    own::Own,
    seed::Seed,
    verdict::{close_reason, failure_reason, loses_what_is_in_flight, reset_by},
};

/// Most finished records that wait for the pipeline beside the connections that are followed.
const MAX_FINISHED: usize = 1 << 14;

/// Follows connections; does no I/O and reads no clock.
#[derive(Debug)]
pub(crate) struct Tracker {
    connections: Connections,
    max_connections: usize,
    // What there is to report, in order. A connection is in it once at most.
    queue: VecDeque<Item>,
    n_finished: usize,
    // Connections that the next records may tell more of, since this drain and since the one before: whether they are the
    // agent's, or who reset them.
    held: [Vec<ConnectionIdx>; 2],
    sees_resets: bool,
    own: Own,
    listeners: Listeners,
    cgroups: Cgroups,
    // Cgroups whose names are to be asked for, with the address of their node.
    unnamed: HashMap<u64, u64>,
    // Processes by the inode of a socket they held when the receiver started; needed until the first walk is over.
    processes: HashMap<u64, Process>,
    walk: Walk,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Walk {
    number: u64,
    // Whether every connection older than the receiver is followed or among `old`, so that others are younger.
    knows_the_old: bool,
    // Connections that may be older than the receiver and are not followed: they were torn, or there was no room.
    old: HashSet<(u32, Ends)>,
    // Whether there was no room in `old` either, so that nothing that is unknown can be taken for younger.
    misses_the_old: bool,
    is_complete: bool,
    was_complete: bool,
    // Whether sockets come with their ends; else unknown ones can only be suspected.
    has_ends: bool,
    // Connections that a walk found unannounced, and which walk it was. Another must find them too.
    suspects: HashMap<Key, u64>,
    // Ends of samples that were not read in one piece: they live, whatever their numbers are.
    torn: HashSet<(u32, Ends)>,
}

#[derive(Debug)]
enum Item {
    Connection(ConnectionIdx),
    Finished(Box<Flow>),
}

impl Tracker {
    /// Follows nothing yet. `seed` is what was known of processes before the first record is taken.
    pub(crate) fn new(
        max_connections: NonZeroUsize,
        mut own: Own,
        seed: Seed,
        sees_resets: bool,
        metrics: Metrics,
    ) -> Self {
        let Seed { listeners: found, processes } = seed;
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
            queue: VecDeque::new(),
            n_finished: 0,
            held: Default::default(),
            sees_resets,
            own,
            listeners,
            cgroups: Cgroups::default(),
            unnamed: HashMap::new(),
            processes,
            walk: Walk::default(),
            metrics,
        }
    }

    /// Takes note that every record that waited was taken: what was held back since the drain before is let go.
    pub(crate) fn end_drain(&mut self) {
        let [new, old] = &mut self.held;
        for idx in old.drain(..) {
            let connection = self.connections.at(idx);
            connection.is_held = false;
            enqueue(&mut self.queue, idx, connection);
        }
        std::mem::swap(new, old);
    }

    /// Takes a record of the ring buffer.
    pub(crate) fn on_record(&mut self, bytes: &[u8], moment: Moment) {
        match Record::parse(bytes) {
            Some(Record::Opened(record)) => self.on_opened(record, moment),
            Some(Record::Closed(record)) => self.on_closed(record, moment),
            Some(Record::Failed(record)) => self.on_failed(record, moment),
            Some(Record::Listening(record)) => self.on_listening(record),
            Some(Record::Unlistened(record)) => {
                self.listeners.remove(record.netns, record.port, record.inode);
            }
            Some(Record::Cgroup(names)) => self.cgroups.insert(names),
            Some(Record::ResetSent(record)) => self.on_reset_sent(&record.socket),
            None => self.metrics.malformed.add(1),
        }
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

    /// Returns whether the next walk should copy the ends of sockets: all of this is known of nearly all connections.
    pub(crate) fn wants_ends(&self) -> bool {
        !self.walk.knows_the_old || !self.walk.suspects.is_empty()
    }

    /// Begins a walk. `complete` tells whether it knows where to go, `with_ends` whether it copies the ends of sockets.
    pub(crate) fn begin_walk(&mut self, complete: bool, with_ends: bool) {
        self.walk.number += 1;
        self.walk.is_complete = complete;
        self.walk.has_ends = with_ends;
        self.walk.torn.clear();
    }

    /// Takes note that a walk did not see every socket.
    pub(crate) const fn miss_sockets(&mut self) {
        self.walk.is_complete = false;
    }

    /// Takes a socket that a walk found. Every record from before must have been taken.
    pub(crate) fn on_socket(&mut self, socket: &Socket, moment: Moment) {
        if socket.torn != 0 {
            self.metrics.torn.add(1);
            self.walk.torn.insert((socket.netns, Ends::new(socket)));
            self.remember_old(socket);
            return;
        }
        match self.find(socket) {
            (_, Some(idx)) => self.sample(idx, socket, moment.wall),
            (key, None) => self.on_unannounced(key, socket, moment.wall),
        }
    }

    /// Ends a walk: what it did not find, nor the one before, is gone.
    pub(crate) fn end_walk(&mut self, moment: Moment) {
        let number = self.walk.number;
        self.walk.suspects.retain(|_, walk| *walk == number);
        let was_complete = std::mem::replace(&mut self.walk.was_complete, self.walk.is_complete);
        if !self.walk.is_complete {
            self.metrics.incomplete_walks.add(1);
            return;
        }
        self.metrics.walks.add(1);
        // What the first walk finds is followed at once, later it takes two in a row to find everything.
        if !self.walk.knows_the_old && (number == 1 || was_complete) {
            self.walk.knows_the_old = true;
            self.processes = HashMap::new();
        }
        let Self { connections, queue, walk, metrics, .. } = self;
        for (idx, connection) in connections.iter_mut().filter(|(_, it)| !it.has_ended()) {
            let missed = number - connection.last_walk;
            if missed == 0 {
                continue;
            }
            if walk.torn.contains(&(connection.key().netns, connection.ends())) {
                connection.last_walk = number;
            } else if missed >= 2 {
                metrics.repaired_ends.add(1);
                connection.vanish(moment.wall);
                enqueue(queue, idx, connection);
            }
        }
    }

    /// Returns whether there is something to report.
    pub(crate) fn has_reports(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Returns how many records there are to report.
    pub(crate) fn n_reports(&self) -> usize {
        self.queue.len()
    }

    /// Takes up to `max` records out.
    pub(crate) fn take_reports(&mut self, max: usize) -> Vec<Flow> {
        let mut flows = Vec::with_capacity(max.min(self.queue.len()));
        while flows.len() < max
            && let Some(item) = self.queue.pop_front()
        {
            match item {
                Item::Finished(flow) => {
                    self.n_finished -= 1;
                    let is_own = self.own.is_agent(flow.local.process.as_ref())
                        || flow.id.is_some_and(|id| self.own.has_end(id));
                    if !is_own || self.own.passes(&flow, &self.metrics) {
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
                    let flow = connection.report(|id| self.cgroups.path(id));
                    if connection.has_ended() {
                        self.connections.remove(idx);
                    }
                    if !is_own || self.own.passes(&flow, &self.metrics) {
                        flows.push(flow);
                    }
                }
            }
        }
        self.metrics.connections.set(i64::try_from(self.connections.len()).unwrap_or(i64::MAX));
        flows
    }

    fn on_opened(&mut self, record: &ConnectionRecord, moment: Moment) {
        let ConnectionRecord { time, connecting_since, socket, .. } = record;
        let role = if socket.state == state::SYN_SENT || *connecting_since != 0 {
            Role::Client
        } else {
            Role::Server
        };
        let key = Key::new(socket, role);
        let process = match role {
            Role::Client => process_of(record.pid, &record.command),
            Role::Server => self.listener_process(socket),
        };
        let connect =
            (*connecting_since != 0).then(|| Duration::from_nanos(time.saturating_sub(*connecting_since)));
        let started = moment.wall_at(*time);
        let connection = Connection::opened(socket, key, Some(started), started)
            .with_process(process)
            .with_connect(connect);
        self.walk.suspects.remove(&key);
        self.walk.old.remove(&(socket.netns, Ends::new(socket)));
        self.follow(connection);
    }

    fn on_closed(&mut self, record: &ConnectionRecord, moment: Moment) {
        let socket = &record.socket;
        let at = moment.wall_at(record.time);
        let (key, known) = self.find(socket);
        let known_reason = close_reason(socket, key.role);
        let reason = known_reason.unwrap_or(CloseReason::Aborted);
        let loses_in_flight = loses_what_is_in_flight(socket);
        if let Some(idx) = known {
            let connection = self.connections.at(idx);
            connection.close(socket, reason, loses_in_flight, at);
            if known_reason.is_none() && self.sees_resets {
                // Unless a record to come says otherwise.
                connection.set_close_reason(reset_by(key.role.other()));
                hold(&mut self.held, idx, connection);
            }
            enqueue(&mut self.queue, idx, connection);
            self.walk.old.remove(&(socket.netns, Ends::new(socket)));
            return;
        }
        // Its begin was not observed, or there was no room to follow it: it is reported as a whole, here and now.
        self.walk.suspects.remove(&key);
        let mut connection = if self.take_old(socket) {
            Connection::found(socket, key, at)
        } else {
            self.metrics.repaired_begins.add(1);
            Connection::opened(socket, key, None, at)
        };
        connection = connection.with_process(self.process_of_socket(socket, key.role));
        connection.close(socket, reason, loses_in_flight, at);
        if self.own.is_agent(connection.process()) {
            self.own.add_end(key.id, observer(key.role));
        }
        let flow = connection.report(|id| self.cgroups.path(id));
        self.finish(flow);
    }

    /// Takes a reset that an end sent after it had closed. One that was not followed was reported already.
    fn on_reset_sent(&mut self, socket: &Socket) {
        for role in [Role::Client, Role::Server] {
            if let Some(idx) = self.connections.find(&Key::new(socket, role)) {
                self.connections.at(idx).set_close_reason(reset_by(role));
            }
        }
    }

    fn on_failed(&mut self, record: &ConnectionRecord, moment: Moment) {
        let socket = &record.socket;
        // Nothing was sent: this host has no port or no way, and the application was told so at once.
        if socket.segments_out == 0 {
            return;
        }
        let role = Role::Client;
        let (client, server) = Ends::new(socket).client_and_server(role);
        let end = moment.wall_at(record.time);
        let since = if record.connecting_since == 0 { record.time } else { record.connecting_since };
        let flow = Flow {
            id: None,
            observer: observer(role),
            transport: Transport::Tcp,
            client,
            server,
            started: None,
            interval: Interval { start: moment.wall_at(since), end },
            begin: None,
            end: Some(End::Failed(failure_reason(socket))),
            request: Traffic::default(),
            response: Traffic::default(),
            rtt: None,
            connect: None,
            local: Local {
                cgroup: self.cgroups.path(socket.cgroup),
                netns: socket.netns,
                process: process_of(record.pid, &record.command),
            },
        };
        self.finish(flow);
    }

    fn on_listening(&mut self, record: &ListenerRecord) {
        let Some(process) = process_of(record.pid, &record.command) else { return };
        if self.own.is_agent(Some(&process)) {
            self.own.add_port(record.port);
        }
        self.listeners.insert(Listener {
            netns: record.netns,
            address: address(record.address),
            port: record.port,
            inode: record.inode,
            process,
        });
    }

    /// Finds the connection that a socket belongs to; if there is none the key is that of its likely role.
    fn find(&self, socket: &Socket) -> (Key, Option<ConnectionIdx>) {
        let likely = self.likely_role(socket);
        let [key, other] = [likely, likely.other()].map(|role| Key::new(socket, role));
        match self.connections.find(&key) {
            Some(idx) => (key, Some(idx)),
            None => match self.connections.find(&other) {
                Some(idx) => (other, Some(idx)),
                None => (key, None),
            },
        }
    }

    fn sample(&mut self, idx: ConnectionIdx, socket: &Socket, now: UnixNanos) {
        let connection = self.connections.at(idx);
        connection.last_walk = self.walk.number;
        // A record told its end since the walk saw it.
        if !connection.has_ended() && connection.sample(socket, now) {
            enqueue(&mut self.queue, idx, connection);
        }
    }

    /// Takes a socket that no record announced.
    fn on_unannounced(&mut self, key: Key, socket: &Socket, now: UnixNanos) {
        let number = self.walk.number;
        let is_first = number == 1;
        // Those there is no room for were counted when they opened, and are reported when they end.
        if !is_first && self.is_full() {
            self.remember_old(socket);
            return;
        }
        // Numbers that do not belong together would make a connection that never was: another walk must agree.
        let is_confirmed = is_first || self.walk.suspects.insert(key, number) == Some(number - 1);
        if !is_confirmed || !self.walk.has_ends {
            if self.walk.suspects.len() > self.max_connections {
                self.walk.suspects.remove(&key);
            }
            return;
        }
        self.walk.suspects.remove(&key);
        let connection = if self.take_old(socket) {
            Connection::found(socket, key, now)
        } else {
            self.metrics.repaired_begins.add(1);
            Connection::opened(socket, key, Some(now), now)
        };
        let connection = connection.with_process(self.process_of_socket(socket, key.role));
        if socket.cgroup != 0 && !self.cgroups.contains(socket.cgroup) {
            self.unnamed.insert(socket.cgroup, socket.cgroup_node);
        }
        match self.follow(connection) {
            Some(idx) => self.sample(idx, socket, now),
            None => self.remember_old(socket),
        }
    }

    /// Remembers a connection that is not followed, if it may be older than the receiver.
    fn remember_old(&mut self, socket: &Socket) {
        let Walk { knows_the_old, old, misses_the_old, .. } = &mut self.walk;
        if *knows_the_old {
            return;
        }
        let ends = (socket.netns, Ends::new(socket));
        if old.len() < self.max_connections || old.contains(&ends) {
            old.insert(ends);
        } else {
            *misses_the_old = true;
        }
    }

    /// Returns whether a connection that is not followed may be older than the receiver. It is no longer remembered then.
    fn take_old(&mut self, socket: &Socket) -> bool {
        let Walk { knows_the_old, old, misses_the_old, .. } = &mut self.walk;
        old.remove(&(socket.netns, Ends::new(socket))) || *misses_the_old || !*knows_the_old
    }

    /// Begins to follow a connection, if there is room.
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
            return None;
        }
        // One connection is announced once; who announces it again is not believed.
        if self.connections.find(&key).is_some() {
            return None;
        }
        let idx = self.connections.insert(connection);
        let connection = self.connections.at(idx);
        if is_held {
            hold(&mut self.held, idx, connection);
        }
        enqueue(&mut self.queue, idx, connection);
        Some(idx)
    }

    fn is_full(&self) -> bool {
        self.connections.len() >= self.max_connections
    }

    /// Queues a record of a connection that is not followed.
    fn finish(&mut self, flow: Flow) {
        if self.n_finished >= MAX_FINISHED {
            self.metrics.dropped_full.add(1);
            return;
        }
        self.n_finished += 1;
        self.queue.push_back(Item::Finished(Box::new(flow)));
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

fn enqueue(queue: &mut VecDeque<Item>, idx: ConnectionIdx, connection: &mut Connection) {
    if !connection.is_queued && !connection.is_held {
        connection.is_queued = true;
        queue.push_back(Item::Connection(idx));
    }
}

/// Holds a connection back until one more drain is over.
fn hold(held: &mut [Vec<ConnectionIdx>; 2], idx: ConnectionIdx, connection: &mut Connection) {
    if !connection.is_held {
        connection.is_held = true;
        held[0].push(idx);
    }
}

fn process_of(pid: u32, command: &[u8; 16]) -> Option<Process> {
    let len = command.iter().position(|&byte| byte == 0).unwrap_or(command.len());
    let command: Arc<str> = String::from_utf8_lossy(&command[..len]).into();
    (pid != 0 && !command.is_empty()).then_some(Process { pid, command })
}

#[cfg(test)]
mod tests;
