use std::path::Path;

use crate::{
    Diagnostic, Embedded, Environment, Place, Sources,
    diagnostic::Problem,
    layers::Layer,
    set::{self, Assignment, Refused},
    shape::{self, Hidden},
    source::Source,
    substitute,
    yaml::{self, Document},
};

/// What to do about an argument that is not YAML. A shell takes quotes away.
const QUOTED: &str = "put text that is not YAML in double quotes, and all in single ones: \
                      `--set 'exporters.prometheus.endpoint=\"[::1]:9464\"'`";

/// What was read of the sources.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) layers: Vec<Layer>,
    pub(crate) hidden: Hidden,
    pub(crate) errors: Vec<Diagnostic>,
    /// Whether a source could not be read at all, so that nothing can be said about the whole.
    pub(crate) is_incomplete: bool,
}

/// Reads every source.
pub(crate) fn read(sources: &Sources) -> Read {
    let Sources { embedded, files, set, environment } = sources;
    let mut reader = Reader { environment, read: Read::default() };
    if files.is_empty()
        && let Some(Embedded { name, text }) = embedded
    {
        reader.text(Source::new(0, name, (*text).to_owned()));
    }
    for (idx, path) in files.iter().enumerate() {
        reader.file(idx, path);
    }
    for (idx, argument) in set.iter().enumerate() {
        reader.argument(files.len().max(1) + idx, argument);
    }
    reader.read
}

struct Reader<'a> {
    environment: &'a Environment,
    read: Read,
}

impl Reader<'_> {
    fn file(&mut self, layer: usize, path: &Path) {
        match Source::read(layer, path) {
            Ok(source) => self.text(source),
            Err(error) => {
                self.read.errors.push(*error);
                self.read.is_incomplete = true;
            }
        }
    }

    fn text(&mut self, source: Source) {
        self.layer(source, &[]);
    }

    fn argument(&mut self, layer: usize, argument: &str) {
        match set::parse(argument) {
            Ok(Assignment { name, keys, value }) => self.layer(Source::argument(layer, &name, value), &keys),
            Err(Refused { name, message }) => {
                let help = Some("such as `--set exporters.debug.interval=2s`");
                let place = Place::new(layer, name, None);
                self.read.errors.push(Diagnostic::new(place, message, None, help));
                self.read.is_incomplete = true;
            }
        }
    }

    /// Adds a source whose text is the value at `keys`.
    fn layer(&mut self, source: Source, keys: &[String]) {
        let Document { root, mut problems } = yaml::parse(source.text());
        match root {
            Some(mut root) => {
                problems.extend(substitute::substitute(&mut root, source.text(), self.environment));
                let mut root = set::nest(keys, root);
                problems.extend(shape::check(&mut root, &mut self.read.hidden));
                self.report(&source, problems);
                self.read.layers.push(Layer { source, root });
            }
            None => {
                if !source.has_lines() {
                    for problem in &mut problems {
                        problem.help = Some(QUOTED.to_owned());
                    }
                }
                self.report(&source, problems);
                self.read.is_incomplete = true;
            }
        }
    }

    fn report(&mut self, source: &Source, problems: Vec<Problem>) {
        self.read.errors.extend(problems.into_iter().map(|it| source.diagnostic(it)));
    }
}
