//! The oracle with random cases: no difference may be found.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use serde::Deserialize;

use super::{
    Options, Part,
    document::{Row, Section},
};
use crate::{command, workspace::Workspace};

/// Random rounds that one agent sees, unless it is killed in one.
const ROUNDS_OF_AN_AGENT: u64 = 10;
/// Differences after which to give up: something is broken that more rounds say nothing new of.
const MOST_DIFFERENCES: usize = 5;

/// What the oracle's program for random rounds says of the rounds that one agent saw.
#[derive(Debug, Deserialize)]
struct Life {
    seconds: u64,
    difference: Option<(u64, String)>,
    counts: BTreeMap<String, u64>,
}

/// Plays random rounds, so many to each agent that others who wait for the machine get their turn in between.
pub(super) fn run(workspace: &Workspace, agent: &Path, options: &Options) -> anyhow::Result<Section> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    let Options { random_minutes: minutes, rounds, .. } = *options;
    let first_seed = options.seed.unwrap_or_else(now);
    eprintln!("soak: random cases for {minutes} min from seed {first_seed}");
    command::run(command::cargo().args(["build", "--locked", "--package", "integration", "--bins"]))?;

    let end = rounds.map_or(u64::MAX, |it| first_seed + it);
    let mut seed = first_seed;
    let (mut seconds, mut counts, mut notes) = (0, BTreeMap::new(), Vec::new());
    while seed < end && seconds < minutes * 60 && notes.len() < MOST_DIFFERENCES {
        let n_rounds = ROUNDS_OF_AN_AGENT.min(end - seed);
        let life = Life::live(workspace, agent, seed, n_rounds)?;
        seconds += life.seconds;
        for (what, n) in life.counts {
            *counts.entry(what).or_insert(0) += n;
        }
        let since = seed;
        seed += n_rounds;
        if let Some((at, text)) = life.difference {
            eprintln!("soak: seed {at}: {text}");
            keep(workspace, at, &text)?;
            notes.push(difference(since, at, &text));
            // What came after it has not been played.
            seed = at + 1;
        }
    }

    let rounds_played = counts.remove("rounds").unwrap_or_default();
    let mut rows = vec![
        match rounds {
            Some(_) => Row::told("time", format!("{} min", seconds / 60)),
            None => Row::at_least("time, min", (seconds / 60) as f64, minutes as f64),
        },
        Row::at_least("rounds", rounds_played as f64, 1.0),
        Row::told("their seeds", format!("{first_seed} to {}", seed - 1)),
    ];
    rows.extend(counts.iter().map(|(what, n)| Row::told(&what.replace('_', " "), n.to_string())));
    rows.push(Row::exact("differences", notes.len() as f64, 0.0));
    let some = rounds.map(|it| format!(" --rounds {it}")).unwrap_or_default();
    Ok(Section {
        title: Part::Random.title(),
        how: format!(
            "`cargo xtask soak --only random --random-minutes {minutes} --seed {first_seed}{some}`"
        ),
        text: "Each round is a network of its own with some cases side by side, made from its seed: paths, address \
               families, sizes, counts, ends of all kinds, attempts that fail, lost packets, peers killed in the midst of \
               a transfer, peers killed together with their network. The seeds of its cases are 100 times its own, and \
               up. In half of the rounds the agent is stopped or killed in the midst and another one goes on. Every byte \
               and connection must be counted right at every point where connections hold, at the end of each, and after \
               the network is gone."
            .to_owned(),
        rows,
        table: Vec::new(),
        notes,
    })
}

impl Life {
    /// Plays rounds to one agent, until there is a difference.
    fn live(workspace: &Workspace, agent: &Path, seed: u64, n_rounds: u64) -> anyhow::Result<Self> {
        let mut soak = Command::new(workspace.target.join("debug/soak"));
        soak.args([seed, n_rounds].map(|it| it.to_string())).env(command::AGENT, agent);
        let output =
            soak.stderr(Stdio::inherit()).output().context("cannot run the oracle's random rounds")?;
        let said = String::from_utf8_lossy(&output.stdout);
        Ok(serde_json::from_str(&said).unwrap_or_else(|_unreadable| Self::broken(seed, output.status, &said)))
    }

    /// What is known of rounds whose program did not come to its end: where it was, its standard error tells.
    fn broken(seed: u64, status: ExitStatus, said: &str) -> Self {
        let text = format!("the program of the rounds from this seed on ended with {status}: {said}");
        Self { seconds: 0, difference: Some((seed, text)), counts: BTreeMap::new() }
    }
}

/// Keeps all that was said of a difference, which is too long for a document.
fn keep(workspace: &Workspace, seed: u64, text: &str) -> anyhow::Result<()> {
    let folder = workspace.target.join("soak");
    let path = folder.join(format!("{seed}.txt"));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("soak: seed {seed}: all of this is in {}", path.display());
    Ok(())
}

/// Says how to play again what an agent counted wrong that saw the rounds from `since` on.
fn difference(since: u64, seed: u64, text: &str) -> String {
    // What the agent logged stands before what differs.
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let last = lines[lines.len().saturating_sub(2)..].join(" ");
    let rounds = seed - since + 1;
    format!("Seed {seed}, again by `cargo xtask soak --only random --seed {since} --rounds {rounds}`: {last}")
}
