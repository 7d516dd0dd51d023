//! What benches and long runs have in common: an agent to look at, connections of a known number, and this machine.

pub(crate) mod agent;
pub(crate) mod far;
pub(crate) mod kernel;
pub(crate) mod load;
pub(crate) mod machine;

use std::{thread, time::Duration};

/// How long a network that was made just now is left alone.
const SETTLED: Duration = Duration::from_secs(1);

/// Waits: there is no runtime here whose timers could be awaited.
#[expect(clippy::disallowed_methods, reason = "what happens meanwhile is measured")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}
