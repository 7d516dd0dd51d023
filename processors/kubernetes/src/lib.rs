//! Names the ends of connections in a Kubernetes cluster, and whose metrics, spans and log records are.
//!
//! `Index` is what is known of the cluster's objects and of those that were there a moment ago, `Naming` the rule by which
//! ends are named, `Namer` holds records until what they depend on is known, `Resources` adds to data of OTLP what is known of its
//! pod: all four are state machines without I/O.
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
mod resources;
mod store;
mod texts;
#[cfg(test)]
mod told;
mod view;
mod watch;

pub use self::{
    config::{
        Association, Config, Extract, From, Metadata, OwnerKind, PodAttribute, Rule, Scope, Source,
        SourceKind,
    },
    factory::factory,
};
