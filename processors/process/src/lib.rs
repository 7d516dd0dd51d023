//! Names the ends of connections on a plain host: by container, systemd unit or process, and by address.
//!
//! [`Naming`] is the rule; the processor around it owns the channels. The crate does no I/O: what the kernel knows of
//! an end is in its record, and what a port is called is compiled in.

#![forbid(unsafe_code)]

mod config;
mod factory;
mod listening;
mod metrics;
mod naming;
mod processor;
mod services;

pub use self::{
    config::{Config, Port},
    factory::factory,
    naming::Naming,
};
