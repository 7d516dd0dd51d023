use std::collections::{BTreeMap, BTreeSet};

use component::Factory;
use figment::value::Value;

use crate::{
    Checked, Component, Diagnostic, Pipeline, Service,
    definitions::{self, Definition, Definitions},
    layers::Layers,
    pipelines::{self, Draft},
    settings::Section,
    shape::Hidden,
};

/// Checks the merged configuration.
///
/// # Errors
///
/// Fails with everything that is wrong; with nothing if what is wrong was reported when the sources were read.
pub(crate) fn check(
    layers: &Layers,
    hidden: &Hidden,
    factories: &[Factory],
) -> Result<Checked, Vec<Diagnostic>> {
    let mut errors = Vec::new();
    let definitions = definitions::read(layers, factories, &mut errors);
    let service = read_service(layers, &mut errors);
    let drafts = pipelines::read(layers, hidden, factories, &definitions, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    finish(layers, definitions, drafts, service).ok_or_else(Vec::new)
}

fn read_service(layers: &Layers, errors: &mut Vec<Diagnostic>) -> Option<Service> {
    let Some(mut value) = layers.value(&["service"]).cloned() else { return Some(Service::default()) };
    if let Value::Dict(_, dict) = &mut value {
        dict.remove("pipelines");
    }
    let section = Section { layers, path: &["service"], name: "`service`" };
    let service: Service = section.read(value, |it| it.deserialize().map_err(Box::new), errors)?;
    section.report_invalid(&service.validate(), errors);
    Some(service)
}

/// Turns what was found right into the result; `None` if a part of it was not right after all.
fn finish(
    layers: &Layers,
    definitions: Definitions<'_>,
    drafts: Vec<Draft<'_>>,
    service: Option<Service>,
) -> Option<Checked> {
    let mut pipelines = Vec::new();
    let mut used = BTreeSet::new();
    for Draft { key: _, name, members } in drafts {
        let [receivers, processors, exporters] =
            members.map(|list| list.into_iter().map(|it| it.reference).collect::<Option<Vec<_>>>());
        let pipeline =
            Pipeline { name: name?, receivers: receivers?, processors: processors?, exporters: exporters? };
        let Pipeline { name: _, receivers, processors, exporters } = &pipeline;
        used.extend([receivers, processors, exporters].into_iter().flatten().cloned());
        pipelines.push(pipeline);
    }
    pipelines.sort_by(|a, b| a.name.cmp(&b.name));

    let mut components = BTreeMap::new();
    let mut warnings = Vec::new();
    for (reference, Definition { factory: _, settings }) in definitions {
        let settings = settings?;
        // Later sources only change what the first one defines.
        let located = layers.locate_first(&[reference.kind.section(), reference.id.as_str()]);
        if used.contains(&reference) {
            components.insert(reference, Component { settings, place: located.key_place() });
        } else {
            let help = "name it in a pipeline, or remove it".to_owned();
            warnings.push(located.at_key(format!("no pipeline uses {reference}"), Some(help)));
        }
    }
    warnings.sort_by(|a, b| a.place.cmp(&b.place));
    Some(Checked { components, pipelines, service: service?, warnings })
}
