use std::time::Duration;

use component::BoxError;
use config::Place;

use crate::Instance;

/// A component could not be created; those that had been created before it are gone again.
#[derive(Debug, thiserror::Error)]
#[error("{place}: cannot create {component}")]
pub struct CreateError {
    /// Where the configuration defines the component.
    pub place: Place,
    /// Which one it is.
    pub component: Instance,
    /// What it says.
    #[source]
    pub source: BoxError,
}

/// A component did not run to its proper end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// It gave up.
    #[error("{component} failed")]
    Failed {
        /// Which one it is.
        component: Instance,
        /// What it says.
        #[source]
        source: BoxError,
    },
    /// It has a bug.
    #[error("{component} panicked: {message}")]
    Panicked {
        /// Which one it is.
        component: Instance,
        /// The panic's message.
        message: String,
    },
    /// It stopped taking its input while others still sent to it.
    #[error("{component} ended before its input")]
    EndedEarly {
        /// Which one it is.
        component: Instance,
    },
    /// The drain's time was over before it ended.
    #[error("{component} did not finish within {timeout:?}")]
    Unfinished {
        /// Which one it is.
        component: Instance,
        /// The time it had.
        timeout: Duration,
    },
}
