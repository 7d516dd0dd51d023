//! Running other programs, and saying which.

use std::{
    env,
    ffi::OsString,
    path::{self, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// Returns the cargo that runs this program, so that everything below uses the same toolchain.
pub(crate) fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// The variable that names an agent to use instead of building one; the oracle reads it too.
pub(crate) const AGENT: &str = "RIDLEY_BIN";

/// Returns the agent that a user would run, built now unless the environment names one.
pub(crate) fn agent(target: &Path) -> anyhow::Result<PathBuf> {
    if let Some(named) = named_agent()? {
        return Ok(named);
    }
    run(cargo().args(["build", "--release", "--locked", "--package", "ridley"]))?;
    Ok(target.join("release/ridley"))
}

/// Returns the agent that the environment names.
pub(crate) fn named_agent() -> anyhow::Result<Option<PathBuf>> {
    let Some(named) = env::var_os(AGENT) else { return Ok(None) };
    // Tests run in their package's folder.
    let path = path::absolute(&named).with_context(|| format!("cannot use {AGENT}={}", named.display()))?;
    Ok(Some(path))
}

/// Shows a command, runs it, and fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = shown(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a command, and returns what it printed to standard output, without the white space around it.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = shown(command);
    let output = command.output().with_context(|| format!("cannot run `{line}`"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}: {}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns whether a program can be found.
pub(crate) fn is_on_path(program: &str) -> bool {
    let Some(path) = env::var_os("PATH") else { return false };
    env::split_paths(&path).any(|it| it.join(program).is_file())
}

/// Returns whether this process may do everything.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A command as one would type it: the program without its folder, and what is set only for it in front.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{}={:?} ", name.to_string_lossy(), value))
    });
    let program = command.get_program();
    let name = Path::new(program).file_name().unwrap_or(program);
    let words = std::iter::once(name).chain(command.get_args()).map(|it| it.to_string_lossy());
    variables.collect::<String>() + &words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/opt/rust/bin/cargo");
        command.args(["doc", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS=\"-D warnings\" cargo doc --no-deps");
    }

    #[test]
    fn a_command_that_fails_is_named_with_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo no such thing >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo no such thing >&2; exit 3` failed: exit status: 3: no such thing"
        );
    }
}
