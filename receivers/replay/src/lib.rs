//! Reads recorded flows from a file and emits them as if they happened now.
//!
//! `decode` reads a line and `schedule` says when a record is due and what its times become: both are pure.
//! `recording` reads the file, blocking and bounded; the receiver calls it off the runtime and keeps the pace.

#![forbid(unsafe_code)]

mod config;
mod decode;
mod error;
mod factory;
mod metrics;
mod receiver;
mod recording;
mod schedule;

pub use self::{
    config::{Config, OnError, Times},
    decode::Malformed,
    error::{MalformedError, OpenError},
    factory::factory,
};
