use std::{env, fs, process::ExitCode};

use ebpf_receiver::Need;
use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capability_is_in_bounding_set},
};

use crate::{cli::Options, output};

/// What is needed to observe, as manifests and units name it.
const CAPABILITIES: [(&str, CapabilitySet); 2] =
    [("CAP_BPF", CapabilitySet::BPF), ("CAP_PERFMON", CapabilitySet::PERFMON)];

/// Set in every container of a Kubernetes cluster.
const KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

const POD: &str = "    securityContext:
      runAsUser: 0
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
        add: [BPF, PERFMON]
      seccompProfile:
        type: RuntimeDefault";

const UNIT: &str = "    [Service]
    DynamicUser=yes
    AmbientCapabilities=CAP_BPF CAP_PERFMON
    CapabilityBoundingSet=CAP_BPF CAP_PERFMON";

/// Tells what the eBPF receiver needs of this host, what is missing, and what to do about it.
pub(crate) fn check(options: &Options) -> anyhow::Result<ExitCode> {
    let mut needs = ebpf_receiver::check();
    if !options.no_sandbox {
        let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
        needs.push(seccomp(&actions));
    }
    for need in &needs {
        output::line(describe(need))?;
    }
    let is_missing = |need: &&Need| need.is_required && !need.is_present;
    let n_missing = needs.iter().filter(is_missing).count();
    if n_missing > 0 {
        let lacks: Vec<_> = needs.iter().filter(is_missing).map(|it| it.name).collect();
        let lacks: Vec<_> = CAPABILITIES.into_iter().filter(|(name, _)| lacks.contains(name)).collect();
        if !lacks.is_empty() {
            output::line(format_args!("\n{}", Asker::this().advice(&lacks)))?;
        }
        output::line(format_args!("\nthe `ebpf` receiver cannot run here: {}", missing(n_missing)))?;
        return Ok(ExitCode::FAILURE);
    }
    output::line("\nthe `ebpf` receiver can run here")?;
    Ok(ExitCode::SUCCESS)
}

/// Who lacks a capability: that decides who can give it, and how.
#[derive(Clone, Copy, Debug)]
struct Asker {
    uid: u32,
    /// What its user could have.
    bounding: CapabilitySet,
    is_in_kubernetes: bool,
}

impl Asker {
    fn this() -> Self {
        let is_in_reach = |it: &CapabilitySet| capability_is_in_bounding_set(*it).unwrap_or(false);
        Self {
            uid: geteuid().as_raw(),
            bounding: CAPABILITIES.iter().map(|(_, it)| *it).filter(is_in_reach).collect(),
            is_in_kubernetes: env::var_os(KUBERNETES).is_some(),
        }
    }

    fn advice(self, lacks: &[(&str, CapabilitySet)]) -> String {
        let Self { uid, bounding, is_in_kubernetes } = self;
        let names = |lacks: &[(&str, CapabilitySet)]| {
            lacks.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ")
        };
        let denied: Vec<_> = lacks.iter().filter(|(_, it)| !bounding.contains(*it)).copied().collect();
        let all = names(lacks);
        match (is_in_kubernetes, denied.is_empty()) {
            (true, true) => format!(
                "this container is granted {all}, and its user {uid} is not: Kubernetes gives added capabilities to root \
                 alone.\nThis is root without any other privilege:\n\n{POD}"
            ),
            (true, false) => format!("this container is not granted {}. It takes:\n\n{POD}", names(&denied)),
            (false, true) => format!(
                "user {uid} is not granted {all}. A unit of systemd grants them to any user:\n\n{UNIT}\n\n`setcap \
                 cap_bpf,cap_perfmon+ep` on the binary grants them to whoever may run it. Root has them; ridley gives up the \
                 others that root has."
            ),
            (false, false) => format!(
                "what started this process denies {} even to root. A container is granted both by `--cap-add BPF --cap-add \
                 PERFMON`, a unit of systemd by:\n\n{UNIT}",
                names(&denied)
            ),
        }
    }
}

/// What `ridley run` needs to limit itself.
fn seccomp(actions: &str) -> Need {
    let is_present = actions.split_whitespace().any(|it| it == "errno");
    Need {
        name: "filters of system calls (seccomp)",
        purpose: "to give up what an observer never needs",
        is_required: true,
        is_present,
        found: if is_present { "available" } else { "not in this kernel" }.to_owned(),
        remedy: "run on a kernel built with `CONFIG_SECCOMP_FILTER=y`, or use `--no-sandbox`",
    }
}

fn missing(n_needs: usize) -> String {
    match n_needs {
        1 => "one of its needs is missing".to_owned(),
        _ => format!("{n_needs} of its needs are missing"),
    }
}

fn describe(need: &Need) -> String {
    let Need { name, purpose, is_required, is_present, found, remedy } = need;
    match (is_present, is_required) {
        (true, _) => format!("present  {name}: {found}"),
        (false, true) => format!("missing  {name} {purpose}: {found}\n         {remedy}"),
        (false, false) => format!("limited  {name} {purpose}: {found}\n         {remedy}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP_BPF: Need = Need {
        name: "CAP_BPF",
        purpose: "to load the eBPF programs",
        is_required: true,
        is_present: true,
        found: String::new(),
        remedy: "run as root",
    };

    #[test]
    fn what_is_missing_has_a_remedy() {
        let granted = Need { found: "granted".to_owned(), ..CAP_BPF };
        let missing = Need { is_present: false, found: "not granted".to_owned(), ..CAP_BPF };
        let optional = Need { is_required: false, ..missing.clone() };
        for (need, expected) in [
            (granted, "present  CAP_BPF: granted"),
            (missing, "missing  CAP_BPF to load the eBPF programs: not granted\n         run as root"),
            (optional, "limited  CAP_BPF to load the eBPF programs: not granted\n         run as root"),
        ] {
            assert_eq!(describe(&need), expected);
        }
    }

    #[test]
    fn one_need_is_missing_and_two_are() {
        assert_eq!(missing(1), "one of its needs is missing");
        assert_eq!(missing(2), "2 of its needs are missing");
    }

    #[test]
    fn a_container_with_a_user_of_its_own_is_told_to_be_root() {
        let asker = Asker { uid: 65_534, bounding: BOTH, is_in_kubernetes: true };
        check(asker, &CAPABILITIES, "is granted CAP_BPF and CAP_PERFMON, and its user 65534 is not", POD);
    }

    #[test]
    fn a_container_that_is_granted_one_is_told_the_other() {
        let asker = Asker { uid: 0, bounding: CapabilitySet::BPF, is_in_kubernetes: true };
        check(asker, &CAPABILITIES[1..], "is not granted CAP_PERFMON", POD);
    }

    #[test]
    fn a_user_of_a_host_is_told_what_its_unit_needs() {
        let asker = Asker { uid: 1_000, bounding: BOTH, is_in_kubernetes: false };
        check(asker, &CAPABILITIES, "user 1000 is not granted CAP_BPF and CAP_PERFMON", UNIT);
    }

    #[test]
    fn a_container_without_kubernetes_is_told_both() {
        let asker = Asker { uid: 0, bounding: CapabilitySet::empty(), is_in_kubernetes: false };
        check(asker, &CAPABILITIES, "denies CAP_BPF and CAP_PERFMON even to root", UNIT);
    }

    #[test]
    fn filters_are_there_if_they_can_refuse() {
        assert!(seccomp("kill_process kill_thread trap errno user_notif trace log allow\n").is_present);
        assert!(!seccomp("").is_present);
    }

    const BOTH: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

    #[track_caller]
    fn check(asker: Asker, lacks: &[(&str, CapabilitySet)], reason: &str, snippet: &str) {
        let advice = asker.advice(lacks);
        assert!(advice.contains(reason), "no `{reason}` in: {advice}");
        for it in [POD, UNIT] {
            assert_eq!(advice.contains(it), it == snippet, "{advice}");
        }
    }
}
