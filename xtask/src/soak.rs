//! Long runs: what minutes of load and hours of chance find, written into docs/soak.md.

mod document;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use serde::Deserialize;

use self::document::{Row, Section};
use crate::{
    command,
    lab::{
        agent::Agent,
        load::{Client, Server},
        machine, pause,
    },
    workspace::Workspace,
};

/// How long, and how much.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Run only these; what docs/soak.md says of the others stays.
    #[arg(long, value_enum)]
    only: Vec<Part>,
    /// Connections opened and closed per second in `rate`; the machine may reach fewer.
    #[arg(long, default_value_t = 10_000)]
    rate: u32,
    /// Seconds of `rate`.
    #[arg(long, default_value_t = 60)]
    rate_seconds: u64,
    /// Connections opened and closed per second in `churn`.
    #[arg(long, default_value_t = 5_000)]
    churn_rate: u32,
    /// Minutes of `churn`.
    #[arg(long, default_value_t = 20)]
    churn_minutes: u64,
    /// Minutes of `random`.
    #[arg(long, default_value_t = 30)]
    random_minutes: u64,
    /// First seed of `random`; another one each time unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// Most rounds of `random`, one for each seed.
    #[arg(long)]
    rounds: Option<u64>,
}

/// A long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Many connections per second: each must be counted.
    Rate,
    /// Connections for minutes: memory must not grow.
    Churn,
    /// The oracle with random cases: no difference may be found.
    Random,
}

/// More than the kernel may take at default sizes.
const MOST_MAPS_MIB: f64 = 8.0;
/// Minutes after which buffers and tables have the size that the load needs.
const WARM_MINUTES: usize = 3;
/// How much resident memory may differ from what it was then.
const MOST_GROWTH: f64 = 1.05;
/// Random rounds that one agent sees, unless it is killed in one.
const ROUNDS_OF_AN_AGENT: u64 = 10;
/// Differences after which to give up: something is broken that more rounds say nothing new of.
const MOST_DIFFERENCES: usize = 5;
/// As long as the agent's longest interval.
const INTERVAL: Duration = Duration::from_secs(5);

/// Runs for long, and writes what was found. Fails if that is not what must be.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let workspace = Workspace::load()?;
    if !command::is_root() {
        bail!(
            "long runs load kernel programs and make network namespaces, which needs root; run them as root"
        );
    }
    let agent = command::agent(&workspace.target)?;
    let mut disappointed = Vec::new();
    for part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(part) {
            continue;
        }
        let began = machine::describe(&workspace.root)?;
        let section = match part {
            Part::Rate => rate(&agent, options)?,
            Part::Churn => churn(&agent, options)?,
            Part::Random => random(&workspace, &agent, options)?,
        };
        if !section.is_as_expected() {
            disappointed.push(section.title);
        }
        write(&workspace.root, &section, &began)?;
    }
    ensure!(disappointed.is_empty(), "not as it must be: {}; see docs/soak.md", disappointed.join(", "));
    Ok(())
}

fn write(root: &Path, section: &Section, machine: &str) -> anyhow::Result<()> {
    let path = root.join("docs/soak.md");
    let former = if path.is_file() { fs::read_to_string(&path)? } else { String::new() };
    let titles: Vec<_> = Part::value_variants().iter().map(|part| part.title()).collect();
    fs::write(&path, document::with(&former, section, machine, &titles))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("soak: wrote docs/soak.md: {}", section.title);
    Ok(())
}

/// Opens and closes connections as fast as wanted, or as the machine can.
fn rate(binary: &Path, options: &Options) -> anyhow::Result<Section> {
    let Options { rate, rate_seconds, .. } = options;
    eprintln!("soak: {rate} connections per second for {rate_seconds} s");
    let agent = Agent::start(binary)?;
    let server = Server::start()?;
    pause(INTERVAL);
    let cpu_before = agent.cpu_time()?;
    let done = Client::new(&server).churn(*rate, Duration::from_secs(*rate_seconds))?;
    let cpu = agent.cpu_time()?.saturating_sub(cpu_before);
    // The last of them must have passed through every component before they are counted.
    pause(3 * INTERVAL);
    let (secs, truth) = (done.took.as_secs_f64(), done.connections as f64);
    let rows = vec![
        Row::told("connections opened and closed", format!("{} in {secs:.0} s", done.connections)),
        Row::told("reached", format!("{:.0} connections/s", truth / secs)),
        Row::told("agent's CPU", format!("{:.1} % of a core", cpu.as_secs_f64() / secs * 100.0)),
        Row::exact("counted as opened", agent.opened_to(server.port())?, truth),
        Row::exact("counted as closed", agent.closed_to(server.port())?, truth),
        Row::exact("not recorded by the programs (`ridley.ebpf.skipped`)", agent.skipped()?, 0.0),
    ];
    agent.stop()?;
    Ok(Section {
        title: Part::Rate.title(),
        how: format!("`cargo xtask soak --only rate --rate {rate} --rate-seconds {rate_seconds}`"),
        text: "Connections over loopback, a request of 200 bytes and a response of 1,000 each; both ends, the agent and \
               what asks for all that share this machine's cores."
            .to_owned(),
        rows,
        table: Vec::new(),
        notes: Vec::new(),
    })
}

/// Opens and closes connections for long, to another server each minute, and looks at memory.
fn churn(binary: &Path, options: &Options) -> anyhow::Result<Section> {
    let Options { churn_rate, churn_minutes, .. } = options;
    eprintln!("soak: {churn_rate} connections per second for {churn_minutes} min");
    let agent = Agent::start(binary)?;
    pause(INTERVAL);
    let mut minutes =
        vec![Minute { connections: 0, resident: agent.resident_mib()?, maps: agent.maps_mib()? }];
    let (mut total, mut opened, mut closed) = (0, 0.0, 0.0);
    let began = Instant::now();
    for minute in 1..=*churn_minutes {
        let server = Server::start()?;
        let end = Duration::from_secs(minute * 60);
        let done =
            Client::new(&server).churn(*churn_rate, end.saturating_sub(began.elapsed() + 3 * INTERVAL))?;
        total += done.connections;
        // Before links without connections expire.
        pause(3 * INTERVAL);
        opened += agent.opened_to(server.port())?;
        closed += agent.closed_to(server.port())?;
        let now = Minute { connections: total, resident: agent.resident_mib()?, maps: agent.maps_mib()? };
        eprintln!("soak: minute {minute}: {now:?}");
        minutes.push(now);
    }
    let truth = total as f64;
    let of = |value: fn(&Minute) -> f64, minutes: &[Minute]| minutes.iter().map(value).fold(0.0, f64::max);
    let warm = WARM_MINUTES.min(minutes.len() - 1);
    let resident = minutes[warm].resident;
    let growth = of(|it| it.resident, &minutes[warm..]) / resident;
    let maps = of(|it| it.maps, &minutes);
    let rows = vec![
        Row::told("connections opened and closed", total.to_string()),
        Row::exact("counted as opened", opened, truth),
        Row::exact("counted as closed", closed, truth),
        Row::exact("not recorded by the programs (`ridley.ebpf.skipped`)", agent.skipped()?, 0.0),
        Row::at_most("kernel memory of maps, MiB", maps, MOST_MAPS_MIB),
        Row::at_most("most of it over what it was at the start", maps / minutes[0].maps, 1.0),
        Row::at_most("resident memory at most, over what it was when warm", growth, MOST_GROWTH),
    ];
    agent.stop()?;
    let mut table = vec!["| minute | connections | resident, MiB | maps, MiB |".to_owned()];
    table.push("| ---: | ---: | ---: | ---: |".to_owned());
    table.extend(minutes.iter().enumerate().map(|(minute, it)| {
        format!("| {minute} | {} | {:.1} | {:.2} |", it.connections, it.resident, it.maps)
    }));
    Ok(Section {
        title: Part::Churn.title(),
        how: format!(
            "`cargo xtask soak --only churn --churn-rate {churn_rate} --churn-minutes {churn_minutes}`"
        ),
        text: format!(
            "{churn_rate} connections per second for 45 seconds of each minute, to another server in each, so that links \
             and listeners come and go too. Warm is minute {warm}. Kernel memory is what the kernel says of the maps \
             (`memlock`)."
        ),
        rows,
        table,
        notes: Vec::new(),
    })
}

/// What there is at the end of a minute.
#[derive(Clone, Copy, Debug)]
struct Minute {
    connections: u64,
    resident: f64,
    maps: f64,
}

/// What the oracle's program for random rounds says of the rounds that one agent saw.
#[derive(Debug, Deserialize)]
struct Life {
    seconds: u64,
    difference: Option<(u64, String)>,
    counts: BTreeMap<String, u64>,
}

/// Plays random rounds, so many to each agent that others who wait for the machine get their turn in between.
fn random(workspace: &Workspace, agent: &Path, options: &Options) -> anyhow::Result<Section> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let Options { random_minutes: minutes, rounds, .. } = *options;
    let first_seed = options.seed.unwrap_or_else(now);
    eprintln!("soak: random cases for {minutes} min from seed {first_seed}");
    command::run(command::cargo().args(["build", "--locked", "--package", "integration", "--bins"]))?;

    let mut seed = first_seed;
    let mut rest = rounds.unwrap_or(u64::MAX);
    let (mut played, mut sums, mut notes) = (Duration::ZERO, BTreeMap::new(), Vec::new());
    while rest > 0 && played.as_secs() < minutes * 60 && notes.len() < MOST_DIFFERENCES {
        let n_rounds = rest.min(ROUNDS_OF_AN_AGENT);
        let mut soak = Command::new(workspace.target.join("debug/soak"));
        soak.args([seed, n_rounds].map(|it| it.to_string())).env(command::AGENT, agent);
        let output =
            soak.stderr(Stdio::inherit()).output().context("cannot run the oracle's random rounds")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let life: Life = serde_json::from_str(&said).with_context(|| {
            format!("the rounds from seed {seed} on ended with {}: {said}", output.status)
        })?;
        played += Duration::from_secs(life.seconds);
        for (what, n) in life.counts {
            *sums.entry(what).or_insert(0) += n;
        }
        if let Some((at, text)) = life.difference {
            eprintln!("soak: seed {at}: {text}");
            notes.push(difference(seed, at, &text));
        }
        seed += n_rounds;
        rest -= n_rounds;
    }

    let mut rows = vec![
        Row::told("time", format!("{} min", played.as_secs() / 60)),
        Row::told("seeds", format!("{first_seed} to {}", seed - 1)),
    ];
    rows.extend(sums.iter().map(|(what, n)| Row::told(&what.replace('_', " "), n.to_string())));
    rows.push(Row::exact("differences", notes.len() as f64, 0.0));
    let some = rounds.map(|it| format!(" --rounds {it}")).unwrap_or_default();
    Ok(Section {
        title: Part::Random.title(),
        how: format!(
            "`cargo xtask soak --only random --random-minutes {minutes} --seed {first_seed}{some}`"
        ),
        text: "Each round is a network of its own with some cases side by side, made from its seed: paths, address \
               families, sizes, counts, ends of all kinds, attempts that fail, lost packets, peers killed in the midst of \
               a transfer, peers killed together with their network. In half of the rounds the agent is stopped or killed \
               in the midst and another one goes on. Every byte and connection must be counted right at every point where \
               connections hold, at the end of each, and after the network is gone."
            .to_owned(),
        rows,
        table: Vec::new(),
        notes,
    })
}

/// Says how to play again what an agent counted wrong that saw the rounds from `since` on.
fn difference(since: u64, seed: u64, text: &str) -> String {
    // What the agent logged stands before what differs.
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let last = lines[lines.len().saturating_sub(2)..].join(" ");
    let rounds = seed - since + 1;
    format!("Seed {seed}, again by `cargo xtask soak --only random --seed {since} --rounds {rounds}`: {last}")
}

impl Part {
    /// The title of its section; sections stand in the order of parts.
    const fn title(self) -> &'static str {
        match self {
            Self::Rate => "Connections per second",
            Self::Churn => "Memory under churn",
            Self::Random => "Random cases",
        }
    }
}
