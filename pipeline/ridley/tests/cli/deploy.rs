//! What the manifests in deploy/ repeat is what it is elsewhere.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::program::{Running, ridley};

/// A cluster with real nodes proves that these rules are enough, and one without that none is in vain.
#[test]
fn the_cluster_role_is_what_the_program_says_and_has_the_rules_of_the_readme() {
    let example = root().join("configs/kubernetes.yaml");
    let said = Running::start(ridley([Path::new("rbac"), Path::new("--config"), &example])).end();
    assert!(said.status.success(), "{}", said.stderr);
    let manifest = read("deploy/kubernetes/rbac.yaml");
    let roles = manifest.split("---\n").filter(|it| it.contains("\nkind: ClusterRole\n"));
    assert_eq!(roles.collect::<Vec<_>>(), [said.stdout.as_str()]);
    let (_, rules) = said.stdout.split_once("rules:\n").unwrap();
    let readme = read("processors/kubernetes/README.md");
    let (_, documented) = readme.split_once("```yaml\nrules:\n").unwrap();
    let (documented, _) = documented.split_once("```").unwrap();
    assert_eq!(documented, rules);
}

#[test]
fn the_config_map_has_the_example_configuration() {
    let manifest = read("deploy/kubernetes/configmap.yaml");
    let (_, deployed) = manifest.split_once("  ridley.yaml: |\n").unwrap();
    let deployed: String =
        deployed.lines().map(|it| it.strip_prefix("    ").unwrap_or(it).to_owned() + "\n").collect();
    assert_eq!(deployed, read("configs/kubernetes.yaml"));
}

#[test]
fn the_image_has_the_version_of_the_program() {
    let image = concat!("ridley:", env!("CARGO_PKG_VERSION"));
    assert!(read("deploy/kubernetes/daemonset.yaml").contains(&format!("image: {image}\n")));
    let readme = read("deploy/README.md");
    let named: Vec<_> = readme.split_whitespace().filter(|it| it.starts_with("ridley:")).collect();
    assert!(named.len() >= 2 && named.iter().all(|it| *it == image), "{named:?} instead of {image}");
}

fn read(path: &str) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|err| panic!("{}: {err}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
