//! Connections that are known, and that there is no room for.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use crate::connection::Key;

/// How many walks in a row do not find a connection that is gone; fewer may have read it torn.
const GONE: u64 = 4;

/// Connections beyond the limit: they were counted as such once, and their end needs no begin that was lost.
#[derive(Debug)]
pub(super) struct Beyond {
    connections: HashMap<Key, Unfollowed, RandomState>,
    max: usize,
    has_overflowed: bool,
}

#[derive(Clone, Copy, Debug)]
struct Unfollowed {
    is_old: bool,
    cgroup: u64,
    last_walk: u64,
}

impl Beyond {
    /// Knows none yet, and never more than `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { connections: HashMap::default(), max, has_overflowed: false }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Returns whether there are, or were, so many that some are not even known.
    pub(super) fn has_overflowed(&self) -> bool {
        self.has_overflowed
    }

    pub(super) fn contains(&self, key: &Key) -> bool {
        !self.is_empty() && self.connections.contains_key(key)
    }

    /// Remembers a connection: whether it is older than the receiver, and its cgroup. Returns whether there was room.
    pub(super) fn insert(&mut self, key: Key, is_old: bool, cgroup: u64, walk: u64) -> bool {
        let has_room = self.connections.len() < self.max;
        if has_room {
            self.connections.insert(key, Unfollowed { is_old, cgroup, last_walk: walk });
        } else {
            self.has_overflowed = true;
        }
        has_room
    }

    /// Takes note that a walk found one of them.
    pub(super) fn see(&mut self, key: &Key, walk: u64) {
        if let Some(it) = self.connections.get_mut(key) {
            it.last_walk = walk;
        }
    }

    /// Forgets a connection. Returns whether it is older than the receiver, and its cgroup, if it was known.
    pub(super) fn take(&mut self, key: &Key) -> Option<(bool, u64)> {
        if self.is_empty() {
            return None;
        }
        self.connections.remove(key).map(|it| (it.is_old, it.cgroup))
    }

    /// Takes note that a walk found everything: those whose end was not told go. `knows_all` tells whether it found none that is
    /// not known.
    pub(super) fn end_walk(&mut self, walk: u64, knows_all: bool) {
        self.connections.retain(|_, it| walk - it.last_walk < GONE);
        if knows_all && self.is_empty() {
            self.has_overflowed = false;
        }
    }
}
