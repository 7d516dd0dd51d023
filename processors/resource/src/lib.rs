//! Changes attributes of resources: of whom data is.
//!
//! `actions` says what becomes of the attributes of one resource. What came encoded stays so, but for its resources.

#![forbid(unsafe_code)]

mod actions;
mod config;
mod factory;
mod processor;

pub use self::{
    config::{Action, Change, Config},
    factory::factory,
};
