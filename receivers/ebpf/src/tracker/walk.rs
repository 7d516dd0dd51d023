//! What walks tell: which connections live.

use std::collections::{HashMap, HashSet};

use abi::{ListeningSocket, Socket};
use model::UnixNanos;

use super::{Tracker, connections::ConnectionIdx};
use crate::{
    accept_queues,
    clock::Moment,
    connection::{Connection, Ends, Key},
};

/// How many walks in a row that came to every table, and were kept from some sockets, find each connection that lives.
///
/// A bucket that moved under one is read by another.
const MANY: u64 = 16;

/// Where walking is, and what is not settled yet.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) number: u64,
    // Whether every connection older than the receiver is followed or among `old`, so that others are younger.
    knows_the_old: bool,
    // Connections that may be older than the receiver and are not followed yet, with their cgroups, 0 if unknown: a walk
    // found them, or read them torn.
    old: HashMap<(u32, Ends), u64>,
    // Whether there was no room in `old` either, so that nothing that is unknown can be taken for younger.
    pub(super) misses_the_old: bool,
    is_complete: bool,
    was_complete: bool,
    // The last walk that was complete, and the last one that did not come to every table.
    complete: u64,
    blind: u64,
    // Whether sockets come with their ends; else unknown ones can only be suspected.
    has_ends: bool,
    // Connections that a walk found unannounced, and which walk it was. Another must find them too.
    pub(super) suspects: HashMap<Key, u64>,
    // Ends of samples that were not read in one piece: they live, whatever their numbers are.
    torn: HashSet<(u32, Ends)>,
}

impl Tracker {
    /// Returns whether the next walk should copy the ends of sockets: all of this is known of nearly all connections.
    pub(crate) fn wants_ends(&self) -> bool {
        !self.walk.knows_the_old
            || !self.walk.suspects.is_empty()
            || !self.beyond.is_empty() && !self.is_full()
    }

    /// Returns whether the next walk should not wait: what the first one found is reported when another agrees.
    pub(crate) fn wants_walk(&self) -> bool {
        self.walk.number == 1
    }

    /// Begins a walk. `complete` tells whether it knows where to go, `with_ends` whether it copies the ends of sockets.
    pub(crate) fn begin_walk(&mut self, complete: bool, with_ends: bool) {
        self.walk.number += 1;
        self.walk.is_complete = complete;
        if !complete {
            self.walk.blind = self.walk.number;
        }
        self.walk.has_ends = with_ends;
        self.walk.torn.clear();
    }

    /// Asks for the names of cgroups that only listening sockets belong to.
    pub(crate) fn name_cgroups_of(&mut self, sockets: &[ListeningSocket]) {
        for socket in sockets {
            if socket.cgroup != 0 && !self.cgroups.contains(socket.cgroup) {
                self.unnamed.insert(socket.cgroup, socket.cgroup_node);
            }
        }
    }

    /// Takes the listening sockets that a walk found. Every record from before must have been taken: they tell whose they are.
    pub(crate) fn on_listening_sockets(
        &mut self,
        sockets: &[ListeningSocket],
        is_complete: bool,
        moment: Moment,
    ) {
        let Self { accept_queues, listeners, metrics, tick, .. } = self;
        accept_queues.begin_walk(moment);
        for socket in sockets {
            let process = |key: accept_queues::Key| {
                listeners.of_inode(key.netns, key.port, key.inode).map(|it| it.process.clone())
            };
            let knows_age = socket.cookies_age != ListeningSocket::NO_COOKIES && !tick.is_zero();
            let cookies_age = knows_age.then(|| tick.saturating_mul(socket.cookies_age));
            if !accept_queues.on_socket(socket, process, cookies_age) {
                metrics.unwatched_queues.add(1);
            }
        }
        accept_queues.end_walk(is_complete);
    }

    /// Takes note that a walk came to its end before it came to every table.
    pub(crate) const fn break_off(&mut self) {
        self.walk.blind = self.walk.number;
        self.miss_sockets();
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
            Some(idx) => self.sample(idx, socket, moment.wall),
            None => self.on_unfollowed(self.keys(socket), socket, moment.wall),
        }
    }

    /// Ends a walk: what it did not find, nor the complete one before, is gone; and so is what many walks did not find.
    pub(crate) fn end_walk(&mut self, moment: Moment) {
        let number = self.walk.number;
        self.walk.suspects.retain(|_, walk| *walk == number);
        let was_complete = std::mem::replace(&mut self.walk.was_complete, self.walk.is_complete);
        let mut oldest = number.saturating_sub(MANY - 1);
        if self.walk.blind >= oldest {
            oldest = 0;
        }
        if self.walk.is_complete {
            self.metrics.walks.add(1);
            let knows_all = self.walk.suspects.is_empty() && self.walk.torn.is_empty();
            self.beyond.end_walk(number, knows_all);
            // All that live are followed, so that what is remembered of others is of no use any more.
            if self.walk.knows_the_old && self.beyond.is_empty() && knows_all {
                self.walk.misses_the_old = false;
                self.walk.old = HashMap::new();
            }
            self.ended.end_walk(number);
            oldest = oldest.max(std::mem::replace(&mut self.walk.complete, number));
        } else {
            self.metrics.incomplete_walks.add(1);
        }
        // What one found the other confirmed, or will be known as what may be older; where none is ever complete, many did.
        if !self.walk.knows_the_old && (self.walk.is_complete && was_complete || number >= MANY) {
            self.walk.knows_the_old = true;
            self.walk.old.shrink_to_fit();
            self.walk.suspects.shrink_to_fit();
            self.processes = HashMap::new();
        }
        let Self { connections, reports, walk, .. } = self;
        for (idx, connection) in connections.iter_mut().filter(|(_, it)| !it.has_ended()) {
            if connection.last_walk == number {
                continue;
            }
            if walk.torn.contains(&(connection.key().netns, connection.ends())) {
                connection.last_walk = number;
            } else if connection.last_walk < oldest {
                connection.vanish(moment.wall);
                reports.enqueue(idx, connection);
            }
        }
    }

    fn sample(&mut self, idx: ConnectionIdx, socket: &Socket, now: UnixNanos) {
        let connection = self.connections.at(idx);
        connection.last_walk = self.walk.number;
        connection.reappear();
        // A record told its end since the walk saw it.
        if !connection.has_ended() && connection.sample(socket, now) {
            self.reports.enqueue(idx, connection);
        }
    }

    /// Takes a socket of a connection that is not followed.
    fn on_unfollowed(&mut self, keys: [Key; 2], socket: &Socket, now: UnixNanos) {
        // A record told its end since the walk saw it.
        if keys.iter().any(|key| self.ended.has_closed(key)) {
            return;
        }
        if let Some(key) = keys.iter().find(|key| self.ended.has_vanished(key)) {
            if !self.is_full()
                && let Some(connection) = self.ended.take_vanished(key)
                && let Some(idx) = self.follow(connection)
            {
                self.metrics.resumed.add(1);
                self.sample(idx, socket, now);
            }
            return;
        }
        if let Some(key) = keys.into_iter().find(|key| self.beyond.contains(key)) {
            self.beyond.see(&key, self.walk.number);
            if !self.is_full()
                && self.walk.has_ends
                && let Some((is_old, _)) = self.beyond.take(&key)
            {
                self.begin(key, socket, is_old, now);
            }
            return;
        }
        self.on_unannounced(keys[0], socket, now);
    }

    /// Takes a socket that no record announced.
    fn on_unannounced(&mut self, key: Key, socket: &Socket, now: UnixNanos) {
        let Walk { number, suspects, has_ends, .. } = &mut self.walk;
        // Numbers that do not belong together would make a connection that never was: another walk must agree.
        let is_confirmed = suspects.insert(key, *number) == Some(*number - 1);
        if !is_confirmed || !*has_ends {
            if suspects.len() > self.max_connections {
                suspects.remove(&key);
            }
            self.remember_old(socket);
            return;
        }
        suspects.remove(&key);
        let is_old = self.take_old(socket).is_some();
        // One that there was not even room to remember was announced, for all that is known.
        if !is_old && !self.beyond.has_overflowed() {
            self.metrics.repaired_begins.add(1);
        }
        self.begin(key, socket, is_old, now);
    }

    /// Begins to follow a connection that walks found.
    fn begin(&mut self, key: Key, socket: &Socket, is_old: bool, now: UnixNanos) {
        let connection = if is_old {
            Connection::found(socket, key, now)
        } else {
            Connection::opened(socket, key, Some(now), now)
        };
        let connection = connection.with_process(self.process_of_socket(socket, key.role));
        self.ask_for_cgroup(socket);
        if let Some(idx) = self.follow(connection) {
            self.sample(idx, socket, now);
        }
    }

    fn ask_for_cgroup(&mut self, socket: &Socket) {
        if socket.cgroup != 0 && !self.cgroups.contains(socket.cgroup) {
            self.unnamed.insert(socket.cgroup, socket.cgroup_node);
        }
    }

    /// Remembers a connection that is not followed, if it may be older than the receiver.
    fn remember_old(&mut self, socket: &Socket) {
        let Walk { knows_the_old, old, misses_the_old, .. } = &mut self.walk;
        if *knows_the_old {
            return;
        }
        let ends = (socket.netns, Ends::new(socket));
        // Those that will be followed, and as many again.
        if old.len() < self.max_connections.saturating_mul(2) || old.contains_key(&ends) {
            old.insert(ends, socket.cgroup);
            // It may end before another walk confirms it, and nobody could name it then.
            self.ask_for_cgroup(socket);
        } else {
            *misses_the_old = true;
        }
    }

    /// Takes note that the ends of a socket are those of a younger connection, or of none.
    pub(super) fn forget_old(&mut self, socket: &Socket) {
        if !self.walk.old.is_empty() {
            self.walk.old.remove(&(socket.netns, Ends::new(socket)));
        }
    }

    /// Returns the cgroup, 0 if unknown, of a connection that is not followed and may be older than the receiver; `None` if it
    /// is younger. It is no longer remembered then.
    pub(super) fn take_old(&mut self, socket: &Socket) -> Option<u64> {
        let Walk { knows_the_old, old, misses_the_old, .. } = &mut self.walk;
        let seen = if old.is_empty() { None } else { old.remove(&(socket.netns, Ends::new(socket))) };
        seen.or_else(|| (*misses_the_old || !*knows_the_old).then_some(0))
    }
}
