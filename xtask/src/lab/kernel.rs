//! What the kernel says of the time that a process's programs take.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::{Context, ensure};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Keeps the kernel's accounting of BPF programs on; drop puts the switch back.
pub(crate) struct StatsGuard {
    before: String,
}

impl StatsGuard {
    pub(crate) fn enable() -> anyhow::Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("cannot write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for StatsGuard {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, self.before.trim()) {
            eprintln!("cannot put {SWITCH} back to {}: {error}", self.before.trim());
        }
    }
}

/// What programs have cost while the accounting was on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) runs: u64,
    pub(crate) time: Duration,
}

/// The programs of one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Programs {
    /// Those that the kernel runs when a socket changes.
    pub(crate) on_events: Cost,
    /// Those that the process runs when it samples.
    pub(crate) on_demand: Cost,
}

/// Returns how much of the kernel's memory the maps of a process take.
pub(crate) fn maps_bytes(pid: u32) -> anyhow::Result<u64> {
    maps_bytes_of(&infos(pid)?)
}

fn maps_bytes_of(infos: &[String]) -> anyhow::Result<u64> {
    let mut maps = HashMap::new();
    for info in infos.iter().map(|it| fields(it)).filter(|it| it.contains_key("map_type")) {
        let bytes = number(&info, "memlock")?;
        // One map may be open more than once.
        maps.insert(info.get("map_id").copied().unwrap_or_default().to_owned(), bytes);
    }
    ensure!(!maps.is_empty(), "the agent has no maps");
    Ok(maps.into_values().sum())
}

/// Reads what the kernel says of the open files of a process.
fn infos(pid: u32) -> anyhow::Result<Vec<String>> {
    let mut infos = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("cannot list the agent's files")? {
        // A file may be closed between the list and the reading; a program or a map is not.
        infos.extend(fs::read_to_string(entry?.path()));
    }
    Ok(infos)
}

fn number(info: &HashMap<&str, &str>, key: &str) -> anyhow::Result<u64> {
    let text = info.get(key).with_context(|| format!("fdinfo lacks {key}"))?;
    text.parse().with_context(|| format!("{key} is {text:?}"))
}

impl Programs {
    /// Reads the open files of a process: programs, and the links that attach some of them.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        Self::from_fdinfo(&infos(pid)?)
    }

    fn from_fdinfo(infos: &[String]) -> anyhow::Result<Self> {
        let infos: Vec<_> = infos.iter().map(|it| fields(it)).collect();
        let attached: Vec<&str> = infos
            .iter()
            .filter(|it| it.contains_key("link_type"))
            .filter_map(|it| it.get("prog_id").copied())
            .collect();
        let mut programs = HashMap::new();
        for info in infos.iter().filter(|it| it.contains_key("prog_type")) {
            let time = Duration::from_nanos(number(info, "run_time_ns")?);
            let cost = Cost { runs: number(info, "run_cnt")?, time };
            // One program may be open more than once.
            programs.insert(info.get("prog_id").copied().unwrap_or_default(), cost);
        }
        let mut this = Self::default();
        for (id, cost) in programs {
            let sum = if attached.contains(&id) { &mut this.on_events } else { &mut this.on_demand };
            sum.runs += cost.runs;
            sum.time += cost.time;
        }
        Ok(this)
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            on_events: self.on_events.since(before.on_events),
            on_demand: self.on_demand.since(before.on_demand),
        }
    }
}

impl Cost {
    fn since(self, before: Self) -> Self {
        Self { runs: self.runs.saturating_sub(before.runs), time: self.time.saturating_sub(before.time) }
    }
}

fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|it| it.split_once(':')).map(|(key, value)| (key.trim(), value.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACHED: &str = "\
pos:\t0
flags:\t02000002
prog_type:\t17
prog_id:\t41
run_time_ns:\t9000
run_cnt:\t30
";
    const ON_DEMAND: &str = "prog_type:\t17\nprog_id:\t42\nrun_time_ns:\t500\nrun_cnt:\t2\n";
    const LINK: &str =
        "link_type:\traw_tracepoint\nlink_id:\t7\nprog_id:\t41\ntp_name:\tinet_sock_set_state\n";

    #[test]
    fn a_link_tells_which_program_runs_on_events() {
        check(&[ATTACHED, ON_DEMAND, LINK], Programs { on_events: cost(30, 9_000), on_demand: cost(2, 500) });
    }

    #[test]
    fn a_program_that_is_open_twice_is_counted_once() {
        check(&[ON_DEMAND, ON_DEMAND], Programs { on_demand: cost(2, 500), ..Programs::default() });
    }

    #[test]
    fn other_files_are_no_programs() {
        check(&["pos:\t0\nflags:\t02\nmnt_id:\t15\n"], Programs::default());
    }

    #[test]
    fn costs_are_differences() {
        let after = Programs { on_events: cost(30, 9_000), on_demand: cost(2, 500) };
        let before = Programs { on_events: cost(10, 4_000), on_demand: cost(0, 0) };
        assert_eq!(after.since(&before), Programs { on_events: cost(20, 5_000), on_demand: cost(2, 500) });
    }

    #[test]
    fn maps_are_added_up_each_once() {
        let map = |id: u32, bytes: u64| format!("map_type:\t27\nmemlock:\t{bytes}\nmap_id:\t{id}\n");
        let infos = [map(1, 4096), map(2, 8192), map(1, 4096), ATTACHED.to_owned()];
        assert_eq!(maps_bytes_of(&infos).unwrap(), 4096 + 8192);
        maps_bytes_of(&[ATTACHED.to_owned()]).unwrap_err();
    }

    fn cost(runs: u64, nanos: u64) -> Cost {
        Cost { runs, time: Duration::from_nanos(nanos) }
    }

    #[track_caller]
    fn check(infos: &[&str], expected: Programs) {
        let infos: Vec<String> = infos.iter().map(|it| (*it).to_owned()).collect();
        assert_eq!(Programs::from_fdinfo(&infos).unwrap(), expected);
    }
}
