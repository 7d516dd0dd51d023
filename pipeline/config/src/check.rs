use std::collections::{BTreeMap, BTreeSet};

use component::{Factory, Id, Kind, Settings};
use figment::value::Value;
use model::Signal;

use crate::{
    Checked, Component, Diagnostic, Pipeline, PipelineName, Reference, Service, graph,
    layers::{Layers, Located},
    node::Content,
    settings::Section,
    shape::{Hidden, PIPELINE_KEYS},
    suggest,
};

/// Checks the merged configuration, or reports everything that is wrong with it.
pub(crate) fn check(
    layers: &Layers,
    hidden: &Hidden,
    factories: &[Factory],
    errors: &mut Vec<Diagnostic>,
) -> Option<Checked> {
    let n_before = errors.len();
    let mut check = Check { layers, hidden, factories, definitions: BTreeMap::new(), errors };
    check.definitions();
    let service = check.service();
    let drafts = check.pipelines();
    check.connections(&drafts);
    let Check { definitions, errors, .. } = check;
    if errors.len() > n_before {
        return None;
    }
    finish(layers, definitions, drafts, service?)
}

/// Turns what was found right into the result.
fn finish(
    layers: &Layers,
    definitions: BTreeMap<Reference, Definition<'_>>,
    drafts: Vec<Draft<'_>>,
    service: Service,
) -> Option<Checked> {
    let mut pipelines = Vec::new();
    let mut used = BTreeSet::new();
    for Draft { name, members, text: _ } in drafts {
        let [receivers, processors, exporters] =
            members.map(|members| members.into_iter().filter_map(|it| it.reference).collect::<Vec<_>>());
        used.extend([&receivers, &processors, &exporters].into_iter().flatten().cloned());
        pipelines.push(Pipeline { name: name?, receivers, processors, exporters });
    }
    pipelines.sort_by(|a, b| a.name.cmp(&b.name));
    let mut components = BTreeMap::new();
    let mut warnings = Vec::new();
    for (reference, Definition { factory: _, settings }) in definitions {
        let located = locate_definition(layers, &reference)?;
        if used.contains(&reference) {
            let component = Component { settings: settings?, place: located.key_place() };
            components.insert(reference, component);
        } else {
            let message = format!("no pipeline uses {reference}");
            warnings.push(located.at_key(message, Some("name it in a pipeline, or remove it".to_owned())));
        }
    }
    warnings.sort_by(|a, b| a.place.cmp(&b.place));
    Some(Checked { components, pipelines, service, warnings })
}

fn locate_definition<'a>(layers: &'a Layers, reference: &Reference) -> Option<Located<'a>> {
    layers.locate(&[reference.kind.section(), reference.id.as_str()])
}

struct Check<'a> {
    layers: &'a Layers,
    hidden: &'a Hidden,
    factories: &'a [Factory],
    definitions: BTreeMap<Reference, Definition<'a>>,
    errors: &'a mut Vec<Diagnostic>,
}

/// A component that the configuration defines.
struct Definition<'a> {
    /// `None` if there is no such type, which was reported.
    factory: Option<&'a Factory>,
    /// `None` if a setting is wrong, which was reported.
    settings: Option<Box<dyn Settings>>,
}

/// A pipeline whose members may be wrong.
struct Draft<'a> {
    text: &'a str,
    /// `None` if there is no such signal, which was reported.
    name: Option<PipelineName>,
    /// Receivers, processors and exporters.
    members: [Vec<Member<'a>>; 3],
}

/// An element of one of a pipeline's lists.
struct Member<'a> {
    located: Located<'a>,
    /// `None` if it leads nowhere, which was reported.
    reference: Option<Reference>,
}

impl<'a> Check<'a> {
    fn definitions(&mut self) {
        for kind in Kind::ALL {
            for (key, value) in self.layers.entries(&[kind.section()]) {
                self.definition(kind, key, value);
            }
        }
        let both = |check: &Self, reference: &Reference, other: Kind| {
            check.definitions.contains_key(&Reference { kind: other, id: reference.id.clone() })
        };
        // A pipeline's list names either by its id alone.
        for reference in self.definitions.keys().filter(|it| it.kind == Kind::Connector) {
            for other in [Kind::Receiver, Kind::Exporter] {
                if both(self, reference, other)
                    && let Some(located) = locate_definition(self.layers, reference)
                {
                    let id = &reference.id;
                    let message = format!("connector `{id}` has the id of {}", with_article(other));
                    let help = format!("name one of them `{}/...`", id.type_name());
                    self.errors.push(located.at_key(message, Some(help)));
                }
            }
        }
    }

    fn definition(&mut self, kind: Kind, key: &str, value: &Value) {
        let path = [kind.section(), key];
        let Some(located) = self.layers.locate(&path) else { return };
        let id: Id = match key.parse() {
            Ok(id) => id,
            Err(error) => {
                self.errors.push(located.at_key(error.to_string(), None));
                return;
            }
        };
        let factory = self.factories.iter().find(|it| it.kind() == kind && it.type_name() == id.type_name());
        let settings = match factory {
            Some(factory) => {
                let name = format!("{kind} `{id}`");
                let section = Section { layers: self.layers, path: &path, name: &name };
                let settings = section.read(value.clone(), |it| factory.parse(it), self.errors);
                settings.filter(|settings| {
                    let invalid = settings.validate();
                    let diagnostics = invalid.iter().filter_map(|it| section.invalid(&it.path, &it.message));
                    self.errors.extend(diagnostics);
                    invalid.is_empty()
                })
            }
            None => {
                let help = self.type_help(kind, id.type_name());
                self.errors.push(located.at_key(format!("unknown {kind} `{}`", id.type_name()), help));
                None
            }
        };
        self.definitions.insert(Reference { kind, id }, Definition { factory, settings });
    }

    /// Says which type was probably meant.
    fn type_help(&self, kind: Kind, type_name: &str) -> Option<String> {
        let elsewhere = self.factories.iter().find(|it| it.type_name() == type_name);
        if let Some(factory) = elsewhere {
            let (other, section) = (factory.kind(), factory.kind().section());
            return Some(format!("`{type_name}` is {}; move it to `{section}`", with_article(other)));
        }
        let of_kind = self.factories.iter().filter(|it| it.kind() == kind);
        suggest::help(type_name, of_kind.map(Factory::type_name))
    }

    fn service(&mut self) -> Option<Service> {
        let mut value = match self.layers.value(&["service"]) {
            Some(value) => value.clone(),
            None => return Some(Service::default()),
        };
        if let Value::Dict(_, dict) = &mut value {
            dict.remove("pipelines");
        }
        let section = Section { layers: self.layers, path: &["service"], name: "`service`" };
        let service: Service = section.read(value, |it| it.deserialize().map_err(Box::new), self.errors)?;
        let invalid = service.validate();
        self.errors.extend(invalid.iter().filter_map(|it| section.invalid(&it.path, &it.message)));
        Some(service)
    }

    fn pipelines(&mut self) -> Vec<Draft<'a>> {
        let layers = self.layers;
        let drafts: Vec<_> = layers
            .entries(&["service", "pipelines"])
            .map(|(text, _)| {
                let name = self.pipeline_name(text);
                let members = [self.members(text, 0), self.members(text, 1), self.members(text, 2)];
                let draft = Draft { text, name, members };
                self.pipeline(&draft);
                draft
            })
            .collect();
        if drafts.is_empty() && !self.hidden.pipelines {
            self.no_pipelines();
        }
        drafts
    }

    fn no_pipelines(&mut self) {
        let message = "the configuration has no pipelines".to_owned();
        let help = Some("name what feeds what under `service.pipelines`".to_owned());
        let path: &[&str] = match self.layers.value(&["service", "pipelines"]) {
            Some(_) => &["service", "pipelines"],
            None => &["service"],
        };
        let located = self.layers.value(path).and_then(|_| self.layers.locate(path));
        self.errors.push(match located {
            Some(located) => located.at_key(message, help),
            None => Diagnostic { place: self.layers.whole(), message, snippet: None, help },
        });
    }

    fn pipeline_name(&mut self, text: &str) -> Option<PipelineName> {
        let (signal, name) = match text.split_once('/') {
            Some((signal, name)) => (signal, Some(name)),
            None => (text, None),
        };
        let located = self.layers.locate(&["service", "pipelines", text])?;
        let Some(signal) = Signal::ALL.into_iter().find(|it| it.as_str() == signal) else {
            let help = suggest::help(signal, Signal::ALL.map(Signal::as_str));
            self.errors.push(located.at_key(format!("pipeline `{text}`: unknown signal `{signal}`"), help));
            return None;
        };
        // What follows the slash is written by the same rule in ids.
        if text.parse::<Id>().is_err() {
            let message = format!("`{text}` is not the name of a pipeline");
            let help = format!("expected `{signal}/name`, the name of letters, digits, `_`, `-` and `.`");
            self.errors.push(located.at_key(message, Some(help)));
            return None;
        }
        Some(PipelineName { signal, name: name.map(str::to_owned) })
    }

    /// Finds what the elements of one of a pipeline's lists name.
    fn members(&mut self, pipeline: &str, list: usize) -> Vec<Member<'a>> {
        let key = PIPELINE_KEYS[list];
        let layers = self.layers;
        let path = ["service", "pipelines", pipeline, key];
        let values = layers.value(&path).and_then(Value::as_array).unwrap_or_default();
        let mut seen = BTreeSet::new();
        let mut members = Vec::new();
        for idx in 0..values.len() {
            let idx = idx.to_string();
            let Some(located) = layers.locate(&[&path[..], &[&idx]].concat()) else { continue };
            let reference = self.member(pipeline, list, &located);
            if let Some(reference) = &reference
                && !seen.insert(reference.clone())
            {
                let message = format!("pipeline `{pipeline}` names {reference} twice");
                self.errors.push(located.at_value(message, Some("remove one".to_owned())));
                continue;
            }
            members.push(Member { located, reference });
        }
        members
    }

    fn member(&mut self, pipeline: &str, list: usize, located: &Located<'_>) -> Option<Reference> {
        let (key, kinds) = (PIPELINE_KEYS[list], MEMBER_KINDS[list]);
        let text = match &located.node.content {
            Content::Broken => return None,
            Content::Text(text) => text,
            _ => {
                let found = located.node.describe();
                let message = format!("`{key}` of pipeline `{pipeline}`: expected an id, found {found}");
                self.errors.push(located.at_value(message, None));
                return None;
            }
        };
        // An id that a variable holds is told by the variable.
        let shown = if located.node.substituted.is_some() { located.written() } else { text };
        let Ok(id) = text.parse::<Id>() else {
            let message = format!("`{shown}` is not a component id");
            self.errors.push(located.at_value(message, Some("expected `type` or `type/name`".to_owned())));
            return None;
        };
        let defined = |kind: Kind| {
            let reference = Reference { kind, id: id.clone() };
            self.definitions.contains_key(&reference).then_some(reference)
        };
        if let Some(reference) = kinds.iter().find_map(|kind| defined(*kind)) {
            return Some(reference);
        }
        if kinds.iter().any(|it| self.hidden.kinds.contains(it)) {
            return None;
        }
        let (message, help) = match Kind::ALL.into_iter().find_map(defined) {
            Some(Reference { kind, id: _ }) => {
                let message = format!("`{key}` of pipeline `{pipeline}` names the {kind} `{shown}`");
                (message, Some(format!("a pipeline names {} in {}", with_article(kind), lists_of(kind))))
            }
            None => {
                let message =
                    format!("pipeline `{pipeline}` names the {} `{shown}`, which is not defined", kinds[0]);
                (message, self.undefined_help(kinds, &id, shown))
            }
        };
        self.errors.push(located.at_value(message, help));
        None
    }

    /// Says which component was probably meant, or how to define one.
    fn undefined_help(&self, kinds: &[Kind], id: &Id, shown: &str) -> Option<String> {
        let of_kinds = self.definitions.keys().filter(|it| kinds.contains(&it.kind));
        if let Some(nearest) = suggest::nearest(shown, of_kinds.map(|it| it.id.as_str())) {
            return Some(format!("did you mean `{nearest}`?"));
        }
        let has_type = |it: &&Factory| kinds.contains(&it.kind()) && it.type_name() == id.type_name();
        let section = self.factories.iter().find(has_type).map_or(kinds[0], Factory::kind).section();
        Some(format!("define it with `{shown}:` in `{section}`"))
    }

    /// Checks a pipeline whose members were found.
    fn pipeline(&mut self, Draft { text, name, members }: &Draft<'a>) {
        for list in [0, 2] {
            if members[list].is_empty()
                && !self.hidden.lists.contains(*text)
                && let Some(located) = self.layers.locate(&["service", "pipelines", text])
            {
                let key = PIPELINE_KEYS[list];
                let message = format!("pipeline `{text}` has no {key}");
                self.errors.push(located.at_key(message, Some(format!("name at least one in `{key}`"))));
            }
        }
        let Some(PipelineName { signal, name: _ }) = name else { return };
        for (list, members) in members.iter().enumerate() {
            for Member { located, reference } in members {
                let Some(reference) = reference else { continue };
                let Some(factory) = self.definitions.get(reference).and_then(|it| it.factory) else {
                    continue;
                };
                let (verb, signals) = match list {
                    0 => ("produce", factory.emits()),
                    _ => ("take", factory.accepts()),
                };
                if !signals.contains(signal) {
                    let message = format!("{reference} does not {verb} {signal}");
                    let help = format!("it {verb}s {}", listed(signals));
                    self.errors.push(located.at_value(message, Some(help)));
                }
            }
        }
    }

    /// Checks how connectors join pipelines.
    fn connections(&mut self, drafts: &[Draft<'a>]) {
        let connectors: Vec<&Reference> =
            self.definitions.keys().filter(|it| it.kind == Kind::Connector).collect();
        let mut uses: Vec<[Option<(&Draft<'a>, Located<'a>)>; 2]> = vec![[None, None]; connectors.len()];
        let mut edges = Vec::new();
        for (pipeline_idx, draft) in drafts.iter().enumerate() {
            for (side, members) in [(0, &draft.members[0]), (1, &draft.members[2])] {
                for Member { located, reference } in members {
                    let Some(reference) = reference else { continue };
                    let Ok(idx) = connectors.binary_search(&reference) else { continue };
                    uses[idx][side].get_or_insert((draft, *located));
                    let node = drafts.len() + idx;
                    edges.push(if side == 0 { (node, pipeline_idx) } else { (pipeline_idx, node) });
                }
            }
        }
        let mut errors = Vec::new();
        let members = || drafts.iter().flat_map(|it| it.members.iter().flatten());
        let all_known = !self.hidden.pipelines
            && self.hidden.lists.is_empty()
            && members().all(|it| it.reference.is_some());
        if all_known {
            for (reference, uses) in connectors.iter().zip(uses) {
                let ((draft, located), end, list, signals) = match uses {
                    [Some(used), None] => {
                        (used, ("begins", "ends"), "exporters", Factory::accepts as SignalsFn)
                    }
                    [None, Some(used)] => {
                        (used, ("ends", "begins"), "receivers", Factory::emits as SignalsFn)
                    }
                    _ => continue,
                };
                let message = format!("{reference} {} pipeline `{}` and {} none", end.0, draft.text, end.1);
                let factory = self.definitions.get(reference).and_then(|it| it.factory);
                let help = factory.map(|factory| {
                    let id = &reference.id;
                    format!("add `{id}` to the `{list}` of a pipeline of {}", listed(signals(factory)))
                });
                errors.push(located.at_value(message, help));
            }
        }
        let name = |node: usize| match drafts.get(node) {
            Some(draft) => format!("`{}`", draft.text),
            None => format!("`{}`", connectors[node - drafts.len()].id),
        };
        for cycle in graph::cycles(drafts.len() + connectors.len(), &edges) {
            // Connectors and pipelines take turns, so that one of any two neighbors is a pipeline.
            let Some(start) = cycle.iter().position(|it| *it < drafts.len()) else { continue };
            let cycle: Vec<usize> = cycle[start..].iter().chain(&cycle[..=start]).copied().collect();
            let connector = connectors[cycle[1] - drafts.len()];
            let exporters = &drafts[cycle[0]].members[2];
            let Some(member) = exporters.iter().find(|it| it.reference.as_ref() == Some(connector)) else {
                continue;
            };
            let path = cycle.iter().map(|it| name(*it)).collect::<Vec<_>>().join(" -> ");
            let message = format!("data would go round for ever: {path}");
            let help = "take one of the connectors out of a pipeline".to_owned();
            errors.push(member.located.at_value(message, Some(help)));
        }
        self.errors.extend(errors);
    }
}

type SignalsFn = fn(&Factory) -> &'static [Signal];

/// What may stand in each of a pipeline's lists.
const MEMBER_KINDS: [&[Kind]; 3] =
    [&[Kind::Receiver, Kind::Connector], &[Kind::Processor], &[Kind::Exporter, Kind::Connector]];

fn lists_of(kind: Kind) -> String {
    let lists = PIPELINE_KEYS.iter().zip(MEMBER_KINDS).filter(|(_, kinds)| kinds.contains(&kind));
    lists.map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
}

fn listed(signals: &[Signal]) -> String {
    signals.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

const fn with_article(kind: Kind) -> &'static str {
    match kind {
        Kind::Receiver => "a receiver",
        Kind::Processor => "a processor",
        Kind::Connector => "a connector",
        Kind::Exporter => "an exporter",
    }
}
