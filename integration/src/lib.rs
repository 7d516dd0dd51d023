//! The oracle: judges the `ridley` binary by traffic whose every byte is known.
//!
//! A [`Case`] is data: a path through a small network of its own, a script that both ends of each connection follow,
//! and how the connections must end. [`Case::play`] has two processes talk ([`Peer`], whose program is `src/bin/peer`)
//! in a network of namespaces ([`World`]), and says at each [`Moment`] what a correct observer must have counted.
//! [`Agent`] runs the real binary and compares.
//!
//! This crate uses nothing of the pipeline. It knows the agent as a user does: a binary, a configuration, a scrape.

#![forbid(unsafe_code)]

pub mod agent;
pub mod api_server;
pub mod backend;
pub mod case;
pub mod cases;
pub mod cluster;
pub mod collector;
pub mod command;
pub mod edges;
pub mod exposition;
pub mod json_sink;
pub mod kernel;
pub mod ledger;
pub mod limits;
pub mod metrics_server;
pub mod moment;
pub mod payload;
pub mod peer;
pub mod plan;
pub mod play;
pub mod poll;
pub mod ports;
pub mod random;
pub mod record;
pub mod trace_server;
pub mod world;

use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail};
use serde::Serialize;

pub use self::{
    agent::Agent,
    case::{Case, Outcome},
    moment::Moment,
    peer::Peer,
    play::Play,
    world::World,
};

/// Returns the path of a program that was built with these tests: beside them, or one folder up.
///
/// # Errors
///
/// There is none; the message names the places.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe().context("cannot tell where this program is")?;
    let folders = own.ancestors().skip(1).take(2).map(Path::to_path_buf);
    let places: Vec<_> = folders.map(|folder| folder.join(name)).collect();
    match places.iter().find(|it| it.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!(
            "there is no {}",
            places.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", nor ")
        ),
    }
}

/// Ends a program that others read: writes a summary as a line of JSON to standard output, or the error to standard error.
pub fn tell(summary: anyhow::Result<impl Serialize>) -> ExitCode {
    let told = summary.and_then(|summary| {
        let line = serde_json::to_string(&summary).context("cannot write the summary")?;
        writeln!(std::io::stdout(), "{line}").context("cannot tell the summary")
    });
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Tells whoever watches the tests something that no result can carry.
fn note(text: &str) {
    // Nobody watches when standard error is closed.
    let _told = writeln!(std::io::stderr(), "{text}");
}
