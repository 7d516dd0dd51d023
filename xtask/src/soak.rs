//! Long runs: what minutes of load and hours of chance find, written into docs/soak.md.

mod churn;
mod cluster;
mod document;
mod ledger;
mod random;
mod rate;
mod series;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;

use self::document::Section;
use crate::{
    command,
    lab::{agent::Agent, machine},
    tools,
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
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    churn_minutes: u64,
    /// Seconds of `cluster` in which pods change.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    cluster_seconds: u64,
    /// Minutes of `random`.
    #[arg(long, default_value_t = 30)]
    random_minutes: u64,
    /// How often the agent is killed in `ledger`.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Seconds for which each server of `ledger` is away or ill.
    #[arg(long, default_value_t = 60)]
    outage_seconds: u64,
    /// First seed of `random`, another one each time unless it is given; that of `ledger`, else 1.
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
    /// Items that are numbered, servers that are away, agents that are killed: nothing that was taken may be lost.
    Ledger,
    /// The oracle with random cases: no difference may be found.
    Random,
    /// Names in a large cluster whose pods change: each must be right. Needs `cargo xtask tools`.
    Cluster,
}

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
    let is_chosen = |part| options.only.is_empty() || options.only.contains(part);
    ensure!(
        !is_chosen(&Part::Cluster) || tools::of_cluster(&workspace)?.is_some(),
        "the programs of a cluster are not built; run `cargo xtask tools`, or choose other long runs with `--only`"
    );
    let agent = command::agent(&workspace.target)?;
    let mut disappointed = Vec::new();
    for part in Part::value_variants().iter().filter(|it| is_chosen(it)) {
        let began = machine::describe(&workspace.root)?;
        let section = match part {
            Part::Rate => rate::run(&agent, options)?,
            Part::Churn => churn::run(&agent, options)?,
            Part::Cluster => cluster::run(&workspace, &agent, options)?,
            Part::Ledger => ledger::run(&agent, options)?,
            Part::Random => random::run(&workspace, &agent, options)?,
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

impl Section {
    /// Notes what the agent says of itself, unless everything is as it must be.
    fn explained_by(mut self, agent: &Agent) -> anyhow::Result<Self> {
        if !self.is_as_expected() {
            self.notes = agent.account()?.into_iter().map(|line| format!("`{line}`")).collect();
            self.notes.iter().for_each(|note| eprintln!("soak: {}: {note}", self.title));
        }
        Ok(self)
    }
}

impl Part {
    /// The title of its section; sections stand in the order of parts.
    const fn title(self) -> &'static str {
        match self {
            Self::Rate => "Connections per second",
            Self::Churn => "Memory under churn",
            Self::Cluster => "Names in a large cluster",
            Self::Ledger => "Items taken and delivered",
            Self::Random => "Random cases",
        }
    }
}
