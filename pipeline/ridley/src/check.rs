use std::process::ExitCode;

use ebpf_receiver::Need;

use crate::output;

/// Tells what the eBPF receiver needs of this host, what is missing, and what to do about it.
pub(crate) fn check() -> anyhow::Result<ExitCode> {
    let needs = ebpf_receiver::check();
    for need in &needs {
        output::line(describe(need))?;
    }
    let n_missing = needs.iter().filter(|it| it.is_required && !it.is_present).count();
    if n_missing > 0 {
        output::line(format_args!(
            "\nthe `ebpf` receiver cannot run here: {n_missing} of its needs are missing"
        ))?;
        return Ok(ExitCode::FAILURE);
    }
    output::line("\nthe `ebpf` receiver can run here")?;
    Ok(ExitCode::SUCCESS)
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
}
