//! This machine: what it is, and what it does.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context, bail};

use crate::command;

/// Describes this machine and this revision in one sentence.
pub(crate) fn describe(root: &Path) -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let model = value(&cpuinfo, "model name").unwrap_or("unnamed processor");
    let kib: u64 = value(&meminfo, "MemTotal").and_then(|it| it.split(' ').next()).unwrap_or("0").parse()?;
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let date = command::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let git = |words: &[&str]| command::output(Command::new("git").current_dir(root).args(words));
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    // What documents say does not change what is measured.
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!*.md"])?;
    let changed = if changes.is_empty() { "" } else { " with changes" };
    Ok(format!(
        "{model}, {cores} cores, {} GiB of memory, Linux {}, {date}, revision {revision}{changed}",
        kib.div_ceil(1024 * 1024),
        kernel.trim()
    ))
}

/// Time that all processors together have not been idle since the machine started.
pub(crate) fn busy_time() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    busy_ticks(&stat).map(duration)
}

/// Time on a processor of a process and of its threads, from the text of its `stat`.
pub(crate) fn cpu_time(stat: &str) -> anyhow::Result<Duration> {
    // The name in brackets may contain anything; what follows the last bracket is field 3.
    let (_, fields) = stat.rsplit_once(')').context("stat of a process lacks its name")?;
    let mut times = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => Ok(duration(user + system)),
        _ => bail!("stat of a process says {stat:?}"),
    }
}

/// How many connections are over and still remembered by the kernel, of this network namespace.
pub(crate) fn n_in_time_wait() -> anyhow::Result<u64> {
    let sockstat = fs::read_to_string("/proc/net/sockstat").context("cannot read /proc/net/sockstat")?;
    time_wait_of(&sockstat).with_context(|| format!("/proc/net/sockstat says {sockstat:?}"))
}

fn time_wait_of(sockstat: &str) -> Option<u64> {
    let mut words = sockstat.lines().find_map(|it| it.strip_prefix("TCP:"))?.split_whitespace();
    words.find(|it| *it == "tw")?;
    words.next()?.parse().ok()
}

fn duration(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / TICKS_PER_SEC)
}

/// What `sysconf(_SC_CLK_TCK)` is on every Linux for x86-64 and arm64.
const TICKS_PER_SEC: u64 = 100;

fn busy_ticks(stat: &str) -> anyhow::Result<u64> {
    let line =
        stat.lines().next().and_then(|it| it.strip_prefix("cpu ")).context("/proc/stat lacks `cpu`")?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match &ticks[..] {
        // Time stolen by the hypervisor is time in which something here had to wait.
        [user, nice, system, _idle, _waiting, interrupts, soft_interrupts, stolen, ..] => {
            Ok(user + nice + system + interrupts + soft_interrupts + stolen)
        }
        _ => bail!("/proc/stat says {line:?}"),
    }
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|it| it.starts_with(key))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_are_not_busy() {
        let stat = "cpu  100 20 3 9000 800 4 5 6 0 0\ncpu0 50 10 1 4500 400 2 2 3 0 0\n";
        assert_eq!(busy_ticks(stat).unwrap(), 100 + 20 + 3 + 4 + 5 + 6);
    }

    #[test]
    fn connections_that_are_over_are_those_of_tcp() {
        let text = "sockets: used 9\nTCP: inuse 5 orphan 0 tw 12 alloc 7 mem 3\nUDP: inuse 2 tw 1\n";
        assert_eq!(time_wait_of(text), Some(12));
        assert_eq!(time_wait_of("TCP6: inuse 5\n"), None);
    }

    /// The name of a process may look like the fields behind it.
    #[test]
    fn time_of_a_process_is_behind_its_name() {
        let stat = "7 (a) R 1 2) S 1 7 7 0 -1 4194304 91 79 0 0 150 50 9 9 20 0 1 0 95193 2654208 386";
        assert_eq!(cpu_time(stat).unwrap(), Duration::from_secs(2));
    }

    #[test]
    fn values_are_what_stands_after_the_colon() {
        let text = "processor\t: 0\nmodel name\t: A fast one\nflags\t: fpu\n";
        assert_eq!(value(text, "model name"), Some("A fast one"));
        assert_eq!(value(text, "stepping"), None);
    }
}
