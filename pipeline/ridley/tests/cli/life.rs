//! Starting, stopping and being stopped.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Ended, PATIENCE, Running, ridley, ridley_without_hangup};

/// The line that `run` prints names the address that was really bound, and what it names answers.
#[test]
fn a_start_says_where_to_look() {
    let mut running = Running::start(hour(&[]));
    let address = metrics_address(&mut running);
    assert!(!address.ends_with(":0"), "{address}");
    let page = scrape(&address);
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
}

/// A terminal that is closed hangs up: what was recorded until then must not be lost.
#[test]
fn a_run_ends_cleanly_at_each_signal() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut running = Running::start(hour(&[]));
        metrics_address(&mut running);
        running.signal(signal);
        let Ended { status, stderr, .. } = running.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
    }
}

/// `nohup ridley &`: whoever starts it so wants it to live on.
#[test]
fn a_run_goes_on_where_hanging_up_is_ignored() {
    let mut running = Running::start(ridley_without_hangup(["--config", "hour.yaml"]));
    let address = metrics_address(&mut running);
    running.signal(Signal::HUP);
    assert!(scrape(&address).starts_with("HTTP/1.1 200"));
    running.signal(Signal::TERM);
    let Ended { status, stderr, .. } = running.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

/// Who asks twice does not want to wait: here for a last scrape that never comes.
#[test]
fn a_second_signal_ends_at_once() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130), (Signal::HUP, 129)] {
        let patient = ["exporters.prometheus.final_scrape_wait=1h", "service.shutdown_timeout=1h"];
        let mut running = Running::start(hour(&patient));
        let address = metrics_address(&mut running);
        scrape(&address);
        running.signal(Signal::TERM);
        running.wait_for("stopping");
        running.signal(signal);
        let Ended { status, stderr, .. } = running.end();
        assert_eq!(status.code(), Some(code), "{stderr}");
    }
}

#[test]
fn a_replay_ends_with_its_file() {
    let args = ["--config", "hour.yaml", "--set", "receivers.replay.speed=0"];
    let Ended { status, stderr, .. } = Running::start(ridley(args)).end();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

/// Waiting for a last scrape ends with the time to drain, and is no failure.
#[test]
fn a_last_scrape_is_waited_for_until_the_deadline() {
    let patient = ["exporters.prometheus.final_scrape_wait=1h", "service.shutdown_timeout=1s"];
    let mut running = Running::start(hour(&patient));
    let address = metrics_address(&mut running);
    scrape(&address);
    running.signal(Signal::TERM);
    let Ended { status, stderr, .. } = running.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

/// `ridley components | head -1`, where `head` is gone before anything is written.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = ridley(["components"]);
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = command.stdout(Stdio::from(writer)).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

/// The table has no reader any more; metrics go on.
#[test]
fn a_run_goes_on_when_its_reader_goes_away() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let soon = [
        "connectors.links.interval=100ms",
        "exporters.debug.interval=100ms",
        "exporters.prometheus.final_scrape_wait=0s",
    ];
    let mut running = Running::start_with(hour(&soon), writer);
    let address = metrics_address(&mut running);
    let start = Instant::now();
    let n_skipped = |page: &str| -> u64 {
        let line = page.lines().find(|line| line.starts_with("ridley_debug_skipped_tables_total{"));
        line.and_then(|line| line.rsplit(' ').next()).map_or(0, |value| value.parse().unwrap())
    };
    while n_skipped(&scrape(&address)) < 2 {
        assert!(start.elapsed() < PATIENCE, "the table is still written");
    }
    running.signal(Signal::TERM);
    let Ended { status, stderr, .. } = running.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
    assert!(!stderr.contains("panic"), "{stderr}");
}

/// A terminal that is closed takes the log's reader away before the program can say that it stops.
#[test]
fn a_log_that_nobody_reads_is_no_failure() {
    let mut child = hour(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("pipelines are running") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the program has ended");
    }
    drop(log);
    kill_process(Pid::from_child(&child), Signal::HUP).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Every line is an object, also the one that says where to look.
#[test]
fn a_json_log_is_json_only() {
    let mut command = hour(&[]);
    command.args(["--log-format", "json", "--log-level", "debug"]);
    let mut running = Running::start(command);
    running.wait_for("/metrics");
    running.signal(Signal::TERM);
    let Ended { stderr, .. } = running.end();
    for line in stderr.lines() {
        assert!(line.starts_with("{\"timestamp\":") && line.ends_with('}'), "{line}");
    }
}

/// A replay needs no privilege, so whoever runs it: no thread has any, and none gets any.
#[test]
fn a_run_gives_up_what_it_does_not_need() {
    let mut running = Running::start(hour(&[]));
    metrics_address(&mut running);
    for status in running.threads() {
        for line in
            ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(status.lines().any(|it| it == line), "no line `{line}` in:\n{status}");
        }
    }
}

#[test]
fn a_run_keeps_everything_on_demand_and_says_so() {
    let mut command = hour(&[]);
    command.arg("--no-sandbox");
    let mut running = Running::start(command);
    running.wait_for("`--no-sandbox`");
    metrics_address(&mut running);
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let rights = |status: &str| -> Vec<String> {
        let names = ["CapPrm:", "CapEff:", "CapBnd:", "NoNewPrivs:", "Seccomp:"];
        status.lines().filter(|it| names.iter().any(|name| it.starts_with(name))).map(str::to_owned).collect()
    };
    for status in running.threads() {
        assert_eq!(rights(&status), rights(&own));
    }
}

#[test]
fn the_version_names_what_it_was_built_from() {
    let Ended { stdout, status, .. } = Running::start(ridley(["version"])).end();
    assert!(status.success());
    let names: Vec<&str> =
        stdout.lines().map(|it| it.split_once(": ").map_or(it, |(name, _)| name)).collect();
    let version = concat!("ridley ", env!("CARGO_PKG_VERSION"));
    assert_eq!(names, [version, "revision", "target", "eBPF object"], "{stdout}");
}

/// A run that needs no privilege and does not end by itself.
fn hour(set: &[&str]) -> Command {
    ridley(["--config", "hour.yaml"].into_iter().chain(set.iter().flat_map(|it| ["--set", *it])))
}

/// Waits for the line that says where to look, and returns the address in it.
fn metrics_address(running: &mut Running) -> String {
    let line = running.wait_for("/metrics");
    let (_, rest) = line.split_once("http://").unwrap_or_else(|| panic!("no address in: {line}"));
    rest.split_once("/metrics").unwrap().0.to_owned()
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}
