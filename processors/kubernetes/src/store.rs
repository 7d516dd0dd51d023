use std::{borrow::Borrow, collections::HashMap, hash::Hash, mem};

use foldhash::fast::RandomState;

/// What the API server tells of objects of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<K, V> {
    /// It tells all of them anew, until [`Change::End`].
    Begin,
    /// An object is there, as it is now.
    Is(K, V),
    /// An object is gone.
    Gone(K),
    /// That were all: what it did not name since [`Change::Begin`] is gone.
    End,
}

/// Objects of one kind, as the API server told of them last.
///
/// Of those beyond its capacity nothing is kept. While it tells all of them anew those that it has not named yet stay, so that what was known is never missing.
#[derive(Debug)]
pub(crate) struct Store<K, V> {
    objects: HashMap<K, Known<V>, RandomState>,
    round: u32,
    is_complete: bool,
    capacity: usize,
    refused: u64,
}

#[derive(Debug)]
struct Known<V> {
    object: V,
    // In which round it was named last.
    round: u32,
}

/// What was there before a change, and what is there after it.
pub(crate) type Replaced<V> = (Option<V>, Option<V>);

impl<K: Clone + Eq + Hash, V: Clone + PartialEq> Store<K, V> {
    /// Keeps so many at most.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { objects: HashMap::default(), round: 0, is_complete: false, capacity, refused: 0 }
    }

    /// Applies a change, and returns what it replaced: nothing of what is as it was.
    pub(crate) fn apply(&mut self, change: Change<K, V>) -> Vec<Replaced<V>> {
        match change {
            Change::Begin => {
                self.round = self.round.wrapping_add(1);
                Vec::new()
            }
            Change::Is(key, _) if self.objects.len() >= self.capacity && !self.objects.contains_key(&key) => {
                self.refused += 1;
                Vec::new()
            }
            Change::Is(key, object) => {
                let known = Known { object: object.clone(), round: self.round };
                let old = self.objects.insert(key, known).map(|it| it.object);
                if old.as_ref() == Some(&object) { Vec::new() } else { vec![(old, Some(object))] }
            }
            Change::Gone(key) => {
                self.objects.remove(&key).map(|it| (Some(it.object), None)).into_iter().collect()
            }
            Change::End => {
                self.is_complete = true;
                let round = self.round;
                let gone = self.objects.extract_if(|_, it| it.round != round);
                gone.map(|(_, it)| (Some(it.object), None)).collect()
            }
        }
    }

    /// Returns whether all objects were told of at least once.
    pub(crate) const fn is_complete(&self) -> bool {
        self.is_complete
    }

    pub(crate) fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.objects.get(key).map(|it| &it.object)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.objects.values().map(|it| &it.object)
    }

    pub(crate) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Returns how many objects there was no room for since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        mem::take(&mut self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watch that begins again must not make names disappear meanwhile.
    #[test]
    fn what_is_told_anew_replaces_what_was_known_at_its_end() {
        let mut store = Store::new(8);
        for change in [Change::Begin, Change::Is(1, "a"), Change::Is(2, "b")] {
            store.apply(change);
        }
        assert!(!store.is_complete());
        assert_eq!(store.apply(Change::End), []);
        assert!(store.is_complete());
        assert_eq!(store.apply(Change::Is(2, "c")), [(Some("b"), Some("c"))]);
        assert_eq!(store.apply(Change::Begin), []);
        assert_eq!((store.get(&1), store.get(&2)), (Some(&"a"), Some(&"c")));
        assert_eq!(store.apply(Change::Is(2, "c")), [], "it is as it was");
        assert_eq!(store.apply(Change::End), [(Some("a"), None)]);
        assert_eq!((store.get(&1), store.len()), (None, 1));
    }

    #[test]
    fn beyond_its_capacity_nothing_is_kept() {
        let mut store = Store::new(1);
        store.apply(Change::Is(1, "a"));
        assert_eq!(store.apply(Change::Is(2, "b")), []);
        assert_eq!(store.apply(Change::Is(1, "c")), [(Some("a"), Some("c"))]);
        assert_eq!((store.len(), store.take_refused(), store.take_refused()), (1, 1, 0));
    }

    #[test]
    fn what_is_gone_was_there() {
        let mut store = Store::new(8);
        store.apply(Change::Is(1, "a"));
        assert_eq!(store.apply(Change::Gone(1)), [(Some("a"), None)]);
        assert_eq!(store.apply(Change::Gone(1)), []);
    }
}
