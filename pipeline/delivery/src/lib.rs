//! How exporters hand data to servers: what waits, and when it is sent again.
//!
//! An exporter says how one [`Request`] is sent ([`Send`]); [`Delivery`] does the rest. It holds a bounded queue, sends
//! again what failed for now, and counts what became of every item.

#![forbid(unsafe_code)]

mod config;
mod delivery;
mod instruments;

pub use self::{
    config::{Queue, Retry, check_endpoint},
    delivery::{Delivery, Request, Send, Verdict},
};
