//! Takes metrics, spans, log records and flow records by OTLP, over gRPC and HTTP.
//!
//! `Intake` decides what is taken, whichever way it comes: it has the memory budget, and waits until the pipeline has let go of a
//! request before its sender is told that it was taken. `grpc` and `http` are the two forms of a request and its answer.

#![forbid(unsafe_code)]

mod config;
mod factory;
mod grpc;
mod http;
mod intake;
mod metrics;
mod receiver;
mod records;
mod server;

pub use self::{
    config::{Config, Grpc, Http, Protocols},
    factory::factory,
};
