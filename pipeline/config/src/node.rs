use std::{collections::BTreeMap, ops::Range};

/// A value of a configuration text, with its place in that text.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where the value is written. Empty for block collections, which begin where their first key does.
    pub(crate) span: Range<usize>,
    pub(crate) content: Content,
    /// What the value reads after variables were put in. Never shown: it may be a secret.
    pub(crate) substituted: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Something was wrong with the value, and was reported.
    Broken,
    /// A scalar as written: without variables put in, and, if `plain`, without its type.
    Written {
        text: String,
        plain: bool,
    },
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Map),
}

/// Keys with their places and values.
pub(crate) type Map = BTreeMap<String, Entry>;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key_span: Range<usize>,
    pub(crate) value: Node,
}

impl Node {
    pub(crate) fn new(span: Range<usize>, content: Content) -> Self {
        Self { span, content, substituted: None }
    }

    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.content {
            Content::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.content {
            Content::Map(map) => Some(map),
            _ => None,
        }
    }

    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.content, Content::Broken)
    }

    /// Says what the value is, without telling it.
    pub(crate) const fn describe(&self) -> &'static str {
        match self.content {
            Content::Broken | Content::Null => "nothing",
            Content::Bool(_) => "a truth value",
            Content::Unsigned(_) | Content::Signed(_) | Content::Float(_) => "a number",
            Content::Written { .. } | Content::Text(_) => "text",
            Content::List(_) => "a list",
            Content::Map(_) => "a map",
        }
    }
}
