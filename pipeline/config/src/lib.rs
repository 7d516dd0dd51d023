//! Reads, layers and checks the configuration of a Ridley pipeline.
//!
//! [`load`] turns [`Sources`] into a [`Checked`] configuration or into every error that can be found in one run, each
//! with its place. It reads files and variables and does nothing else: no component is created.
//!
//! # Rules
//!
//! **Form.** A source is one YAML document: `receivers`, `processors`, `connectors` and `exporters` are maps from
//! ids (`type` or `type/name`) to settings, `service` holds settings of the whole and `pipelines`, a map from
//! `signal` or `signal/name` to lists of ids. A section, component or pipeline without a value is empty. An unknown
//! key is an error on every level, and so is a key that stands twice in one map. Anchors, aliases and merge keys
//! (`<<`) work; tags other than `!!str` do not.
//!
//! **Types.** Plain scalars follow the core schema of YAML 1.2: `yes` and `no` are text.
//!
//! **Layers.** The files in their order, or the embedded configuration if there is none, then each `--set` in its
//! order. Maps merge key by key; anything else, a list too, replaces what an earlier source says.
//!
//! **Variables.** `${env:NAME}` in a value stands for a variable of the environment, `${env:NAME:-default}` for the
//! default if the variable is not set, `$$` for one `$`. A plain value that is one variable as a whole takes the type
//! that the variable's text has, including a list or map in one line; where text is expected, it is text whatever it
//! looks like. A value that is quoted, or is only in part a variable, is text. What a variable holds is not searched
//! for variables, and no error shows it. Keys hold no variables.
//!
//! **`--set a.b=value`.** Keys are separated by dots; a key that contains a dot stands in double quotes, as in
//! `exporters."otlp/a.b".endpoint=...`. The value is YAML, and may hold variables.
//!
//! **Limits.** A file has at most 1 MiB, a source at most 50,000 values and 64 collections inside each other, counting
//! what aliases repeat, and variables add at most 1 MiB to it.
//!
//! # How errors find their places
//!
//! Each source is kept as a tree in which every key and value knows its bytes. figment merges the sources and tags
//! each merged value with its source, so that the way from a merged value back to its line is one walk down that
//! source's tree.

#![forbid(unsafe_code)]

mod check;
mod checked;
mod definitions;
mod diagnostic;
mod graph;
mod layers;
mod node;
mod pipelines;
mod reader;
mod scalar;
mod set;
mod settings;
mod shape;
mod source;
mod substitute;
mod suggest;
mod wording;
mod yaml;

use std::path::PathBuf;

use component::Factory;

pub use self::{
    checked::{Checked, Component, Pipeline, PipelineName, Reference, Service},
    diagnostic::{Diagnostic, Errors, Place, Position},
    substitute::Environment,
};
use self::{layers::Layers, reader::Read};

/// Where a configuration comes from. Later sources win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Used when `files` is empty.
    pub embedded: Option<Embedded>,
    /// YAML files, layered in this order.
    pub files: Vec<PathBuf>,
    /// Single settings of the form `a.b.c=value`, layered over the files in this order.
    pub set: Vec<String>,
    /// What `${env:NAME}` stands for in all of them.
    pub environment: Environment,
}

/// A configuration that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Embedded {
    /// What errors call it.
    pub name: &'static str,
    /// The YAML.
    pub text: &'static str,
}

/// Reads the sources and checks them against the components that `factories` make.
///
/// # Errors
///
/// Fails with every mistake. What can only be judged without a mistake found earlier is not reported: while a file
/// cannot be read, nothing is said about what the others lack.
pub fn load(sources: &Sources, factories: &[Factory]) -> Result<Checked, Errors> {
    let Read { layers, hidden, mut errors, is_incomplete } = reader::read(sources);
    if !is_incomplete {
        match check::check(&Layers::new(layers), &hidden, factories) {
            Ok(checked) if errors.is_empty() => return Ok(checked),
            Ok(_) => {}
            Err(more) => errors.extend(more),
        }
    }
    Err(Errors::new(errors))
}
