//! Debian packages that a command needs.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use crate::command;

/// A program that comes from a Debian package.
#[derive(Clone, Copy)]
pub(crate) struct Tool {
    /// What is run; or the path of another file that the package brings.
    pub(crate) program: &'static str,
    /// The package that contains it.
    pub(crate) package: &'static str,
    /// What it is needed for.
    pub(crate) purpose: &'static str,
}

/// Installs the packages of those tools that are missing, saying what and why.
pub(crate) fn install(tools: &[Tool]) -> anyhow::Result<()> {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|it| it.package).collect();
    if !command::is_on_path("apt-get") {
        bail!("{} missing, and there is no apt-get; install {}", reasons(&missing), packages.join(" "));
    }
    if !command::is_root() {
        bail!("{} missing; run `apt-get install {}` as root", reasons(&missing), packages.join(" "));
    }
    eprintln!("installing {}", reasons(&missing));
    command::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-qq", "-y", "--no-install-recommends"]).args(&packages);
    command::run(install.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Unpacks the packages of those tools that are missing below `folder`, without installing them.
///
/// For packages that would start a service, which a test has no business to do. Needs no privilege.
pub(crate) fn unpack(tools: &[Tool], folder: &Path) -> anyhow::Result<()> {
    let missing: Vec<_> = missing(tools).into_iter().filter(|it| find_below(folder, it).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !command::is_on_path("apt-get") || !command::is_on_path("dpkg-deb") {
        bail!("{} missing, and this is no Debian; put it on PATH", reasons(&missing));
    }
    eprintln!("unpacking {} into {}", reasons(&missing), folder.display());
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    if command::is_root() {
        command::run(Command::new("apt-get").args(["update", "-qq"]))?;
    }
    for tool in missing {
        // A package before it may have brought it.
        if find_below(folder, tool).is_some() {
            continue;
        }
        let archives = folder.join(format!("{}.archives", tool.package));
        if archives.exists() {
            // Of a run that was interrupted.
            std::fs::remove_dir_all(&archives)?;
        }
        std::fs::create_dir_all(&archives)
            .with_context(|| format!("cannot create {}", archives.display()))?;
        let mut download = Command::new("apt-get");
        // As root, apt would fetch as its own user, who may not write below a home folder.
        download.args(["-o", "APT::Sandbox::User=root", "download", "-qq", tool.package]);
        command::run(download.current_dir(&archives))?;
        for archive in std::fs::read_dir(&archives)? {
            command::run(Command::new("dpkg-deb").arg("--extract").arg(archive?.path()).arg(folder))?;
        }
        std::fs::remove_dir_all(&archives)?;
    }
    Ok(())
}

fn missing(tools: &[Tool]) -> Vec<&Tool> {
    tools.iter().filter(|it| !command::is_on_path(it.program)).collect()
}

fn find_below(folder: &Path, tool: &Tool) -> Option<PathBuf> {
    ["usr/bin", "usr/sbin"].into_iter().map(|it| folder.join(it).join(tool.program)).find(|it| it.is_file())
}

fn reasons(tools: &[&Tool]) -> String {
    let reasons: Vec<_> =
        tools.iter().map(|it| format!("`{}` ({}: {})", it.program, it.package, it.purpose)).collect();
    reasons.join(", ")
}
