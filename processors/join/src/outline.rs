use std::{collections::HashMap, mem};

use foldhash::fast::RandomState;
use model::{ConnectionId, Flow, Observer};

/// What is left of a connection that had to make room: whose records count, and who is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) owner: Observer,
    /// Whether it is left to the observer of another node.
    pub(crate) is_left: bool,
    pub(crate) client_is_over: bool,
    pub(crate) server_is_over: bool,
}

// It is worth having because it is small.
const _: () = assert!(size_of::<(ConnectionId, Outline)>() == 16);

impl Outline {
    /// Notes the end, if the record is an end's last.
    pub(crate) fn note(&mut self, flow: &Flow) {
        match flow.observer {
            Observer::Client => self.client_is_over |= flow.end.is_some(),
            Observer::Server => self.server_is_over |= flow.end.is_some(),
        }
    }

    /// Returns whether both ends have reported their end, so that nothing more can come.
    pub(crate) fn is_over(self) -> bool {
        self.client_is_over && self.server_is_over
    }

    /// Returns whether records of the connection that still come would count.
    fn counts(self) -> bool {
        match self.owner {
            Observer::Client => !self.client_is_over,
            Observer::Server => !self.server_is_over,
        }
    }
}

/// Outlines, in two generations.
///
/// What is put in belongs to the young generation. When that is full it becomes the old one, and the old one is
/// forgotten. Whoever takes an outline out and puts it back makes it young again: the observer reports every connection
/// that lives again and again, so that those are forgotten of which it is not known that they still do.
#[derive(Debug)]
pub(crate) struct Outlines {
    capacity: usize,
    young: HashMap<ConnectionId, Outline, RandomState>,
    old: HashMap<ConnectionId, Outline, RandomState>,
}

impl Outlines {
    /// Keeps at least the `capacity` outlines that were put in last, and at most twice as many.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { capacity, young: HashMap::default(), old: HashMap::default() }
    }

    /// Takes out the outline of a connection.
    pub(crate) fn take(&mut self, id: ConnectionId) -> Option<Outline> {
        self.young.remove(&id).or_else(|| self.old.remove(&id))
    }

    /// Puts an outline in, and returns how many connections had to be forgotten before their end.
    pub(crate) fn put(&mut self, id: ConnectionId, outline: Outline) -> u64 {
        let mut n_forgotten = 0;
        if self.young.len() >= self.capacity {
            mem::swap(&mut self.young, &mut self.old);
            n_forgotten = self.young.values().filter(|it| it.counts()).count() as u64;
            self.young.clear();
        }
        self.young.insert(id, outline);
        n_forgotten
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Outline =
        Outline { owner: Observer::Client, is_left: false, client_is_over: false, server_is_over: false };

    fn id(n: u32) -> ConnectionId {
        ConnectionId::from_sequence_numbers(n, 0)
    }

    #[test]
    fn the_last_ones_are_kept_and_the_number_is_bounded() {
        let mut outlines = Outlines::new(4);
        let n_forgotten: u64 = (0..100).map(|n| outlines.put(id(n), OPEN)).sum();
        let kept: Vec<u32> = (0..100).filter(|n| outlines.take(id(*n)).is_some()).collect();
        assert!(kept.len() <= 8 && kept.ends_with(&[96, 97, 98, 99]), "{kept:?}");
        assert_eq!(kept.len() as u64 + n_forgotten, 100);
    }

    /// A connection that is heard of stays, whatever number of others come and go.
    #[test]
    fn what_is_in_use_is_kept() {
        let mut outlines = Outlines::new(4);
        outlines.put(id(0), OPEN);
        for n in 1..100 {
            outlines.put(id(n), OPEN);
            let used = outlines.take(id(0)).expect("it was used just before");
            outlines.put(id(0), used);
        }
    }

    /// Nothing more would count of a connection that is over for its owner.
    #[test]
    fn a_connection_that_is_over_for_its_owner_is_not_forgotten_before_its_end() {
        for (owner, client_is_over, server_is_over, expected) in [
            (Observer::Client, true, false, 0),
            (Observer::Client, false, true, 1),
            (Observer::Server, true, false, 1),
            (Observer::Server, false, true, 0),
        ] {
            let mut outlines = Outlines::new(1);
            let outline = Outline { owner, client_is_over, server_is_over, ..OPEN };
            let n_forgotten: u64 = (0..3).map(|n| outlines.put(id(n), outline)).sum();
            assert_eq!(n_forgotten, expected, "{outline:?}");
        }
    }
}
