//! Which capabilities are kept, for how long, and how the others go.

use std::fmt;

use rustix::{
    io::{self, Errno},
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
    },
};

/// What observing needs: to load programs, and to let them read the kernel's memory.
const OBSERVE: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// What observing makes use of in its first moments: to look up which processes hold the sockets that exist already, of
/// other users too.
const LOOK_UP: CapabilitySet = CapabilitySet::SYS_PTRACE.union(CapabilitySet::DAC_READ_SEARCH);

/// What observing makes use of before Linux 5.11, which counts the memory of maps as locked: to raise the limit of that.
const LOCK_MEMORY: CapabilitySet = CapabilitySet::SYS_RESOURCE;

/// What any component may need to be created: to listen at a port below 1024.
const LISTEN: CapabilitySet = CapabilitySet::NET_BIND_SERVICE;

/// Capabilities to keep, all of them held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keep {
    /// While components are created.
    pub(super) set_up: CapabilitySet,
    /// While they run.
    pub(super) run: CapabilitySet,
}

impl Keep {
    /// Chooses from what is held.
    pub(super) fn of(held: CapabilitySet, observes: bool) -> Self {
        if !observes {
            return Self { set_up: held.intersection(LISTEN), run: CapabilitySet::empty() };
        }
        let mut run = held.intersection(OBSERVE);
        if run != OBSERVE {
            // It stood for both before they existed, and the kernel still takes it for them. Container runtimes that do
            // not know the two can grant nothing else.
            run |= held.intersection(CapabilitySet::SYS_ADMIN);
        }
        Self { set_up: run | held.intersection(LOOK_UP | LOCK_MEMORY | LISTEN), run }
    }
}

/// Returns the capabilities that the calling thread may use.
pub(super) fn held() -> io::Result<CapabilitySet> {
    capabilities(None).map(|it| it.permitted)
}

/// Makes sure that neither this thread nor one it starts gets a capability back by starting a program.
pub(super) fn bar_more() -> io::Result<()> {
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    // Also those that this program has no names for.
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Only an administrator may; with the above the bounding set limits nothing that is not limited already.
            Err(Errno::PERM) => break,
            // The kernel has no more.
            Err(Errno::INVAL) => break,
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

/// Leaves the calling thread with these capabilities, which it must have.
pub(super) fn limit_to(keep: CapabilitySet) -> io::Result<()> {
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

/// Displays capabilities by their names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names(pub(super) CapabilitySet);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (idx, (name, _)) in self.0.iter_names().enumerate() {
            let space = if idx == 0 { "" } else { " " };
            write!(f, "{space}CAP_{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, thread};

    use super::*;

    const NOTHING: CapabilitySet = CapabilitySet::empty();

    #[test]
    fn two_capabilities_are_enough() {
        check(OBSERVE, true, OBSERVE, OBSERVE);
    }

    #[test]
    fn root_keeps_two_and_some_for_the_start() {
        check(CapabilitySet::all(), true, OBSERVE | LOOK_UP | LOCK_MEMORY | LISTEN, OBSERVE);
    }

    #[test]
    fn what_observes_nothing_needs_nothing() {
        check(CapabilitySet::all(), false, LISTEN, NOTHING);
        check(OBSERVE, false, NOTHING, NOTHING);
    }

    #[test]
    fn nothing_is_kept_that_is_not_held() {
        check(NOTHING, true, NOTHING, NOTHING);
        check(CapabilitySet::BPF | CapabilitySet::CHOWN, true, CapabilitySet::BPF, CapabilitySet::BPF);
    }

    /// Docker before 20.10 knows neither of the two.
    #[test]
    fn an_administrator_without_the_two_stays_one() {
        let admin = CapabilitySet::SYS_ADMIN;
        check(admin | CapabilitySet::CHOWN, true, admin, admin);
        check(admin | OBSERVE, true, OBSERVE, OBSERVE);
    }

    #[test]
    fn capabilities_have_the_names_that_manifests_use() {
        assert_eq!(Names(OBSERVE).to_string(), "CAP_PERFMON CAP_BPF");
        assert_eq!(Names(NOTHING).to_string(), "none");
    }

    /// Whatever the test's own rights are: afterwards the thread has none, and no program it starts gets any.
    #[test]
    fn a_limited_thread_has_nothing_left() {
        let status = thread::spawn(|| {
            bar_more().unwrap();
            limit_to(NOTHING).unwrap();
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = status.join().unwrap();
        let value = |name: &str| status.lines().find_map(|it| it.strip_prefix(name)).unwrap().trim();
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(value(name), "0000000000000000", "{name}");
        }
        assert_eq!(value("NoNewPrivs:"), "1");
    }

    #[track_caller]
    fn check(held: CapabilitySet, observes: bool, set_up: CapabilitySet, run: CapabilitySet) {
        assert_eq!(Keep::of(held, observes), Keep { set_up, run });
    }
}
