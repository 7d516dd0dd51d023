//! The oracle: judges the `ridley` binary by traffic whose every byte is known.
//!
//! A [`Case`] is data: a path through a small network of its own, a script that both ends of each connection follow,
//! and how the connections must end. [`Case::run`] builds the network from namespaces ([`World`]), has two processes
//! talk ([`Peer`], whose program is `src/bin/peer`), and compares three witnesses: what the applications report, what
//! the kernel counted, and what the agent ([`Agent`]) exposes.
//!
//! This crate uses nothing of the pipeline. It knows the agent as a user does: a binary, a configuration, a scrape.

#![forbid(unsafe_code)]

pub mod agent;
pub mod case;
pub mod cases;
pub mod command;
pub mod edges;
pub mod exposition;
pub mod kernel;
pub mod lab;
pub mod payload;
pub mod peer;
pub mod plan;
pub mod poll;
pub mod trials;
pub mod truth;
pub mod world;

pub use self::{
    agent::Agent,
    case::{Case, Fault, Outcome},
    lab::Lab,
    peer::Peer,
    world::{Family, Path, World},
};
