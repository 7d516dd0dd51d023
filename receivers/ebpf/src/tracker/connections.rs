use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::connection::{Connection, Key};

/// Where a connection is, from when it was inserted until it is removed.
pub(super) type ConnectionIdx = u32;

/// The connections that are followed.
///
/// They stay where they are: the index by key is small, a walk over all of them goes through memory in order, and who has
/// found one need not search for it again.
#[derive(Debug, Default)]
pub(super) struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<ConnectionIdx>,
    index: HashTable<ConnectionIdx>,
    // Seeded: the other end of a connection chooses half of its key.
    hasher: foldhash::fast::RandomState,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Finds a connection.
    pub(super) fn find(&self, key: &Key) -> Option<ConnectionIdx> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |idx| slot(&self.slots, *idx).key() == *key).copied()
    }

    /// Returns the connection that is at a place.
    pub(super) fn at(&mut self, idx: ConnectionIdx) -> &mut Connection {
        self.slots[idx as usize].as_mut().expect(IS_FILLED)
    }

    /// Inserts a connection that is not there yet.
    pub(super) fn insert(&mut self, connection: Connection) -> ConnectionIdx {
        let Self { slots, free, index, hasher } = self;
        let hash = hasher.hash_one(connection.key());
        let idx = free.pop().unwrap_or_else(|| {
            slots.push(None);
            ConnectionIdx::try_from(slots.len() - 1).expect("so many connections do not fit into memory")
        });
        slots[idx as usize] = Some(connection);
        index.insert_unique(hash, idx, |idx| hasher.hash_one(slot(slots, *idx).key()));
        idx
    }

    /// Removes the connection that is at a place.
    pub(super) fn remove(&mut self, idx: ConnectionIdx) -> Connection {
        let Self { slots, free, index, hasher } = self;
        let connection = slots[idx as usize].take().expect(IS_FILLED);
        if let Ok(entry) = index.find_entry(hasher.hash_one(connection.key()), |it| *it == idx) {
            entry.remove();
        }
        free.push(idx);
        connection
    }

    /// Visits all connections.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (ConnectionIdx, &mut Connection)> {
        (0..).zip(&mut self.slots).filter_map(|(idx, slot)| Some((idx, slot.as_mut()?)))
    }
}

const IS_FILLED: &str = "whoever has the place of a connection knows that it was not removed";

fn slot(slots: &[Option<Connection>], idx: ConnectionIdx) -> &Connection {
    slots[idx as usize].as_ref().expect(IS_FILLED)
}

#[cfg(test)]
mod tests {
    use abi::{Role, Socket};
    use bytemuck::Zeroable;
    use model::UnixNanos;

    use super::*;

    #[test]
    fn places_are_used_again_and_the_others_stay() {
        let mut connections = Connections::default();
        let places: Vec<_> = (0..100).map(|n| connections.insert(connection(n))).collect();
        for idx in places.iter().step_by(2) {
            connections.remove(*idx);
        }
        assert_eq!(connections.len(), 50);
        for (n, idx) in (0..).zip(&places) {
            let expected = (n % 2 == 1).then_some(*idx);
            assert_eq!(connections.find(&connection(n).key()), expected, "{n}");
        }
        let mut again: Vec<_> = (100..150).map(|n| connections.insert(connection(n))).collect();
        again.sort_unstable();
        assert_eq!(again, places.iter().copied().step_by(2).collect::<Vec<_>>());
        assert_eq!(connections.iter_mut().count(), 100);
        assert_eq!(connections.slots.len(), 100);
    }

    fn connection(number: u32) -> Connection {
        let socket = Socket { snd_una: number, ..Socket::zeroed() };
        Connection::opened(&socket, Key::new(&socket, Role::Client), None, UnixNanos(0))
    }
}
