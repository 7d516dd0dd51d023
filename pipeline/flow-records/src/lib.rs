//! Flow records, and reports on listening sockets, as log records of OpenTelemetry: how an agent tells a gateway.
//!
//! [`encode_flows`] and [`encode_listeners`] write them, a [`Decoder`] reads them; what was written is read exactly. The
//! contract is docs/flow-records.md. This crate does no I/O.

#![forbid(unsafe_code)]

mod decode;
mod encode;
mod names;

pub use self::{
    decode::{Decoded, Decoder},
    encode::{encode_flows, encode_listeners},
};
