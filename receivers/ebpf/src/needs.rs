//! What the receiver needs of the machine and of its own process.

use std::{fs, io};

use aya::{maps::MapType, sys::is_map_supported};

use crate::{btf::Btf, error::LayoutError, layout, memory, observer};

/// First Linux that lets programs of this kind be run when asked, which walking takes.
const MIN_KERNEL: (u32, u32) = (5, 10);

/// First Linux with `bpf_loop`.
const FAST_KERNEL: (u32, u32) = (5, 17);

/// First Linux that does not take the memory of eBPF maps from the memory that a user may lock.
const UNLIMITED_KERNEL: (u32, u32) = (5, 11);

const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_SYS_RESOURCE: u32 = 24;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// Something that the receiver needs, and whether it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it is, in a few words.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub purpose: &'static str,
    /// Whether the receiver cannot run without it.
    pub is_required: bool,
    /// Whether it is there.
    pub is_present: bool,
    /// What was found.
    pub found: String,
    /// What to do if it is missing: a phrase that can follow a colon.
    pub remedy: &'static str,
}

/// Tells of each need whether it is met, the required ones first. Changes nothing, and needs no privilege itself.
pub fn check() -> Vec<Need> {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let btf = Btf::of_running_kernel();
    let mut needs = vec![
        kernel(&release),
        type_information(&btf),
        capability(&status, "CAP_BPF", CAP_BPF, "to load the eBPF programs"),
        capability(&status, "CAP_PERFMON", CAP_PERFMON, "to let them read the kernel's sockets"),
        no_lockdown(&read("/sys/kernel/security/lockdown")),
    ];
    if is_granted(&status, CAP_BPF) {
        // Of this type only those with the capability may make a map, even where others may make some.
        let tried = is_map_supported(MapType::LruHash).map_err(|error| error.io_error);
        needs.push(system_call(tried));
    }
    needs.extend(locked_memory(&release, &status, &read("/proc/self/limits")));
    needs.extend([
        loops(&release),
        resets(btf.as_ref().ok()),
        cgroup2(&read("/proc/self/cgroup")),
        process_names(&status),
    ]);
    needs
}

fn kernel(release: &str) -> Need {
    Need {
        name: "Linux 5.10 or newer",
        purpose: "to run eBPF programs when asked",
        is_required: true,
        is_present: is_at_least(release, MIN_KERNEL),
        found: release.to_owned(),
        remedy: "run on a newer kernel",
    }
}

fn loops(release: &str) -> Need {
    let is_present = is_at_least(release, FAST_KERNEL);
    Need {
        name: "Linux 5.17 or newer",
        purpose: "to walk many sockets in one go",
        is_required: false,
        is_present,
        found: if is_present { "`bpf_loop`" } else { "older ways to loop" }.to_owned(),
        remedy: "run on a newer kernel; until then a walk takes more and smaller steps",
    }
}

/// Tells of a limit that newer kernels do not have.
fn locked_memory(release: &str, status: &str, limits: &str) -> Option<Need> {
    if is_at_least(release, UNLIMITED_KERNEL) {
        return None;
    }
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"));
    // The soft limit, the hard one, the unit.
    let hard = limit.and_then(|it| it.split_ascii_whitespace().nth(1)).unwrap_or_default();
    let is_enough = hard == "unlimited" || hard.parse().is_ok_and(|it: u64| it >= memory::LOCKED_BYTES);
    Some(Need {
        name: "16 MiB of memory that may be locked",
        purpose: "for the eBPF maps, as Linux counts them before 5.11",
        is_required: true,
        is_present: is_enough || has_capability(status, CAP_SYS_RESOURCE),
        found: if hard == "unlimited" { hard.to_owned() } else { format!("{hard} bytes") },
        remedy: "set `LimitMEMLOCK=infinity` in a systemd unit, or `ulimit -l unlimited` before it starts",
    })
}

fn resets(btf: Option<&Btf>) -> Need {
    let is_there = btf.map(|it| it.has_tracepoint(observer::RESET_SENT.tracepoint));
    Need {
        name: "the trace point `tcp_send_reset`",
        purpose: "to tell who reset a connection that its application had closed",
        is_required: false,
        is_present: is_there == Some(true),
        found: match is_there {
            Some(true) => "there",
            Some(false) => "not there",
            None => "unknown without type information",
        }
        .to_owned(),
        remedy: "run on a kernel that has it; without it such resets are told as aborted",
    }
}

fn is_at_least(release: &str, least: (u32, u32)) -> bool {
    version(release).is_some_and(|it| it >= least)
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn type_information(btf: &Result<Btf, LayoutError>) -> Need {
    let layout = btf.as_ref().map(layout::offsets);
    let found = match &layout {
        Ok(Ok((_, degraded))) if degraded.is_empty() => "complete".to_owned(),
        Ok(Ok((_, degraded))) => {
            let missing: Vec<_> = degraded.iter().map(|it| it.missing).collect();
            format!("without {}", missing.join(", "))
        }
        // What the kernel must be built with is the remedy.
        Err(LayoutError::Read { path, source }) => format!("cannot read {}: {source}", path.display()),
        Ok(Err(err)) => component::ErrorChain(err).to_string(),
        Err(err) => component::ErrorChain(*err).to_string(),
    };
    let is_there = !matches!(layout, Err(LayoutError::Read { .. }));
    Need {
        name: "type information of the kernel (BTF)",
        purpose: "to find the sockets in its memory",
        is_required: true,
        is_present: matches!(layout, Ok(Ok(_))),
        found,
        remedy: if is_there {
            "run on a kernel that docs/kernel-support.md names"
        } else {
            "run on a kernel built with `CONFIG_DEBUG_INFO_BTF=y`, as distributions build theirs"
        },
    }
}

fn capability(status: &str, name: &'static str, bit: u32, purpose: &'static str) -> Need {
    let is_present = is_granted(status, bit);
    Need {
        name,
        purpose,
        is_required: true,
        is_present,
        found: if is_present { "granted" } else { "not granted" }.to_owned(),
        remedy: "grant it to ridley; root has it unless the container or unit that ridley is started in denies it",
    }
}

/// Tells whether what a capability allows is really allowed: not in a user namespace, nor where a filter refuses it.
fn system_call(tried: io::Result<bool>) -> Need {
    Need {
        name: "the system call `bpf`",
        purpose: "to make the eBPF maps",
        is_required: true,
        is_present: matches!(tried, Ok(true)),
        found: match tried {
            Ok(true) => "works".to_owned(),
            Ok(false) => "refused".to_owned(),
            Err(error) => error.to_string(),
        },
        remedy: "run it outside of user namespaces, such as those of rootless containers and of pods with `hostUsers: false`, \
                 and where no filter of system calls (seccomp) refuses it",
    }
}

/// Before Linux 5.8 `CAP_SYS_ADMIN` stood for what an observer takes, and still does.
fn is_granted(status: &str, bit: u32) -> bool {
    has_capability(status, bit) || has_capability(status, CAP_SYS_ADMIN)
}

fn has_capability(status: &str, bit: u32) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|text| u64::from_str_radix(text.trim(), 16).ok());
    bits.is_some_and(|bits| bits >> bit & 1 == 1)
}

fn no_lockdown(lockdown: &str) -> Need {
    let mode = lockdown.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    let mode = mode.map_or("none", |(mode, _)| mode);
    Need {
        name: "no lockdown for confidentiality",
        purpose: "to let eBPF programs read the kernel's memory",
        is_required: true,
        is_present: mode != "confidentiality",
        found: mode.to_owned(),
        remedy: "boot with `lockdown=integrity` or without lockdown",
    }
}

fn cgroup2(cgroups: &str) -> Need {
    let path = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
    Need {
        name: "cgroups version 2",
        purpose: "to name containers and service units",
        is_required: false,
        is_present: path.is_some(),
        found: path.map_or("version 1 only", |_| "in use").to_owned(),
        remedy: "boot with `systemd.unified_cgroup_hierarchy=1`; without it ends are named by their process",
    }
}

fn process_names(status: &str) -> Need {
    // Folders of processes are their owners'; what is in them takes the right to look into another process.
    let mut missing = vec![("CAP_SYS_PTRACE", CAP_SYS_PTRACE), ("CAP_DAC_READ_SEARCH", CAP_DAC_READ_SEARCH)];
    missing.retain(|(_, bit)| !has_capability(status, *bit));
    Need {
        name: "CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
        purpose: "to name the processes of connections and servers older than the agent",
        is_required: false,
        is_present: missing.is_empty(),
        found: match missing[..] {
            [] => "granted".to_owned(),
            [(name, _)] => format!("{name} is not granted"),
            _ => "not granted".to_owned(),
        },
        remedy: "grant both, or run as root outside of a container; without them such ends are named by their container or unit, or are `unknown`, servers until they listen again",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::btf::{VMLINUX, tests::Builder};

    const NOTHING: &str = "Name:\tridley\nCapEff:\t0000000000000000\n";
    const BPF_AND_PERFMON: &str = "Name:\tridley\nCapEff:\t000000c000000000\n";
    const SYS_RESOURCE: &str = "Name:\tridley\nCapEff:\t0000000001000000\n";
    const SYS_ADMIN: &str = "Name:\tridley\nCapEff:\t0000000000200000\n";

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, expected) in [
            ("5.10.0-33-amd64", true),
            ("5.9.16", false),
            ("6.1.0-18-amd64", true),
            ("10.0", true),
            ("4.19.0", false),
            ("", false),
            ("six", false),
        ] {
            assert_eq!(kernel(release).is_present, expected, "{release}");
        }
    }

    /// Before Linux 5.8 `CAP_SYS_ADMIN` stood for both, and still does.
    #[test]
    fn an_administrator_has_every_capability() {
        for (status, expected) in [(NOTHING, false), (BPF_AND_PERFMON, true), (SYS_ADMIN, true), ("", false)]
        {
            for (name, bit) in [("CAP_BPF", CAP_BPF), ("CAP_PERFMON", CAP_PERFMON)] {
                assert_eq!(capability(status, name, bit, "").is_present, expected, "{name} of {status:?}");
            }
        }
    }

    /// Who is root of a user namespace has every capability there, and may do nothing with it.
    #[test]
    fn what_is_granted_may_be_refused_all_the_same() {
        for (tried, is_present, found) in [
            (Ok(true), true, "works"),
            (Ok(false), false, "refused"),
            (Err(io::Error::from_raw_os_error(1)), false, "Operation not permitted (os error 1)"),
        ] {
            let need = system_call(tried);
            assert_eq!((need.is_present, need.found.as_str()), (is_present, found));
        }
    }

    /// Nobody has to raise a limit that the kernel does not know any more.
    #[test]
    fn locked_memory_matters_to_old_kernels_alone() {
        let limits =
            |hard: &str| format!("Max locked memory         65536                {hard}      bytes\n");
        assert_eq!(locked_memory("5.11.0", NOTHING, &limits("65536")), None);
        for (status, hard, expected) in [
            (NOTHING, "65536", false),
            (NOTHING, "unlimited", true),
            (NOTHING, "16777216", true),
            (SYS_RESOURCE, "65536", true),
        ] {
            let need = locked_memory("5.10.0", status, &limits(hard)).unwrap();
            assert_eq!(need.is_present, expected, "{hard}");
        }
    }

    /// Who may look into processes finds none behind a folder that is another user's.
    #[test]
    fn naming_processes_takes_both() {
        for (bits, is_present, found) in [
            (0, false, "not granted"),
            (1 << 19, false, "CAP_DAC_READ_SEARCH is not granted"),
            (1 << 2, false, "CAP_SYS_PTRACE is not granted"),
            (1 << 19 | 1 << 2, true, "granted"),
        ] {
            let need = process_names(&format!("CapEff:\t{bits:016x}\n"));
            assert_eq!((need.is_present, need.found.as_str()), (is_present, found));
        }
    }

    /// Whoever can change the kernel learns what it takes, once.
    #[test]
    fn a_kernel_without_type_information_is_told_how_to_be_built() {
        let source = io::Error::from(io::ErrorKind::NotFound);
        let need = type_information(&Err(LayoutError::Read { path: VMLINUX.into(), source }));
        assert!(need.is_required && !need.is_present);
        assert_eq!(need.found, "cannot read /sys/kernel/btf/vmlinux: entity not found");
        assert!(need.remedy.contains("CONFIG_DEBUG_INFO_BTF=y"), "{}", need.remedy);
        assert_eq!(resets(None).found, "unknown without type information");
    }

    /// Another way of building it would not help.
    #[test]
    fn a_kernel_with_other_structures_is_told_what_it_lacks() {
        let btf = Btf::parse(Builder::default().build());
        let need = type_information(&btf);
        assert!(!need.is_present);
        assert!(need.found.contains("has no `struct "), "{}", need.found);
        assert!(!need.remedy.contains("CONFIG_DEBUG_INFO_BTF"), "{}", need.remedy);
        assert_eq!(resets(btf.as_ref().ok()).found, "not there");
    }

    #[test]
    fn only_confidentiality_is_in_the_way() {
        for (text, expected) in [
            ("[none] integrity confidentiality\n", true),
            ("none [integrity] confidentiality\n", true),
            ("none integrity [confidentiality]\n", false),
            ("", true),
        ] {
            assert_eq!(no_lockdown(text).is_present, expected, "{text}");
        }
    }

    #[test]
    fn a_hybrid_hierarchy_has_version_2() {
        assert!(cgroup2("1:name=systemd:/\n0::/user.slice\n").is_present);
        assert!(!cgroup2("1:name=systemd:/\n").is_present);
    }
}
