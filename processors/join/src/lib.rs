//! Pairs the two observations of one connection, so that each connection is counted once.
//!
//! [`Pairing`] is the rule, as a state machine that takes the time as a parameter; the processor around it owns the
//! timer and the channels. The crate does not look at names: whoever gives names stands before it.

#![forbid(unsafe_code)]

mod config;
mod entry;
mod factory;
mod merge;
mod metrics;
mod outline;
mod pairing;
mod processor;

pub use self::{
    config::Config,
    factory::factory,
    merge::Missed,
    pairing::{Pairing, Report},
};
