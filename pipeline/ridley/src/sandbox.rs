//! Gives up what the program does not need: capabilities, ways to more privilege, and system calls.
//!
//! Capabilities belong to threads, and a thread inherits those of the one that starts it. So the order is:
//!
//! 1. [`Sandbox::begin`] on the main thread, before there is another: every capability goes but those of the set-up.
//! 2. [`Sandbox::enter_thread`] on every thread of the runtime as it starts: they have what running needs, no more.
//! 3. The main thread creates the components: loads programs, binds sockets, opens files.
//! 4. [`Sandbox::close`] on the main thread: it is left with what the others have, and system calls that an observer never
//!    needs are refused to all threads.
//!
//! docs/security.md tells users what is given up and what is not.

mod capabilities;
mod filter;

use component::{BoxError, Kind};
use config::Checked;
use rustix::thread::CapabilitySet;
use seccompiler::apply_filter_all_threads;
use tracing::{info, warn};

use self::capabilities::{Keep, Names};

/// The program's own limits; [`begin`](Self::begin) before there are threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sandbox {
    keep: Keep,
    given_up: CapabilitySet,
}

/// The program could not limit itself.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation}; `--no-sandbox` runs with all that this process may do")]
pub(crate) struct SandboxError {
    operation: &'static str,
    #[source]
    source: BoxError,
}

impl Sandbox {
    /// Leaves the calling thread with the capabilities that setting up needs, and bars the way to others.
    ///
    /// # Errors
    ///
    /// The kernel, or the container's runtime, does not let the process limit itself.
    pub(crate) fn begin(config: &Checked) -> Result<Self, SandboxError> {
        let observes =
            config.components.keys().any(|it| it.kind == Kind::Receiver && it.id.type_name() == "ebpf");
        let held = capabilities::held().map_err(failed("read the process's capabilities"))?;
        let keep = Keep::of(held, observes);
        capabilities::bar_more().map_err(failed("bar the way to more privileges"))?;
        capabilities::limit_to(keep.set_up).map_err(failed("give up capabilities"))?;
        Ok(Self { keep, given_up: held.difference(keep.set_up) })
    }

    /// Leaves the calling thread with the capabilities that running needs, as far as it has them.
    pub(crate) fn enter_thread(self) {
        let limited = capabilities::held().and_then(|held| capabilities::limit_to(held & self.keep.run));
        limited.expect("a thread may give up what it has, as the main thread could");
    }

    /// Leaves the calling thread with the capabilities that running needs, and refuses to all threads, also to future
    /// ones, the system calls that an observer never needs.
    ///
    /// # Errors
    ///
    /// As of [`begin`](Self::begin).
    pub(crate) fn close(self) -> Result<(), SandboxError> {
        let Self { keep, given_up: _ } = self;
        capabilities::limit_to(keep.run).map_err(failed("give up capabilities"))?;
        let program = filter::program(libc::EPERM).map_err(failed("make the filter of system calls"))?;
        apply_filter_all_threads(&program)
            .map_err(cause)
            .map_err(failed("apply the filter of system calls"))?;
        if keep.run.contains(CapabilitySet::SYS_ADMIN) {
            warn!("CAP_SYS_ADMIN is kept for want of CAP_BPF or CAP_PERFMON: grant these two instead");
        }
        info!(kept = %Names(keep.run), "gave up the capabilities and system calls that running does not need");
        Ok(())
    }

    /// Returns whether the process could pass over the permissions of files, and no longer can.
    pub(crate) fn respects_files(self) -> bool {
        self.given_up.contains(CapabilitySet::DAC_OVERRIDE)
    }
}

fn failed<E>(operation: &'static str) -> impl FnOnce(E) -> SandboxError
where
    E: Into<BoxError>,
{
    move |source| SandboxError { operation, source: source.into() }
}

/// Returns what the operating system said, which the crate's own errors repeat.
fn cause(err: seccompiler::Error) -> BoxError {
    match err {
        seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => source.into(),
        err => err.into(),
    }
}
