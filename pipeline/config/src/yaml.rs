use std::{
    collections::{HashMap, btree_map},
    ops::Range,
};

use serde_saphyr::granit_parser::{self, ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, Tag};

use crate::{
    diagnostic::Problem,
    node::{Content, Entry, Map, Node},
    scalar,
    source::Lines,
};

/// Most values in one text, counting again what an alias repeats: a few lines of aliases can stand for billions.
pub(crate) const MAX_NODES: usize = 50_000;

/// Most collections inside each other. What reads the values recurses as deep.
pub(crate) const MAX_DEPTH: usize = 64;

/// What can be read of a text, and what is wrong with it.
#[derive(Debug)]
pub(crate) struct Document {
    /// `None` if the text is not YAML, or exceeds a limit.
    pub(crate) root: Option<Node>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads one YAML document; an empty text is a null.
///
/// Scalars stay as they are written: what they mean depends on the variables put into them.
///
/// # Why not serde?
///
/// A deserializer reports one mistake and stops, and tells the places of values but not of keys. The events of the
/// parser below it have every place, and a duplicate key is then one mistake among others.
pub(crate) fn parse(text: &str) -> Document {
    let mut builder = Builder::default();
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_comments: false,
        emit_unresolved_aliases: true,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let step = match event {
            Ok((event, span)) => builder.take(event, &span, text),
            Err(error) => Err(syntax_problem(&error, text)),
        };
        if let Err(fatal) = step {
            builder.problems.push(fatal);
            return Document { root: None, problems: builder.problems };
        }
    }
    let root = builder.root.unwrap_or_else(|| Node::new(0..0, Content::Null));
    Document { root: Some(root), problems: builder.problems }
}

fn syntax_problem(error: &ScanError, text: &str) -> Problem {
    let start = error.marker().byte_offset().unwrap_or_default().min(text.len());
    let problem = Problem::new(start..start, format!("this is not YAML: {}", error.info()));
    match error.kind() {
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator
            if text.get(..start).is_some_and(|before| before.ends_with('$')) =>
        {
            problem.with_help("inside `[...]` and `{...}`, quote the variable: `\"${env:NAME}\"`")
        }
        ErrorKind::ExpectedFlowMappingSeparator | ErrorKind::ExpectedFlowSequenceSeparator => {
            problem.with_help("separate with `,`, and close what `[` or `{` opened")
        }
        ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => {
            problem.with_help("indent with spaces")
        }
        ErrorKind::MappingValueNotAllowed => {
            problem.with_help("align the keys of one map, and quote text that contains `: `")
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            problem.with_help("quote text that begins with this character")
        }
        _ if line_at(text, start).contains("]:") => {
            problem.with_help("put an address that begins with `[` in quotes: `\"[::1]:9464\"`")
        }
        _ => problem,
    }
}

fn line_at(text: &str, offset: usize) -> &str {
    let (before, after) = text.split_at_checked(offset).unwrap_or((text, ""));
    let begin = before.rfind('\n').map_or(0, |it| it + 1);
    &text[begin..before.len() + after.find('\n').unwrap_or(after.len())]
}

/// Assembles events into nodes, without recursion.
#[derive(Default)]
struct Builder {
    /// Collections whose end was not yet seen, outermost first.
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Part>,
    n_nodes: usize,
    /// Made for the first message that tells a line.
    lines: Option<Lines>,
    problems: Vec<Problem>,
}

struct Open {
    span: Range<usize>,
    anchor: usize,
    kind: OpenKind,
    /// Nodes seen so far, with the collection itself.
    n_nodes: usize,
    /// Collections inside each other seen so far, with the collection itself.
    height: usize,
}

enum OpenKind {
    List(Vec<Node>),
    Map { map: Map, key: Option<Key>, merged: Vec<Node> },
}

enum Key {
    Text(String, Range<usize>),
    /// `<<`, whose value is spread into the map.
    Merge(Range<usize>),
    /// Reported already.
    Unusable,
}

/// A complete node with its size.
#[derive(Clone)]
struct Part {
    node: Node,
    n_nodes: usize,
    height: usize,
}

/// The text cannot be used at all.
type Fatal = Problem;

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span, text: &str) -> Result<(), Fatal> {
        let range = span.byte_range().unwrap_or_default();
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let problem = Problem::new(range, "a second document begins; a file is one document");
                Err(problem.with_help("put it into a file of its own, and name both with `--config`"))
            }
            Event::Scalar(value, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                // The parser reads `~` where nothing is written.
                let value = if plain && range.is_empty() { "".into() } else { value };
                let content = match tag.as_deref() {
                    None => Content::Written { text: value.into_owned(), plain },
                    Some(tag) if tag.is_yaml_core_schema_tag("str") => {
                        Content::Written { text: value.into_owned(), plain: false }
                    }
                    Some(tag) => {
                        self.refuse_tag(tag, span);
                        Content::Broken
                    }
                };
                self.admit(&range, 1, 0)?;
                self.put(Part { node: Node::new(range, content), n_nodes: 1, height: 0 }, anchor, text);
                Ok(())
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_collection_tag(tag.as_deref(), "seq", span);
                self.start(range, anchor, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_collection_tag(tag.as_deref(), "map", span);
                self.start(range, anchor, OpenKind::Map { map: Map::new(), key: None, merged: Vec::new() })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.end(range.end, text);
                Ok(())
            }
            Event::Alias(id) => match self.anchors.get(&id).cloned() {
                Some(part) => {
                    self.admit(&range, part.n_nodes, part.height)?;
                    self.put(part, 0, text);
                    Ok(())
                }
                None => Err(Problem::new(range, "the alias stands inside what it repeats")),
            },
            Event::UnresolvedAlias(name) => {
                let message = format!("alias `*{name}` has no anchor `&{name}` before it");
                let problem = Problem::new(range.clone(), message);
                self.problems.push(problem.with_help("quote text that begins with `*`"));
                let node = Node::new(range, Content::Broken);
                self.put(Part { node, n_nodes: 1, height: 0 }, 0, text);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Counts nodes before they are kept.
    fn admit(&mut self, span: &Range<usize>, n_nodes: usize, height: usize) -> Result<(), Fatal> {
        self.n_nodes += n_nodes;
        if self.n_nodes > MAX_NODES {
            let message = format!("more than {MAX_NODES} values, counting what aliases repeat");
            return Err(Problem::new(span.clone(), message));
        }
        if self.open.len() + height > MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} maps and lists inside each other");
            return Err(Problem::new(span.clone(), message));
        }
        Ok(())
    }

    fn start(&mut self, span: Range<usize>, anchor: usize, kind: OpenKind) -> Result<(), Fatal> {
        self.admit(&span, 1, 1)?;
        self.open.push(Open { span, anchor, kind, n_nodes: 1, height: 1 });
        Ok(())
    }

    fn end(&mut self, end: usize, text: &str) {
        let Some(Open { span, anchor, kind, n_nodes, height }) = self.open.pop() else { return };
        // Only the brackets of a flow collection are text of its own.
        let span = if span.is_empty() { span } else { span.start..end };
        let content = match kind {
            OpenKind::List(nodes) => Content::List(nodes),
            OpenKind::Map { mut map, key: _, merged } => {
                // A key of the map itself wins over a merged one, and an earlier merge over a later one.
                for (key, entry) in merged.into_iter().filter_map(into_map).flatten() {
                    map.entry(key).or_insert(entry);
                }
                Content::Map(map)
            }
        };
        self.put(Part { node: Node::new(span, content), n_nodes, height }, anchor, text);
    }

    /// Puts a complete node where it belongs.
    fn put(&mut self, part: Part, anchor: usize, text: &str) {
        if anchor != 0 {
            self.anchors.insert(anchor, part.clone());
        }
        let Part { node, n_nodes, height } = part;
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        open.n_nodes += n_nodes;
        open.height = open.height.max(height + 1);
        let problem = match &mut open.kind {
            OpenKind::List(nodes) => {
                nodes.push(node);
                None
            }
            OpenKind::Map { map, key, merged } => match key.take() {
                None => {
                    let (read, problem) = read_key(node);
                    *key = Some(read);
                    problem
                }
                Some(Key::Text(name, span)) => {
                    let line_of = |at| self.lines.get_or_insert_with(|| Lines::new(text)).find(at).0;
                    insert(map, name, span, node, line_of)
                }
                Some(Key::Merge(span)) => merge(merged, &span, node),
                Some(Key::Unusable) => None,
            },
        };
        self.problems.extend(problem);
    }

    fn refuse_collection_tag(&mut self, tag: Option<&Tag>, own: &str, span: &Span) {
        if let Some(tag) = tag.filter(|it| !it.is_yaml_core_schema_tag(own)) {
            self.refuse_tag(tag, span);
        }
    }

    fn refuse_tag(&mut self, tag: &Tag, span: &Span) {
        let range = span.tag_span().as_ref().and_then(Span::byte_range);
        let range = range.or_else(|| span.byte_range()).unwrap_or_default();
        let problem = Problem::new(range, format!("the tag `{}` means nothing here", tag.original()));
        self.problems.push(problem.with_help("remove it; only `!!str` is known"));
    }
}

fn read_key(node: Node) -> (Key, Option<Problem>) {
    let Node { span, content, substituted: _ } = node;
    match content {
        Content::Written { text, plain: true } if text == "<<" => (Key::Merge(span), None),
        Content::Written { text, plain: _ } if text.contains("${") => {
            let problem = Problem::new(span, "a variable cannot stand in a key");
            (Key::Unusable, Some(problem.with_help("variables are put into values alone")))
        }
        Content::Written { text, plain }
            if !(text.is_empty() || plain && matches!(scalar::typed(&text), Content::Null)) =>
        {
            (Key::Text(text, span), None)
        }
        Content::Broken => (Key::Unusable, None),
        _ => (Key::Unusable, Some(Problem::new(span, "a key must be a word"))),
    }
}

fn insert(
    map: &mut Map,
    key: String,
    key_span: Range<usize>,
    value: Node,
    line_of: impl FnOnce(usize) -> usize,
) -> Option<Problem> {
    match map.entry(key) {
        btree_map::Entry::Vacant(vacant) => {
            vacant.insert(Entry { key_span, value });
            None
        }
        btree_map::Entry::Occupied(mut first) => {
            let line = line_of(first.get().key_span.start);
            let message = format!("`{}` is already defined in line {line}", first.key());
            // What stands in the second map is kept, so that references to it are not reported as well.
            if let (Some(kept), Some(more)) = (first.get_mut().value.as_map_mut(), into_map(value)) {
                for (key, entry) in more {
                    kept.entry(key).or_insert(entry);
                }
            }
            Some(Problem::new(key_span, message).with_help("join the two, or remove one"))
        }
    }
}

fn merge(merged: &mut Vec<Node>, span: &Range<usize>, node: Node) -> Option<Problem> {
    let nodes = match node.content {
        Content::List(nodes) => nodes,
        _ => vec![node],
    };
    let n_nodes = nodes.len();
    let maps = nodes.into_iter().filter(|it| it.as_map().is_some());
    let n_before = merged.len();
    merged.extend(maps);
    let all_maps = merged.len() - n_before == n_nodes;
    (!all_maps).then(|| Problem::new(span.clone(), "`<<` merges a map, or a list of maps"))
}

fn into_map(node: Node) -> Option<Map> {
    match node.content {
        Content::Map(map) => Some(map),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_null() {
        check("", Ok("null"));
        check("# only a comment\n", Ok("null"));
    }

    #[test]
    fn keys_and_values_keep_their_places() {
        check("a: b\nc:\n- 'd'\n", Ok("{a@0: b@3, c@5: [d@10]}"));
        check("{a: {b: c}}", Ok("{a@1: {b@5: c@8}}"));
    }

    #[test]
    fn an_alias_repeats_its_anchor() {
        check("a: &x [b]\nc: *x", Ok("{a@0: [b@7], c@10: [b@7]}"));
    }

    /// As in YAML 1.1: a map's own keys come before merged ones, and earlier maps before later ones.
    #[test]
    fn a_merge_fills_in_what_a_map_lacks() {
        check(
            "a: &x {k: 1}\nb: {<<: *x, k: 2, l: 3}",
            Ok("{a@0: {k@7: 1@10}, b@13: {k@25: 2@28, l@31: 3@34}}"),
        );
        check("<<: [{k: 1}, {k: 2, l: 3}]", Ok("{k@6: 1@9, l@20: 3@23}"));
        check("<<: 5", Err("`<<` merges a map, or a list of maps"));
        check("'<<': 5", Ok("{<<@0: 5@6}"));
    }

    #[test]
    fn the_first_of_two_equal_keys_is_kept() {
        check("a: 1\na: 2", Err("`a` is already defined in line 1"));
        check("a: 1\n\"a\": 2", Err("`a` is already defined in line 1"));
    }

    #[test]
    fn a_key_is_a_word() {
        check("[a]: b", Err("a key must be a word"));
        check("? {}\n: b", Err("a key must be a word"));
        check(": b", Err("a key must be a word"));
        check("null: b", Err("a key must be a word"));
        check("'null': b", Ok("{null@0: b@8}"));
        check("5: b", Ok("{5@0: b@3}"));
    }

    /// Aliases of aliases go deeper than any text is.
    #[test]
    fn aliases_cannot_go_deeper_than_text() {
        let line = |idx: usize| format!("- &a{} [[[[[[[[[[*a{idx}]]]]]]]]]]\n", idx + 1);
        let text: String = (0..7).map(line).collect();
        check(&format!("- &a0 x\n{text}"), Err("more than 64 maps and lists inside each other"));
    }

    #[test]
    fn a_text_may_have_as_many_values_as_the_limit() {
        let values = |n: usize| format!("[{}]", "x,".repeat(n));
        assert!(parse(&values(MAX_NODES - 1)).root.is_some());
        check(&values(MAX_NODES), Err("more than 50000 values, counting what aliases repeat"));
    }

    /// Shows a document with the offset of each key and scalar.
    fn show(node: &Node) -> String {
        match &node.content {
            Content::Null => "null".to_owned(),
            Content::Written { text, plain: _ } => format!("{text}@{}", node.span.start),
            Content::List(nodes) => format!("[{}]", nodes.iter().map(show).collect::<Vec<_>>().join(", ")),
            Content::Map(map) => {
                let show = |(key, it): (&String, &Entry)| {
                    format!("{key}@{}: {}", it.key_span.start, show(&it.value))
                };
                format!("{{{}}}", map.iter().map(show).collect::<Vec<_>>().join(", "))
            }
            other => format!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let Document { root, problems } = parse(text);
        let actual = match problems.first() {
            Some(problem) => Err(problem.message.clone()),
            None => Ok(root.as_ref().map(show).unwrap_or_default()),
        };
        assert_eq!(actual.as_deref().map_err(String::as_str), expected);
    }
}
