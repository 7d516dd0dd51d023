//! Builds, runs and drains the graph of components.
//!
//! [`Engine::create`] makes every component of a checked configuration and the bounded channels between them;
//! [`Engine::run`] runs them until they end, or until it is told to stop, and then drains: receivers stop first,
//! everything downstream ends when its input does, and one deadline holds for the whole.
//!
//! The engine knows no component by name, reads no configuration and handles no signals.

#![forbid(unsafe_code)]

mod engine;
mod error;
mod graph;

pub use self::{
    engine::{Engine, Report},
    error::{CreateError, Failure},
    graph::Instance,
};
