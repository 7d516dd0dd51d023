//! Observes TCP connections where the kernel keeps their totals.
//!
//! Programs in the kernel (`ebpf-programs/socket-observer`) record when connections begin and end, and copy every living
//! socket when asked. `Observer` loads them, `Tracker` makes flow records of what they tell, `EbpfReceiver` runs both.
//!
//! It does not see packets, nor calls to send or receive, and it does not name anything: cgroup and process of the
//! local end are handed on.

#![deny(unsafe_code)]

mod accept_queues;
mod btf;
mod cgroups;
mod clock;
mod config;
mod connection;
mod error;
mod factory;
mod layout;
mod listeners;
mod mapped;
mod memory;
mod metrics;
mod needs;
mod object;
mod observer;
mod own;
mod receiver;
mod scope;
mod seed;
mod source;
mod tracker;
mod verdict;
mod wake;

pub use self::{
    config::{Config, Nodes, OwnTraffic},
    error::{LayoutError, LoadError, Refused, RunProgramError},
    factory::factory,
    needs::{Need, check},
    object::object_hash,
};
