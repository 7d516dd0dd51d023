//! What was taken is delivered, however long a server is away and however often the agent is killed.

use std::{path::Path, process::Stdio};

use anyhow::Context;

use super::{
    Options, Part,
    document::{Row, Section},
};
use crate::command;

/// Has the tests of the ledger run for longer than in each run of the tests.
pub(super) fn run(agent: &Path, options: &Options) -> anyhow::Result<Section> {
    let Options { kills, outage_seconds, seed, .. } = *options;
    let seed = seed.unwrap_or(1);
    eprintln!("soak: servers that are away for {outage_seconds} s, and {kills} kills from seed {seed}");
    let mut test = command::cargo();
    test.args(["test", "--locked", "--package", "integration", "--test", "ledger"])
        .env(command::AGENT, agent)
        .envs(
            [("RIDLEY_KILLS", kills), ("RIDLEY_OUTAGE", outage_seconds), ("RIDLEY_SEED", seed)]
                .map(|(name, value)| (name, value.to_string())),
        )
        .stdin(Stdio::null());
    let output = test.output().context("cannot run the tests of the ledger")?;
    let [said, told] = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    let n_of = |word: &str| said.lines().filter(|it| it.starts_with("test ") && it.ends_with(word)).count();
    let (n_passed, n_failed) = (n_of("... ok"), n_of("... FAILED"));
    if !output.status.success() {
        eprintln!("{said}\n{told}");
    }
    let account = told.lines().find_map(|it| it.strip_prefix(&format!("seed {seed}: ")));
    Ok(Section {
        title: Part::Ledger.title(),
        how: format!(
            "`cargo xtask soak --only ledger --kills {kills} --outage-seconds {outage_seconds} --seed {seed}`"
        ),
        text: "Numbered items go through an agent to a server that is away, resets connections, says nothing, answers late or with \
               each code; through one that is killed at random moments with a queue on disk; and to a disk that is full. Each item \
               that the agent said it has taken must arrive, or be counted as dropped for the reason that there was; twice only \
               where the server took it and could not say so, or the agent was killed."
            .to_owned(),
        rows: vec![
            Row::at_least("tests that passed", n_passed as f64, 8.0),
            Row::exact("tests that failed", n_failed as f64, 0.0),
            Row::told("of the kills", account.unwrap_or("nothing was told").to_owned()),
        ],
        table: Vec::new(),
        notes: Vec::new(),
    })
}
