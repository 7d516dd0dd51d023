//! What the kernel says of the time that a process's programs take.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{command, packages::Tool};

/// What [`map_entries`] needs.
pub(crate) const INSTALLED: &[Tool] = &[Tool {
    program: "bpftool",
    package: "bpftool",
    purpose: "what is in the maps of the agent's programs",
}];

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The map of handshakes that are under way, an array of places that are shared.
pub(crate) const HANDSHAKES: &str = "HANDSHAKES";
/// How many find room in one place, which begins with a seal of eight bytes for each; all zero where there is none.
const HANDSHAKES_PER_PLACE: usize = 4;

/// The trace point of changes of state.
const STATE_CHANGE: &str = "inet_sock_set_state";

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
    /// Of these the one that it runs last at a change of state: nearly always it finds nothing to do.
    pub(crate) last_on_events: Cost,
    /// Those that the process runs when it samples.
    pub(crate) on_demand: Cost,
}

/// Returns how much of the kernel's memory the maps of a process take.
pub(crate) fn maps_bytes(pid: u32) -> anyhow::Result<u64> {
    let infos = infos(pid)?;
    let bytes = maps_bytes_of(&infos)?;
    ensure!(bytes > 0, "the agent has no maps");
    Ok(bytes)
}

fn maps_bytes_of(infos: &[String]) -> anyhow::Result<u64> {
    maps_of(infos).values().map(|info| number(info, "memlock")).sum()
}

/// Returns how many entries of each map of a process are in use, by the map's name, where that can be told.
pub(crate) fn map_entries(pid: u32) -> anyhow::Result<BTreeMap<String, usize>> {
    let infos = infos(pid)?;
    let mut entries = BTreeMap::new();
    for id in maps_of(&infos).into_keys() {
        let shown = about_map("show", id)?;
        let name = text_of(&shown, "name")?;
        let n = match (text_of(&shown, "type")?, name) {
            ("hash" | "lru_hash", _) => n_entries(&about_map("dump", id)?)?,
            ("array", HANDSHAKES) => n_handshakes(&about_map("dump", id)?)?,
            _ => continue,
        };
        entries.insert(name.to_owned(), n);
    }
    ensure!(entries.contains_key(HANDSHAKES), "the agent has no array `{HANDSHAKES}`");
    Ok(entries)
}

fn about_map(command: &str, id: &str) -> anyhow::Result<serde_json::Value> {
    let answer = command::output(Command::new("bpftool").args(["--json", "map", command, "id", id]))?;
    serde_json::from_str(&answer).context("bpftool did not answer in JSON")
}

fn text_of<'a>(shown: &'a serde_json::Value, key: &str) -> anyhow::Result<&'a str> {
    let text = shown.get(key).and_then(serde_json::Value::as_str);
    text.with_context(|| format!("bpftool does not tell a map's {key}"))
}

fn entries_of(dumped: &serde_json::Value) -> anyhow::Result<&[serde_json::Value]> {
    Ok(dumped.as_array().context("bpftool does not tell a map's entries")?)
}

fn n_entries(dumped: &serde_json::Value) -> anyhow::Result<usize> {
    Ok(entries_of(dumped)?.len())
}

/// Counts the handshakes that are remembered: an array has all of its entries always.
fn n_handshakes(dumped: &serde_json::Value) -> anyhow::Result<usize> {
    let mut n = 0;
    for entry in entries_of(dumped)? {
        let bytes = entry.get("value").and_then(serde_json::Value::as_array);
        let bytes = bytes.context("bpftool does not tell the bytes of an entry")?;
        let seals = bytes.get(..8 * HANDSHAKES_PER_PLACE).context("an entry is too short for its seals")?;
        n += seals.chunks(8).filter(|seal| seal.iter().any(|byte| byte != "0x00")).count();
    }
    Ok(n)
}

/// Returns how often the kernel did not run a program of a process because it was running already, as lines.
pub(crate) fn refused_runs(pid: u32) -> anyhow::Result<Vec<String>> {
    Ok(refused_runs_of(&infos(pid)?))
}

fn refused_runs_of(infos: &[String]) -> Vec<String> {
    let programs = infos
        .iter()
        .map(|it| fields(it))
        .filter_map(|it| Some((it.get("prog_id")?.to_string(), it.get("recursion_misses")?.to_string())));
    // One program may be open more than once.
    let programs: BTreeMap<_, _> = programs.filter(|(_, misses)| misses != "0").collect();
    programs.into_iter().map(|(id, misses)| format!("program {id}: recursion_misses {misses}")).collect()
}

/// Returns what the kernel says of each map by its id; one may be open more than once.
fn maps_of(infos: &[String]) -> HashMap<&str, HashMap<&str, &str>> {
    let infos = infos.iter().map(|it| fields(it)).filter(|it| it.contains_key("map_type"));
    infos.filter_map(|info| Some((*info.get("map_id")?, info))).collect()
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
        let links = || infos.iter().filter(|it| it.contains_key("link_type"));
        let attached: Vec<&str> = links().filter_map(|it| it.get("prog_id").copied()).collect();
        // The kernel numbers links as they are made, and runs programs in that order.
        let last = links()
            .filter(|it| it.get("tp_name") == Some(&STATE_CHANGE))
            .max_by_key(|it| it.get("link_id").and_then(|id| id.parse::<u32>().ok()))
            .and_then(|it| it.get("prog_id").copied());
        let mut programs = HashMap::new();
        for info in infos.iter().filter(|it| it.contains_key("prog_type")) {
            let time = Duration::from_nanos(number(info, "run_time_ns")?);
            let cost = Cost { runs: number(info, "run_cnt")?, time };
            // One program may be open more than once.
            programs.insert(info.get("prog_id").copied().unwrap_or_default(), cost);
        }
        let mut this = Self::default();
        for (id, cost) in programs {
            if Some(id) == last {
                this.last_on_events = cost;
            }
            let sum = if attached.contains(&id) { &mut this.on_events } else { &mut this.on_demand };
            sum.runs += cost.runs;
            sum.time += cost.time;
        }
        Ok(this)
    }

    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            on_events: self.on_events.since(before.on_events),
            last_on_events: self.last_on_events.since(before.last_on_events),
            on_demand: self.on_demand.since(before.on_demand),
        }
    }
}

impl Cost {
    /// Returns nanoseconds per run; not a number if there was none.
    pub(crate) fn nanos_per_run(self) -> f64 {
        self.time.as_nanos() as f64 / self.runs as f64
    }

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
        let both =
            Programs { on_events: cost(30, 9_000), last_on_events: cost(30, 9_000), on_demand: cost(2, 500) };
        check(&[ATTACHED, ON_DEMAND, LINK], both);
    }

    /// Also where another trace point's program comes after it.
    #[test]
    fn the_last_program_at_a_change_of_state_is_told() {
        let second = ATTACHED.replace("41", "43").replace("9000", "100");
        let third = ATTACHED.replace("41", "40").replace("9000", "10");
        let link_of_second = LINK.replace("41", "43").replace("link_id:\t7", "link_id:\t10");
        let link_of_third = LINK
            .replace("41", "40")
            .replace("link_id:\t7", "link_id:\t11")
            .replace(STATE_CHANGE, "tcp_send_reset");
        let programs =
            Programs { on_events: cost(90, 9_110), last_on_events: cost(30, 100), ..Programs::default() };
        check(&[ATTACHED, &second, &third, &link_of_third, &link_of_second, LINK], programs);
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
        let programs =
            |on_events, last_on_events, on_demand| Programs { on_events, last_on_events, on_demand };
        let after = programs(cost(30, 9_000), cost(15, 900), cost(2, 500));
        let before = programs(cost(10, 4_000), cost(5, 300), cost(0, 0));
        assert_eq!(after.since(&before), programs(cost(20, 5_000), cost(10, 600), cost(2, 500)));
    }

    #[test]
    fn maps_are_added_up_each_once() {
        let map = |id: u32, bytes: u64| format!("map_type:\t27\nmemlock:\t{bytes}\nmap_id:\t{id}\n");
        let infos = [map(1, 4096), map(2, 8192), map(1, 4096), ATTACHED.to_owned()];
        assert_eq!(maps_bytes_of(&infos).unwrap(), 4096 + 8192);
        assert_eq!(maps_bytes_of(&[ATTACHED.to_owned()]).unwrap(), 0);
    }

    #[test]
    fn a_program_that_was_not_run_is_told_once() {
        let program = |id, misses| format!("prog_type:\t17\nprog_id:\t{id}\nrecursion_misses:\t{misses}\n");
        let infos = [program(41, 3), program(41, 3), program(42, 0), ATTACHED.to_owned()];
        assert_eq!(refused_runs_of(&infos), ["program 41: recursion_misses 3"]);
    }

    #[test]
    fn bpftool_tells_a_maps_name_and_entries() {
        let shown = serde_json::json!({"id": 7, "type": "lru_hash", "name": "CGROUPS", "max_entries": 2048});
        assert_eq!(text_of(&shown, "name").unwrap(), "CGROUPS");
        assert_eq!(text_of(&shown, "type").unwrap(), "lru_hash");
        text_of(&shown, "btf_id").unwrap_err();
        let entry = serde_json::json!({"key": ["0x01"], "value": ["0x00"]});
        assert_eq!(n_entries(&serde_json::json!([entry, entry])).unwrap(), 2);
        n_entries(&serde_json::json!({"error": "get map: No such file"})).unwrap_err();
    }

    /// What is known of a handshake may be left behind it.
    #[test]
    fn handshakes_are_told_by_their_seals() {
        let place = |set: &[usize]| {
            let bytes = (0..160).map(|idx| if set.contains(&idx) { "0x7f" } else { "0x00" });
            serde_json::json!({"key": ["0x01"], "value": bytes.collect::<Vec<_>>()})
        };
        let dumped = serde_json::json!([place(&[]), place(&[0, 31]), place(&[8, 9, 40]), place(&[32, 159])]);
        assert_eq!(n_handshakes(&dumped).unwrap(), 3);
        n_handshakes(&serde_json::json!([{"key": ["0x01"], "value": ["0x00"]}])).unwrap_err();
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
