//! Every configuration that the repository shows can be run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::program::{Running, ridley};

/// The sections of a configuration: a YAML example that begins with another word is something else.
const SECTIONS: [&str; 5] = ["receivers:", "processors:", "connectors:", "exporters:", "service:"];

#[test]
fn every_example_configuration_is_valid() {
    let examples = files_in(&root().join("configs"));
    assert!(examples.len() >= 4, "found only {examples:?}");
    for path in examples {
        check(&[&path]);
    }
}

/// Readers copy what a README shows, so each example is layered over the default and must be accepted.
#[test]
fn every_example_in_a_readme_is_valid() {
    let default = root().join("configs/default.yaml");
    let folder = tempfile::tempdir().unwrap();
    let mut n_examples = 0;
    for kind in ["receivers", "processors", "connectors", "exporters"] {
        for component in files_in(&root().join(kind)) {
            let readme = component.join("README.md");
            let text =
                fs::read_to_string(&readme).unwrap_or_else(|err| panic!("{}: {err}", readme.display()));
            for example in examples_in(&text) {
                let name = format!("{}-{n_examples}.yaml", component.file_name().unwrap().display());
                let path = folder.path().join(name);
                fs::write(&path, example).unwrap();
                check(&[&default, &path]);
                n_examples += 1;
            }
        }
    }
    assert!(n_examples >= 8, "found only {n_examples} examples");
}

#[track_caller]
fn check(files: &[&Path]) {
    let args = files.iter().flat_map(|it| [Path::new("--config"), *it]);
    let ended = Running::start(ridley([Path::new("validate")].into_iter().chain(args))).end();
    assert!(ended.status.success(), "{files:?}:\n{}", ended.stderr);
}

fn examples_in(markdown: &str) -> Vec<String> {
    let mut examples = Vec::new();
    let mut lines = markdown.lines();
    while lines.by_ref().any(|line| line == "```yaml") {
        let example: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let first = example.iter().find(|line| !line.starts_with('#') && !line.is_empty());
        if first.is_some_and(|line| SECTIONS.iter().any(|it| line.starts_with(it))) {
            examples.push(example.join("\n") + "\n");
        }
    }
    examples
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path()).collect();
    paths.sort();
    paths
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
