//! Debian's archive.
//!
//! Packages are downloaded by apt with a state of its own, so that the sources and the package database of this machine
//! stay as they are, and unpacked, never installed. Debian's keys check them.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};

use super::architecture::Architecture;
use crate::command;

/// Where Debian keeps the kernels of the lists.
const SUITES: [(&str, &str); 7] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "trixie"),
    ("debian-security", "trixie-security"),
    ("debian", "trixie-backports"),
];

/// Debian's archive, seen through an apt state of its own.
pub(super) struct Archive {
    folder: PathBuf,
    config: PathBuf,
    architecture: Architecture,
}

impl Archive {
    /// Returns the archive of a processor, which is opened the first time, with the state of apt below a folder.
    pub(super) fn opened<'a>(
        archive: &'a mut Option<Self>,
        architecture: Architecture,
        folder: &Path,
    ) -> anyhow::Result<&'a Self> {
        match archive {
            Some(archive) => Ok(archive),
            None => Ok(archive.insert(Self::open(architecture, &folder.join("apt"))?)),
        }
    }

    fn open(architecture: Architecture, folder: &Path) -> anyhow::Result<Self> {
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
                 APT::Architecture \"{debian}\";\nAPT::Architectures {{ \"{debian}\"; }};\nAcquire::Languages \"none\";\n\
                 APT::Sandbox::User \"root\";\nDebug::NoLocking \"true\";\n",
                at("state"),
                at("lists"),
                status.display(),
                at("cache"),
                sources.display(),
                empty = at("empty"),
                debian = architecture.debian_name(),
            ),
        )?;
        let archive = Self { folder: folder.to_owned(), config, architecture };
        command::run(archive.apt("apt-get").args(["update", "-qq"]))?;
        Ok(archive)
    }

    /// Downloads the package of a kernel, or the newest of its series, into `folder`.
    pub(super) fn download(&self, package: &str, folder: &Path) -> anyhow::Result<PathBuf> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let known = command::output(self.apt("apt-cache").args(["pkgnames", "linux-"]))?;
        let known: Vec<_> = known.lines().collect();
        let name = if known.contains(&package) {
            package
        } else {
            let newest = newest_of_series(package, &known, self.architecture)
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

    /// Unpacks packages and all that they depend on below `root`.
    pub(super) fn unpack(&self, packages: &[&str], root: &Path) -> anyhow::Result<()> {
        let mut install = self.apt("apt-get");
        install.args(["install", "-qq", "-y", "--download-only", "--no-install-recommends"]).args(packages);
        command::run(&mut install)?;
        // What newer packages put into `usr` alone is looked for in both places.
        fs::create_dir_all(root.join("usr/lib"))
            .and_then(|()| symlink("usr/lib", root.join("lib")))
            .with_context(|| format!("cannot begin {}", root.display()))?;
        let downloads = self.folder.join("cache/archives");
        let entries = fs::read_dir(&downloads)
            .with_context(|| format!("cannot list {}", downloads.display()))?
            .flatten();
        for path in entries.map(|it| it.path()).filter(|it| it.extension().is_some_and(|it| it == "deb")) {
            command::output(Command::new("dpkg-deb").arg("--extract").arg(&path).arg(root))?;
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config);
        command
    }
}

/// Returns the newest package of the kernel series of `package`, such as `linux-image-6.1.0-57-cloud-amd64` for
/// `linux-image-6.1.0-56-cloud-amd64`.
fn newest_of_series<'a>(package: &str, known: &[&'a str], architecture: Architecture) -> Option<&'a str> {
    let start = package.find(|it: char| it.is_ascii_digit())?;
    let (kind, version) = package.split_at(start);
    let mut parts = version.splitn(3, '.');
    let series = format!("{kind}{}.{}.", parts.next()?, parts.next()?);
    let end = format!("-cloud-{}", architecture.debian_name());
    let of_series = known.iter().filter(|it| it.starts_with(&series) && it.ends_with(&end));
    of_series.max_by_key(|it| numbers(it)).copied()
}

/// Returns the numbers in a version, by which versions are ordered.
pub(super) fn numbers(text: &str) -> Vec<u32> {
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
    fn a_package_that_is_gone_is_replaced_by_the_newest_of_its_series() {
        let known = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-58-cloud-amd64-unsigned",
            "linux-image-6.1.0-59-cloud-arm64",
            "linux-image-6.12.3+deb13-cloud-amd64",
            "linux-image-6.12.20+deb13-cloud-amd64",
        ];
        for (package, expected) in [
            ("linux-image-6.1.0-56-cloud-amd64", Some("linux-image-6.1.0-57-cloud-amd64")),
            ("linux-image-6.12.117+deb13-cloud-amd64", Some("linux-image-6.12.20+deb13-cloud-amd64")),
            ("linux-image-5.10.0-30-cloud-amd64", None),
            ("linux-binary-6.1.0-56-cloud-amd64", None),
        ] {
            assert_eq!(newest_of_series(package, &known, Architecture::X86_64), expected, "{package}");
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
