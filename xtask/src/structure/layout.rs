//! Names of folders and crates, and what each crate contains.

use crate::workspace::{Package, Workspace};

/// Crates that may contain `unsafe`, in one named module each.
const MAY_BE_UNSAFE: &[&str] = &["ebpf-programs/socket-observer", "pipeline/ridley", "receivers/ebpf"];

/// Names that say nothing about what is inside.
const MEANINGLESS: &[&str] = &["common", "helper", "helpers", "misc", "shared", "util", "utils"];

/// What every package takes from the workspace instead of deciding it alone.
const INHERITED: &[&str] = &["edition", "license", "publish", "rust-version", "version"];

/// What a component's folder contains besides its code.
const OF_A_COMPONENT: &[&str] =
    &["README.md", "src/config.rs", "src/factory.rs", "src/lib.rs", "testdata/config.yaml"];

pub(super) fn problems(workspace: &Workspace) -> Vec<String> {
    let strays =
        workspace.strays.iter().map(|it| format!("{it}: a folder here is a crate, and this has no manifest"));
    strays.chain(workspace.packages.iter().flat_map(problems_of)).collect()
}

fn problems_of(package: &Package) -> Vec<String> {
    let mut problems = Vec::new();
    names(package, &mut problems);
    manifest(package, &mut problems);
    if component_kind(&package.folder).is_some() {
        contents(package, &mut problems);
    }
    for file in &package.not_ascii {
        problems.push(format!(
            "{}/{file}: Rust source is ASCII; write other characters as escapes",
            package.folder
        ));
    }
    if !MAY_BE_UNSAFE.contains(&package.folder.as_str()) {
        for (path, text) in &package.roots {
            if !text.contains("#![forbid(unsafe_code)]") {
                problems.push(format!("{}/{path}: lacks `#![forbid(unsafe_code)]`", package.folder));
            }
        }
    }
    problems
}

fn names(package: &Package, problems: &mut Vec<String>) {
    let Package { name, folder, .. } = package;
    match expected_name(folder) {
        Some(expected) if *name == expected => {}
        Some(expected) => {
            problems.push(format!("{folder}: the crate is called `{name}`, expected `{expected}`"))
        }
        None => problems.push(format!("{folder}: no crate belongs here")),
    }
    let modules = package.files.iter().filter(|it| it.ends_with(".rs")).flat_map(|it| it.split('/'));
    for word in modules.map(|it| it.trim_end_matches(".rs")).chain(folder.split('/')) {
        if MEANINGLESS.contains(&word) {
            problems.push(format!("{folder}: `{word}` does not say what is inside"));
        }
    }
}

fn expected_name(folder: &str) -> Option<String> {
    let Some((group, name)) = folder.split_once('/') else {
        return matches!(folder, "integration" | "xtask").then(|| folder.to_owned());
    };
    if name.contains('/') {
        return None;
    }
    match group {
        "pipeline" if name == "ridley" => Some(name.to_owned()),
        "pipeline" => Some(format!("ridley-{name}")),
        "ebpf-programs" => Some(name.to_owned()),
        _ => Some(format!("{name}-{}", component_kind(folder)?)),
    }
}

fn component_kind(folder: &str) -> Option<&'static str> {
    match folder.split('/').next()? {
        "receivers" => Some("receiver"),
        "processors" => Some("processor"),
        "connectors" => Some("connector"),
        "exporters" => Some("exporter"),
        _ => None,
    }
}

fn manifest(package: &Package, problems: &mut Vec<String>) {
    let Package { folder, manifest, .. } = package;
    // A package outside the workspace has nothing to inherit from, and carries its own table.
    if manifest.contains_key("workspace") {
        return;
    }
    let inherits = |value: Option<&toml::Value>| {
        value.and_then(|it| it.get("workspace")).and_then(toml::Value::as_bool).unwrap_or(false)
    };
    if !inherits(manifest.get("lints")) {
        problems.push(format!("{folder}: the manifest lacks `[lints] workspace = true`"));
    }
    let table = manifest.get("package");
    for key in INHERITED {
        if !inherits(table.and_then(|it| it.get(*key))) {
            problems.push(format!("{folder}: the manifest lacks `{key}.workspace = true`"));
        }
    }
    if table.and_then(|it| it.get("description")).is_none() {
        problems.push(format!("{folder}: the manifest lacks a description"));
    }
}

fn contents(package: &Package, problems: &mut Vec<String>) {
    let Package { folder, files, tests, .. } = package;
    for file in OF_A_COMPONENT {
        if !files.contains(*file) {
            problems.push(format!("{folder}: lacks {file}"));
        }
    }
    if !files.iter().any(|it| it.starts_with("testdata/invalid/") && it.ends_with(".yaml")) {
        problems.push(format!("{folder}: lacks a mistake in testdata/invalid"));
    }
    if tests.is_empty() {
        problems.push(format!("{folder}: lacks a test through its public interface in tests/"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complete_component_is_in_order() {
        check(component(), &[]);
    }

    #[test]
    fn the_crate_is_called_after_its_folder() {
        let package = Package { name: "prom-exporter".into(), ..component() };
        check(package, &["exporters/debug: the crate is called `prom-exporter`, expected `debug-exporter`"]);
    }

    #[test]
    fn folders_are_two_deep() {
        let package = Package { folder: "exporters/otlp/http".into(), ..component() };
        check(package, &["exporters/otlp/http: no crate belongs here"]);
    }

    #[test]
    fn what_a_component_lacks_is_named() {
        let mut package = component();
        package.files.remove("README.md");
        package.files.remove("testdata/invalid/unknown_key.yaml");
        package.tests.clear();
        check(
            package,
            &[
                "exporters/debug: lacks README.md",
                "exporters/debug: lacks a mistake in testdata/invalid",
                "exporters/debug: lacks a test through its public interface in tests/",
            ],
        );
    }

    #[test]
    fn lints_are_those_of_the_workspace() {
        let mut package = component();
        package.manifest.remove("lints");
        check(package, &["exporters/debug: the manifest lacks `[lints] workspace = true`"]);
    }

    #[test]
    fn a_version_of_its_own_is_reported() {
        let mut package = component();
        let table = package.manifest["package"].as_table_mut().unwrap();
        table.insert("version".into(), "0.2.0".into());
        check(package, &["exporters/debug: the manifest lacks `version.workspace = true`"]);
    }

    #[test]
    fn unsafe_code_is_forbidden_where_it_is_not_needed() {
        let roots = vec![("src/lib.rs".into(), "//! Prints.\n".into())];
        let package = Package { roots: roots.clone(), ..component() };
        check(package, &["exporters/debug/src/lib.rs: lacks `#![forbid(unsafe_code)]`"]);
        let receiver =
            Package { name: "ebpf-receiver".into(), folder: "receivers/ebpf".into(), roots, ..component() };
        check(receiver, &[]);
    }

    #[test]
    fn source_is_ascii() {
        let package = Package { not_ascii: vec!["src/table.rs".into()], ..component() };
        check(
            package,
            &["exporters/debug/src/table.rs: Rust source is ASCII; write other characters as escapes"],
        );
    }

    #[test]
    fn names_say_what_is_inside() {
        let mut package = component();
        package.files.insert("src/utils.rs".into());
        check(package, &["exporters/debug: `utils` does not say what is inside"]);
    }

    #[test]
    fn a_folder_without_a_manifest_is_reported() {
        let workspace = Workspace { strays: vec!["exporters/otlp".into()], ..Workspace::default() };
        assert_eq!(
            problems(&workspace),
            ["exporters/otlp: a folder here is a crate, and this has no manifest"]
        );
    }

    fn component() -> Package {
        let manifest = "
            lints.workspace = true
            [package]
            description = 'Prints'
            edition.workspace = true
            license.workspace = true
            publish.workspace = true
            rust-version.workspace = true
            version.workspace = true
        ";
        let files =
            OF_A_COMPONENT.iter().copied().chain(["testdata/invalid/unknown_key.yaml", "tests/run.rs"]);
        Package {
            name: "debug-exporter".into(),
            folder: "exporters/debug".into(),
            manifest: manifest.parse().unwrap(),
            files: files.map(str::to_owned).collect(),
            roots: vec![("src/lib.rs".into(), "#![forbid(unsafe_code)]\n".into())],
            tests: vec!["run".into()],
            ..Package::default()
        }
    }

    #[track_caller]
    fn check(package: Package, expected: &[&str]) {
        let workspace = Workspace { packages: vec![package], ..Workspace::default() };
        assert_eq!(problems(&workspace), expected);
    }
}
