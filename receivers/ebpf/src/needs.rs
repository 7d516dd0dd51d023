//! What the receiver needs of the machine and of its own process.

use std::fs;

use crate::{btf::Btf, layout};

/// First Linux with `bpf_loop`.
const MIN_KERNEL: (u32, u32) = (5, 17);

const CAP_SYS_PTRACE: u32 = 19;
const CAP_SYS_ADMIN: u32 = 21;
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
    vec![
        kernel(&release),
        type_information(),
        capability(&status, "CAP_BPF", CAP_BPF, "to load the eBPF programs"),
        capability(&status, "CAP_PERFMON", CAP_PERFMON, "to let them read the kernel's sockets"),
        no_lockdown(&read("/sys/kernel/security/lockdown")),
        cgroup2(&read("/proc/self/cgroup")),
        process_names(&status),
    ]
}

fn kernel(release: &str) -> Need {
    Need {
        name: "Linux 5.17 or newer",
        purpose: "for loops in eBPF programs",
        is_required: true,
        is_present: version(release).is_some_and(|it| it >= MIN_KERNEL),
        found: release.to_owned(),
        remedy: "run on a newer kernel",
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn type_information() -> Need {
    let layout = Btf::of_running_kernel().and_then(|btf| layout::offsets(&btf));
    let found = match &layout {
        Ok((_, degraded)) if degraded.is_empty() => "complete".to_owned(),
        Ok((_, degraded)) => {
            let missing: Vec<_> = degraded.iter().map(|it| it.missing).collect();
            format!("without {}", missing.join(", "))
        }
        Err(err) => component::ErrorChain(err).to_string(),
    };
    Need {
        name: "type information of the kernel (BTF)",
        purpose: "to find the sockets in its memory",
        is_required: true,
        is_present: layout.is_ok(),
        found,
        remedy: "run on a kernel built with `CONFIG_DEBUG_INFO_BTF=y`, as distributions build theirs",
    }
}

fn capability(status: &str, name: &'static str, bit: u32, purpose: &'static str) -> Need {
    let is_present = has_capability(status, bit) || has_capability(status, CAP_SYS_ADMIN);
    Need {
        name,
        purpose,
        is_required: true,
        is_present,
        found: if is_present { "granted" } else { "not granted" }.to_owned(),
        remedy: "run as root, or grant CAP_BPF and CAP_PERFMON: by `AmbientCapabilities=` of a systemd unit, by `setcap \
                 cap_bpf,cap_perfmon+ep` on the binary, or in a pod by `runAsUser: 0` with `capabilities: {drop: [ALL], \
                 add: [BPF, PERFMON]}`",
    }
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
    let is_present = has_capability(status, CAP_SYS_PTRACE);
    Need {
        name: "CAP_SYS_PTRACE",
        purpose: "to name the processes of connections and servers older than the agent",
        is_required: false,
        is_present,
        found: if is_present { "granted" } else { "not granted" }.to_owned(),
        remedy: "run as root, or grant CAP_SYS_PTRACE; without it they are named by their container or unit, or later",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: &str = "Name:\tridley\nCapEff:\t0000000000000000\n";
    const BPF_AND_PERFMON: &str = "Name:\tridley\nCapEff:\t000000c000000000\n";
    const SYS_ADMIN: &str = "Name:\tridley\nCapEff:\t0000000000200000\n";

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, expected) in [
            ("5.17.0-1", true),
            ("5.16.20-amd64", false),
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
