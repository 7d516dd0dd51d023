//! The signals that travel through a Ridley pipeline.
//!
//! A [`Batch`] is what one component hands to the next: [`Flows`] and [`Listeners`], this project's own signal, or
//! [`Metrics`] in the OpenTelemetry data model. This crate does no I/O and knows no runtime.

#![forbid(unsafe_code)]

mod batch;
pub mod cgroup;
mod connection_map;
mod entity;
mod entity_cache;
mod flow;
mod id;
mod listener;
mod metrics;
mod names;
mod time;

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
    metrics::{Metrics, n_points},
    names::{FixedNames, Names},
    time::{Interval, UnixNanos},
};
