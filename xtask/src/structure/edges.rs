//! Which crate may depend on which.

use crate::workspace::{Package, Workspace};

/// What the crate in a folder may depend on.
struct Rule {
    /// A folder, or a group of folders as `receivers/*`. The first rule that fits a crate is the one that holds.
    folder: &'static str,
    /// Folders of this repository it may depend on.
    ours: &'static [&'static str],
    /// Folders that its tests may use beyond these.
    in_tests: &'static [&'static str],
    /// Dependencies from elsewhere that would break a promise of the crate.
    never: &'static [&'static str],
}

/// What every component is made from. A component never names another one, nor what runs it.
const CONTRACT: &[&str] = &["pipeline/component", "pipeline/model"];
/// What exporters that send to servers are made from.
const DELIVERING: &[&str] = &[
    "pipeline/auth",
    "pipeline/component",
    "pipeline/delivery",
    "pipeline/flow-records",
    "pipeline/model",
    "pipeline/otlp-json",
    "pipeline/tls",
];
/// What exporters are made from that show metrics as Prometheus has them.
const TRANSLATING: &[&str] = &["pipeline/component", "pipeline/model", "pipeline/prometheus"];
/// What those who take OTLP from others are made from.
const TAKING: &[&str] = &[
    "pipeline/auth",
    "pipeline/component",
    "pipeline/flow-records",
    "pipeline/model",
    "pipeline/otlp-json",
    "pipeline/tls",
];
const FAKES: &[&str] = &["pipeline/component-test"];
/// Whoever has one of these can wait, and so do input and output.
const RUNTIMES: &[&str] = &["axum", "mio", "tokio", "tokio-util"];

const RULES: &[Rule] = &[
    Rule { folder: "pipeline/model", ours: &[], in_tests: &[], never: RUNTIMES },
    Rule { folder: "pipeline/component", ours: &["pipeline/model"], in_tests: &[], never: &["axum", "aya"] },
    Rule { folder: "pipeline/component-test", ours: CONTRACT, in_tests: &[], never: &["axum", "aya"] },
    Rule {
        folder: "pipeline/delivery",
        ours: &["pipeline/component", "pipeline/disk-queue", "pipeline/model"],
        in_tests: FAKES,
        never: &["axum", "aya"],
    },
    Rule { folder: "pipeline/disk-queue", ours: &[], in_tests: &[], never: RUNTIMES },
    Rule { folder: "pipeline/prometheus", ours: &["pipeline/model"], in_tests: &[], never: RUNTIMES },
    Rule { folder: "pipeline/tls", ours: &["pipeline/component"], in_tests: FAKES, never: &["axum", "aya"] },
    Rule { folder: "pipeline/flow-records", ours: &["pipeline/model"], in_tests: FAKES, never: RUNTIMES },
    Rule { folder: "pipeline/otlp-json", ours: &[], in_tests: &[], never: RUNTIMES },
    Rule {
        folder: "pipeline/auth",
        ours: &["pipeline/component", "pipeline/tls"],
        in_tests: FAKES,
        never: &["axum", "aya"],
    },
    Rule { folder: "pipeline/config", ours: CONTRACT, in_tests: FAKES, never: RUNTIMES },
    Rule {
        folder: "pipeline/engine",
        ours: &["pipeline/component", "pipeline/config", "pipeline/model"],
        in_tests: FAKES,
        never: &["axum", "aya"],
    },
    // The only crate that names components.
    Rule {
        folder: "pipeline/ridley",
        ours: &[
            "connectors/*",
            "exporters/*",
            "pipeline/component",
            "pipeline/config",
            "pipeline/engine",
            "pipeline/model",
            "processors/*",
            "receivers/*",
        ],
        in_tests: FAKES,
        never: &["aya"],
    },
    Rule {
        folder: "receivers/ebpf",
        ours: &["ebpf-programs/abi", "pipeline/component", "pipeline/model"],
        in_tests: FAKES,
        never: &[],
    },
    Rule { folder: "receivers/otlp", ours: TAKING, in_tests: FAKES, never: &["aya"] },
    Rule { folder: "receivers/*", ours: CONTRACT, in_tests: FAKES, never: &["aya"] },
    Rule { folder: "processors/*", ours: CONTRACT, in_tests: FAKES, never: &["aya"] },
    Rule { folder: "connectors/*", ours: CONTRACT, in_tests: FAKES, never: &["aya"] },
    Rule { folder: "exporters/otlp", ours: DELIVERING, in_tests: FAKES, never: &["aya"] },
    Rule {
        folder: "exporters/prometheusremotewrite",
        ours: &[
            "pipeline/auth",
            "pipeline/component",
            "pipeline/delivery",
            "pipeline/model",
            "pipeline/prometheus",
            "pipeline/tls",
        ],
        in_tests: FAKES,
        never: &["aya"],
    },
    Rule { folder: "exporters/prometheus", ours: TRANSLATING, in_tests: FAKES, never: &["aya"] },
    Rule { folder: "exporters/*", ours: CONTRACT, in_tests: FAKES, never: &["aya"] },
    Rule { folder: "ebpf-programs/abi", ours: &[], in_tests: &[], never: RUNTIMES },
    Rule { folder: "ebpf-programs/socket-observer", ours: &["ebpf-programs/abi"], in_tests: &[], never: &[] },
    // A judge that shared code with what it judges would share its mistakes.
    Rule { folder: "integration", ours: &[], in_tests: &[], never: &["aya"] },
    Rule { folder: "xtask", ours: &[], in_tests: &[], never: &[] },
];

pub(super) fn problems(workspace: &Workspace) -> Vec<String> {
    workspace.packages.iter().flat_map(|it| problems_of(it, workspace)).collect()
}

fn problems_of(package: &Package, workspace: &Workspace) -> Vec<String> {
    let folder = &package.folder;
    let Some(rule) = RULES.iter().find(|it| fits(it.folder, folder)) else {
        return vec![format!("{folder}: no rule says what it may depend on")];
    };
    let mut problems = Vec::new();
    for dependency in &package.dependencies {
        let name = &dependency.package;
        let Some(other) = workspace.packages.iter().find(|it| it.name == *name) else {
            // What only tests use cannot break a promise about what runs.
            if !dependency.only_tests && rule.never.contains(&name.as_str()) {
                problems.push(format!("{folder} must not depend on `{name}`"));
            }
            continue;
        };
        let allowed = |list: &[&str]| list.iter().any(|it| fits(it, &other.folder));
        let is_allowed = allowed(rule.ours) || (dependency.only_tests && allowed(rule.in_tests));
        if !is_allowed {
            let whose = if dependency.only_tests { "tests of " } else { "" };
            problems.push(format!("{whose}{folder} must not depend on {}", other.folder));
        }
    }
    problems
}

fn fits(pattern: &str, folder: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(group) => folder.starts_with(group),
        None => pattern == folder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    #[test]
    fn a_component_may_use_the_contract() {
        check("exporters/debug", "pipeline/component", false, None);
        check("exporters/debug", "pipeline/model", false, None);
    }

    #[test]
    fn a_component_must_not_know_another() {
        check(
            "exporters/debug",
            "processors/join",
            false,
            Some("exporters/debug must not depend on processors/join"),
        );
        check(
            "processors/join",
            "connectors/links",
            true,
            Some("tests of processors/join must not depend on connectors/links"),
        );
    }

    #[test]
    fn a_component_must_not_know_what_runs_it() {
        for runner in ["pipeline/engine", "pipeline/config", "pipeline/ridley"] {
            let expected = format!("receivers/replay must not depend on {runner}");
            check("receivers/replay", runner, false, Some(&expected));
        }
    }

    #[test]
    fn fakes_are_for_tests() {
        check("connectors/links", "pipeline/component-test", true, None);
        check(
            "connectors/links",
            "pipeline/component-test",
            false,
            Some("connectors/links must not depend on pipeline/component-test"),
        );
    }

    #[test]
    fn only_the_binary_names_components() {
        check("pipeline/ridley", "exporters/debug", false, None);
        check(
            "pipeline/engine",
            "exporters/debug",
            false,
            Some("pipeline/engine must not depend on exporters/debug"),
        );
    }

    /// The kernel's records have one reader.
    #[test]
    fn the_abi_is_for_the_ebpf_receiver() {
        check("receivers/ebpf", "ebpf-programs/abi", false, None);
        check(
            "receivers/replay",
            "ebpf-programs/abi",
            false,
            Some("receivers/replay must not depend on ebpf-programs/abi"),
        );
    }

    #[test]
    fn the_judge_shares_no_code_with_the_judged() {
        check(
            "integration",
            "pipeline/model",
            true,
            Some("tests of integration must not depend on pipeline/model"),
        );
    }

    #[test]
    fn the_model_cannot_wait() {
        check("pipeline/model", "tokio", false, Some("pipeline/model must not depend on `tokio`"));
        check("pipeline/model", "serde", false, None);
    }

    #[test]
    fn a_folder_without_a_rule_is_reported() {
        check("misc/thing", "serde", false, Some("misc/thing: no rule says what it may depend on"));
    }

    /// A workspace of two packages, the first of which depends on the second; a name without a folder is external.
    #[track_caller]
    fn check(folder: &str, to: &str, only_tests: bool, expected: Option<&str>) {
        let named =
            |folder: &str| Package { name: folder.into(), folder: folder.into(), ..Package::default() };
        let mut from = named(folder);
        from.dependencies.push(Dependency { package: to.into(), only_tests });
        let mut packages = vec![from];
        if to.contains('/') {
            packages.push(named(to));
        }
        let workspace = Workspace { packages, ..Workspace::default() };
        assert_eq!(problems(&workspace), expected.into_iter().map(str::to_owned).collect::<Vec<_>>());
    }
}
