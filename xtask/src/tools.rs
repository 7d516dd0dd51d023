//! Programs that tests run the agent with, built from the Go modules below `integration/tools`.
//!
//! A module's `go.mod` and `go.sum` fix every version; what it builds is what its `tool` directives name, or its own
//! `main.go`. A new one is a folder there and an entry in [`MODULES`].

mod go;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context;

use self::go::Go;
use crate::{
    command,
    packages::{self, Tool},
    workspace::Workspace,
};

/// Where the modules are.
const FOLDER: &str = "integration/tools";

/// Where programs of a cluster are below the folder of tools.
const CLUSTER: &str = "k8s/bin";

/// Names a folder of tools to use instead of the one that is built here; `integration` reads it, too.
pub(crate) const NAMED: &str = "RIDLEY_TOOLS";

/// Servers that are sent to, in `bin` of the folder that is named. Prometheus is Debian's else.
const SERVERS: [&str; 4] = ["jaeger", "mimir", "otelcol-slim", "victoria-metrics"];

/// A Go module, and how it is built.
struct Module {
    /// Its folder.
    name: &'static str,
    /// What its programs do for the tests.
    purpose: &'static str,
    /// Where they go.
    into: &'static str,
    /// Names by which its own program is called, which is as many in one.
    links: &'static [&'static str],
    /// Parts that it is built with or without, separated by commas.
    tags: &'static str,
    /// Flags of the linker; the path of a module in braces stands for the version that `go.mod` requires of it.
    linked: &'static str,
    /// What it takes to build its parts in C, if it has any.
    in_c: &'static [Tool],
}

/// A module of a cluster that needs nothing special.
const PLAIN: Module =
    Module { name: "", purpose: "", into: CLUSTER, links: &[], tags: "", linked: "", in_c: &[] };

const MODULES: &[Module] = &[
    Module { name: "cni", purpose: "networks of a cluster's pods", into: "k8s/bin/cni", ..PLAIN },
    Module {
        name: "containerd",
        purpose: "runs the containers of a cluster's nodes",
        tags: "no_btrfs,no_devmapper,no_zfs",
        ..PLAIN
    },
    Module {
        name: "kubernetes",
        purpose: "etcd, the control plane of a cluster, what its nodes run, and kubectl",
        links: &[
            "etcd",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubectl",
            "kubelet",
        ],
        linked: "-X k8s.io/component-base/version.gitVersion={k8s.io/kubernetes}",
        ..PLAIN
    },
    Module { name: "pause", purpose: "the program of containers that only have to be there", ..PLAIN },
    Module {
        name: "runc",
        purpose: "starts the containers of a cluster's nodes",
        tags: "netgo,osusergo,seccomp",
        linked: "-extldflags -static",
        in_c: &[
            Tool { program: "gcc", package: "gcc", purpose: "compiles what runc does before Go runs" },
            Tool { program: "/usr/include/stdio.h", package: "libc6-dev", purpose: "runc is linked with it" },
            Tool { program: "pkg-config", package: "pkg-config", purpose: "finds libseccomp" },
            Tool {
                program: "/usr/include/seccomp.h",
                package: "libseccomp-dev",
                purpose: "runc keeps containers from system calls with it",
            },
        ],
        ..PLAIN
    },
];

/// Where the programs of a cluster come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The environment names a folder that has them.
    Named,
    /// They were built here.
    Built,
}

/// Builds what is not built, or was built from other versions.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    let mut missing = Vec::new();
    for module in MODULES {
        if !module.is_built(&workspace)? {
            missing.push(module);
        }
    }
    if !missing.is_empty() {
        // First what can be lacking, for the builds take minutes.
        let in_c: Vec<_> = missing.iter().flat_map(|it| it.in_c).copied().collect();
        packages::install(&in_c)?;
        let go = Go::find(&workspace.tools())?;
        for module in missing {
            eprintln!("building `{}`: {}", module.name, module.purpose);
            module.build(&workspace, &go)?;
        }
    }
    eprintln!("everything is built, in {}", workspace.tools().display());
    Ok(())
}

/// Returns the servers that the folder that is named lacks.
pub(crate) fn missing_servers() -> Vec<&'static str> {
    let named = env::var_os(NAMED).map(|it| Path::new(&it).join("bin"));
    SERVERS.into_iter().filter(|it| !named.as_ref().is_some_and(|named| named.join(it).exists())).collect()
}

/// Returns where the programs of a cluster come from, or `None` if some are missing, or not those of this tree.
pub(crate) fn of_cluster(workspace: &Workspace) -> anyhow::Result<Option<Origin>> {
    if env::var_os(NAMED).is_some() {
        return Ok(Some(Origin::Named));
    }
    for module in MODULES.iter().filter(|it| it.into.starts_with(CLUSTER)) {
        if !module.is_built(workspace)? {
            return Ok(None);
        }
    }
    Ok(Some(Origin::Built))
}

impl Module {
    fn folder(&self, workspace: &Workspace) -> PathBuf {
        workspace.root.join(FOLDER).join(self.name)
    }

    fn target(&self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join(self.into)
    }

    /// Returns the file that says what the programs were built of. It stands beside them, so that it goes when they do.
    fn record(&self, workspace: &Workspace) -> PathBuf {
        self.target(workspace).join(format!("{}.built", self.name))
    }

    fn is_built(&self, workspace: &Workspace) -> anyhow::Result<bool> {
        let built = fs::read_to_string(self.record(workspace)).unwrap_or_default();
        Ok(built == self.ingredients(workspace)?)
    }

    /// Returns what the programs are made of: the arguments of the build, and the module's files with their hashes.
    fn ingredients(&self, workspace: &Workspace) -> anyhow::Result<String> {
        let folder = self.folder(workspace);
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        let mut files = entries.map(|it| Ok(it?.file_name())).collect::<anyhow::Result<Vec<OsString>>>()?;
        files.sort();
        let sums = command::output(Command::new("sha256sum").args(files).current_dir(&folder))?;
        Ok(format!("{}\n{}\n{sums}\n", self.arguments(&folder)?.join(" "), self.links.join(" ")))
    }

    fn arguments(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let go_mod = folder.join("go.mod");
        let go_mod =
            fs::read_to_string(&go_mod).with_context(|| format!("cannot read {}", go_mod.display()))?;
        let linked = with_versions(self.linked, &go_mod)?;
        let fixed = ["build", "-mod=readonly", "-trimpath", "-buildvcs=false"].map(str::to_owned);
        Ok(fixed
            .into_iter()
            .chain([format!("-tags={}", self.tags), format!("-ldflags=-s -w {linked}").trim_end().to_owned()])
            .collect())
    }

    fn build(&self, workspace: &Workspace, go: &Go) -> anyhow::Result<()> {
        let (folder, target, record) =
            (self.folder(workspace), self.target(workspace), self.record(workspace));
        fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
        // A build that fails must not pass for the one before it.
        if record.exists() {
            fs::remove_file(&record).with_context(|| format!("cannot remove {}", record.display()))?;
        }
        let ingredients = self.ingredients(workspace)?;
        let mut build = go.command();
        // The separator at the end makes it a folder to put programs into.
        build.args(self.arguments(&folder)?).arg("-o").arg(target.join(""));
        build.arg(if folder.join("main.go").is_file() { "." } else { "tool" });
        build.env("CGO_ENABLED", if self.in_c.is_empty() { "0" } else { "1" });
        command::run(build.current_dir(&folder))?;
        for link in self.links {
            let link = target.join(link);
            if link.symlink_metadata().is_ok() {
                fs::remove_file(&link).with_context(|| format!("cannot replace {}", link.display()))?;
            }
            symlink(self.name, &link).with_context(|| format!("cannot make {}", link.display()))?;
        }
        fs::write(&record, ingredients).with_context(|| format!("cannot write {}", record.display()))
    }
}

/// Replaces the path of each module that stands in braces by the version that `go.mod` requires of it.
fn with_versions(flags: &str, go_mod: &str) -> anyhow::Result<String> {
    let mut parts = flags.split('{');
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (module, rest) = part.split_once('}').with_context(|| format!("`{flags}` lacks a brace"))?;
        let lines = go_mod.lines().map(|it| it.trim_start().trim_start_matches("require "));
        let version = lines
            .filter_map(|it| it.strip_prefix(module)?.strip_prefix(' '))
            .find_map(|it| it.split_whitespace().next())
            .with_context(|| format!("go.mod requires no `{module}`, whose version programs are to tell"))?;
        replaced += version;
        replaced += rest;
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const GO_MOD: &str = "module m\n\nrequire (\n\tk8s.io/api/v2 v2.1.0\n\tk8s.io/api v0.36.3 // indirect\n)\n\nrequire one.dev v1.0.0\n";

    #[test]
    fn versions_are_those_of_go_mod() {
        check("-X a={k8s.io/api} -X b={one.dev}", Some("-X a=v0.36.3 -X b=v1.0.0"));
        check("-extldflags -static", Some("-extldflags -static"));
        check("", Some(""));
        check("-X a={k8s.io}", None);
        check("-X a={k8s.io/api", None);
    }

    #[track_caller]
    fn check(flags: &str, expected: Option<&str>) {
        assert_eq!(with_versions(flags, GO_MOD).ok().as_deref(), expected);
    }

    #[test]
    fn every_folder_is_a_module_of_the_table() {
        let workspace = Workspace::load().unwrap();
        let folders = fs::read_dir(workspace.root.join(FOLDER)).unwrap();
        let folders: BTreeSet<_> = folders.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        let modules: BTreeSet<_> = MODULES.iter().map(|it| it.name.to_owned()).collect();
        assert_eq!(folders, modules);
    }

    /// Links lead to the program that is called as its module, and which knows each of them.
    #[test]
    fn modules_build_what_the_table_says() {
        let workspace = Workspace::load().unwrap();
        for module in MODULES {
            let folder = module.folder(&workspace);
            let go_mod = fs::read_to_string(folder.join("go.mod")).unwrap();
            assert!(go_mod.starts_with(&format!("module ridley/{}\n", module.name)), "{}", module.name);
            let own = fs::read_to_string(folder.join("main.go")).ok();
            assert!(
                own.is_some() != go_mod.contains("\ntool "),
                "{}: its own or others' program",
                module.name
            );
            for link in module.links {
                assert!(own.as_ref().is_some_and(|it| it.contains(&format!("\"{link}\":"))), "{link}");
            }
        }
    }

    #[test]
    fn another_version_is_another_program() {
        let workspace = Workspace::load().unwrap();
        let ingredients = |module: &Module| module.ingredients(&workspace).unwrap();
        let pause = || Module { name: "pause", ..PLAIN };
        assert!(ingredients(&pause()).contains("  go.mod\n"));
        assert_ne!(ingredients(&pause()), ingredients(&Module { linked: "-X main.version=2", ..pause() }));
        assert_ne!(ingredients(&pause()), ingredients(&Module { name: "runc", ..PLAIN }));
    }
}
