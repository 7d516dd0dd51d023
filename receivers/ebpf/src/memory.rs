//! The limit that old kernels set to the memory of eBPF maps.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Several times what the maps take with the default settings: before Linux 5.11 it counts as locked memory.
pub(crate) const LOCKED_BYTES: u64 = 16 << 20;

/// Raises how much memory this process may lock, as far as it may. Newer kernels do not ask for it.
pub(crate) fn raise_limit() {
    let unlimited = Rlimit { current: None, maximum: None };
    if setrlimit(Resource::Memlock, unlimited).is_ok() {
        return;
    }
    let maximum = getrlimit(Resource::Memlock).maximum;
    let raised = setrlimit(Resource::Memlock, Rlimit { current: maximum, maximum });
    debug!(?maximum, is_raised = raised.is_ok(), "locked memory stays limited");
}
