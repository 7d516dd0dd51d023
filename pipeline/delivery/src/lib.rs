//! How exporters hand data to servers: what waits, and when it is sent again.
//!
//! An exporter says how one [`Request`] is sent ([`Send`]); [`Delivery`] does the rest. It holds a bounded queue, in memory
//! or on disk, puts small requests together, sends again what failed for now, and counts what became of every item.

#![forbid(unsafe_code)]

mod config;
mod delivery;
mod held;
mod http;
mod instruments;
mod resource;
mod stage;
mod storage;

pub use self::{
    config::{Batching, Disk, Queue, Retry, Sizer, Sync, check_endpoint},
    delivery::Delivery,
    held::{Request, Send, Verdict},
    http::{Refusal, check_headers, header_map, read_answer, retry_after, words},
    resource::own_resource,
    storage::DiskError,
};
