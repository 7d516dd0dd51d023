//! Waiting for other processes.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);

/// Calls `attempt` until it returns a value, at most for `limit`; then returns what it said last.
///
/// # Errors
///
/// The last attempt's error, when the time is over.
pub fn until<T>(limit: Duration, mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= limit => return Err(error),
            Err(_) => pause(),
        }
    }
}

/// Calls `attempt` until it returns `Ok` without a break for as long as `calm`; at most for `limit` in all.
///
/// # Errors
///
/// The last error, when the time is over.
pub fn until_lasting(
    limit: Duration,
    calm: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut calm_since = None;
    loop {
        match attempt() {
            Ok(()) if calm_since.get_or_insert_with(Instant::now).elapsed() >= calm => return Ok(()),
            Ok(()) => {}
            Err(error) if start.elapsed() >= limit => return Err(error),
            Err(_) => calm_since = None,
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the condition lives in another process, and there is no runtime here"
)]
fn pause() {
    std::thread::sleep(PAUSE);
}
