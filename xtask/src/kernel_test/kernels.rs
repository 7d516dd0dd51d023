//! The kernels: which ones, and how they come here.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::{architecture::Architecture, archive::Archive, image};
use crate::command;

const X86_64: &str = include_str!("kernels-x86_64.txt");
const AARCH64: &str = include_str!("kernels-aarch64.txt");

/// A kernel of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    pub(super) architecture: Architecture,
    pub(super) version: String,
    pub(super) packages: Vec<String>,
    /// Parts of the names of tests for which it was built without what they need.
    pub(super) lacks: Vec<String>,
    /// Whether every run of all tests includes it.
    pub(super) is_core: bool,
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(super) struct Unpacked {
    /// The uncompressed kernel, which an emulator boots without running a decompressor first.
    pub(super) image: PathBuf,
    /// Folder that contains `lib/modules/<release>`.
    pub(super) root: PathBuf,
    pub(super) release: String,
}

/// Returns the kernels for a processor.
pub(super) fn all(architecture: Architecture) -> anyhow::Result<Vec<Kernel>> {
    let list = match architecture {
        Architecture::X86_64 => X86_64,
        Architecture::Aarch64 => AARCH64,
    };
    parse(architecture, list)
}

/// Returns the kernels that are called by version, or by the first parts of it.
pub(super) fn select(architecture: Architecture, wanted: &[String]) -> anyhow::Result<Vec<Kernel>> {
    let all = all(architecture)?;
    let mut selected = Vec::new();
    for version in wanted {
        let prefix = format!("{version}.");
        let matching: Vec<_> =
            all.iter().filter(|it| it.version == *version || it.version.starts_with(&prefix)).collect();
        if matching.is_empty() {
            let known: Vec<_> = all.iter().map(|it| it.version.as_str()).collect();
            bail!("there is no kernel {version}; known are {}", known.join(", "));
        }
        selected.extend(matching.into_iter().cloned());
    }
    Ok(selected)
}

fn parse(architecture: Architecture, list: &str) -> anyhow::Result<Vec<Kernel>> {
    let lines = list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let kernels = lines.map(|line| {
        let (is_core, rest) = match line.strip_prefix('*') {
            Some(rest) => (true, rest),
            None => (false, line),
        };
        let mut words = rest.split_whitespace();
        let (Some(version), Some(packages), lacks, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            bail!("a kernel is a version, its packages and what it lacks, not `{line}`");
        };
        let split = |words: &str| words.split(',').map(str::to_owned).collect();
        let (packages, lacks) = (split(packages), lacks.map(split).unwrap_or_default());
        Ok(Kernel { architecture, version: version.to_owned(), packages, lacks, is_core })
    });
    kernels.collect()
}

/// Downloads and unpacks a kernel below `folder`, unless it is there already. `archive` is opened for the first that is not.
pub(super) fn fetch(
    kernel: &Kernel,
    folder: &Path,
    archive: &mut Option<Archive>,
) -> anyhow::Result<Unpacked> {
    let root = folder.join(&kernel.version);
    let complete = root.join("complete");
    if !complete.is_file() {
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        fs::create_dir_all(&root).with_context(|| format!("cannot create {}", root.display()))?;
        let archive = Archive::opened(archive, kernel.architecture, folder)?;
        for package in &kernel.packages {
            let archive = archive.download(package, &folder.join("packages"))?;
            command::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&root))?;
            fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        }
        // Newer packages keep everything below `usr`, where the tools for modules do not look.
        if !root.join("lib").exists() {
            fs::rename(root.join("usr/lib"), root.join("lib")).context("the packages hold no modules")?;
        }
        let compressed = find_image(&root)?.context("the packages hold no kernel")?;
        image::unpack(kernel.architecture, &compressed, &root.join("vmlinux"))?;
        command::run(Command::new("depmod").arg("-b").arg(&root).arg(release(&root)?))?;
        fs::write(&complete, "")?;
    }
    Ok(Unpacked { image: root.join("vmlinux"), release: release(&root)?, root })
}

fn release(root: &Path) -> anyhow::Result<String> {
    let modules = root.join("lib/modules");
    let entries = fs::read_dir(&modules).with_context(|| format!("cannot list {}", modules.display()))?;
    let names: Vec<_> = entries.flatten().filter_map(|it| it.file_name().into_string().ok()).collect();
    let [name] = names.as_slice() else { bail!("expected one folder in {}", modules.display()) };
    Ok(name.clone())
}

/// Finds the compressed kernel: below `boot`, in newer packages beside the modules.
fn find_image(root: &Path) -> anyhow::Result<Option<PathBuf>> {
    for folder in [root.join("boot"), root.join("lib/modules").join(release(root)?)] {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut paths = entries.flatten().map(|it| it.path());
        let is_kernel = |path: &PathBuf| {
            path.is_file()
                && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz"))
        };
        if let Some(path) = paths.find(is_kernel) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::{super::archive::numbers, *};

    #[test]
    fn the_lists_are_well_formed() {
        for architecture in Architecture::ALL {
            let kernels = all(architecture).unwrap();
            let is_core = kernels.iter().any(|it| it.is_core);
            assert_eq!(is_core, architecture == Architecture::X86_64, "which kernels are tested every time");
            assert!(
                kernels.is_sorted_by_key(|it| numbers(&it.version)),
                "the kernels are not in the order of their versions"
            );
        }
    }

    #[test]
    fn a_kernel_is_called_by_the_first_parts_of_its_version() {
        let select = |version: &str| {
            select(Architecture::X86_64, &[version.to_owned()])
                .map(|it| it.into_iter().map(|it| it.version).collect::<Vec<_>>())
        };
        assert_eq!(select("5.10").unwrap(), ["5.10.218", "5.10.262"]);
        assert_eq!(select("5.10.218").unwrap(), ["5.10.218"]);
        assert!(select("6.1").unwrap().iter().all(|it| it.starts_with("6.1.")));
        assert!(select("5.1").unwrap_err().to_string().starts_with("there is no kernel 5.1; known are 5.10"));
    }

    #[test]
    fn a_line_that_is_no_kernel_is_quoted() {
        let error = parse(Architecture::X86_64, "* 6.1 package word more").unwrap_err();
        assert_eq!(
            error.to_string(),
            "a kernel is a version, its packages and what it lacks, not `* 6.1 package word more`"
        );
    }

    #[test]
    fn a_line_tells_what_a_kernel_lacks() {
        let kernels = parse(Architecture::X86_64, "* 6.1 a,b\n  5.10 c  multipath,cookies").unwrap();
        assert_eq!(kernels[0].lacks, Vec::<String>::new());
        assert_eq!(kernels[1].lacks, ["multipath", "cookies"]);
    }
}
