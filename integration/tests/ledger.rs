//! What is taken is delivered or accounted for, whatever the server does, and with a queue on disk whatever ends the agent.
//!
//! `RIDLEY_OUTAGE` is for how many seconds each server is away or ill, and `RIDLEY_KILLS` how often the agent is killed;
//! `RIDLEY_SEED` chooses when.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use integration::{
    Agent,
    agent::Rights,
    backend::{Answer, Backend, Taken},
    ledger::{Ledger, counts, sum},
    poll,
    ports::free_address,
    random::Dice,
};

const CONFIG: &str = include_str!("../configs/ledger.yaml");

/// How long everything may take to arrive when the server is well again.
const PATIENCE: Duration = Duration::from_secs(30);

/// Codes after which the specification of OTLP has a request sent again.
/// <https://opentelemetry.io/docs/specs/otlp/#failures>
const RETRYABLE_OF_GRPC: [u8; 6] = [1, 4, 10, 11, 14, 15];
const RETRYABLE_OF_HTTP: [u16; 4] = [429, 502, 503, 504];

/// "The client SHOULD interpret gRPC status codes as retryable or not-retryable according to the following table".
#[test]
fn after_each_code_of_grpc_items_are_delivered_or_dropped() -> anyhow::Result<()> {
    let mut answers: Vec<_> = (1..=16).map(Answer::Grpc).collect();
    answers.push(Answer::GrpcWithRetryInfo(8));
    each_answer("grpc", answers, |it| match it {
        Answer::Grpc(code) => RETRYABLE_OF_GRPC.contains(&code),
        _ => true,
    })
}

/// "All other `4xx` or `5xx` response status codes MUST NOT be retried."
#[test]
fn after_each_code_of_http_items_are_delivered_or_dropped() -> anyhow::Result<()> {
    let codes =
        [400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 431, 451, 500, 501, 502, 503, 504, 505, 511];
    each_answer("http", codes.map(Answer::Http).to_vec(), |it| match it {
        Answer::Http(code) => RETRYABLE_OF_HTTP.contains(&code),
        _ => true,
    })
}

/// Has a server say something else to each item the first time, and take it the second.
fn each_answer(
    protocol: &str,
    answers: Vec<Answer>,
    is_retryable: impl Fn(Answer) -> bool,
) -> anyhow::Result<()> {
    let dropped: BTreeSet<u64> =
        (0..).zip(&answers).filter(|(_, it)| !is_retryable(**it)).map(|(n, _)| n).collect();
    let n_items = answers.len();
    for is_on_disk in [false, true] {
        let test = Test::new(protocol, is_on_disk)?;
        let asked = Mutex::new(BTreeSet::new());
        let answers = answers.clone();
        let _backend = test.backend(move |numbers| {
            let [n] = *numbers else { return Answer::Taken };
            let is_first = asked.lock().expect("nobody panics while inserting").insert(n);
            let answer = usize::try_from(n).ok().and_then(|it| answers.get(it)).filter(|_| is_first);
            answer.copied().unwrap_or(Answer::Taken)
        })?;
        let agent = test.start()?;
        let mut ledger = test.ledger();
        ledger.send_all(n_items, 0);
        let n_twice = ledger.settle(&agent, &test.arrived, &dropped, PATIENCE)?;
        ensure!(n_twice == 0, "{n_twice} came twice");
        balance(&agent, n_items as u64, &[("refused", dropped.len() as u64)])?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_server_that_is_away_costs_nothing() -> anyhow::Result<()> {
    for is_on_disk in [false, true] {
        let test = Test::new("http", is_on_disk)?;
        let agent = test.start()?;
        let mut ledger = test.ledger();
        let n_items = send_for(outage(), &mut ledger);
        let _backend = test.backend(|_| Answer::Taken)?;
        let n_twice = ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE)?;
        ensure!(n_twice == 0, "{n_twice} came twice");
        balance(&agent, n_items, &[])?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_server_that_is_ill_costs_nothing() -> anyhow::Result<()> {
    // Whoever takes something and does not say so in time gets it again.
    let ills = [
        (Answer::Reset, false),
        (Answer::Silence, false),
        (Answer::Http(503), false),
        (Answer::Late(Duration::from_millis(100)), false),
        (Answer::Late(Duration::from_secs(2)), true),
    ];
    for ((ill, may_come_twice), is_on_disk) in ills.into_iter().flat_map(|it| [(it, false), (it, true)]) {
        let told =
            || format!("a server that answers {ill:?}, {}", if is_on_disk { "disk" } else { "memory" });
        let test = Test::new("http", is_on_disk)?;
        let backend = test.backend(move |_| ill)?;
        let agent = test.start()?;
        let mut ledger = test.ledger();
        let n_items = send_for(outage(), &mut ledger);
        backend.follow(|_| Answer::Taken);
        let settled = ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE);
        let n_twice = settled.with_context(told)?;
        ensure!(may_come_twice || n_twice == 0, "{}: {n_twice} came twice", told());
        balance(&agent, n_items, &[]).with_context(told)?;
        agent.stop()?;
    }
    Ok(())
}

/// More than the queue holds while nobody takes anything: what does not fit is refused and counted, and memory has a bound.
#[test]
fn what_has_no_room_is_refused_and_memory_is_bounded() -> anyhow::Result<()> {
    const SIZE: usize = 16 * 1024;
    const QUEUE_SIZE: u64 = 1024 * 1024;
    let test = Test::new("http", false)?;
    let agent = test.start()?;
    let mut ledger = test.ledger();
    ledger.send_all(20, SIZE);
    let before = resident(&agent)?;
    // Sixteen times as much as there is room for.
    ledger.send_all(1024, SIZE);
    let grown = resident(&agent)?.saturating_sub(before);
    ensure!(grown <= QUEUE_SIZE * 11 / 10, "the agent has grown by {grown} bytes");
    ensure!((60..=64).contains(&ledger.taken.len()), "{} were taken", ledger.taken.len());
    ensure!(ledger.refused.len() + ledger.taken.len() == 1044, "{} were refused", ledger.refused.len());
    let _backend = test.backend(|_| Answer::Taken)?;
    ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE)?;
    balance(&agent, 1044, &[("queue_full", ledger.refused.len() as u64)])?;
    agent.stop().map(drop)
}

/// Few requests of many: each item once, and no request larger than it may be.
#[test]
fn what_is_put_together_arrives_once() -> anyhow::Result<()> {
    for is_on_disk in [false, true] {
        let mut test = Test::new("http", is_on_disk)?;
        let batch = "sending_queue: { batch: { flush_timeout: 500ms, min_size: 20, max_size: 25 },";
        test.config = test.config.replace("sending_queue: {", batch);
        let largest = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&largest);
        let _backend = test.backend(move |numbers| {
            seen.fetch_max(numbers.len(), Ordering::Relaxed);
            Answer::Taken
        })?;
        let agent = test.start()?;
        let mut ledger = test.ledger();
        ledger.send_all(210, 10);
        let n_twice = ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE)?;
        ensure!(n_twice == 0, "{n_twice} came twice");
        balance(&agent, 210, &[])?;
        let n_requests = sum(&agent, "ridley_exporter_requests_total", "otelcol_component_id", "otlp")?;
        let largest = largest.load(Ordering::Relaxed);
        ensure!(
            (11..=60).contains(&n_requests) && largest == 20,
            "{n_requests} requests, of {largest} at most"
        );
        agent.stop()?;
    }
    Ok(())
}

/// Of what the agent said it has taken nothing is lost, whenever it is killed.
#[test]
fn what_was_taken_survives_every_kill() -> anyhow::Result<()> {
    let n_kills = number("RIDLEY_KILLS", 20)?;
    let seed = number("RIDLEY_SEED", 1)?;
    let mut dice = Dice::new(seed);
    let test = Test::new("http", true)?;
    let mut ledger = test.ledger();
    let mut backend = None;
    for _ in 0..n_kills {
        let agent = test.start()?;
        // Sometimes nobody is there, or who is there is of no use.
        let answer =
            [Answer::Taken, Answer::Taken, Answer::Http(503), Answer::Late(Duration::from_millis(5))]
                [dice.below(4)];
        drop(backend.take());
        if dice.below(5) > 0 {
            backend = Some(test.backend(move |_| answer)?);
        }
        let pid = agent.pid();
        let end = Instant::now() + Duration::from_millis(dice.below(300) as u64);
        let killer = std::thread::spawn(move || {
            poll::until(Duration::from_secs(1), || {
                ensure!(Instant::now() >= end, "not yet");
                Ok(())
            })?;
            Command::new("kill").args(["-KILL", &pid.to_string()]).status().context("cannot kill the agent")
        });
        let size = [0, 100, 5000][dice.below(3)];
        while ledger.send(size) {}
        killer.join().expect("the killer does not panic")?;
    }
    let n_before = counts(&test.arrived).len();
    let agent = test.start()?;
    drop(backend.take());
    let _backend = test.backend(|_| Answer::Taken)?;
    let n_twice = ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE)?;
    let n_taken = ledger.taken.len();
    ensure!(n_taken as u64 > n_kills, "{n_taken} were taken: the test is of no use");
    // What was on its way, and what was delivered while something was being written.
    let most = usize::try_from(n_kills)? * 32;
    ensure!(n_twice <= most, "{n_twice} came twice, expected at most {most}");
    let dropped = sum(&agent, "ridley_dropped_items_total", "otelcol_component_id", "otlp")?;
    ensure!(dropped == 0, "{dropped} were dropped");
    let damaged = sum(&agent, "ridley_exporter_queue_disk_damaged_total", "otelcol_component_id", "otlp")?;
    ensure!(damaged == 0, "{damaged} were damaged");
    agent.stop()?;
    note(&format!(
        "seed {seed}: {n_kills} kills, {n_taken} taken, {} of them delivered after the last, {n_twice} twice, {} refused, {} \
         without an answer",
        n_taken.saturating_sub(n_before),
        ledger.refused.len(),
        ledger.unanswered.len(),
    ))
}

/// A disk that is full is told to who sends, and costs nothing that was taken.
#[test]
fn a_full_disk_costs_nothing_that_was_taken() -> anyhow::Result<()> {
    let test = Test::new("http", true)?;
    let _disk = SmallDisk::mount(&test.directory())?;
    let agent = test.start()?;
    let mut ledger = test.ledger();
    ledger.send_all(400, 8 * 1024);
    // Two megabytes, and what files need beside their bytes.
    ensure!((200..=256).contains(&ledger.taken.len()), "{} were taken", ledger.taken.len());
    let _backend = test.backend(|_| Answer::Taken)?;
    ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE)?;
    // There is room again, as soon as what arrived is known to have.
    poll::until(PATIENCE, || {
        let n_taken = ledger.taken.len();
        ledger.send(8 * 1024);
        ensure!(ledger.taken.len() > n_taken, "there is no room again");
        Ok(())
    })
    .with_context(|| format!("the agent said:\n{}", agent.log()))?;
    let n_refused = ledger.refused.len() as u64;
    ledger.send_all(10, 8 * 1024);
    ensure!(ledger.refused.len() as u64 == n_refused, "there is no room for more");
    let n_twice = ledger.settle(&agent, &test.arrived, &BTreeSet::new(), PATIENCE)?;
    ensure!(n_twice == 0, "{n_twice} came twice");
    balance(&agent, n_refused + ledger.taken.len() as u64, &[("write_failed", n_refused)])?;
    agent.stop().map(drop)
}

/// An agent, its folder, and the server behind it.
struct Test {
    folder: tempfile::TempDir,
    config: String,
    protocol: &'static str,
    otlp: std::net::SocketAddr,
    server: std::net::SocketAddr,
    arrived: Taken,
}

impl Test {
    fn new(protocol: &str, is_on_disk: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder")?;
        let disk = format!(
            "queue_size: 1048576, disk: {{ directory: {}/queue, sync: interval }}",
            folder.path().display()
        );
        let config =
            if is_on_disk { CONFIG.replace("queue_size: 1048576", &disk) } else { CONFIG.to_owned() };
        let protocol = if protocol == "grpc" { "grpc" } else { "http" };
        let (otlp, server) = (free_address()?, free_address()?);
        Ok(Self { folder, config, protocol, otlp, server, arrived: Taken::default() })
    }

    fn directory(&self) -> PathBuf {
        self.folder.path().join("queue")
    }

    fn start(&self) -> anyhow::Result<Agent> {
        let (otlp, server) = (self.otlp.to_string(), format!("http://{}", self.server));
        let variables = [
            ("RIDLEY_OTLP_HTTP", Path::new(&otlp)),
            ("RIDLEY_BACKEND", Path::new(&server)),
            ("RIDLEY_PROTOCOL", Path::new(self.protocol)),
        ];
        Agent::launch(&self.config, Rights::All, &variables)
    }

    fn backend(&self, script: impl Fn(&[u64]) -> Answer + Send + Sync + 'static) -> anyhow::Result<Backend> {
        Backend::start(self.server, &self.arrived, script)
    }

    fn ledger(&self) -> Ledger {
        Ledger::new(self.otlp)
    }
}

/// A file system of two megabytes in a folder. It is gone with this value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(at).context("cannot make a folder")?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs"]).arg(at);
        let status = mount.status().context("cannot run mount")?;
        ensure!(status.success(), "cannot mount a small file system, which needs root");
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The agent may be there still, if the test failed.
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Checks that what the exporter took it delivered or dropped for these reasons.
fn balance(agent: &Agent, n_items: u64, dropped: &[(&str, u64)]) -> anyhow::Result<()> {
    poll::until(PATIENCE, || {
        let of = |metric: &str| sum(agent, metric, "otelcol_component_id", "otlp");
        let [delivered, all_dropped] =
            [of("ridley_exporter_delivered_items_total")?, of("ridley_dropped_items_total")?];
        let consumed = of("otelcol_exporter_consumed_items_total")?;
        ensure!(
            consumed == n_items && delivered + all_dropped == n_items,
            "{n_items} were sent, {consumed} taken, {delivered} delivered and {all_dropped} dropped"
        );
        for (reason, expected) in dropped {
            let found = sum(agent, "ridley_dropped_items_total", "reason", reason)?;
            ensure!(found == *expected, "{found} were dropped for {reason}, expected {expected}");
        }
        let expected: u64 = dropped.iter().map(|(_, n)| n).sum();
        ensure!(all_dropped == expected, "{all_dropped} were dropped, expected {expected}");
        Ok(())
    })
    .with_context(|| format!("the agent said:\n{}", agent.log()))
}

/// Sends some items, and waits for so long; returns how many there were.
fn send_for(time: Duration, ledger: &mut Ledger) -> u64 {
    let end = Instant::now() + time;
    ledger.send_all(50, 10);
    // The rest of the time is for pauses that grow.
    let _waited = poll::until(time, || {
        ensure!(Instant::now() >= end, "not yet");
        Ok(())
    });
    50
}

fn outage() -> Duration {
    Duration::from_secs(number("RIDLEY_OUTAGE", 2).unwrap_or(2))
}

fn number(name: &str, default: u64) -> anyhow::Result<u64> {
    match env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is no number")),
        Err(_) => Ok(default),
    }
}

/// Returns the bytes of memory that the agent has.
fn resident(agent: &Agent) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// Tells whoever watches the tests what no result can carry.
fn note(text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    writeln!(std::io::stderr(), "{text}").context("nobody watches")
}
