//! Waiting for other processes.

use std::{
    env,
    sync::OnceLock,
    time::{Duration, Instant},
};

const PAUSE: Duration = Duration::from_millis(100);

/// Returns how long to wait on this machine for what takes at most `limit` on a usual one: `RIDLEY_PATIENCE` is a factor
/// for machines that are much slower, such as emulated ones.
///
/// # Panics
///
/// `RIDLEY_PATIENCE` is no number from 1 on.
#[must_use]
pub fn patient(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| match env::var("RIDLEY_PATIENCE") {
        Err(_) => 1,
        Ok(text) => text.parse().ok().filter(|it| *it > 0).expect("RIDLEY_PATIENCE is a number from 1 on"),
    });
    limit.saturating_mul(*factor)
}

/// Calls `attempt` until it returns a value, at most for `limit` on a usual machine; then returns what it said last.
///
/// # Errors
///
/// The last attempt's error, when the time is over.
pub fn until<T>(limit: Duration, mut attempt: impl FnMut() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let limit = patient(limit);
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= limit => return Err(error),
            Err(_) => pause(),
        }
    }
}

/// Calls `attempt` until it returns `Ok` without a break for as long as `calm`; at most for `limit` in all on
/// a usual machine.
///
/// # Errors
///
/// The last error, when the time is over.
pub fn until_lasting(
    limit: Duration,
    calm: Duration,
    mut attempt: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let limit = patient(limit);
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
