use std::{fmt, hash::BuildHasher};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::{ConnectionId, Observer};

type Key = (ConnectionId, Observer);

/// Where an entry is.
type Idx = u32;

/// No entry.
const NONE: Idx = Idx::MAX;

/// What a component remembers of each connection that passes through it, bounded.
///
/// Names are fixed when a connection is first seen, so a component that names or pairs connections must remember
/// them until their end. When the map is full the entry that was inserted first makes room.
///
/// Entries lie side by side: in a table that finds them by itself half of the memory would be room between them.
pub struct ConnectionMap<V> {
    slots: Vec<Slot<V>>,
    /// The first of the slots that are free; each has the next one in `younger`.
    free: Idx,
    index: HashTable<Idx>,
    // Seeded: who is at the other end chooses half of an id.
    hasher: RandomState,
    oldest: Idx,
    youngest: Idx,
    capacity: usize,
}

/// An entry, and those that were inserted before and after it.
struct Slot<V> {
    key: Key,
    older: Idx,
    younger: Idx,
    value: Option<V>,
}

impl<V> ConnectionMap<V> {
    /// Creates a map of at most `capacity` connections; one is the least.
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            index: HashTable::new(),
            hasher: RandomState::default(),
            oldest: NONE,
            youngest: NONE,
            capacity: capacity.clamp(1, NONE as usize),
        }
    }

    /// Returns what is remembered of a connection.
    pub fn get_mut(&mut self, id: ConnectionId, observer: Observer) -> Option<&mut V> {
        let idx = self.find((id, observer))?;
        self.slots[idx as usize].value.as_mut()
    }

    /// Remembers a connection, and returns what had to be forgotten because the map is full.
    pub fn insert(&mut self, id: ConnectionId, observer: Observer, value: V) -> Option<V> {
        let key = (id, observer);
        if let Some(idx) = self.find(key) {
            self.slots[idx as usize].value = Some(value);
            return None;
        }
        let forgotten = if self.index.len() >= self.capacity { self.take(self.oldest) } else { None };
        let idx = self.fill(Slot { key, older: self.youngest, younger: NONE, value: Some(value) });
        match self.slots.get_mut(self.youngest as usize) {
            Some(youngest) => youngest.younger = idx,
            None => self.oldest = idx,
        }
        self.youngest = idx;
        let Self { slots, index, hasher, .. } = self;
        index.insert_unique(hasher.hash_one(key), idx, |idx| hasher.hash_one(slots[*idx as usize].key));
        forgotten
    }

    /// Forgets a connection, and returns what was remembered of it.
    pub fn remove(&mut self, id: ConnectionId, observer: Observer) -> Option<V> {
        let idx = self.find((id, observer))?;
        self.take(idx)
    }

    /// Forgets every connection, and returns what was remembered, in no particular order.
    pub fn drain(&mut self) -> impl Iterator<Item = V> {
        self.index.clear();
        (self.free, self.oldest, self.youngest) = (NONE, NONE, NONE);
        self.slots.drain(..).filter_map(|it| it.value)
    }

    /// Returns how many connections are remembered.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Returns whether no connection is remembered.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn find(&self, key: Key) -> Option<Idx> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |idx| self.slots[*idx as usize].key == key).copied()
    }

    /// Puts an entry where there is room for it.
    fn fill(&mut self, slot: Slot<V>) -> Idx {
        let idx = self.free;
        match self.slots.get_mut(idx as usize) {
            Some(room) => {
                self.free = room.younger;
                *room = slot;
                idx
            }
            None => {
                self.slots.push(slot);
                Idx::try_from(self.slots.len() - 1).expect("the capacity is less")
            }
        }
    }

    /// Removes the entry at a place, if there is one.
    fn take(&mut self, idx: Idx) -> Option<V> {
        let slot = self.slots.get_mut(idx as usize)?;
        let value = slot.value.take();
        let Slot { key, older, younger, .. } = *slot;
        slot.younger = self.free;
        self.free = idx;
        match self.slots.get_mut(older as usize) {
            Some(it) => it.younger = younger,
            None => self.oldest = younger,
        }
        match self.slots.get_mut(younger as usize) {
            Some(it) => it.older = older,
            None => self.youngest = older,
        }
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(key), |it| *it == idx) {
            entry.remove();
        }
        value
    }
}

impl<V> fmt::Debug for ConnectionMap<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionMap").field("len", &self.len()).field("capacity", &self.capacity).finish()
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

    #[test]
    fn churn_does_not_grow_the_map() {
        let mut map = ConnectionMap::new(100_000);
        for n in 0..10_000 {
            map.insert(id(n), Observer::Server, n);
            if n >= 3 {
                map.remove(id(n - 3), Observer::Server);
            }
        }
        assert_eq!((map.len(), map.slots.len()), (3, 4));
    }

    /// Against a list that is searched from its beginning.
    #[test]
    fn it_is_a_list_that_is_bounded() {
        const CAPACITY: usize = 5;
        let mut map = ConnectionMap::new(CAPACITY);
        let mut list: Vec<(u32, u32)> = Vec::new();
        let mut random = 1_u32;
        for round in 0..10_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (n, is_inserted) = (random >> 24 & 7, random >> 28 & 3 > 0);
            let known = list.iter().position(|(it, _)| *it == n);
            match (is_inserted, known) {
                (true, Some(idx)) => {
                    list[idx].1 = round;
                    assert_eq!(map.insert(id(n), Observer::Client, round), None);
                }
                (true, None) => {
                    let forgotten = (list.len() == CAPACITY).then(|| list.remove(0).1);
                    list.push((n, round));
                    assert_eq!(map.insert(id(n), Observer::Client, round), forgotten);
                }
                (false, _) => {
                    let removed = known.map(|idx| list.remove(idx).1);
                    assert_eq!(map.remove(id(n), Observer::Client), removed);
                }
            }
            assert_eq!(map.len(), list.len());
            for (n, value) in &mut list {
                assert_eq!(map.get_mut(id(*n), Observer::Client), Some(value));
            }
        }
    }
}
