//! What runs inside the machines, as it is here: this machine's own programs, or Debian's for another processor.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

use super::{
    architecture::{Architecture, Cross},
    archive::Archive,
};
use crate::{
    command,
    packages::{self, Tool},
};

/// What contains the oracle's tools, for another processor than this machine's.
const PACKAGES: [&str; 5] = ["busybox-static", "iproute2", "nftables", "procps", "util-linux"];

/// The same on this machine.
const TOOLS: &[Tool] = &[
    Tool { program: "busybox", package: "busybox-static", purpose: "prepares the machines from inside" },
    Tool { program: "ip", package: "iproute2", purpose: "makes the networks inside" },
    Tool { program: "nft", package: "nftables", purpose: "address translation inside" },
    Tool { program: "sysctl", package: "procps", purpose: "settings of the networks inside" },
];

/// Programs and libraries for the machines' processor.
pub(super) enum Userland {
    /// Those of this machine.
    Own,
    /// Those below a folder.
    Foreign {
        root: PathBuf,
        /// How they are made and run.
        cross: &'static Cross,
    },
}

impl Userland {
    /// Brings here what is missing; packages for another processor go below `folder`.
    pub(super) fn prepare(
        architecture: Architecture,
        folder: &Path,
        archive: &mut Option<Archive>,
    ) -> anyhow::Result<Self> {
        let Some(cross) = architecture.cross()? else {
            packages::install(TOOLS)?;
            return Ok(Self::Own);
        };
        packages::install(cross.tools)?;
        if command::is_on_path("rustup") {
            command::run(Command::new("rustup").args(["target", "add", cross.target]))?;
        }
        let root = folder.join("userland");
        let complete = folder.join("userland.complete");
        if !complete.is_file() {
            if root.exists() {
                fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
            }
            Archive::opened(archive, architecture, folder)?.unpack(&PACKAGES, &root)?;
            fs::write(&complete, "").with_context(|| format!("cannot write {}", complete.display()))?;
        }
        Ok(Self::Foreign { root, cross })
    }

    /// Returns a cargo that is to build for the machines, with its command.
    pub(super) fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = command::cargo();
        cargo.args([subcommand, "--release", "--locked"]);
        if let Self::Foreign { cross, .. } = self {
            cargo.args(["--target", cross.target]);
            if env::var_os(cross.linker_variable).is_none() {
                cargo.env(cross.linker_variable, cross.linker);
            }
        }
        cargo
    }

    /// Returns the agent that a user of such a machine would run, built now unless the environment names one.
    pub(super) fn agent(&self, target: &Path) -> anyhow::Result<PathBuf> {
        let Self::Foreign { cross, .. } = self else { return command::agent(target) };
        if let Some(named) = command::named_agent()? {
            return Ok(named);
        }
        command::run(self.cargo("build").args(["--package", "ridley"]))?;
        Ok(target.join(cross.target).join("release/ridley"))
    }

    /// Returns a command that runs a program for the machines here.
    pub(super) fn command(&self, program: &Path) -> Command {
        match self {
            Self::Own => Command::new(program),
            Self::Foreign { root, cross } => {
                let mut command = Command::new(cross.emulator);
                command.arg("-L").arg(root).arg(program);
                command
            }
        }
    }

    /// Returns the path of a tool.
    pub(super) fn find(&self, tool: &str) -> anyhow::Result<PathBuf> {
        let folders: Vec<PathBuf> = match self {
            Self::Own => env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect(),
            Self::Foreign { root, .. } => ["usr/bin", "usr/sbin"].map(|it| root.join(it)).into(),
        };
        let mut places = folders.iter().map(|it| it.join(tool));
        places.find(|it| it.is_file()).with_context(|| match self {
            Self::Own => format!("there is no `{tool}` on PATH"),
            Self::Foreign { root, .. } => format!("there is no `{tool}` below {}", root.display()),
        })
    }

    /// Returns the libraries that the loader would load for a program, and the loader: where they are in the machines, and
    /// where they are here.
    pub(super) fn libraries(&self, program: &Path) -> anyhow::Result<Vec<(String, PathBuf)>> {
        let file = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
        if !names_loader(&file) {
            return Ok(Vec::new());
        }
        let (mut list, root) = match self {
            Self::Own => (Command::new("ldd"), Path::new("/")),
            Self::Foreign { root, cross } => {
                // What `ldd` does, and for the emulated program alone.
                let mut loader = Command::new(cross.emulator);
                loader.arg("-L").arg(root).args(["-E", "LD_TRACE_LOADED_OBJECTS=1"]);
                (loader, root.as_path())
            }
        };
        let text = command::output(list.arg(program))?;
        let paths =
            library_paths(&text).with_context(|| format!("in the libraries of {}", program.display()))?;
        Ok(paths.into_iter().map(|path| (path.clone(), root.join(path.trim_start_matches('/')))).collect())
    }
}

/// Returns whether a program is to be loaded by another: whether its file, as elf(5) describes it, has a segment of that
/// kind. What is linked statically has none.
fn names_loader(file: &[u8]) -> bool {
    const KIND: u32 = 3;
    let number = |at: usize, size: usize| {
        let bytes = file.get(at..at + size)?;
        let number = bytes.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        usize::try_from(number).ok()
    };
    let (Some(first), Some(size), Some(n)) = (number(0x20, 8), number(0x36, 2), number(0x38, 2)) else {
        return false;
    };
    (0..n).any(|idx| {
        let segment = file.get(first.saturating_add(idx * size)..);
        segment.is_some_and(|it| it.starts_with(&KIND.to_le_bytes()))
    })
}

fn library_paths(listed: &str) -> anyhow::Result<Vec<String>> {
    let mut paths = Vec::new();
    for line in listed.lines() {
        if line.contains("not found") {
            bail!("{}", line.trim());
        }
        // `name => path (address)`, or `path (address)` for the loader; the kernel's own page has no path.
        let right = line.split_once("=> ").map_or(line, |(_, right)| right).trim();
        let path = right.split(" (").next().unwrap_or_default();
        if path.starts_with('/') {
            paths.push(path.to_owned());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader() {
        let own = fs::read(env::current_exe().unwrap()).unwrap();
        assert!(names_loader(&own));
        let mut file = vec![0; 0x200];
        file[0x20] = 0x40;
        file[0x36] = 0x38;
        file[0x38] = 2;
        assert!(!names_loader(&file), "both segments are of another kind");
        file[0x40 + 0x38] = 3;
        assert!(names_loader(&file));
        assert!(!names_loader(b"too short"));
    }

    #[test]
    fn libraries_are_found_with_their_loader() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f2)\n";
        assert_eq!(
            library_paths(listed).unwrap(),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        let error = library_paths("\tlibnft.so.1 => not found\n").unwrap_err();
        assert_eq!(error.to_string(), "libnft.so.1 => not found");
    }
}
