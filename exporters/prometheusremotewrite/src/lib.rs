//! Sends metrics by Prometheus' remote write.
//!
//! `prometheus` translates metrics and knows which series there are; here their samples become requests (`frames`), in the
//! order in which they came, and `delivery` has the queue. What waits has the form of version 2.0, in which labels are there
//! once; a server that does not prove to take it is sent version 1.0.

#![forbid(unsafe_code)]

mod config;
mod exporter;
mod factory;
mod frames;
mod metrics;
mod samples;
mod server;
mod translator;
mod v1;
mod v2;

#[cfg(test)]
#[path = "../tests/decoder/mod.rs"]
mod decoder;

pub use self::{
    config::{Config, Protocol, SendingQueue, TargetInfo},
    factory::factory,
};
