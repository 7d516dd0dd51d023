//! Serves metrics to be scraped by Prometheus.
//!
//! What reaches the exporter is kept per series in `prometheus`' store, in the form in which it will be written, until it is
//! replaced or expires. A scrape renders the store piece by piece, as fast as the client reads: neither a large store nor
//! a slow client blocks anything else.
//!
//! Names, units and labels follow the OpenTelemetry specification's translation, so that a scrape and an OTLP export of
//! the same metrics yield the same series.

#![forbid(unsafe_code)]

mod config;
mod encode;
mod error;
mod exporter;
mod factory;
mod metrics;
mod negotiate;
mod routes;
mod scrape;
mod server;
mod watched;

#[cfg(test)]
mod checker;

pub use self::{config::Config, error::BindError, factory::factory};
