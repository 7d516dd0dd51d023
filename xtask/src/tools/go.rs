//! The Go that modules are built with.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::{
    command,
    packages::{self, Tool},
};

/// Where Go is if it was installed as its authors say.
const USUAL: &str = "/usr/local/go/bin/go";

const PACKAGE: &[Tool] = &[Tool {
    program: "go",
    package: "golang-go",
    purpose: "builds the programs, or fetches the Go that does",
}];

/// The first Go that fetches the one that a module wants, in its second number and whole.
const FIRST_FETCHING: u32 = 21;
const FIRST_FETCHING_WHOLE: &str = "1.21.0";

/// A Go that builds a module, whatever version that wants: it fetches that as a module, too.
pub(super) struct Go {
    program: PathBuf,
    /// Where the rest of it is, if not around the program.
    root: Option<PathBuf>,
}

/// What `go mod download` tells of a module.
#[derive(Deserialize)]
struct Downloaded {
    #[serde(rename = "Dir")]
    root: PathBuf,
}

impl Go {
    /// Finds Go, or installs it. What else that takes goes below `tools`.
    pub(super) fn find(tools: &Path) -> anyhow::Result<Self> {
        let program = if !command::is_on_path("go") && Path::new(USUAL).is_file() {
            PathBuf::from(USUAL)
        } else {
            packages::install(PACKAGE)?;
            PathBuf::from("go")
        };
        let told = command::output(Command::new(&program).arg("version").env("GOTOOLCHAIN", "local"))?;
        let Some((version, platform)) = version(&told) else { bail!("`go version` says {told:?}") };
        if version >= FIRST_FETCHING {
            return Ok(Self { program, root: None });
        }
        eprintln!(
            "{} is go 1.{version}, which fetches no other: go {FIRST_FETCHING_WHOLE} does",
            program.display()
        );
        let folder = tools.join("bin");
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let module = format!("golang.org/toolchain@v0.0.1-go{FIRST_FETCHING_WHOLE}.{platform}");
        let mut download = Command::new(&program);
        let told =
            command::output(download.args(["mod", "download", "-json", &module]).current_dir(&folder))?;
        let Downloaded { root } =
            serde_json::from_str(&told).with_context(|| format!("`go mod download` says {told:?}"))?;
        // Files of a module cannot be run, and the user's cache stays as it is.
        let own = folder.join("go");
        fs::copy(root.join("bin/go"), &own)
            .and_then(|_| fs::set_permissions(&own, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot make {}", own.display()))?;
        Ok(Self { program: own, root: Some(root) })
    }

    /// Returns a command that has still to be told what to do.
    pub(super) fn command(&self) -> Command {
        let Self { program, root } = self;
        let mut command = Command::new(program);
        // Some distributions switch off that it fetches others.
        if env::var_os("GOTOOLCHAIN").is_none() {
            command.env("GOTOOLCHAIN", "auto");
        }
        if let Some(root) = root {
            command.env("GOROOT", root);
        }
        command
    }
}

/// Reads what `go version` says: the second number of the version, and the platform as it is called in a module's version.
fn version(told: &str) -> Option<(u32, String)> {
    let mut words = told.split_whitespace().skip_while(|it| !it.starts_with("go1."));
    let number = words.next()?.strip_prefix("go1.")?;
    let digits = number.split(|it: char| !it.is_ascii_digit()).next()?;
    let platform = words.find(|it| it.starts_with("linux/"))?;
    Some((digits.parse().ok()?, platform.replace('/', "-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        check("go version go1.26.8 linux/amd64", Some((26, "linux-amd64")));
        check("go version go1.19.8 linux/arm64", Some((19, "linux-arm64")));
        check("go version go1.27rc1 linux/amd64", Some((27, "linux-amd64")));
        check("go version go1.24.4 X:nodwarf5 linux/amd64", Some((24, "linux-amd64")));
        check("go version devel +b7a85e0003 linux/amd64", None);
    }

    #[track_caller]
    fn check(told: &str, expected: Option<(u32, &str)>) {
        assert_eq!(version(told), expected.map(|(number, platform)| (number, platform.to_owned())));
    }
}
