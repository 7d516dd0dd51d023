//! What the program says about mistakes, word by word: `testdata/<case>.txt`, rewritten with `UPDATE_GOLDEN=1`.

use std::{
    env,
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::Command,
};

use crate::program::{Ended, Running, ridley, ridley_unprivileged, testdata};

#[test]
fn broken_yaml() {
    check("broken", &["validate", "--config", "broken.yaml"]);
}

#[test]
fn an_unknown_key() {
    check("unknown_key", &["validate", "--config", "unknown_key.yaml"]);
}

#[test]
fn an_unknown_component() {
    check("unknown_component", &["validate", "--config", "unknown_component.yaml"]);
}

#[test]
fn a_pipeline_that_names_an_undefined_component() {
    check("undefined_component", &["validate", "--config", "undefined_component.yaml"]);
}

#[test]
fn a_file_that_does_not_exist() {
    check("unreadable_file", &["validate", "--config", "no_such_file.yaml"]);
}

/// A file that is there and closed to whoever runs the program.
#[test]
fn a_file_that_must_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("closed.yaml");
    fs::write(&path, "service:\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    let path = path.to_str().unwrap();
    let args = ["validate", "--config", path];
    compare("closed_file", &args, ridley_unprivileged(args), |text| text.replace(path, "closed.yaml"));
}

/// What only shows when a component is created has a place as well.
#[test]
fn a_recording_that_does_not_exist() {
    let args = ["--set", "receivers.replay.path=no_such_file.jsonl"];
    check("unreadable_recording", &[&["run", "--config", "hour.yaml"], &args[..]].concat());
}

/// Every mistake in one run, in every source.
#[test]
fn several_mistakes() {
    let args = ["--config", "several_mistakes.yaml", "--set", "exporters.debug.intervall=10s"];
    check("several_mistakes", &[&["validate"], &args[..]].concat());
}

/// A wrong configuration never runs, and `run` says the same as `validate`.
#[test]
fn a_mistake_when_running() {
    check("run_unknown_key", &["run", "--config", "unknown_key.yaml"]);
}

#[test]
fn a_component_that_nothing_uses_is_a_warning() {
    check("unused", &["validate", "--config", "unused.yaml"]);
}

#[test]
fn the_default_is_valid() {
    check("validate_default", &["validate"]);
}

#[test]
fn the_components() {
    check("components", &["components"]);
}

#[test]
fn the_help() {
    check("help", &["--help"]);
}

#[test]
fn an_unknown_option() {
    check("unknown_option", &["--confg", "a.yaml"]);
}

/// The port and the setting are named, and nothing else is said.
#[test]
fn a_port_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let set = format!("exporters.prometheus.endpoint={address}");
    let args = ["--config", "hour.yaml", "--set", set.as_str()];
    compare("port_in_use", &args, ridley(args), |text| text.replace(&address, "127.0.0.1:PORT"));
}

/// One line that says what is missing: no log, no backtrace.
#[test]
fn a_missing_privilege() {
    let args = ["--set", "exporters.prometheus.endpoint=127.0.0.1:0"];
    let mut command = ridley_unprivileged(args);
    command.env("RUST_BACKTRACE", "1");
    compare("missing_privilege", &args, command, |text| {
        let (line, more) = text.split_once(" is missing)").unwrap_or_default();
        // What the kernel refused first is its own choice.
        let cause_ends = more.find('\n').unwrap_or_default();
        format!("{line} is missing): CAUSE{}", &more[cause_ends..])
    });
}

fn check(name: &str, args: &[&str]) {
    compare(name, args, ridley(args), str::to_owned);
}

/// Runs the command and compares what it said with the file, after `steady` has replaced what differs from run to run.
fn compare(name: &str, args: &[&str], command: Command, steady: impl Fn(&str) -> String) {
    let Ended { status, stdout, stderr } = Running::start(command).end();
    let code = status.code().map_or_else(|| status.to_string(), |it| it.to_string());
    let mut found = format!("$ ridley {}\n", args.join(" "));
    for (stream, text) in [("stdout", &stdout), ("stderr", &stderr)] {
        if !text.is_empty() {
            found.push_str(&format!("--- {stream}\n{}\n", text.trim_end_matches('\n')));
        }
    }
    found.push_str(&format!("--- exit code {code}\n"));
    let found = steady(&found);
    let path = testdata().join(name).with_extension("txt");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{}\nexpected:\n{expected}\nfound:\n{found}", path.display());
}
