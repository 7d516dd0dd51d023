//! How exporters hand data to servers: what waits, when it is sent again, and over which connection.
//!
//! An exporter says how one [`Request`] is sent ([`Send`]); [`Delivery`] does the rest. It holds a bounded queue, sends
//! again what failed for now, and counts what became of every item.

#![forbid(unsafe_code)]

mod client;
mod config;
mod delivery;
mod instruments;

pub use self::{
    client::{Client, Versions},
    config::{Queue, Retry, Tls, check_endpoint},
    delivery::{Delivery, Request, Send, Verdict},
};
