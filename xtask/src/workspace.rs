//! What the workspace contains, as cargo and the file system tell it.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// The packages of this repository.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workspace {
    /// Where the repository is.
    pub(crate) root: PathBuf,
    /// Where cargo builds, and where what the commands need is put.
    pub(crate) target: PathBuf,
    /// Every package that has a manifest, members or not.
    pub(crate) packages: Vec<Package>,
    /// Every other folder that stands where a package should, relative to the root.
    pub(crate) strays: Vec<String>,
}

/// One package.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    /// Name by which cargo knows it.
    pub(crate) name: String,
    /// Folder relative to the root, with `/` between the parts.
    pub(crate) folder: String,
    /// Whether plain `cargo test` includes it.
    pub(crate) is_default: bool,
    /// Its manifest.
    pub(crate) manifest: toml::Table,
    /// What it depends on.
    pub(crate) dependencies: Vec<Dependency>,
    /// Paths of its files relative to its folder, without those of build output.
    pub(crate) files: BTreeSet<String>,
    /// Those of its Rust files that are not ASCII.
    pub(crate) not_ascii: Vec<String>,
    /// Crate roots: path relative to its folder, and text.
    pub(crate) roots: Vec<(String, String)>,
    /// Names of its targets below `tests/`.
    pub(crate) tests: Vec<String>,
}

/// One edge to another package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Dependency {
    /// Name of the other package.
    pub(crate) package: String,
    /// Whether only tests, examples and benches have it.
    pub(crate) only_tests: bool,
}

/// Folders that hold one package each per folder inside them.
const GROUPS: [&str; 6] = ["pipeline", "receivers", "processors", "connectors", "exporters", "ebpf-programs"];

impl Workspace {
    /// Reads the workspace around the current folder.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let metadata =
            MetadataCommand::new().no_deps().exec().context("cannot read the workspace's metadata")?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let mut packages = Vec::new();
        for package in &metadata.packages {
            let is_default = metadata.workspace_default_members.contains(&package.id);
            packages.push(Package::load(&root, package, is_default)?);
        }
        let mut strays = Vec::new();
        for group in GROUPS {
            for entry in fs::read_dir(root.join(group)).with_context(|| format!("cannot list {group}"))? {
                let entry = entry?;
                if !entry.file_type()?.is_dir() {
                    continue;
                }
                let folder = format!("{group}/{}", entry.file_name().to_string_lossy());
                if packages.iter().any(|it| it.folder == folder) {
                    continue;
                }
                let manifest = entry.path().join("Cargo.toml");
                if manifest.is_file() {
                    packages.extend(outside(&root, &manifest)?);
                } else {
                    strays.push(folder);
                }
            }
        }
        packages.sort_by(|a, b| a.folder.cmp(&b.folder));
        let target = metadata.target_directory.clone().into_std_path_buf();
        Ok(Self { root, target, packages, strays })
    }

    /// Returns where programs are that a command installed or unpacked for itself.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Returns the package of a folder.
    pub(crate) fn package_in(&self, folder: &str) -> Option<&Package> {
        self.packages.iter().find(|it| it.folder == folder)
    }
}

impl Package {
    fn load(root: &Path, package: &cargo_metadata::Package, is_default: bool) -> anyhow::Result<Self> {
        let folder = package.manifest_path.parent().context("a manifest has no folder")?.as_std_path();
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("cannot read {}", package.manifest_path))?;
        let dependencies = package.dependencies.iter().map(|it| Dependency {
            package: it.name.clone(),
            only_tests: it.kind == DependencyKind::Development,
        });
        let mut files = BTreeSet::new();
        list(folder, folder, &mut files)?;
        let mut not_ascii = Vec::new();
        for file in files.iter().filter(|it| it.ends_with(".rs")) {
            if !fs::read(folder.join(file)).with_context(|| format!("cannot read {file}"))?.is_ascii() {
                not_ascii.push(file.clone());
            }
        }
        let mut roots = Vec::new();
        for target in &package.targets {
            if target.is_lib() || target.is_bin() {
                let text = fs::read_to_string(&target.src_path)?;
                roots.push((relative(folder, target.src_path.as_std_path()), text));
            }
        }
        Ok(Self {
            name: package.name.to_string(),
            folder: relative(root, folder),
            is_default,
            manifest: manifest.parse().with_context(|| format!("cannot parse {}", package.manifest_path))?,
            dependencies: dependencies.collect(),
            files,
            not_ascii,
            roots,
            tests: package.targets.iter().filter(|it| it.is_test()).map(|it| it.name.clone()).collect(),
        })
    }
}

/// Packages of a manifest that is not a member of the workspace.
fn outside(root: &Path, manifest: &Path) -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .with_context(|| format!("cannot read the metadata of {}", manifest.display()))?;
    metadata.packages.iter().map(|it| Package::load(root, it, false)).collect()
}

fn list(folder: &Path, base: &Path, files: &mut BTreeSet<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            files.insert(relative(base, &entry.path()));
        } else if entry.file_name() != "target" {
            list(&entry.path(), base, files)?;
        }
    }
    Ok(())
}

fn relative(base: &Path, path: &Path) -> String {
    path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned()
}
