//! Refuses what comes while the process has too much memory.
//!
//! `Limiter` decides by what it is told of the memory; `memory` reads what the process has and may have.

#![forbid(unsafe_code)]

mod config;
mod factory;
mod limiter;
mod memory;
mod metrics;
mod processor;

pub use self::{config::Config, factory::factory};
