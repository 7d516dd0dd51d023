use std::{collections::BTreeSet, ops::Range};

use component::Kind;

use crate::{
    diagnostic::Problem,
    node::{Content, Map, Node},
    suggest,
};

/// Keys of `service`.
const SERVICE_KEYS: [&str; 3] = ["pipelines", "queue_size", "shutdown_timeout"];

/// Keys of a pipeline.
pub(crate) const PIPELINE_KEYS: [&str; 3] = ["receivers", "processors", "exporters"];

/// What cannot be judged because a mistake has hidden a part of it.
///
/// One mistake must not be reported as ten: who writes `exporter:` for `exporters:` has defined the exporters.
#[derive(Debug, Default)]
pub(crate) struct Hidden {
    /// Kinds some of whose definitions are hidden.
    pub(crate) kinds: BTreeSet<Kind>,
    /// Whether pipelines are hidden.
    pub(crate) pipelines: bool,
    /// Pipelines some of whose lists are hidden.
    pub(crate) lists: BTreeSet<String>,
}

/// Checks the outer form of one source, and gives it that form where it differs.
///
/// Afterwards every section, component and pipeline is a map, every member of a pipeline a list, and every key of
/// these levels known. A section, component or pipeline without a value is empty.
pub(crate) fn check(root: &mut Node, hidden: &mut Hidden) -> Vec<Problem> {
    let mut shape = Shape { hidden, problems: Vec::new() };
    shape.root(root);
    shape.problems
}

struct Shape<'a> {
    hidden: &'a mut Hidden,
    problems: Vec<Problem>,
}

impl Shape<'_> {
    fn root(&mut self, root: &mut Node) {
        let span = root.span.clone();
        let Some(sections) = self.map(root, &span, "the configuration", "sections") else {
            self.hidden.kinds.extend(Kind::ALL);
            self.hidden.pipelines = true;
            return;
        };
        let names: Vec<&str> = Kind::ALL.map(Kind::section).into_iter().chain(["service"]).collect();
        for (unknown, _) in self.remove_unknown(sections, &names, "section", "") {
            match suggest::nearest(&unknown, names.iter().copied()) {
                Some("service") => self.hidden.pipelines = true,
                Some(section) => {
                    self.hidden.kinds.extend(Kind::ALL.into_iter().filter(|it| it.section() == section));
                }
                None => {}
            }
        }
        for kind in Kind::ALL {
            if let Some(entry) = sections.get_mut(kind.section()) {
                let what = format!("`{}`", kind.section());
                match self.map(&mut entry.value, &entry.key_span, &what, "components by id") {
                    Some(components) => self.components(kind, components),
                    None => _ = self.hidden.kinds.insert(kind),
                }
            }
        }
        if let Some(entry) = sections.get_mut("service") {
            match self.map(&mut entry.value, &entry.key_span, "`service`", "settings") {
                Some(service) => self.service(service),
                None => self.hidden.pipelines = true,
            }
        }
    }

    fn components(&mut self, kind: Kind, components: &mut Map) {
        for (id, entry) in components {
            self.map(&mut entry.value, &entry.key_span, &format!("{kind} `{id}`"), "settings");
        }
    }

    fn service(&mut self, service: &mut Map) {
        for (unknown, _) in self.remove_unknown(service, &SERVICE_KEYS, "setting", " of `service`") {
            if suggest::nearest(&unknown, SERVICE_KEYS) == Some("pipelines") {
                self.hidden.pipelines = true;
            }
        }
        let Some(entry) = service.get_mut("pipelines") else { return };
        match self.map(&mut entry.value, &entry.key_span, "`pipelines`", "pipelines by name") {
            Some(pipelines) => {
                for (name, entry) in pipelines {
                    self.pipeline(name, &mut entry.value, &entry.key_span);
                }
            }
            None => self.hidden.pipelines = true,
        }
    }

    fn pipeline(&mut self, name: &str, pipeline: &mut Node, key_span: &Range<usize>) {
        let what = format!("pipeline `{name}`");
        let Some(lists) = self.map(pipeline, key_span, &what, "lists of components") else {
            self.hidden.lists.insert(name.to_owned());
            return;
        };
        if !self.remove_unknown(lists, &PIPELINE_KEYS, "setting", &format!(" of {what}")).is_empty() {
            self.hidden.lists.insert(name.to_owned());
        }
        for (key, entry) in lists {
            match &entry.value.content {
                Content::List(_) => continue,
                Content::Null => {}
                Content::Broken => _ = self.hidden.lists.insert(name.to_owned()),
                _ => {
                    let written = match &entry.value {
                        Node { content: Content::Text(id), substituted: None, .. } => id,
                        _ => "id",
                    };
                    let span = visible(&entry.value.span, &entry.key_span);
                    let found = entry.value.describe();
                    let message = format!("`{key}` of {what}: expected a list of ids, found {found}");
                    self.problems
                        .push(Problem::new(span, message).with_help(format!("write `{key}: [{written}]`")));
                    self.hidden.lists.insert(name.to_owned());
                }
            }
            entry.value.content = Content::List(Vec::new());
        }
    }

    /// Returns the map that a node is or, without a value, stands for. Makes anything else empty and reports it.
    fn map<'a>(
        &mut self,
        node: &'a mut Node,
        key_span: &Range<usize>,
        what: &str,
        of: &str,
    ) -> Option<&'a mut Map> {
        let is_map = match &node.content {
            Content::Map(_) | Content::Null => true,
            Content::Broken => false,
            _ => {
                let span = visible(&node.span, key_span);
                let message = format!("{what}: expected a map of {of}, found {}", node.describe());
                self.problems.push(Problem::new(span, message));
                false
            }
        };
        if !matches!(node.content, Content::Map(_)) {
            node.content = Content::Map(Map::new());
        }
        node.as_map_mut().filter(|_| is_map)
    }

    fn remove_unknown(&mut self, map: &mut Map, known: &[&str], what: &str, of: &str) -> Vec<(String, Node)> {
        let is_unknown = |key: &str| !known.contains(&key);
        let removed: Vec<_> = map.extract_if(.., |key, _| is_unknown(key)).collect();
        for (key, entry) in &removed {
            let problem = Problem::new(entry.key_span.clone(), format!("unknown {what} `{key}`{of}"));
            self.problems.push(Problem { help: suggest::help(key, known.iter().copied()), ..problem });
        }
        removed.into_iter().map(|(key, entry)| (key, entry.value)).collect()
    }
}

fn visible(span: &Range<usize>, key_span: &Range<usize>) -> Range<usize> {
    if span.is_empty() { key_span.clone() } else { span.clone() }
}

#[cfg(test)]
mod tests {
    use figment::{
        error::Kind as ErrorKind,
        value::{Dict, Value},
    };

    use super::*;
    use crate::Service;

    /// The form of `service` is known in two places: here with its pipelines, and in its type.
    #[test]
    fn the_settings_of_the_service_are_known() {
        let unknown = Value::from(Dict::from([("unknown".to_owned(), Value::from(5))]));
        let error = unknown.deserialize::<Service>().unwrap_err();
        let ErrorKind::UnknownField(_, fields) = error.kind else { panic!("{error}") };
        let fields: BTreeSet<&str> = fields.iter().copied().chain(["pipelines"]).collect();
        assert_eq!(fields, BTreeSet::from(SERVICE_KEYS));
    }
}
