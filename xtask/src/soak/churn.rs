//! Connections for minutes: memory must not grow.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, sync_channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;

use super::{
    INTERVAL, Options, Part,
    document::{Row, Section},
    series::Series,
};
use crate::{
    lab::{
        agent::Agent,
        kernel::{self, HANDSHAKES},
        load::{Client, Server},
        pause,
    },
    packages,
};

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(10);
/// When tables have the size that the load needs: links are kept for five minutes after their last connection. Of a run
/// that is too short for that it is a third.
const WARM: Duration = Duration::from_mins(6);
/// More than the kernel may take at default sizes.
const MOST_MAPS_MIB: f64 = 8.0;
/// How much resident memory may grow in an hour when warm. A byte for each connection of the default load is 12.9.
const MOST_GROWTH_MIB: f64 = 3.0;
/// Handshakes that may be remembered when the load is over, beyond those at the start: others connect, too.
const MOST_HANDSHAKES: f64 = 16.0;

/// Opens and closes connections for long, to another server each minute, and looks at memory.
pub(super) fn run(binary: &Path, options: &Options) -> anyhow::Result<Section> {
    let Options { churn_rate, churn_minutes, .. } = options;
    eprintln!("soak: {churn_rate} connections per second for {churn_minutes} min");
    packages::install(kernel::INSTALLED)?;
    let agent = Agent::start(binary)?;
    pause(INTERVAL);
    let (minutes, memory) = thread::scope(|scope| {
        let (running, is_over) = sync_channel(0);
        let agent = &agent;
        let memory = scope.spawn(move || Memory::follow(agent, &is_over));
        let minutes = load(agent, options);
        drop(running);
        let memory = memory.join().map_err(|_panic| anyhow!("the look at memory panicked"))?;
        anyhow::Ok((minutes?, memory?))
    })?;
    let section = section(options, &minutes, &memory, agent.skipped()?).explained_by(&agent)?;
    agent.stop()?;
    Ok(section)
}

/// What was done in a minute, and what the agent counted of it.
#[derive(Clone, Copy, Debug)]
struct Minute {
    connections: u64,
    opened: f64,
    closed: f64,
    resident: f64,
}

fn load(agent: &Agent, options: &Options) -> anyhow::Result<Vec<Minute>> {
    let began = Instant::now();
    let mut minutes = Vec::new();
    for minute in 1..=options.churn_minutes {
        let server = Server::start()?;
        let rest = Duration::from_mins(minute).saturating_sub(began.elapsed() + 3 * INTERVAL);
        let connections = Client::new(&server).churn(options.churn_rate, rest)?.connections;
        // The last of them must have passed through every component, and their link not have expired.
        pause(3 * INTERVAL);
        let [opened, closed] = [agent.opened_to(server.port())?, agent.closed_to(server.port())?];
        let now = Minute { connections, opened, closed, resident: agent.resident_mib()? };
        eprintln!("soak: minute {minute}: {now:?}");
        minutes.push(now);
    }
    Ok(minutes)
}

/// What memory the agent and its programs take in the course of the run.
#[derive(Debug, Default)]
struct Memory {
    resident: Series,
    maps: Series,
    entries: BTreeMap<String, Series>,
}

impl Memory {
    /// Looks at memory until the other end of the channel is gone.
    fn follow(agent: &Agent, is_over: &Receiver<Infallible>) -> anyhow::Result<Self> {
        let began = Instant::now();
        let mut memory = Self::default();
        let mut next = Duration::ZERO;
        loop {
            let at = began.elapsed();
            memory.resident.push(at, agent.resident_mib()?);
            memory.maps.push(at, agent.maps_mib()?);
            for (map, n) in agent.map_entries()? {
                memory.entries.entry(map).or_default().push(at, n as f64);
            }
            next += SAMPLE;
            if is_over.recv_timeout(next.saturating_sub(began.elapsed()))
                == Err(RecvTimeoutError::Disconnected)
            {
                return Ok(memory);
            }
        }
    }
}

fn section(options: &Options, minutes: &[Minute], memory: &Memory, skipped: f64) -> Section {
    let Options { churn_rate, churn_minutes, .. } = options;
    let sum = |of: fn(&Minute) -> f64| minutes.iter().map(of).sum::<f64>();
    let truth = sum(|it| it.connections as f64);
    let warm = WARM.min(Duration::from_mins(*churn_minutes) / 3);
    let Memory { resident, maps, entries } = memory;
    let mut rows = vec![
        Row::told("connections opened and closed", truth.to_string()),
        Row::exact("counted as opened", sum(|it| it.opened), truth),
        Row::exact("counted as closed", sum(|it| it.closed), truth),
        Row::exact("not recorded by the programs (`ridley.ebpf.skipped`)", skipped, 0.0),
        Row::told("resident memory, MiB: first, last, most", resident.told(1)),
        Row::at_most("growth when warm, MiB in an hour", resident.growth_per_hour(warm), MOST_GROWTH_MIB),
        Row::told("kernel memory of maps, MiB: first, last, most", maps.told(2)),
        Row::at_most("the most", maps.most(), MOST_MAPS_MIB),
    ];
    for (map, entries) in entries {
        rows.push(Row::told(
            &format!("entries in use of the map `{map}`: first, last, most"),
            entries.told(0),
        ));
    }
    let handshakes = entries[HANDSHAKES].last() - entries[HANDSHAKES].first();
    rows.push(Row::at_most(&format!("left in `{HANDSHAKES}`, last less first"), handshakes, MOST_HANDSHAKES));
    let mut table = vec![
        "| minute | connections | resident at its end, MiB |".to_owned(),
        "| ---: | ---: | ---: |".to_owned(),
    ];
    table.extend((1..).zip(minutes).map(|(minute, it)| {
        let Minute { connections, resident, .. } = it;
        format!("| {minute} | {connections} | {resident:.1} |")
    }));
    Section {
        title: Part::Churn.title(),
        how: format!(
            "`cargo xtask soak --only churn --churn-rate {churn_rate} --churn-minutes {churn_minutes}`"
        ),
        text: format!(
            "{churn_rate} connections per second for 45 seconds of each minute, to another server in each, so that links \
             and listeners come and go too. Memory is looked at every {} seconds; warm is what comes after {} seconds, and \
             growth the slope of the line that is nearest to it. Kernel memory is what the kernel says of the maps \
             (`memlock`).",
            SAMPLE.as_secs(),
            warm.as_secs(),
        ),
        rows,
        table,
        notes: Vec::new(),
    }
}
