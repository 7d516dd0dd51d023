//! Prints links as a readable table, and flow records as lines.
//!
//! `links` keeps the totals of each link and says what happened between two looks; `table` draws that, `line`
//! writes a record: all three are pure. `screen` owns the terminal, on a thread of its own, so that an output that
//! blocks stops nobody.

#![forbid(unsafe_code)]

mod config;
mod exporter;
mod factory;
mod line;
mod links;
mod metrics;
mod screen;
mod table;
mod text;

pub use self::{
    config::{Config, When},
    factory::factory,
};
