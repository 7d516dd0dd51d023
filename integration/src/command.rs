//! Running the system's tools.

use std::{
    io::{ErrorKind, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

/// The tools that the harness calls, and the Debian packages they come in.
const PACKAGES: [(&str, &str); 7] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("sysctl", "procps"),
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
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
    let spoken = || format!("`{tool} {}`", arguments.join(" "));
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| missing(tool, error))
        .with_context(|| format!("cannot run {}", spoken()))?;
    let mut stdin = child.stdin.take().expect("standard input is piped");
    // The tools read everything before they print, so writing first cannot block both.
    if let Err(error) = stdin.write_all(input.as_bytes())
        && error.kind() != ErrorKind::BrokenPipe
    {
        return Err(error).with_context(|| format!("cannot write to {}", spoken()));
    }
    drop(stdin);
    let output = child.wait_with_output().with_context(|| format!("cannot read from {}", spoken()))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed with {}: {}{}\ninput:\n{input}",
            spoken(),
            output.status,
            stderr.trim(),
            stdout.trim()
        );
    }
    Ok(stdout)
}

/// Turns the error of a start into one that names the package to install.
pub fn missing(tool: &str, error: std::io::Error) -> anyhow::Error {
    let package = PACKAGES.iter().find(|(it, _)| *it == tool).map(|(_, package)| package);
    match package {
        Some(package) if error.kind() == ErrorKind::NotFound => {
            anyhow::anyhow!("`{tool}` is missing: install the package `{package}`")
        }
        _ => error.into(),
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

    #[test]
    fn a_failing_tool_is_quoted() {
        let error = run_with_input("sh", &["-c", "cat; echo broken >&2; exit 3"], "some rules").unwrap_err();
        let text = error.to_string();
        for part in ["`sh -c ", "exit status: 3", "broken", "some rules"] {
            assert!(text.contains(part), "{part} is missing in {text}");
        }
    }
}
