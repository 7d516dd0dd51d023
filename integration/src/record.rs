//! Flow records as the agent's `file` exporter writes them: one observer's report on one connection over one interval.

use std::{fs, net::IpAddr, path::Path};

use anyhow::Context;
use serde::Deserialize;

use crate::{
    Agent, Case, Moment, World,
    agent::{RECORD, Rights},
    case::play_all,
};

/// What the oracle reads of a record.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    /// The connection; absent for attempts that failed.
    pub id: Option<String>,
    /// Which end reports: `client` or `server`.
    pub observer: String,
    /// The end that connects.
    pub client: End,
    /// The end that accepts.
    pub server: End,
    /// On a connection's first record: `opened`, or `found`.
    pub begin: Option<String>,
    /// On a connection's last record, how it ended.
    pub end: Option<serde_json::Value>,
    /// From client to server.
    pub request: Direction,
    /// From server to client.
    pub response: Direction,
    /// Round-trip times at the end of the interval.
    pub rtt: Option<Rtt>,
    /// Nanoseconds that the handshake took, as the client saw it.
    pub connect: Option<u64>,
    /// Nanoseconds that the client took to answer, as the server saw it.
    pub server_handshake: Option<u64>,
    /// What the kernel knows of the end that reports.
    pub local: Local,
}

/// Round-trip times in nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Rtt {
    /// Smoothed.
    pub smoothed: u64,
    /// The least.
    pub min: u64,
}

/// One end, as the observer sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct End {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// What travelled in one direction during the interval.
#[derive(Clone, Debug, Deserialize)]
pub struct Direction {
    /// Payload.
    pub bytes: u64,
}

/// Where the observed end is.
#[derive(Clone, Debug, Deserialize)]
pub struct Local {
    /// Number of its network namespace.
    pub netns: u64,
}

/// Plays cases while an agent records. Returns what each has done, and the records of all.
///
/// # Errors
///
/// A case does not go as planned, or the agent counts something else.
pub fn of_cases(rights: Rights, cases: &[Case]) -> anyhow::Result<(Vec<Moment>, Vec<Record>)> {
    let world = World::new()?;
    let folder = tempfile::tempdir()?;
    rights.own(folder.path())?;
    let flows = folder.path().join("flows.jsonl");
    let agent = Agent::start_as(rights, RECORD, &[("RIDLEY_FLOWS", &flows)])?;
    let moments = play_all(cases, &world, |moment| agent.expect(moment))?;
    agent.stop()?;
    Ok((moments, read(&flows)?))
}

/// Reads all records of a file.
///
/// # Errors
///
/// The file cannot be read, or a line is no record.
pub fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines().map(parse).collect()
}

/// Reads the record in a line.
///
/// # Errors
///
/// There is none.
pub fn parse(line: &str) -> anyhow::Result<Record> {
    serde_json::from_str(line).with_context(|| format!("no record: {line}"))
}
