use std::ops::Range;

use figment::{
    Figment, Metadata, Profile, Provider,
    value::{Dict, Empty, Tag, Value},
};

use crate::{
    Diagnostic, Place,
    diagnostic::Problem,
    node::{Content, Node},
    source::Source,
};

/// One source of the configuration, read.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) source: Source,
    pub(crate) root: Node,
}

impl Layer {
    /// Walks down a path as far as it goes; returns what is there, and the number of keys that led to it.
    fn locate(&self, path: &[&str]) -> (Located<'_>, usize) {
        let mut located = Located { source: &self.source, key_span: None, node: &self.root };
        for (idx, key) in path.iter().enumerate() {
            match &located.node.content {
                Content::Map(map) => {
                    let Some(entry) = map.get(*key) else { return (located, idx) };
                    located.key_span = Some(&entry.key_span);
                    located.node = &entry.value;
                }
                Content::List(nodes) => {
                    let node = key.parse().ok().and_then(|idx: usize| nodes.get(idx));
                    let Some(node) = node else { return (located, idx) };
                    located.node = node;
                }
                _ => return (located, idx),
            }
        }
        (located, path.len())
    }
}

impl Provider for &Layer {
    fn metadata(&self) -> Metadata {
        // By its number a value's layer is found again.
        Metadata::from(self.source.name().to_owned(), self.source.layer().to_string())
    }

    fn data(&self) -> Result<figment::value::Map<Profile, Dict>, figment::Error> {
        Ok([(Profile::Default, to_dict(&self.root))].into())
    }
}

fn to_dict(node: &Node) -> Dict {
    node.as_map().into_iter().flatten().map(|(key, entry)| (key.clone(), to_value(&entry.value))).collect()
}

fn to_value(node: &Node) -> Value {
    match &node.content {
        Content::Null => Empty::None.into(),
        Content::Bool(it) => (*it).into(),
        Content::Unsigned(it) => (*it).into(),
        Content::Signed(it) => (*it).into(),
        Content::Float(it) => (*it).into(),
        Content::Text(text) | Content::Written { text, plain: _ } => text.as_str().into(),
        Content::List(nodes) => nodes.iter().map(to_value).collect::<Vec<_>>().into(),
        Content::Map(_) => Value::Dict(Tag::Default, to_dict(node)),
        // Something must keep the place of what was reported.
        Content::Broken => "".into(),
    }
}

/// The sources, merged: maps by key, anything else replaced by the later source.
#[derive(Debug)]
pub(crate) struct Layers {
    layers: Vec<Layer>,
    figment: Figment,
    merged: Value,
    /// Stands for a source where there is none.
    nowhere: Layer,
}

impl Layers {
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        let figment = layers.iter().fold(Figment::new(), Figment::merge);
        let data = figment.data().ok().and_then(|mut it| it.remove(&Profile::Default));
        let merged = Value::Dict(Tag::Default, data.unwrap_or_default());
        let source = Source::argument(0, "configuration", String::new());
        Self { layers, figment, merged, nowhere: Layer { source, root: Node::new(0..0, Content::Null) } }
    }

    /// Returns the merged value at a path; list elements are named by their number.
    pub(crate) fn value(&self, path: &[&str]) -> Option<&Value> {
        path.iter().try_fold(&self.merged, |value, key| child(value, key))
    }

    /// Returns the merged map at a path, or nothing.
    pub(crate) fn entries(&self, path: &[&str]) -> impl Iterator<Item = (&str, &Value)> {
        let dict = self.value(path).and_then(Value::as_dict);
        dict.into_iter().flatten().map(|(key, value)| (key.as_str(), value))
    }

    /// Finds where the merged value at a path was written, or as much of the path as was.
    pub(crate) fn locate(&self, path: &[&str]) -> Located<'_> {
        let mut value = &self.merged;
        for key in path {
            match child(value, key) {
                Some(inner) => value = inner,
                None => break,
            }
        }
        self.layer_of(value.tag()).unwrap_or(&self.nowhere).locate(path).0
    }

    /// Finds where a path was first written, whatever later sources make of it.
    pub(crate) fn locate_first(&self, path: &[&str]) -> Located<'_> {
        let located = self.layers.iter().map(|it| it.locate(path));
        located.into_iter().find(|(_, n_keys)| *n_keys == path.len()).map_or(self.locate(path), |(it, _)| it)
    }

    /// Returns the place of what has no better one: the last source that was not given as an argument.
    pub(crate) fn whole(&self) -> Place {
        let mut sources = self.layers.iter().map(|it| &it.source);
        let last = self.layers.last().unwrap_or(&self.nowhere);
        sources.rfind(|it| it.has_lines()).unwrap_or(&last.source).whole()
    }

    fn layer_of(&self, tag: Tag) -> Option<&Layer> {
        let number: usize = self.figment.get_metadata(tag)?.source.as_ref()?.custom()?.parse().ok()?;
        self.layers.iter().find(|it| it.source.layer() == number)
    }
}

fn child<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Dict(_, dict) => dict.get(key),
        Value::Array(_, values) => values.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

/// A value where it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Located<'a> {
    pub(crate) source: &'a Source,
    key_span: Option<&'a Range<usize>>,
    pub(crate) node: &'a Node,
}

impl Located<'_> {
    fn key_span(&self) -> &Range<usize> {
        self.key_span.unwrap_or(&self.node.span)
    }

    /// A block collection, or nothing at all, is shown by its key.
    fn value_span(&self) -> &Range<usize> {
        if self.node.span.is_empty() { self.key_span() } else { &self.node.span }
    }

    /// Returns the value as the source writes it, without quotes.
    pub(crate) fn written(&self) -> &str {
        self.source.slice(&self.node.span).trim_matches(['"', '\''])
    }

    pub(crate) fn key_place(&self) -> Place {
        self.source.place(self.key_span())
    }

    /// Shows a problem at the key.
    pub(crate) fn at_key(&self, message: String, help: Option<String>) -> Diagnostic {
        self.source.diagnostic(Problem { span: self.key_span().clone(), message, help })
    }

    /// Shows a problem at the value.
    pub(crate) fn at_value(&self, message: String, help: Option<String>) -> Diagnostic {
        self.source.diagnostic(Problem { span: self.value_span().clone(), message, help })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::node::{Entry, Map};

    proptest! {
        /// A configuration may be divided into files at will.
        #[test]
        fn the_parts_of_a_map_merge_into_the_map(entries in map(), split: u64) {
            let (mut first, mut second) = (Map::new(), Map::new());
            for (idx, (key, entry)) in entries.clone().into_iter().enumerate() {
                let part = if split >> (idx % 64) & 1 == 0 { &mut first } else { &mut second };
                part.insert(key, entry);
            }
            prop_assert_eq!(merged([first, second]).merged, merged([entries]).merged);
        }

        /// What the last source says holds, whatever the others say.
        #[test]
        fn the_last_source_wins(earlier in map(), last in map()) {
            let layers = merged([earlier, last.clone()]);
            let mut leaves = Vec::new();
            collect_leaves(&last, &mut Vec::new(), &mut leaves);
            for (path, expected) in leaves {
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                prop_assert_eq!(layers.value(&path), Some(&expected), "{:?}", path);
                let located = layers.locate(&path);
                prop_assert_eq!(located.source.layer(), 1);
                prop_assert_eq!(to_value(located.node), expected);
            }
        }

        /// Naming a file twice is as good as naming it once.
        #[test]
        fn a_source_twice_changes_nothing(earlier in map(), last in map()) {
            let once = merged([earlier.clone(), last.clone()]);
            let twice = merged([earlier, last.clone(), last]);
            prop_assert_eq!(once.merged, twice.merged);
        }
    }

    /// A later source that replaces a map takes away what an earlier one has in it.
    #[test]
    fn anything_but_a_map_replaces_a_map() {
        let map = Content::Map(entry("inner", Content::Bool(true)));
        let layers = merged([entry("key", map.clone()), entry("key", Content::Null), entry("key", map)]);
        assert_eq!(layers.value(&["key", "inner"]).and_then(Value::to_bool), Some(true));
        assert_eq!(layers.locate(&["key", "inner"]).source.layer(), 2);
        assert_eq!(layers.locate_first(&["key", "inner"]).source.layer(), 0);
    }

    fn map() -> impl Strategy<Value = Map> {
        let scalar = prop_oneof![
            Just(Content::Null),
            any::<bool>().prop_map(Content::Bool),
            any::<u64>().prop_map(Content::Unsigned),
            "[a-z]{0,3}".prop_map(Content::Text),
        ];
        // Few keys, so that sources share them.
        let of = |content: BoxedStrategy<Content>| prop::collection::btree_map("[a-d]", content, 0..4);
        let content = scalar.prop_recursive(3, 20, 4, move |inner| {
            let list = prop::collection::vec(inner.clone(), 0..3).prop_map(|contents| {
                Content::List(contents.into_iter().map(|it| Node::new(0..0, it)).collect())
            });
            prop_oneof![list, of(inner).prop_map(|contents| Content::Map(to_map(contents)))]
        });
        of(content.boxed()).prop_map(to_map)
    }

    fn to_map(contents: std::collections::BTreeMap<String, Content>) -> Map {
        contents.into_iter().flat_map(|(key, content)| entry(&key, content)).collect()
    }

    fn entry(key: &str, content: Content) -> Map {
        Map::from([(key.to_owned(), Entry { key_span: 0..0, value: Node::new(0..0, content) })])
    }

    fn merged<const N: usize>(maps: [Map; N]) -> Layers {
        let layers = maps.into_iter().enumerate().map(|(idx, map)| Layer {
            source: Source::new(idx, "x.yaml", String::new()),
            root: Node::new(0..0, Content::Map(map)),
        });
        Layers::new(layers.collect())
    }

    /// Collects what is no map, with its path.
    fn collect_leaves(map: &Map, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, Value)>) {
        for (key, entry) in map {
            path.push(key.clone());
            match &entry.value.content {
                Content::Map(map) => collect_leaves(map, path, leaves),
                _ => leaves.push((path.clone(), to_value(&entry.value))),
            }
            path.pop();
        }
    }
}
