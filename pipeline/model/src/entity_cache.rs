use std::{collections::HashMap, hash::Hash, num::NonZeroUsize, sync::Arc};

use foldhash::fast::RandomState;

use crate::Entity;

/// Keeps the entity that was made of each key, so that it is made once and shared. Bounded.
///
/// When it is full it drops those that nobody else holds any more. If most are held it drops all: who holds one keeps
/// it, and it is made once more when it is needed again.
#[derive(Debug)]
pub struct EntityCache<K> {
    entities: HashMap<K, Arc<Entity>, RandomState>,
    capacity: usize,
}

impl<K: Eq + Hash> EntityCache<K> {
    /// Keeps so many at most.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self { entities: HashMap::default(), capacity: capacity.get() }
    }

    /// Returns the entity of a key, made by `make` if it is not there.
    pub fn get(&mut self, key: K, make: impl FnOnce(&K) -> Entity) -> Arc<Entity> {
        if let Some(known) = self.entities.get(&key) {
            return Arc::clone(known);
        }
        if self.entities.len() >= self.capacity {
            self.entities.retain(|_, it| Arc::strong_count(it) > 1);
            // Else the next keys would each search for room that is not there.
            if self.entities.len() > self.capacity / 2 {
                self.entities.clear();
            }
        }
        let entity = Arc::new(make(&key));
        self.entities.insert(key, Arc::clone(&entity));
        entity
    }

    /// Forgets all, since they are to be made anew.
    pub fn clear(&mut self) {
        self.entities.clear();
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entities.is_empty()
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.entities.len()
    }
}

#[cfg(test)]
mod tests {
    use crate::kind;

    use super::*;

    #[test]
    fn an_entity_is_made_once() {
        let mut cache = cache(8);
        let first = cache.get(1, named);
        let again = cache.get(1, |_| unreachable!("it is there"));
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(cache.get(2, named).name.as_ref(), "2");
    }

    #[test]
    fn those_that_nobody_holds_make_room() {
        let mut cache = cache(4);
        let held = cache.get(0, named);
        for n in 1..100 {
            cache.get(n, named);
            assert!(cache.len() <= 4, "{} entities", cache.len());
        }
        assert!(Arc::ptr_eq(&held, &cache.get(0, named)));
    }

    #[test]
    fn the_bound_holds_when_all_are_held() {
        let mut cache = cache(4);
        for held in (0..100).map(|n| cache.get(n, named)).collect::<Vec<_>>().iter().enumerate() {
            assert_eq!(held.1.name.as_ref(), held.0.to_string());
        }
        assert!(cache.len() <= 4, "{} entities", cache.len());
    }

    fn cache(capacity: usize) -> EntityCache<usize> {
        EntityCache::new(NonZeroUsize::new(capacity).unwrap())
    }

    fn named(n: &usize) -> Entity {
        Entity::new(n.to_string(), kind::PROCESS)
    }
}
