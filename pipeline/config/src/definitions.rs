use std::collections::BTreeMap;

use component::{Factory, Id, Kind, Settings};
use figment::value::Value;

use crate::{Diagnostic, Reference, layers::Layers, settings::Section, suggest};

/// A component that the configuration defines.
pub(crate) struct Definition<'a> {
    /// `None` if there is no such type, which was reported.
    pub(crate) factory: Option<&'a Factory>,
    /// `None` if a setting is wrong, which was reported.
    pub(crate) settings: Option<Box<dyn Settings>>,
}

pub(crate) type Definitions<'a> = BTreeMap<Reference, Definition<'a>>;

/// Reads every component's section, whether a pipeline uses it or not.
pub(crate) fn read<'a>(
    layers: &Layers,
    factories: &'a [Factory],
    errors: &mut Vec<Diagnostic>,
) -> Definitions<'a> {
    let mut definitions = Definitions::new();
    for kind in Kind::ALL {
        for (key, value) in layers.entries(&[kind.section()]) {
            let path = [kind.section(), key];
            match key.parse::<Id>() {
                Ok(id) => {
                    let reference = Reference { kind, id };
                    let definition = read_one(layers, &path, &reference, value, factories, errors);
                    definitions.insert(reference, definition);
                }
                Err(error) => {
                    errors.push(layers.locate(&path).at_key(error.to_string(), None));
                }
            }
        }
    }
    check_ambiguity(layers, &definitions, errors);
    definitions
}

fn read_one<'a>(
    layers: &Layers,
    path: &[&str],
    reference: &Reference,
    value: &Value,
    factories: &'a [Factory],
    errors: &mut Vec<Diagnostic>,
) -> Definition<'a> {
    let Reference { kind, id } = reference;
    let factory = factories.iter().find(|it| it.kind() == *kind && it.type_name() == id.type_name());
    let Some(factory) = factory else {
        let message = format!("unknown {kind} `{}`", id.type_name());
        let help = type_help(factories, *kind, id.type_name());
        errors.push(layers.locate(path).at_key(message, help));
        return Definition { factory: None, settings: None };
    };
    let name = reference.to_string();
    let section = Section { layers, path, name: &name };
    let settings = section.read(value.clone(), |it| factory.parse(it), errors);
    if let Some(settings) = &settings {
        section.report_invalid(&settings.validate(), errors);
    }
    Definition { factory: Some(factory), settings }
}

/// Says which type was probably meant.
fn type_help(factories: &[Factory], kind: Kind, type_name: &str) -> Option<String> {
    if let Some(elsewhere) = factories.iter().find(|it| it.type_name() == type_name) {
        let (kind, section) = (with_article(elsewhere.kind()), elsewhere.kind().section());
        return Some(format!("`{type_name}` is {kind}; move it to `{section}`"));
    }
    let of_kind = factories.iter().filter(|it| it.kind() == kind);
    suggest::help(type_name, of_kind.map(Factory::type_name))
}

/// Refuses connectors with the id of a receiver or exporter: a pipeline's lists name either by the id alone.
fn check_ambiguity(layers: &Layers, definitions: &Definitions<'_>, errors: &mut Vec<Diagnostic>) {
    let is_known = |it: &Reference| definitions.get(it).is_some_and(|it| it.factory.is_some());
    for connector in definitions.keys().filter(|it| it.kind == Kind::Connector && is_known(it)) {
        for kind in [Kind::Receiver, Kind::Exporter] {
            let id = &connector.id;
            if is_known(&Reference { kind, id: id.clone() }) {
                let message = format!("{connector} has the same id as {}", with_article(kind));
                let help = format!("give one of them a name, such as `{}/2`", id.type_name());
                let located = layers.locate_first(&[Kind::Connector.section(), id.as_str()]);
                errors.push(located.at_key(message, Some(help)));
            }
        }
    }
}

pub(crate) const fn with_article(kind: Kind) -> &'static str {
    match kind {
        Kind::Receiver => "a receiver",
        Kind::Processor => "a processor",
        Kind::Connector => "a connector",
        Kind::Exporter => "an exporter",
    }
}
