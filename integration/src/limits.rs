//! What a process may still do, as the kernel tells it of each of its threads.

use std::fs;

use anyhow::{Context, ensure};

/// The bits of `CAP_PERFMON` and `CAP_BPF`.
pub const TWO_CAPABILITIES: u64 = 1 << 38 | 1 << 39;

/// The limits of one thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What the thread calls itself.
    pub thread: String,
    /// Capabilities that it may use.
    pub permitted: u64,
    /// Capabilities that it uses.
    pub effective: u64,
    /// Capabilities that programs it starts may inherit, if their files say so.
    pub inheritable: u64,
    /// Capabilities that programs it starts inherit.
    pub ambient: u64,
    /// Capabilities that programs it starts can have at most.
    pub bounding: u64,
    /// Whether programs it starts have no more privileges than itself.
    pub no_new_privs: bool,
    /// Whether a filter judges its system calls.
    pub is_filtered: bool,
}

/// Returns the limits of every thread of a process.
///
/// # Errors
///
/// There is no such process.
pub fn of_threads(pid: u32) -> anyhow::Result<Vec<Limits>> {
    let folder = format!("/proc/{pid}/task");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        let path = entry.with_context(|| format!("cannot read {folder}"))?.path().join("status");
        // A thread may end at any time.
        let Ok(status) = fs::read_to_string(&path) else { continue };
        all.push(parse(&status).with_context(|| format!("{} is not as expected", path.display()))?);
    }
    ensure!(!all.is_empty(), "{folder} is empty");
    Ok(all)
}

/// Checks that no thread of a process has more than these capabilities, or a way to more, and that all are filtered.
///
/// # Errors
///
/// Names the first thread that could do more.
pub fn check(pid: u32, capabilities: u64) -> anyhow::Result<()> {
    for limits in of_threads(pid)? {
        let Limits {
            thread: _,
            permitted,
            effective,
            inheritable,
            ambient,
            bounding,
            no_new_privs,
            is_filtered,
        } = limits;
        ensure!(
            permitted == capabilities
                && effective == capabilities
                && inheritable == 0
                && ambient == 0
                // Only an administrator can lower it below what was given.
                && bounding & !capabilities == 0
                && no_new_privs
                && is_filtered,
            "a thread may do more than with the capabilities {capabilities:x}: {limits:x?}"
        );
    }
    Ok(())
}

fn parse(status: &str) -> anyhow::Result<Limits> {
    let text = |name: &str| -> anyhow::Result<&str> {
        let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.map(str::trim).with_context(|| format!("there is no line `{name}`"))
    };
    let set = |name: &str| -> anyhow::Result<u64> {
        u64::from_str_radix(text(name)?, 16).with_context(|| format!("`{name}` is no set"))
    };
    Ok(Limits {
        thread: text("Name")?.to_owned(),
        permitted: set("CapPrm")?,
        effective: set("CapEff")?,
        inheritable: set("CapInh")?,
        ambient: set("CapAmb")?,
        bounding: set("CapBnd")?,
        no_new_privs: text("NoNewPrivs")? == "1",
        is_filtered: text("Seccomp")? == "2",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tridley\nUid:\t0\t0\t0\t0\nCapInh:\t0000000000000001\nCapPrm:\t000000c000000000\n\
                      CapEff:\t0000008000000000\nCapBnd:\t000001ffffffffff\nCapAmb:\t0000000000000002\n\
                      NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        let expected = Limits {
            thread: "ridley".to_owned(),
            permitted: TWO_CAPABILITIES,
            effective: 1 << 39,
            inheritable: 1,
            ambient: 2,
            bounding: (1 << 41) - 1,
            no_new_privs: true,
            is_filtered: true,
        };
        assert_eq!(parse(status).unwrap(), expected);
        assert!(parse("Name:\tridley\n").is_err());
    }

    /// The tests themselves are not limited.
    #[test]
    fn an_unlimited_process_is_found_out() {
        assert!(check(std::process::id(), TWO_CAPABILITIES).is_err());
    }
}
