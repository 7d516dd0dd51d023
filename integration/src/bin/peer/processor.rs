//! Where this process runs.

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Runs on the first processor that there is, where timers then expire.
pub(crate) fn use_one() -> anyhow::Result<()> {
    let first = all()?.into_iter().take(1);
    run_on(first)
}

/// Runs on all processors but the first, which does what it does meanwhile. If there is no other it has to wait.
pub(crate) fn use_others() -> anyhow::Result<()> {
    let all = all()?;
    run_on(all.iter().copied().skip(usize::from(all.len() > 1)))
}

/// Returns the processors that this process may use, whatever it was confined to before.
fn all() -> anyhow::Result<Vec<usize>> {
    run_on(0..CpuSet::MAX_CPU)?;
    let allowed = sched_getaffinity(None).context("cannot tell the processors")?;
    Ok((0..CpuSet::MAX_CPU).filter(|it| allowed.is_set(*it)).collect())
}

fn run_on(processors: impl IntoIterator<Item = usize>) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    processors.into_iter().for_each(|it| set.set(it));
    sched_setaffinity(None, &set).context("cannot choose the processors")
}
