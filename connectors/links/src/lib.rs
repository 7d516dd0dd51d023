//! Turns flows into metrics per link: who talks to whom, how much, and how well.
//!
//! A *link* is every connection with the same client, server, server port, transport and observer. [`Aggregate`] adds
//! flow records up per link, as a pure state machine that takes the time as a parameter; the connector around it owns
//! the timer and the channels, and sends the totals as cumulative OpenTelemetry metrics.
//!
//! The crate neither names nor pairs connections: it counts every record that it is given.

#![forbid(unsafe_code)]

mod aggregate;
mod attributes;
mod buckets;
mod config;
mod connector;
mod factory;
mod identity;
mod link;
mod listeners;
mod metrics;
mod otlp;
mod shapes;

pub use self::{
    aggregate::{Aggregate, Limits, Report},
    attributes::{InvalidAttribute, OptionalAttribute},
    buckets::{Bounds, Buckets, InvalidBounds},
    config::Config,
    factory::factory,
    shapes::Shape,
};
