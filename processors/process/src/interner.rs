use std::{collections::HashSet, num::NonZeroUsize, sync::Arc};

use model::Entity;

/// Keeps one shared copy of each entity, bounded.
///
/// When it is full it drops its copies of those that nobody else holds any more. If most are held it drops all of its
/// own: who holds one keeps it, and it is made once more when it is needed again.
#[derive(Debug)]
pub(crate) struct Interner {
    entities: HashSet<Arc<Entity>>,
    capacity: usize,
}

impl Interner {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self { entities: HashSet::new(), capacity: capacity.get() }
    }

    /// Returns the shared copy.
    pub(crate) fn intern(&mut self, entity: Entity) -> Arc<Entity> {
        if let Some(known) = self.entities.get(&entity) {
            return Arc::clone(known);
        }
        if self.entities.len() >= self.capacity {
            self.entities.retain(|it| Arc::strong_count(it) > 1);
            // Else the next entities would each search for room that is not there.
            if self.entities.len() > self.capacity / 2 {
                self.entities.clear();
            }
        }
        let entity = Arc::new(entity);
        self.entities.insert(Arc::clone(&entity));
        entity
    }

    pub(crate) fn len(&self) -> usize {
        self.entities.len()
    }
}

#[cfg(test)]
mod tests {
    use model::kind;

    use super::*;

    #[test]
    fn equal_entities_share_a_copy() {
        let mut interner = interner(8);
        let first = interner.intern(named("nginx"));
        let again = interner.intern(named("nginx"));
        assert!(Arc::ptr_eq(&first, &again));
        assert!(!Arc::ptr_eq(&first, &interner.intern(named("curl"))));
    }

    #[test]
    fn those_that_nobody_holds_make_room() {
        let mut interner = interner(4);
        let held = interner.intern(named("held"));
        for n in 0..100 {
            interner.intern(named(&n.to_string()));
            assert!(interner.len() <= 4, "{} entities", interner.len());
        }
        assert!(Arc::ptr_eq(&held, &interner.intern(named("held"))));
    }

    #[test]
    fn the_bound_holds_when_all_are_held() {
        let mut interner = interner(4);
        let held: Vec<_> = (0..100).map(|n| interner.intern(named(&n.to_string()))).collect();
        assert!(interner.len() <= 4, "{} entities", interner.len());
        assert_eq!(held[7].name.as_ref(), "7");
    }

    fn interner(capacity: usize) -> Interner {
        Interner::new(NonZeroUsize::new(capacity).unwrap())
    }

    fn named(name: &str) -> Entity {
        Entity::new(name, kind::PROCESS)
    }
}
