//! Names the ends of connections in a Kubernetes cluster.
//!
//! `Index` is what is known of the cluster's objects and of those that were there a moment ago, `Naming` the rule by which
//! ends are named, `Namer` holds records until what they depend on is known: all three are state machines without I/O.
//! `Watches` speaks to the API server.

#![forbid(unsafe_code)]

mod addresses;
mod config;
mod extract;
mod factory;
mod heard;
mod held;
mod index;
mod metrics;
mod namer;
mod naming;
mod object;
mod processor;
mod store;
mod texts;
mod view;
mod watch;

pub use self::{
    config::{Config, Extract, From, OwnerKind, Rule, Scope},
    factory::factory,
};
