//! Sends metrics, spans, log records and flow records by OTLP, over gRPC or HTTP.
//!
//! `delivery` has the queue and decides what is sent again; here is what a request is on the wire, and what the server's
//! answers mean by the specification of OTLP.

#![forbid(unsafe_code)]

mod config;
mod exporter;
mod factory;
mod grpc;
mod http;

pub use self::{
    config::{Compression, Config, Encoding, Protocol},
    factory::factory,
};
