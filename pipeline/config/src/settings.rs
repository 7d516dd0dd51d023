use std::collections::{BTreeMap, BTreeSet};

use component::InvalidSetting;
use figment::{
    error::{Error, Kind},
    value::Value,
};

use crate::{
    Diagnostic,
    layers::{Layers, Located},
    suggest, wording,
};

/// Most mistakes that are looked for in one section: each one costs another reading of it.
const MAX_MISTAKES: usize = 100;

/// A part of the configuration whose form its reader defines: the settings of a component, or of `service`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    pub(crate) layers: &'a Layers,
    /// Where it is in the configuration.
    pub(crate) path: &'a [&'a str],
    /// What errors call it.
    pub(crate) name: &'a str,
}

impl Section<'_> {
    /// Reads the section, reporting every mistake in it.
    ///
    /// A deserializer stops at its first mistake. So what it complains of is taken out, and it is asked again, until
    /// it accepts the rest.
    pub(crate) fn read<T>(
        &self,
        mut value: Value,
        parse: impl Fn(&Value) -> Result<T, Box<Error>>,
        errors: &mut Vec<Diagnostic>,
    ) -> Option<T> {
        let mut removed = Removed::default();
        let mut as_text: Vec<(Vec<String>, Kind)> = Vec::new();
        loop {
            let Error { path, kind, .. } = match parse(&value) {
                Ok(parsed) => return removed.paths.is_empty().then_some(parsed),
                Err(error) => *error,
            };
            let written_path = removed.written_path(&path);
            let kind = match as_text.iter().find(|(it, _)| *it == path) {
                Some((_, first)) => first.clone(),
                None => {
                    // A password of digits is still text; only the reader knows that text is expected.
                    if let (Kind::InvalidType(..), Some(text)) = (&kind, self.substituted(&written_path))
                        && replace_with_text(&mut value, &path, text)
                    {
                        as_text.push((path, kind));
                        continue;
                    }
                    kind
                }
            };
            if !removed.explains(&written_path, &kind) {
                errors.extend(self.diagnostic(&written_path, &kind));
            }
            if !remove(&mut value, &path) || removed.paths.len() + 1 == MAX_MISTAKES {
                return None;
            }
            // Numbers of later elements have changed.
            as_text.clear();
            removed.add(written_path, &kind);
        }
    }

    /// Reports settings that parsed and still cannot be used, but for those whose value is reported as broken already: a
    /// variable that is not set is not an empty text.
    pub(crate) fn report_invalid(&self, invalid: &[InvalidSetting], errors: &mut Vec<Diagnostic>) {
        errors.extend(invalid.iter().filter_map(|invalid| {
            let keys = self.split(&invalid.path);
            let located = self.locate(&keys);
            if located.node.is_broken() {
                return None;
            }
            let message = wording::invalid(invalid, located.node, located.written());
            Some(located.at_value(format!("{}: {message}", self.what(&keys)), None))
        }));
    }

    /// Says in words what is at a path: an element of a list by its number, counted from one.
    fn what(&self, path: &[String]) -> String {
        let (outer, keys) = path.split_at(self.item_len(path));
        match (outer, keys) {
            ([], []) => self.name.to_owned(),
            ([list @ .., idx], []) => {
                let number = idx.parse::<usize>().map_or(0, |it| it + 1);
                format!("item {number} of {}", self.what(list))
            }
            (outer, keys) => format!("setting `{}` of {}", keys.join("."), self.what(outer)),
        }
    }

    /// Returns how long the part of a path is that ends with the last element of a list.
    fn item_len(&self, path: &[String]) -> usize {
        let is_list = |path: &[String]| {
            let full: Vec<&str> = self.path.iter().copied().chain(path.iter().map(String::as_str)).collect();
            self.layers.value(&full).is_some_and(|it| it.as_array().is_some())
        };
        (1..=path.len()).rev().find(|len| is_list(&path[..*len - 1])).unwrap_or(0)
    }

    /// Splits a dotted path into the keys that exist: a key may contain dots itself.
    fn split(&self, path: &str) -> Vec<String> {
        let mut keys: Vec<String> = Vec::new();
        let mut rest: Vec<&str> = path.split('.').filter(|it| !it.is_empty()).collect();
        while !rest.is_empty() {
            let exists = |n: &usize| {
                let mut path: Vec<&str> = self.path.to_vec();
                path.extend(keys.iter().map(String::as_str));
                let key = rest[..*n].join(".");
                path.push(&key);
                self.layers.value(&path).is_some()
            };
            let n = (1..=rest.len()).rev().find(exists).unwrap_or(1);
            keys.push(rest.drain(..n).collect::<Vec<_>>().join("."));
        }
        keys
    }

    fn locate(&self, path: &[String]) -> Located<'_> {
        let path: Vec<&str> = self.path.iter().copied().chain(path.iter().map(String::as_str)).collect();
        self.layers.locate(&path)
    }

    /// Returns the text of a value that holds a variable.
    fn substituted(&self, path: &[String]) -> Option<&str> {
        let full: Vec<&str> = self.path.iter().copied().chain(path.iter().map(String::as_str)).collect();
        // Else what was located contains the value, or is contained in a variable.
        self.layers.value(&full)?;
        self.layers.locate(&full).node.substituted.as_deref()
    }

    fn diagnostic(&self, path: &[String], kind: &Kind) -> Option<Diagnostic> {
        let located = self.locate(path);
        if located.node.is_broken() {
            return None;
        }
        let unknown = |word: &str, expected: &[&'static str]| {
            let help = match expected {
                [] => Some("it has no settings".to_owned()),
                _ => suggest::help(word, expected.iter().copied()),
            };
            located.at_key(format!("unknown {}", self.what(path)), help)
        };
        Some(match kind {
            Kind::UnknownField(field, expected) => unknown(field, expected),
            // The key of a map can name one of several forms, too.
            Kind::UnknownVariant(variant, expected) if path.last() == Some(variant) => {
                unknown(variant, expected)
            }
            Kind::MissingField(field) => {
                let (outer, keys) = path.split_at(self.item_len(path));
                let missing = [keys, &[field.to_string()]].concat().join(".");
                located.at_key(format!("{} lacks the setting `{missing}`", self.what(outer)), None)
            }
            _ => {
                let (message, help) = wording::describe(kind, located.node, located.written());
                located.at_value(format!("{}: {message}", self.what(path)), help)
            }
        })
    }
}

/// What was taken out of a section after it was reported. Paths are those of the section as written.
#[derive(Debug, Default)]
struct Removed {
    paths: Vec<Vec<String>>,
    /// Numbers of the elements that were taken out of a list, rising.
    elements: BTreeMap<Vec<String>, BTreeSet<usize>>,
    /// What a misspelled key probably meant.
    meant: Vec<Vec<String>>,
}

impl Removed {
    fn add(&mut self, path: Vec<String>, kind: &Kind) {
        if let Some((last, parent)) = path.split_last() {
            if let Kind::UnknownField(_, expected) | Kind::UnknownVariant(_, expected) = kind
                && let Some(nearest) = suggest::nearest(last, expected.iter().copied())
            {
                self.meant.push([parent, &[nearest.to_owned()]].concat());
            }
            if let Ok(idx) = last.parse() {
                self.elements.entry(parent.to_vec()).or_default().insert(idx);
            }
        }
        self.paths.push(path);
    }

    /// Turns the path of what is left into the path as written: what follows a removed element has moved up.
    fn written_path(&self, path: &[String]) -> Vec<String> {
        let mut written: Vec<String> = Vec::new();
        for key in path {
            let key = match (self.elements.get(&written), key.parse::<usize>()) {
                (Some(removed), Ok(idx)) => {
                    removed.iter().fold(idx, |idx, it| if *it <= idx { idx + 1 } else { idx }).to_string()
                }
                _ => key.clone(),
            };
            written.push(key);
        }
        written
    }

    /// Tells whether a mistake is only there because another one was taken out.
    fn explains(&self, path: &[String], kind: &Kind) -> bool {
        match kind {
            Kind::UnknownField(..) => false,
            Kind::MissingField(field) => {
                let missing = [path, &[field.to_string()]].concat();
                self.paths.iter().chain(&self.meant).any(|it| it.starts_with(&missing))
            }
            _ => self.paths.iter().any(|it| it.starts_with(path)),
        }
    }
}

/// Replaces the value at `path` with text, unless it is text already.
fn replace_with_text(value: &mut Value, path: &[String], text: &str) -> bool {
    match (path, value) {
        ([], Value::String(..)) => false,
        ([], value) => {
            *value = Value::String(value.tag(), text.to_owned());
            true
        }
        ([key, rest @ ..], Value::Dict(_, dict)) => {
            dict.get_mut(key).is_some_and(|it| replace_with_text(it, rest, text))
        }
        ([key, rest @ ..], Value::Array(_, values)) => {
            let value = key.parse().ok().and_then(|idx: usize| values.get_mut(idx));
            value.is_some_and(|it| replace_with_text(it, rest, text))
        }
        _ => false,
    }
}

/// Removes what stands at `path`.
fn remove(value: &mut Value, path: &[String]) -> bool {
    match (path, value) {
        ([key], Value::Dict(_, dict)) => dict.remove(key).is_some(),
        ([key], Value::Array(_, values)) => match key.parse() {
            Ok(idx) if idx < values.len() => {
                values.remove(idx);
                true
            }
            _ => false,
        },
        ([key, rest @ ..], Value::Dict(_, dict)) => dict.get_mut(key).is_some_and(|it| remove(it, rest)),
        ([key, rest @ ..], Value::Array(_, values)) => {
            let value = key.parse().ok().and_then(|idx: usize| values.get_mut(idx));
            value.is_some_and(|it| remove(it, rest))
        }
        _ => false,
    }
}
