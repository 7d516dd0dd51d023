//! The signals that travel through a Ridley pipeline.
//!
//! A [`Batch`] is what one component hands to the next: [`Flows`] and [`Listeners`], this project's own signal, or
//! [`Metrics`], [`Traces`] and [`Logs`] of OpenTelemetry. This crate does no I/O and knows no runtime.

#![forbid(unsafe_code)]

mod batch;
pub mod cgroup;
mod connection_map;
mod entity;
mod entity_cache;
mod flow;
mod id;
mod listener;
mod names;
mod otlp;
mod receipt;
mod splice;
mod split;
mod time;
mod trace;
mod wire;

pub use self::{
    batch::{Batch, Signal},
    connection_map::ConnectionMap,
    entity::{Attribute, Endpoint, Entity, kind},
    entity_cache::EntityCache,
    flow::{
        Before, Begin, CloseReason, End, FailureReason, Flow, Flows, Local, Observer, Process, Rtt, Traffic,
        Transport,
    },
    id::ConnectionId,
    listener::{Listener, Listeners},
    names::{FixedNames, Names},
    otlp::{Logs, Metrics, Otlp, OtlpData, Traces, n_points},
    receipt::{Receipt, Space},
    splice::{ResourceAttributes, ResourceView},
    split::{MaxSize, split},
    time::{Interval, UnixNanos},
    trace::{SpanId, TraceId},
    wire::Malformed,
};
