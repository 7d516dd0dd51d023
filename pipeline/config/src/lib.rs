//! Reads, layers and checks the configuration of a Ridley pipeline.
//!
//! [`load`] turns [`Sources`] into a [`Checked`] configuration or into every error that can be found in one run, each
//! with its place. It reads files and does nothing else: no component is created.

#![forbid(unsafe_code)]

mod checked;
mod diagnostic;

use std::path::PathBuf;

pub use self::{
    checked::{Checked, Component, Pipeline, PipelineName, Reference, Service},
    diagnostic::{Diagnostic, Errors, Place, Position},
};

/// Where a configuration comes from. Later sources win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Used when `files` is empty.
    pub embedded: Option<Embedded>,
    /// YAML files, layered in this order.
    pub files: Vec<PathBuf>,
    /// Single settings of the form `a.b.c=value`, layered over the files in this order.
    pub set: Vec<String>,
}

/// A configuration that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// What errors call it.
    pub name: &'static str,
    /// The YAML.
    pub text: &'static str,
}
