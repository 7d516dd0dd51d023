//! Waiting until the kernel says that there is much to read.

#![expect(unsafe_code, reason = "the runtime wants a promise about the descriptor it watches")]

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
};

use tokio::io::{Interest, unix::AsyncFd};

/// A descriptor that the runtime watches.
#[derive(Debug)]
pub(crate) struct Wakeups {
    watched: AsyncFd<OwnedFd>,
}

impl Wakeups {
    /// Watches what `fd` refers to; needs a runtime.
    pub(crate) fn new(fd: impl AsFd) -> io::Result<Self> {
        let own = fd.as_fd().try_clone_to_owned()?;
        // SAFETY: an `OwnedFd` is open, and stays the same open file until it is dropped; here it is never replaced.
        let watched = unsafe { AsyncFd::register_with_interest(own, Interest::READABLE) }?;
        Ok(Self { watched })
    }

    /// Waits until the kernel wakes whoever reads. Cancel-safe.
    pub(crate) async fn woken(&self) {
        match self.watched.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            // The runtime shuts down.
            Err(_) => std::future::pending().await,
        }
    }
}
