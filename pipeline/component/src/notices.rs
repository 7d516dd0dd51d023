use std::sync::{Arc, Mutex, PoisonError};

/// Where the person who starts the program finds what it produces. Cloning shares the list.
///
/// Each notice is a phrase that can stand in a list, such as `metrics at http://127.0.0.1:9464/metrics`: lower case, no
/// full stop. Components add theirs when they are created; the program shows them once, in one line.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Vec<String>>>);

impl Notices {
    /// Adds a notice.
    pub fn add(&self, notice: impl Into<String>) {
        // Nothing inside can panic half-way through a change of the list.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(notice.into());
    }

    /// Returns what was added so far, in the order in which components were created.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
