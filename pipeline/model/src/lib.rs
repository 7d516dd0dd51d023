//! The signals that travel through a Ridley pipeline.
//!
//! A [`Batch`] is what one component hands to the next: [`Flows`] and [`Listeners`], this project's own signal, or
//! [`Metrics`] in the OpenTelemetry data model. This crate does no I/O and knows no runtime.

#![forbid(unsafe_code)]

mod batch;
mod connection_map;
mod entity;
mod flow;
mod id;
mod listener;
mod metrics;
mod time;

pub use self::{
    batch::{Batch, Signal},
    connection_map::ConnectionMap,
    entity::{Attribute, Endpoint, Entity, kind},
    flow::{
        Before, Begin, CloseReason, End, FailureReason, Flow, Flows, Local, Observer, Process, Rtt, Traffic,
        Transport,
    },
    id::ConnectionId,
    listener::{Listener, Listeners},
    metrics::{Metrics, n_points},
    time::{Interval, UnixNanos},
};
