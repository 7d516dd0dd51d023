//! Turns flows into spans: one of each observed end of a connection, and of one that lives long one in each period.
//!
//! [`Periods`] gathers what is reported of each end in a period, as a pure state machine that takes the time as a parameter;
//! `Sampler` says of which a span is made, and `encode` makes it. The connector around them owns the timer and the channels.
//!
//! Nothing is agreed upon with whoever observes the other end: ids, periods and the choice of connections follow from the
//! connection's id and the time alone.

#![forbid(unsafe_code)]

mod config;
mod connector;
mod encode;
mod factory;
mod metrics;
mod observed;
mod periods;
mod resource;
mod sampler;

pub use self::{config::Config, factory::factory, periods::Periods};
