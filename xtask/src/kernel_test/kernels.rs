//! The kernels: which ones, and how they come here.
//!
//! Debian's packages are downloaded by apt with a state of its own, so that the sources and the package database of this
//! machine stay as they are, and unpacked, never installed. Debian's keys check them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail, ensure};

use super::image;
use crate::command;

const LIST: &str = include_str!("kernels.txt");

/// Where Debian keeps the kernels of the list.
const SUITES: [(&str, &str); 7] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "trixie"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
];

/// A kernel of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
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

/// Returns the kernels of the list.
pub(super) fn all() -> anyhow::Result<Vec<Kernel>> {
    parse(LIST)
}

/// Returns the kernels that are called by version, or by the first parts of it.
pub(super) fn select(wanted: &[String]) -> anyhow::Result<Vec<Kernel>> {
    let all = all()?;
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

fn parse(list: &str) -> anyhow::Result<Vec<Kernel>> {
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
        Ok(Kernel { version: version.to_owned(), packages, lacks, is_core })
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
        let archive = match archive {
            Some(archive) => archive,
            None => archive.insert(Archive::open(&folder.join("apt"))?),
        };
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
        image::unpack(&compressed, &root.join("vmlinux"))?;
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

/// Debian's archive, seen through an apt state of its own.
pub(super) struct Archive {
    config: PathBuf,
}

impl Archive {
    fn open(folder: &Path) -> anyhow::Result<Self> {
        for part in ["lists/partial", "cache/archives/partial", "state", "empty"] {
            let path = folder.join(part);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        let (status, sources, config) =
            (folder.join("state/status"), folder.join("sources.list"), folder.join("apt.conf"));
        fs::write(&status, "")?;
        let mirror = mirror()?;
        let lines = SUITES.map(|(part, suite)| format!("deb {mirror}/{part} {suite} main\n"));
        fs::write(&sources, lines.concat())?;
        let at = |part: &str| folder.join(part).display().to_string();
        fs::write(
            &config,
            format!(
                "Dir::State \"{}\";\nDir::State::Lists \"{}\";\nDir::State::status \"{}\";\nDir::Cache \"{}\";\n\
                 Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"{empty}\";\n\
                 Dir::Etc::preferencesparts \"{empty}\";\nDir::Etc::preferences \"{empty}/none\";\n\
                 APT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\nAcquire::Languages \"none\";\n\
                 APT::Sandbox::User \"root\";\nDebug::NoLocking \"true\";\n",
                at("state"),
                at("lists"),
                status.display(),
                at("cache"),
                sources.display(),
                empty = at("empty"),
            ),
        )?;
        let archive = Self { config };
        command::run(archive.apt("apt-get").args(["update", "-qq"]))?;
        Ok(archive)
    }

    /// Downloads a package, or the newest of its series, into `folder`.
    fn download(&self, package: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let known = command::output(self.apt("apt-cache").args(["pkgnames", "linux-"]))?;
        let known: Vec<_> = known.lines().collect();
        let name = if known.contains(&package) {
            package
        } else {
            let newest = newest_of_series(package, &known)
                .with_context(|| format!("{package} and all of its series are gone from the archive"))?;
            eprintln!("{package} is gone from the archive, taking {newest}");
            newest
        };
        command::run(self.apt("apt-get").args(["download", "-qq", name]).current_dir(folder))?;
        let prefix = format!("{name}_");
        let mut entries = fs::read_dir(folder)?.flatten();
        let downloaded = entries.find(|it| it.file_name().to_string_lossy().starts_with(&prefix));
        Ok(downloaded.with_context(|| format!("apt-get did not download {name}"))?.path())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config);
        command
    }
}

/// Returns the newest package of the kernel series of `package`, such as `linux-image-6.1.0-57-cloud-amd64` for
/// `linux-image-6.1.0-56-cloud-amd64`.
fn newest_of_series<'a>(package: &str, known: &[&'a str]) -> Option<&'a str> {
    let start = package.find(|it: char| it.is_ascii_digit())?;
    let (kind, version) = package.split_at(start);
    let mut parts = version.splitn(3, '.');
    let series = format!("{kind}{}.{}.", parts.next()?, parts.next()?);
    let of_series = known.iter().filter(|it| it.starts_with(&series) && it.ends_with("-cloud-amd64"));
    of_series.max_by_key(|it| numbers(it)).copied()
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|it: char| !it.is_ascii_digit()).filter_map(|it| it.parse().ok()).collect()
}

/// Returns the mirror that this machine's own apt takes Debian from, without the last part of the path.
fn mirror() -> anyhow::Result<String> {
    let folder = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|it| it.path());
    let files = [PathBuf::from("/etc/apt/sources.list")].into_iter().chain(folder);
    let text: String = files.filter_map(|it| fs::read_to_string(it).ok()).collect::<Vec<_>>().join("\n");
    let mirror = find_mirror(&text);
    ensure!(mirror.is_some(), "apt has no source for Debian; the kernels come from there");
    Ok(mirror.unwrap_or_default().to_owned())
}

fn find_mirror(sources: &str) -> Option<&str> {
    let lines = sources.lines().filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"));
    let mut words = lines.flat_map(str::split_whitespace);
    words.find_map(|word| word.trim_end_matches('/').strip_suffix("/debian"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_well_formed() {
        let kernels = all().unwrap();
        assert!(kernels.iter().any(|it| it.is_core), "no kernel is tested every time");
        assert!(
            kernels.is_sorted_by_key(|it| numbers(&it.version)),
            "the kernels are not in the order of their versions"
        );
    }

    #[test]
    fn a_kernel_is_called_by_the_first_parts_of_its_version() {
        let select = |version: &str| {
            select(&[version.to_owned()]).map(|it| it.into_iter().map(|it| it.version).collect::<Vec<_>>())
        };
        assert_eq!(select("5.10").unwrap(), ["5.10.218", "5.10.262"]);
        assert_eq!(select("5.10.218").unwrap(), ["5.10.218"]);
        assert!(select("6.1").unwrap().iter().all(|it| it.starts_with("6.1.")));
        assert!(select("5.1").unwrap_err().to_string().starts_with("there is no kernel 5.1; known are 5.10"));
    }

    #[test]
    fn a_line_that_is_no_kernel_is_quoted() {
        let error = parse("* 6.1 package word more").unwrap_err();
        assert_eq!(
            error.to_string(),
            "a kernel is a version, its packages and what it lacks, not `* 6.1 package word more`"
        );
    }

    #[test]
    fn a_line_tells_what_a_kernel_lacks() {
        let kernels = parse("* 6.1 a,b\n  5.10 c  multipath,cookies").unwrap();
        assert_eq!(kernels[0].lacks, Vec::<String>::new());
        assert_eq!(kernels[1].lacks, ["multipath", "cookies"]);
    }

    #[test]
    fn a_package_that_is_gone_is_replaced_by_the_newest_of_its_series() {
        let known = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-58-cloud-amd64-unsigned",
            "linux-image-6.12.3+deb13-cloud-amd64",
            "linux-image-6.12.20+deb13-cloud-amd64",
        ];
        for (package, expected) in [
            ("linux-image-6.1.0-56-cloud-amd64", Some("linux-image-6.1.0-57-cloud-amd64")),
            ("linux-image-6.12.117+deb13-cloud-amd64", Some("linux-image-6.12.20+deb13-cloud-amd64")),
            ("linux-image-5.10.0-30-cloud-amd64", None),
            ("linux-binary-6.1.0-56-cloud-amd64", None),
        ] {
            assert_eq!(newest_of_series(package, &known), expected, "{package}");
        }
    }

    #[test]
    fn the_mirror_is_the_one_of_this_machine() {
        for (sources, expected) in [
            ("deb http://mirror.example/debian bookworm main", Some("http://mirror.example")),
            (
                "Types: deb\nURIs: https://a.example/path/debian/\nSuites: trixie",
                Some("https://a.example/path"),
            ),
            ("deb https://other.example/apt stable main", None),
            ("# deb http://mirror.example/debian bookworm main", None),
        ] {
            assert_eq!(find_mirror(sources), expected, "{sources}");
        }
    }
}
