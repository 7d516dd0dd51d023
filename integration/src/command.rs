//! Running the system's tools.

use std::{
    env,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};

/// The tools that the harness calls, and the Debian packages they come in.
const PACKAGES: [(&str, &str); 10] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("setpriv", "util-linux"),
    ("nsenter", "util-linux"),
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
    ("nginx", "nginx"),
];

/// Runs a tool to its end and returns what it printed.
///
/// # Errors
///
/// The tool is missing (the message names the package), or fails (the message holds what it said).
pub fn run(tool: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run_with_input(tool, arguments, "")
}

/// Like [`run`], with something on standard input.
///
/// # Errors
///
/// As of [`run`].
pub fn run_with_input(tool: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
    finish(Command::new(tool).args(arguments), input)
}

/// Runs a command to its end with something on standard input, and returns what it printed.
///
/// # Errors
///
/// As of [`run`].
pub(crate) fn finish(command: &mut Command, input: &str) -> anyhow::Result<String> {
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|it| it.to_string_lossy())
        .collect();
    let (tool, spoken) = (words[0].to_string(), format!("`{}`", words.join(" ")));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(&tool, error))
        .with_context(|| format!("cannot run {spoken}"))?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // The tools read everything before they print, so writing first cannot block both.
    if let Err(error) = stdin.write_all(input.as_bytes())
        && error.kind() != ErrorKind::BrokenPipe
    {
        return Err(error).with_context(|| format!("cannot write to {spoken}"));
    }
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("cannot read from {spoken}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{spoken} failed with {}: {}{}\ninput:\n{input}", output.status, stderr.trim(), stdout.trim());
    }
    Ok(stdout)
}

/// A process that is killed with this value.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program that appends what it says to a file.
    pub(crate) fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let copy = file.try_clone().context("cannot share a file")?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        child.map(Self).map_err(|error| missing(&command.get_program().to_string_lossy(), error))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Returns what a program wrote last into its log.
pub(crate) fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Returns the command that runs a program in another network, and ends it with the thread that started it, however that ends.
///
/// # Errors
///
/// There is no such program: whoever runs it for us would say so into a log, or not at all.
pub(crate) fn bound(network: Option<&Path>, program: &Path) -> anyhow::Result<Command> {
    if find(program).is_none() {
        return Err(missing(&program.display().to_string(), ErrorKind::NotFound.into()));
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]);
    if let Some(network) = network {
        command.arg("nsenter").arg(format!("--net={}", network.display())).arg("--");
    }
    command.arg(program);
    Ok(command)
}

/// Returns where a program is: a path, or a name to look for as the system does.
fn find(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|it| it.join(program)).find(|it| it.is_file())
}

/// Turns the error of a start into one that names what is missing, and the package to install.
pub fn missing(tool: &str, error: std::io::Error) -> anyhow::Error {
    if error.kind() != ErrorKind::NotFound {
        return error.into();
    }
    match PACKAGES.iter().find(|(it, _)| *it == tool) {
        Some((_, package)) => anyhow::anyhow!("`{tool}` is missing: install the package `{package}`"),
        None => anyhow::anyhow!("`{tool}` is missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_its_package() {
        let error = missing("nft", ErrorKind::NotFound.into());
        assert_eq!(error.to_string(), "`nft` is missing: install the package `nftables`");
    }

    /// Not the program that would run it, which is there.
    #[test]
    fn a_missing_program_is_named_itself() {
        for name in ["no-such-program", "/nowhere/no-such-program"] {
            let error = bound(None, Path::new(name)).unwrap_err();
            assert_eq!(error.to_string(), format!("`{name}` is missing"));
        }
        assert!(bound(None, Path::new("sh")).is_ok());
    }

    #[test]
    fn a_failing_tool_is_quoted() {
        let error = run_with_input("sh", &["-c", "cat; echo broken >&2; exit 3"], "some rules").unwrap_err();
        let text = error.to_string();
        for part in ["`sh -c ", "exit status: 3", "broken", "some rules"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
