//! Tests with servers that no registry has: whoever runs one says where.

use anyhow::bail;

use crate::{command, workspace::Workspace};

/// What the tests read where the server is by.
const TEMPO: &str = "RIDLEY_TEMPO";
const TEMPO_OTLP: &str = "RIDLEY_TEMPO_OTLP";

/// Where the servers are.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Where a Tempo is queried, such as `http://tempo:3200`: the tests of traces, which have a Jaeger else. They leave their
    /// traces there.
    #[arg(long, value_name = "URL")]
    tempo: String,
    /// Where that Tempo takes OTLP by gRPC; port 4317 of the same host, unless given.
    #[arg(long, value_name = "URL")]
    tempo_otlp: Option<String>,
}

/// Runs the tests of traces with a server that is there.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let Options { tempo, tempo_otlp } = options;
    if !command::is_root() {
        bail!("the tests make network namespaces and load kernel programs, which needs root");
    }
    let agent = command::agent(&Workspace::load()?.target)?;
    let mut test = command::cargo();
    test.args(["test", "--locked", "--package", "integration", "--test", "traces"]);
    test.env(command::AGENT, agent).env(TEMPO, tempo);
    if let Some(otlp) = tempo_otlp {
        test.env(TEMPO_OTLP, otlp);
    }
    command::run(&mut test)
}
