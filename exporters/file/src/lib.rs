//! Writes flow records to a file as JSON lines, with a bound on the disk they take.
//!
//! `encode` makes lines of records, `rotating_file` owns the files; both are plain blocking code. The exporter calls
//! them off the runtime and keeps the books.

#![forbid(unsafe_code)]

mod config;
mod encode;
mod error;
mod exporter;
mod factory;
mod metrics;
mod rotating_file;

pub use self::{
    config::{Config, Mode},
    error::{OpenError, WriteError},
    factory::factory,
};
