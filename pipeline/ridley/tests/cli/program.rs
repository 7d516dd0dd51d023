//! Starts the program and reads what it says.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        OnceLock,
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// Longest that anything here may take; what is tested takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A user without any privilege, on every Linux.
const NOBODY: u32 = 65_534;

/// The folder of the files that the tests' configurations name.
pub(crate) fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata")
}

/// A command that runs the program in the folder of the test data.
pub(crate) fn ridley(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    // The tests may themselves run where hanging up is ignored, which the program would inherit.
    ridley_with("--default-signal=HUP", args)
}

/// As [`ridley`], started where hanging up is ignored.
pub(crate) fn ridley_without_hangup(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    ridley_with("--ignore-signal=HUP", args)
}

fn ridley_with(signals: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("env");
    command.arg(signals).arg(env!("CARGO_BIN_EXE_ridley")).args(args);
    command.current_dir(testdata()).stdin(Stdio::null());
    command
}

/// As [`ridley`], without privileges whoever runs the test.
pub(crate) fn ridley_unprivileged(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    if !geteuid().is_root() {
        return ridley(args);
    }
    // Root's build folder may be closed to others, and so may the folder of the sources.
    static COPY: OnceLock<TempDir> = OnceLock::new();
    let folder = COPY.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // By another process: would this one write it, a child that another test starts meanwhile could hold it open,
        // and a program that is open for writing cannot be started.
        let copied =
            Command::new("cp").arg(env!("CARGO_BIN_EXE_ridley")).arg(folder.path()).status().unwrap();
        assert!(copied.success(), "cp: {copied}");
        folder
    });
    let mut command = Command::new(folder.path().join("ridley"));
    command.args(args).current_dir(folder.path()).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    command
}

/// The program while it runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stderr: Receiver<String>,
    stdout: JoinHandle<String>,
    said: String,
}

/// What is left of the program when it has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Running {
    pub(crate) fn start(command: Command) -> Self {
        Self::start_with(command, Stdio::piped())
    }

    /// As [`Running::start`], with a standard output that the test has made.
    pub(crate) fn start_with(mut command: Command, stdout: impl Into<Stdio>) -> Self {
        let mut child = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let (sender, stderr) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let output = child.stdout.take();
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            output.map(|mut it| it.read_to_string(&mut text)).transpose().unwrap();
            text
        });
        Self { child, stderr, stdout, said: String::new() }
    }

    /// Waits for a line on standard error that contains the text, and returns it.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        loop {
            match self.next_line() {
                Some(line) if line.contains(text) => return line,
                Some(_) => {}
                None => panic!("ended without saying `{text}`:\n{}", self.said),
            }
        }
    }

    /// Returns what the kernel tells of each thread.
    pub(crate) fn threads(&self) -> Vec<String> {
        let folder = format!("/proc/{}/task", self.child.id());
        let threads = fs::read_dir(folder).unwrap().map(|it| it.unwrap().path().join("status"));
        // One that ended meanwhile has nothing to tell.
        let told: Vec<_> = threads.filter_map(|it| fs::read_to_string(it).ok()).collect();
        assert!(!told.is_empty());
        told
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end.
    pub(crate) fn end(mut self) -> Ended {
        while self.next_line().is_some() {}
        let status = self.child.wait().unwrap();
        let stdout = std::mem::replace(&mut self.stdout, thread::spawn(String::new)).join().unwrap();
        Ended { status, stdout, stderr: std::mem::take(&mut self.said) }
    }

    /// Returns the next line of standard error; nothing when the program has ended.
    fn next_line(&mut self) -> Option<String> {
        match self.stderr.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.said.push_str(&line);
                self.said.push('\n');
                Some(line)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("silent for {PATIENCE:?} after:\n{}", self.said),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only if it has ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
