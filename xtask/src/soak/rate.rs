//! Many connections per second: each must be counted.

use std::{path::Path, time::Duration};

use super::{
    INTERVAL, Options, Part,
    document::{Row, Section},
};
use crate::lab::{
    agent::Agent,
    load::{Client, Server},
    pause,
};

/// What of the wanted rate must be reached: less would prove less than the document says.
const REACHED: f64 = 0.99;

/// Opens and closes connections as fast as wanted.
pub(super) fn run(binary: &Path, options: &Options) -> anyhow::Result<Section> {
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
        Row::at_least("reached, connections/s", truth / secs, (f64::from(*rate) * REACHED).floor()),
        Row::told("agent's CPU", format!("{:.1} % of a core", cpu.as_secs_f64() / secs * 100.0)),
        Row::exact("counted as opened", agent.opened_to(server.port())?, truth),
        Row::exact("counted as closed", agent.closed_to(server.port())?, truth),
        Row::exact("not recorded by the programs (`ridley.ebpf.skipped`)", agent.skipped()?, 0.0),
    ];
    let section = Section {
        title: Part::Rate.title(),
        how: format!("`cargo xtask soak --only rate --rate {rate} --rate-seconds {rate_seconds}`"),
        text: "Connections over loopback, a request of 200 bytes and a response of 1,000 each; both ends, the agent and \
               what asks for all that share this machine's cores."
            .to_owned(),
        rows,
        table: Vec::new(),
        notes: Vec::new(),
    };
    let section = section.explained_by(&agent)?;
    agent.stop()?;
    Ok(section)
}
