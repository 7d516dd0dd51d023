use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use foldhash::fast::RandomState;

/// How many texts are kept until those that nobody has any more are looked for.
const FIRST_SWEEP: usize = 1 << 10;

/// Texts that many objects have in common, such as the name of a node, each kept once for all of them.
///
/// It holds no more than twice the texts that were in use when it looked last, or [`FIRST_SWEEP`].
#[derive(Debug)]
pub(crate) struct Texts(Mutex<Known>);

#[derive(Debug)]
struct Known {
    texts: HashSet<Arc<str>, RandomState>,
    next_sweep: usize,
}

impl Default for Texts {
    fn default() -> Self {
        Self(Mutex::new(Known { texts: HashSet::default(), next_sweep: FIRST_SWEEP }))
    }
}

impl Texts {
    /// Returns the one copy of a text.
    pub(crate) fn share(&self, text: &str) -> Arc<str> {
        // Whoever panicked left a set of texts, as every other.
        let Known { texts, next_sweep } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = texts.get(text) {
            return Arc::clone(known);
        }
        if texts.len() >= *next_sweep {
            texts.retain(|it| Arc::strong_count(it) > 1);
            *next_sweep = FIRST_SWEEP.max(2 * texts.len());
        }
        let text = Arc::from(text);
        texts.insert(Arc::clone(&text));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one() {
        let texts = Texts::default();
        let [one, same, other] = ["node-1", "node-1", "node-2"].map(|it| texts.share(it));
        assert!(Arc::ptr_eq(&one, &same));
        assert_eq!((&*one, &*other), ("node-1", "node-2"));
    }

    /// Texts of objects that come and go must not stay.
    #[test]
    fn what_nobody_has_is_not_kept() {
        let texts = Texts::default();
        let held: Vec<_> = (0..FIRST_SWEEP).map(|it| texts.share(&format!("held-{it}"))).collect();
        for it in 0..10 * FIRST_SWEEP {
            texts.share(&format!("left-{it}"));
        }
        let Known { texts: known, .. } = &*texts.0.lock().unwrap();
        assert!(known.len() <= 2 * held.len(), "{}", known.len());
        assert!(held.iter().all(|it| known.get(it).is_some_and(|known| Arc::ptr_eq(known, it))));
    }
}
