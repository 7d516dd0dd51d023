//! Where and when a bench ran.

use std::{fs, path::Path, process::Command, thread};

use anyhow::Context;

use crate::command;

/// Describes this machine and this revision in one sentence.
pub(super) fn describe(root: &Path) -> anyhow::Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let meminfo = fs::read_to_string("/proc/meminfo").context("cannot read /proc/meminfo")?;
    let model = value(&cpuinfo, "model name").unwrap_or("unnamed processor");
    let kib: u64 = value(&meminfo, "MemTotal").and_then(|it| it.split(' ').next()).unwrap_or("0").parse()?;
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let date = command::output(Command::new("date").args(["--utc", "+%Y-%m-%d"]))?;
    let git = |words: &[&str]| command::output(Command::new("git").current_dir(root).args(words));
    let revision = git(&["rev-parse", "--short=12", "HEAD"])?;
    // What documents say does not change what is measured.
    let changes = git(&["status", "--porcelain", "--untracked-files=no", "--", ":!*.md"])?;
    let changed = if changes.is_empty() { "" } else { " with changes" };
    Ok(format!(
        "{model}, {cores} cores, {} GiB of memory, Linux {}, {date}, revision {revision}{changed}",
        kib.div_ceil(1024 * 1024),
        kernel.trim()
    ))
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let line = text.lines().find(|it| it.starts_with(key))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_stands_after_the_colon() {
        let text = "processor\t: 0\nmodel name\t: A fast one\nflags\t: fpu\n";
        assert_eq!(value(text, "model name"), Some("A fast one"));
        assert_eq!(value(text, "stepping"), None);
    }
}
