//! A virtual machine: boots, and ends by itself or is ended.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use super::architecture::Architecture;

/// Boots a kernel with an initial file system, and returns what it wrote to its console, which is also written to a file
/// as it comes. Runs anywhere: the processor is emulated.
///
/// # Errors
///
/// The machine does not end in time; or the emulator cannot be run, or fails.
pub(super) fn boot(
    architecture: Architecture,
    kernel: &Path,
    initramfs: &Path,
    log: &Path,
    limit: Duration,
) -> anyhow::Result<String> {
    let emulator = architecture.emulator().program;
    let mut file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    // The machine ends with this process, however that ends.
    let child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--", emulator])
        .args(architecture.machine())
        .args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
        .args(["-nographic", "-nodefaults", "-serial", "stdio", "-monitor", "none", "-no-reboot"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        // A panic restarts the machine, which ends it; it is told whatever the level of messages.
        .arg("-append")
        .arg(format!("console={} quiet loglevel=1 panic=-1 mitigations=off", architecture.console()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {emulator}"))?;
    let mut machine = Machine(child);
    let console = machine.0.stdout.take().expect("standard output is piped");
    let complaints = machine.0.stderr.take().expect("standard error is piped");
    let (send, lines) = sync_channel(1024);
    thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if send.send(String::from_utf8_lossy(&line).trim_end().to_owned()).is_err() {
                return;
            }
        }
    });
    let complaints = thread::spawn(move || std::io::read_to_string(complaints).unwrap_or_default());
    let start = Instant::now();
    let mut text = String::new();
    loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                writeln!(file, "{line}").context("cannot write the log")?;
                text += &line;
                text.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the machine did not end within {limit:?}; its console ended with\n{}", tail(&text))
            }
        }
    }
    let status = machine.0.wait().with_context(|| format!("cannot wait for {emulator}"))?;
    if !status.success() {
        let complaints = complaints.join().unwrap_or_default();
        bail!("{emulator} failed: {status}: {}", complaints.trim());
    }
    Ok(text)
}

/// Returns the last lines of a console.
pub(super) fn tail(console: &str) -> String {
    let lines: Vec<_> = console.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Ends with this value.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.0.kill();
        let _waited = self.0.wait();
    }
}
