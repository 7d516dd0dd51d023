//! Makes few large batches of many small ones.
//!
//! `Held` is what waits, and knows no clock; `processor` waits and sends. What came encoded is put together and divided without
//! being decoded, and whoever sent a part is told what became of the whole.

#![forbid(unsafe_code)]

mod config;
mod factory;
mod held;
mod metrics;
mod processor;

pub use self::{config::Config, factory::factory};
