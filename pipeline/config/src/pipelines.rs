use std::collections::BTreeSet;

use component::{Factory, Id, Kind};
use figment::value::Value;
use model::Signal;

use crate::{
    Diagnostic, PipelineName, Reference,
    definitions::{Definitions, with_article},
    graph,
    layers::{Layers, Located},
    node::Content,
    shape::{Hidden, PIPELINE_KEYS},
    suggest,
};

/// A pipeline as it is written; it may be wrong.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) key: &'a str,
    /// `None` if the key is no name, which was reported.
    pub(crate) name: Option<PipelineName>,
    /// What each of [`PIPELINE_KEYS`] lists.
    pub(crate) members: [Vec<Member<'a>>; 3],
}

/// An element of one of a pipeline's lists.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    located: Located<'a>,
    /// `None` if it leads nowhere, which was reported.
    pub(crate) reference: Option<Reference>,
}

const RECEIVERS: usize = 0;
const EXPORTERS: usize = 2;

/// What may stand in each of a pipeline's lists.
const MEMBER_KINDS: [&[Kind]; 3] =
    [&[Kind::Receiver, Kind::Connector], &[Kind::Processor], &[Kind::Exporter, Kind::Connector]];

/// Reads the pipelines, and checks that they fit each other and the components they name.
pub(crate) fn read<'a>(
    layers: &'a Layers,
    hidden: &Hidden,
    factories: &[Factory],
    definitions: &Definitions<'_>,
    errors: &mut Vec<Diagnostic>,
) -> Vec<Draft<'a>> {
    let mut check = Check { layers, hidden, factories, definitions, errors };
    let keys = layers.entries(&["service", "pipelines"]).map(|(key, _)| key);
    let drafts: Vec<Draft<'a>> = keys.map(|key| check.read(key)).collect();
    if drafts.is_empty() && !hidden.pipelines {
        check.refuse_nothing();
    }
    for draft in &drafts {
        check.ends(draft);
        check.signals(draft);
    }
    let connections = Connections::new(&check, &drafts);
    let found = [connections.one_sided(&check), connections.cycles()];
    check.errors.extend(found.into_iter().flatten());
    drafts
}

struct Check<'a, 'b> {
    layers: &'a Layers,
    hidden: &'b Hidden,
    factories: &'b [Factory],
    definitions: &'b Definitions<'b>,
    errors: &'b mut Vec<Diagnostic>,
}

impl<'a> Check<'a, '_> {
    fn refuse_nothing(&mut self) {
        let message = "the configuration has no pipelines".to_owned();
        let help = Some("say what feeds what under `service.pipelines`".to_owned());
        let path = ["service", "pipelines"];
        let written = [&path[..], &path[..1]].into_iter().find(|it| self.layers.value(it).is_some());
        self.errors.push(match written {
            Some(path) => self.layers.locate(path).at_key(message, help),
            None => Diagnostic::new(self.layers.whole(), &message, None, help.as_deref()),
        });
    }

    fn read(&mut self, key: &'a str) -> Draft<'a> {
        let name = self.name(key);
        let members = [0, 1, 2].map(|list| self.members(key, list));
        Draft { key, name, members }
    }

    fn name(&mut self, key: &str) -> Option<PipelineName> {
        let (word, name) = match key.split_once('/') {
            Some((word, name)) => (word, Some(name)),
            None => (key, None),
        };
        let signal = Signal::ALL.into_iter().find(|it| it.as_str() == word);
        let (message, help) = match signal {
            None => {
                let help = suggest::help(word, Signal::ALL.map(Signal::as_str));
                (format!("pipeline `{key}`: unknown signal `{word}`"), help)
            }
            // A name is written as it is in a component's id.
            Some(signal) if key.parse::<Id>().is_ok() => {
                return Some(PipelineName { signal, name: name.map(str::to_owned) });
            }
            Some(_) => {
                let help = format!("expected `{word}/name`, the name of letters, digits, `_`, `-` and `.`");
                (format!("`{key}` is not the name of a pipeline"), Some(help))
            }
        };
        let located = self.layers.locate(&["service", "pipelines", key]);
        self.errors.push(located.at_key(message, help));
        None
    }

    fn members(&mut self, pipeline: &str, list: usize) -> Vec<Member<'a>> {
        let layers = self.layers;
        let path = ["service", "pipelines", pipeline, PIPELINE_KEYS[list]];
        let n_members = layers.value(&path).and_then(Value::as_array).map_or(0, <[Value]>::len);
        let mut seen = BTreeSet::new();
        let mut members = Vec::new();
        for idx in 0..n_members {
            let idx = idx.to_string();
            let located = layers.locate(&[&path[..], &[&idx]].concat());
            let reference = self.reference(pipeline, list, &located);
            if let Some(twice) = reference.as_ref().filter(|it| !seen.insert((*it).clone())) {
                let message = format!("pipeline `{pipeline}` names {twice} twice");
                self.errors.push(located.at_value(message, Some("remove one".to_owned())));
            }
            members.push(Member { located, reference });
        }
        members
    }

    /// Finds what an element of a list names.
    fn reference(&mut self, pipeline: &str, list: usize, located: &Located<'_>) -> Option<Reference> {
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
        // What a variable holds is shown as the variable.
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
                (message, format!("a pipeline names {} in {}", with_article(kind), lists_of(kind)))
            }
            None => {
                let kind = kinds[0];
                let message =
                    format!("pipeline `{pipeline}` names the {kind} `{shown}`, which is not defined");
                (message, self.undefined_help(kinds, &id, shown))
            }
        };
        self.errors.push(located.at_value(message, Some(help)));
        None
    }

    /// Says which component was probably meant, or how to define one.
    fn undefined_help(&self, kinds: &[Kind], id: &Id, shown: &str) -> String {
        let defined =
            || self.definitions.keys().filter(|it| kinds.contains(&it.kind)).map(|it| it.id.as_str());
        if let Some(nearest) = suggest::nearest(shown, defined()) {
            return format!("did you mean `{nearest}`?");
        }
        let has_type = |it: &&Factory| kinds.contains(&it.kind()) && it.type_name() == id.type_name();
        match self.factories.iter().find(has_type) {
            Some(factory) => format!("define it with `{shown}:` in `{}`", factory.kind().section()),
            None => suggest::help(shown, defined())
                .unwrap_or_else(|| format!("define one in `{}`", kinds[0].section())),
        }
    }

    /// Checks that something goes in and something comes out.
    fn ends(&mut self, Draft { key, name: _, members }: &Draft<'_>) {
        if self.hidden.lists.contains(*key) {
            return;
        }
        for list in [RECEIVERS, EXPORTERS].into_iter().filter(|it| members[*it].is_empty()) {
            let list = PIPELINE_KEYS[list];
            let help = Some(format!("name at least one in `{list}`"));
            let located = self.layers.locate(&["service", "pipelines", key]);
            self.errors.push(located.at_key(format!("pipeline `{key}` has no {list}"), help));
        }
    }

    /// Checks that each member gives or takes what the pipeline carries.
    fn signals(&mut self, Draft { key: _, name, members }: &Draft<'_>) {
        let Some(PipelineName { signal, name: _ }) = name else { return };
        for (list, members) in members.iter().enumerate() {
            for Member { located, reference } in members {
                let Some(reference) = reference else { continue };
                let Some(signals) = self.signals_of(reference, list) else { continue };
                if !signals.contains(signal) {
                    let verb = if list == RECEIVERS { "produce" } else { "take" };
                    let help = format!("it {verb}s {}", listed(signals));
                    let message = format!("{reference} does not {verb} {signal}");
                    self.errors.push(located.at_value(message, Some(help)));
                }
            }
        }
    }

    /// Returns the signals that a component gives or takes where it stands in a list; `None` if it is unknown.
    fn signals_of(&self, reference: &Reference, list: usize) -> Option<&'static [Signal]> {
        let factory = self.definitions.get(reference)?.factory?;
        Some(if list == RECEIVERS { factory.emits() } else { factory.accepts() })
    }
}

/// The use of a connector in a pipeline.
#[derive(Clone, Copy)]
struct Use<'a> {
    pipeline: usize,
    connector: usize,
    located: Located<'a>,
}

/// How connectors join pipelines.
struct Connections<'a, 'b> {
    drafts: &'b [Draft<'a>],
    connectors: Vec<&'b Reference>,
    /// Pipelines that a connector ends.
    ends: Vec<Use<'a>>,
    /// Pipelines that a connector begins.
    begins: Vec<Use<'a>>,
}

impl<'a, 'b> Connections<'a, 'b> {
    fn new(check: &Check<'a, 'b>, drafts: &'b [Draft<'a>]) -> Self {
        let connectors: Vec<_> = check.definitions.keys().filter(|it| it.kind == Kind::Connector).collect();
        let uses = |list: usize| {
            let members = drafts.iter().enumerate().flat_map(move |(pipeline, draft)| {
                draft.members[list].iter().map(move |member| (pipeline, draft, member))
            });
            let connectors = &connectors;
            let used = members.filter_map(move |(pipeline, draft, Member { located, reference })| {
                let reference = reference.as_ref()?;
                let connector = connectors.binary_search(&reference).ok()?;
                // What carries the wrong signal was reported, and is no connection.
                let signal = draft.name.as_ref().map(|it| it.signal);
                let fits =
                    check.signals_of(reference, list)?.iter().any(|it| signal.is_none_or(|of| of == *it));
                fits.then_some(Use { pipeline, connector, located: *located })
            });
            used.collect::<Vec<_>>()
        };
        let (ends, begins) = (uses(EXPORTERS), uses(RECEIVERS));
        Self { drafts, connectors, ends, begins }
    }

    /// Reports connectors that end a pipeline and begin none, or the reverse.
    fn one_sided(&self, check: &Check<'a, 'b>) -> Vec<Diagnostic> {
        let Self { drafts, connectors, ends, begins } = self;
        let mut members = drafts.iter().flat_map(|it| it.members.iter().flatten());
        // The other side may be hidden in a mistake.
        let is_partial = check.hidden.pipelines || !check.hidden.lists.is_empty();
        if is_partial || members.any(|it| it.reference.is_none()) || drafts.iter().any(|it| it.name.is_none())
        {
            return Vec::new();
        }
        let mut errors = Vec::new();
        for (idx, reference) in connectors.iter().enumerate() {
            // Of two components with one id, a list may mean the other; that was reported.
            let has_twin = [Kind::Receiver, Kind::Exporter]
                .into_iter()
                .any(|kind| check.definitions.contains_key(&Reference { kind, id: reference.id.clone() }));
            if has_twin {
                continue;
            }
            let of = |uses: &[Use<'a>]| uses.iter().find(|it| it.connector == idx).copied();
            let (used, does, lacks, other_list) = match (of(ends), of(begins)) {
                (Some(used), None) => (used, "ends", "begins", RECEIVERS),
                (None, Some(used)) => (used, "begins", "ends", EXPORTERS),
                _ => continue,
            };
            let pipeline = drafts[used.pipeline].key;
            let message = format!("{reference} {does} pipeline `{pipeline}` and {lacks} none");
            let signals = check.signals_of(reference, other_list).unwrap_or_default();
            let list = PIPELINE_KEYS[other_list];
            let help = format!("add `{}` to the `{list}` of a pipeline of {}", reference.id, listed(signals));
            errors.push(used.located.at_value(message, Some(help)));
        }
        errors
    }

    /// Reports pipelines that feed themselves.
    fn cycles(&self) -> Vec<Diagnostic> {
        let Self { drafts, connectors, ends, begins } = self;
        // Connectors are nodes too: many pipelines around one connector are then few edges.
        let node = |connector: usize| drafts.len() + connector;
        let edges: Vec<(usize, usize)> = (ends.iter().map(|it| (it.pipeline, node(it.connector))))
            .chain(begins.iter().map(|it| (node(it.connector), it.pipeline)))
            .collect();
        let name = |node: &usize| match drafts.get(*node) {
            Some(draft) => format!("`{}`", draft.key),
            None => format!("`{}`", connectors[node - drafts.len()].id),
        };
        let mut errors = Vec::new();
        for mut cycle in graph::cycles(drafts.len() + connectors.len(), &edges) {
            // Pipelines and connectors take turns; the path is shown from the first pipeline to itself.
            let Some(first) = cycle.iter().copied().min() else { continue };
            let start = cycle.iter().position(|it| *it == first).unwrap_or_default();
            cycle.rotate_left(start);
            cycle.push(first);
            let closes = |it: &&Use<'_>| cycle.starts_with(&[it.pipeline, node(it.connector)]);
            let path = cycle.iter().map(name).collect::<Vec<_>>().join(" -> ");
            errors.extend(ends.iter().find(closes).map(|it| {
                let help = "take one of the connectors out".to_owned();
                it.located.at_value(format!("pipelines form a cycle: {path}"), Some(help))
            }));
        }
        errors
    }
}

fn lists_of(kind: Kind) -> String {
    let lists = PIPELINE_KEYS.iter().zip(MEMBER_KINDS).filter(|(_, kinds)| kinds.contains(&kind));
    lists.map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(" and ")
}

fn listed(signals: &[Signal]) -> String {
    signals.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}
