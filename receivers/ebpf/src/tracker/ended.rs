//! Connections that are over, or seem to be: what keeps them from being counted twice.

use std::collections::{HashMap, HashSet, VecDeque};

use abi::ConnectionRecord;
use component::Counter;
use foldhash::fast::RandomState;

use crate::connection::{Connection, Ends, Key};

/// Most connections that are remembered because walks no longer find them.
const MAX_VANISHED: usize = 1 << 12;

/// For how many walks they are.
const KEPT_WALKS: u64 = 16;

/// How many ends, or failed attempts, are too many to be remembered for longer than they must be.
const MANY_TOLD: usize = 1 << 16;

/// What is remembered of connections beyond their end.
///
/// What a record tells may be told again in the same drain or in the next, and a walk may have copied a socket just before
/// it closed. A connection that walks no longer found may come to light again: then it goes on where it was.
#[derive(Debug)]
pub(super) struct Ended {
    // What records told, since this drain and since the one before: of each some [`MANY_TOLD`], and what the ring buffer holds.
    closed: [HashSet<Key, RandomState>; 2],
    failed: [HashSet<(u32, Ends), RandomState>; 2],
    // With the walk that missed them last, and in the order of that.
    vanished: HashMap<Key, Connection, RandomState>,
    order: VecDeque<(u64, Key)>,
    forgotten: Counter,
}

impl Ended {
    /// Remembers none yet; `forgotten` counts those that vanished and that there is no room for.
    pub(super) fn new(forgotten: Counter) -> Self {
        Self {
            closed: Default::default(),
            failed: Default::default(),
            vanished: HashMap::default(),
            order: VecDeque::new(),
            forgotten,
        }
    }

    /// Takes note that a drain is over.
    pub(super) fn end_drain(&mut self) {
        self.closed.swap(0, 1);
        self.closed[0].clear();
        self.failed.swap(0, 1);
        self.failed[0].clear();
    }

    /// Returns whether a drain should be over.
    pub(super) fn is_full(&self) -> bool {
        self.closed[0].len() >= MANY_TOLD || self.failed[0].len() >= MANY_TOLD
    }

    /// Remembers an end that a record told.
    pub(super) fn close(&mut self, key: Key) {
        self.closed[0].insert(key);
    }

    /// Returns whether a record told the end of a connection a moment ago.
    pub(super) fn has_closed(&self, key: &Key) -> bool {
        self.closed.iter().any(|it| it.contains(key))
    }

    /// Remembers an attempt that failed. Returns whether no record told of it before.
    ///
    /// Only what a program took over can repeat what one before it recorded, and by then nobody knows any more when the attempt
    /// began.
    pub(super) fn fail(&mut self, record: &ConnectionRecord) -> bool {
        let key = (record.socket.netns, Ends::new(&record.socket));
        let may_repeat = record.is_taken_over != 0 && record.connecting_since == 0;
        if may_repeat && self.failed.iter().any(|it| it.contains(&key)) {
            return false;
        }
        self.failed[0].insert(key);
        true
    }

    /// Remembers a connection that walks no longer found, `walk` being the last of them.
    pub(super) fn vanish(&mut self, connection: Connection, walk: u64) {
        self.order.push_back((walk, connection.key()));
        self.vanished.insert(connection.key(), connection);
        if self.order.len() > MAX_VANISHED
            && let Some((_, oldest)) = self.order.pop_front()
            && self.vanished.remove(&oldest).is_some()
        {
            self.forgotten.add(1);
        }
    }

    /// Returns whether a connection vanished, and is remembered.
    pub(super) fn has_vanished(&self, key: &Key) -> bool {
        !self.vanished.is_empty() && self.vanished.contains_key(key)
    }

    /// Takes a connection out that vanished, to go on with it.
    pub(super) fn take_vanished(&mut self, key: &Key) -> Option<Connection> {
        let mut connection = self.vanished.remove(key)?;
        self.order.retain(|(_, it)| it != key);
        connection.resume();
        Some(connection)
    }

    /// Takes note that a walk is over: what vanished long ago is gone.
    pub(super) fn end_walk(&mut self, walk: u64) {
        while let Some((_, key)) = self.order.pop_front_if(|(it, _)| *it + KEPT_WALKS <= walk) {
            self.vanished.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::{Role, Socket};
    use bytemuck::Zeroable;
    use model::UnixNanos;

    use super::*;

    #[test]
    fn an_end_is_remembered_for_one_more_drain() {
        let mut ended = Ended::new(Counter::default());
        let key = connection(1).key();
        ended.close(key);
        ended.end_drain();
        assert!(ended.has_closed(&key));
        ended.end_drain();
        assert!(!ended.has_closed(&key));
    }

    #[test]
    fn ends_are_remembered_up_to_a_number() {
        let mut ended = Ended::new(Counter::default());
        for n in 0..MANY_TOLD {
            assert!(!ended.is_full());
            ended.close(connection(u32::try_from(n).unwrap()).key());
        }
        assert!(ended.is_full());
        ended.end_drain();
        assert!(!ended.is_full());
    }

    /// One port may fail again and again, each time within a fraction of a millisecond; and a program may be kept from its
    /// turn for long.
    #[test]
    fn attempts_between_the_same_ends_are_told_apart() {
        let mut ended = Ended::new(Counter::default());
        let attempt = |is_taken_over, connecting_since| {
            let socket = Socket { local_port: 40_000, ..Socket::zeroed() };
            ConnectionRecord { is_taken_over, connecting_since, socket, ..ConnectionRecord::zeroed() }
        };
        assert!(ended.fail(&attempt(0, 5)));
        assert!(!ended.fail(&attempt(1, 0)), "the first program knew when it began");
        assert!(ended.fail(&attempt(0, 6)));
        assert!(ended.fail(&attempt(0, 0)), "one that there was no room to remember");
        assert!(ended.fail(&attempt(1, 7)), "only that one was run");
        ended.end_drain();
        assert!(!ended.fail(&attempt(1, 0)));
        ended.end_drain();
        ended.end_drain();
        assert!(ended.fail(&attempt(1, 0)));
    }

    #[test]
    fn the_oldest_that_vanished_makes_room_and_is_counted() {
        let mut ended = Ended::new(Counter::default());
        for n in 0..=MAX_VANISHED {
            ended.vanish(connection(u32::try_from(n).unwrap()), 1);
        }
        assert!(!ended.has_vanished(&connection(0).key()));
        assert!(ended.take_vanished(&connection(1).key()).is_some());
        assert_eq!((ended.vanished.len(), ended.order.len()), (MAX_VANISHED - 1, MAX_VANISHED - 1));
        assert_eq!(ended.forgotten.value(), 1);
    }

    #[test]
    fn what_vanished_long_ago_is_gone() {
        let mut ended = Ended::new(Counter::default());
        ended.vanish(connection(1), 5);
        ended.end_walk(5 + KEPT_WALKS - 1);
        assert!(ended.has_vanished(&connection(1).key()));
        ended.end_walk(5 + KEPT_WALKS);
        assert!(!ended.has_vanished(&connection(1).key()));
        assert_eq!((ended.order.len(), ended.forgotten.value()), (0, 0));
    }

    fn connection(number: u32) -> Connection {
        let socket = Socket { snd_una: number, ..Socket::zeroed() };
        Connection::opened(&socket, Key::new(&socket, Role::Client), None, UnixNanos(0))
    }
}
