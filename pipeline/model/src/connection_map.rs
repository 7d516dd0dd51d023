use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt,
};

use foldhash::fast::RandomState;

use crate::{ConnectionId, Observer};

type Key = (ConnectionId, Observer);

/// Leftovers in the order of insertion that are worth no sweep.
const MAX_LEFTOVERS: usize = 256;

/// What a component remembers of each connection that passes through it, bounded.
///
/// Names are fixed when a connection is first seen, so a component that names or pairs connections must remember
/// them until their end. When the map is full the entry that was inserted first makes room.
pub struct ConnectionMap<V> {
    // The hash is seeded: who is at the other end chooses half of an id.
    entries: HashMap<Key, (u64, V), RandomState>,
    // Keys in order of insertion with the number the entry had then; numbers that no longer match are leftovers of
    // removed entries, dropped when they reach the front or when they outnumber the entries.
    order: VecDeque<(Key, u64)>,
    next_number: u64,
    capacity: usize,
}

impl<V> ConnectionMap<V> {
    /// Creates a map of at most `capacity` connections; one is the least.
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::default(),
            order: VecDeque::new(),
            next_number: 0,
            capacity: capacity.max(1),
        }
    }

    /// Returns what is remembered of a connection.
    pub fn get_mut(&mut self, id: ConnectionId, observer: Observer) -> Option<&mut V> {
        self.entries.get_mut(&(id, observer)).map(|(_, value)| value)
    }

    /// Remembers a connection, and returns what had to be forgotten because the map is full.
    pub fn insert(&mut self, id: ConnectionId, observer: Observer, value: V) -> Option<V> {
        let key = (id, observer);
        match self.entries.entry(key) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().1 = value;
                return None;
            }
            Entry::Vacant(entry) => {
                entry.insert((self.next_number, value));
            }
        }
        self.order.push_back((key, self.next_number));
        self.next_number += 1;
        // As many leftovers as entries, or few enough not to matter: a sweep then costs each insertion next to nothing.
        if self.order.len() > 2 * self.entries.len() + MAX_LEFTOVERS {
            self.order.retain(|(key, number)| self.entries.get(key).is_some_and(|(it, _)| it == number));
        }
        if self.entries.len() > self.capacity { self.pop_oldest() } else { None }
    }

    /// Forgets a connection, and returns what was remembered of it.
    pub fn remove(&mut self, id: ConnectionId, observer: Observer) -> Option<V> {
        self.entries.remove(&(id, observer)).map(|(_, value)| value)
    }

    /// Forgets every connection, and returns what was remembered, in no particular order.
    pub fn drain(&mut self) -> impl Iterator<Item = V> {
        self.order.clear();
        self.entries.drain().map(|(_, (_, value))| value)
    }

    /// Returns how many connections are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether no connection is remembered.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn pop_oldest(&mut self) -> Option<V> {
        while let Some((key, number)) = self.order.pop_front() {
            if let Entry::Occupied(entry) = self.entries.entry(key)
                && entry.get().0 == number
            {
                return Some(entry.remove().1);
            }
        }
        None
    }
}

impl<V> fmt::Debug for ConnectionMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, order: _, next_number: _, capacity } = self;
        f.debug_struct("ConnectionMap").field("len", &entries.len()).field("capacity", capacity).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u32) -> ConnectionId {
        ConnectionId::from_sequence_numbers(n, 0)
    }

    #[test]
    fn a_full_map_forgets_the_oldest() {
        let mut map = ConnectionMap::new(2);
        assert_eq!(map.insert(id(1), Observer::Client, "first"), None);
        assert_eq!(map.insert(id(2), Observer::Client, "second"), None);
        assert_eq!(map.insert(id(3), Observer::Client, "third"), Some("first"));
        assert_eq!(map.get_mut(id(1), Observer::Client), None);
        assert_eq!(map.get_mut(id(2), Observer::Client), Some(&mut "second"));
    }

    /// A connection that was removed and came back is as young as its return.
    #[test]
    fn a_returned_connection_is_young() {
        let mut map = ConnectionMap::new(2);
        map.insert(id(1), Observer::Client, "first");
        map.remove(id(1), Observer::Client);
        map.insert(id(2), Observer::Client, "second");
        map.insert(id(1), Observer::Client, "first again");
        assert_eq!(map.insert(id(3), Observer::Client, "third"), Some("second"));
    }

    #[test]
    fn a_drained_map_is_as_new() {
        let mut map = ConnectionMap::new(2);
        map.insert(id(1), Observer::Client, "first");
        map.insert(id(2), Observer::Server, "second");
        let mut drained: Vec<_> = map.drain().collect();
        drained.sort_unstable();
        assert_eq!(drained, ["first", "second"]);
        assert!(map.is_empty());
        assert_eq!(map.insert(id(3), Observer::Client, "third"), None);
        assert_eq!(map.insert(id(4), Observer::Client, "fourth"), None);
        assert_eq!(map.insert(id(5), Observer::Client, "fifth"), Some("third"));
    }

    /// Insertion order is kept for living entries only: churn must not grow it.
    #[test]
    fn churn_does_not_grow_the_map() {
        let mut map = ConnectionMap::new(100_000);
        for n in 0..10_000 {
            map.insert(id(n), Observer::Server, n);
            map.remove(id(n), Observer::Server);
        }
        assert!(map.is_empty());
        assert!(map.order.len() <= MAX_LEFTOVERS + 1, "{} keys are kept", map.order.len());
    }
}
