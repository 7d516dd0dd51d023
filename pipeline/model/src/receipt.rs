use std::{
    any::Any,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Tells whoever sent a batch here whether it was taken. Clones share it.
///
/// A batch has been taken when every component that had it, or a clone of it, has let go of it, and none has refused it.
/// Whoever keeps it safe for later lets go when it is safe, and not before.
#[derive(Clone, Default)]
pub struct Receipt(Option<Arc<Open>>);

/// What a batch takes of its receiver's memory budget, until the last clone is dropped.
pub type Space = Arc<dyn Any + Send + Sync>;

struct Open {
    is_refused: AtomicBool,
    tell: Mutex<Option<Tell>>,
}

type Tell = Box<dyn FnOnce(bool) + Send>;

impl Receipt {
    /// Makes a receipt; `tell` is called once, with whether the batch was taken.
    pub fn new(tell: impl FnOnce(bool) + Send + 'static) -> Self {
        let tell = Mutex::new(Some(Box::new(tell) as Tell));
        Self(Some(Arc::new(Open { is_refused: AtomicBool::new(false), tell })))
    }

    /// Says that the batch was not taken, so that its sender sends it again.
    pub fn refuse(&self) {
        if let Some(open) = &self.0 {
            open.is_refused.store(true, Ordering::Release);
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Nobody panics while it is locked.
        let tell = self.tell.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(tell) = tell {
            tell(!*self.is_refused.get_mut());
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").field("is_awaited", &self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Receiver};

    use super::*;

    #[test]
    fn it_is_told_when_the_last_lets_go() {
        let (receipt, told) = receipt();
        let clone = receipt.clone();
        drop(receipt);
        assert!(told.try_recv().is_err());
        drop(clone);
        assert_eq!(told.try_recv(), Ok(true));
    }

    #[test]
    fn one_that_refuses_is_enough() {
        let (receipt, told) = receipt();
        receipt.clone().refuse();
        drop(receipt.clone());
        drop(receipt);
        assert_eq!(told.try_iter().collect::<Vec<_>>(), [false]);
    }

    #[test]
    fn nobody_waits_for_none() {
        let receipt = Receipt::default();
        receipt.refuse();
        assert_eq!(format!("{receipt:?}"), "Receipt { is_awaited: false }");
    }

    fn receipt() -> (Receipt, Receiver<bool>) {
        let (send, told) = mpsc::channel();
        (Receipt::new(move |is_taken| send.send(is_taken).expect("the test listens")), told)
    }
}
