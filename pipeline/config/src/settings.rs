use figment::{
    error::{Actual, Error, Kind},
    value::Value,
};

use crate::{
    Diagnostic,
    layers::{Layers, Located},
    node::{Content, Node},
    suggest,
};

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
        let mut removed: Vec<Vec<String>> = Vec::new();
        let mut as_text: Vec<(Vec<String>, Kind)> = Vec::new();
        loop {
            let error = match parse(&value) {
                Ok(parsed) => return removed.is_empty().then_some(parsed),
                Err(error) => *error,
            };
            let (path, mut kind) = (error.path, error.kind);
            if let Some((_, first)) = as_text.iter().find(|(it, _)| *it == path) {
                kind = first.clone();
            } else if let Some(text) = self.substituted(&path).filter(|_| is_wrong_type(&kind))
                && replace_with_text(&mut value, &path, text)
            {
                // A password of digits is still text; only the reader knows that text is expected.
                as_text.push((path, kind));
                continue;
            }
            self.report(&path, &kind, &removed, errors);
            if !remove(&mut value, &path) {
                return None;
            }
            removed.push(path);
        }
    }

    /// Reports a setting that parsed and still cannot be used. Keys in `path` are separated by dots.
    pub(crate) fn invalid(&self, path: &str, message: &str) -> Option<Diagnostic> {
        let keys = self.split(path);
        let name = self.name;
        let message = match path {
            "" => format!("{name}: {message}"),
            _ => format!("setting `{path}` of {name}: {message}"),
        };
        Some(self.locate(&keys)?.at_value(message, None))
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

    fn locate(&self, path: &[String]) -> Option<Located<'_>> {
        let path: Vec<&str> = self.path.iter().copied().chain(path.iter().map(String::as_str)).collect();
        self.layers.locate(&path)
    }

    /// Returns the text of a value that holds a variable.
    fn substituted(&self, path: &[String]) -> Option<&str> {
        let full: Vec<&str> = self.path.iter().copied().chain(path.iter().map(String::as_str)).collect();
        // Else what was located contains the value, or is contained in a variable.
        self.layers.value(&full)?;
        self.layers.locate(&full)?.node.substituted.as_deref()
    }

    fn report(&self, path: &[String], kind: &Kind, removed: &[Vec<String>], errors: &mut Vec<Diagnostic>) {
        let Some(located) = self.locate(path) else { return };
        if located.node.is_broken() {
            return;
        }
        let name = self.name;
        let diagnostic = match kind {
            Kind::UnknownField(field, expected) => {
                let help = match expected {
                    [] => Some(format!("{name} has no settings here")),
                    _ => suggest::help(field, expected.iter().copied()),
                };
                located.at_key(format!("unknown setting `{}` of {name}", path.join(".")), help)
            }
            Kind::MissingField(field) => {
                let missing = [path, &[field.to_string()]].concat();
                if removed.iter().any(|it| it.starts_with(&missing)) {
                    return;
                }
                let missing = missing.join(".");
                located
                    .at_key(format!("{name} lacks the setting `{missing}`"), Some(format!("add `{missing}`")))
            }
            _ => {
                let what = match path {
                    [] => name.to_owned(),
                    _ => format!("setting `{}` of {name}", path.join(".")),
                };
                let (message, help) = describe(kind, located.node, located.written());
                located.at_value(format!("{what}: {message}"), help)
            }
        };
        errors.push(diagnostic);
    }
}

const fn is_wrong_type(kind: &Kind) -> bool {
    matches!(kind, Kind::InvalidType(..))
}

/// Says what is wrong with a value, and what to do. Never tells what a variable holds.
fn describe(kind: &Kind, node: &Node, written: &str) -> (String, Option<String>) {
    let secret = node.substituted.as_deref();
    let found = |actual: &Actual| match secret {
        Some(_) => format!("{} from `{written}`", node.describe()),
        None => show(actual),
    };
    match kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            let message = format!("expected {}, found {}", translate(expected), found(actual));
            let help = match (actual, expected.as_str()) {
                (Actual::Unsigned(number), "a duration") if secret.is_none() => {
                    Some(format!("add a unit, such as `{number}s`"))
                }
                (Actual::Unsigned(_) | Actual::Float(_) | Actual::Bool(_), "a string") => {
                    Some("put text that looks like another type in quotes".to_owned())
                }
                (Actual::Option | Actual::Unit, _) => Some("remove the key for its default".to_owned()),
                _ => None,
            };
            (message, help)
        }
        Kind::UnknownVariant(word, expected) => {
            let found = found(&Actual::Str(word.clone()));
            let words: Vec<String> = expected.iter().map(|it| format!("`{it}`")).collect();
            let message = format!("expected one of {}, found {found}", words.join(", "));
            let nearest = suggest::nearest(word, expected.iter().copied()).filter(|_| secret.is_none());
            (message, nearest.map(|it| format!("did you mean `{it}`?")))
        }
        Kind::Message(message) => {
            let text = match ADDRESSES.iter().find(|(it, _)| it == message) {
                Some((_, expected)) => {
                    format!("expected {expected}, found {}", found(&actual(&node.content)))
                }
                None if secret.is_some_and(|it| tells(message, it)) => {
                    format!("the value of `{written}` is not accepted")
                }
                None => message.clone(),
            };
            (text, None)
        }
        other => (other.to_string(), None),
    }
}

/// What the standard library says of addresses it cannot read, and what it expects.
const ADDRESSES: [(&str, &str); 4] = [
    ("invalid socket address syntax", "an address with a port such as `127.0.0.1:9464`"),
    ("invalid IP address syntax", "an IP address"),
    ("invalid IPv4 address syntax", "an IPv4 address"),
    ("invalid IPv6 address syntax", "an IPv6 address"),
];

fn actual(content: &Content) -> Actual {
    match content {
        Content::Broken | Content::Null => Actual::Unit,
        Content::Bool(it) => Actual::Bool(*it),
        Content::Unsigned(it) => Actual::Unsigned((*it).into()),
        Content::Signed(it) => Actual::Signed((*it).into()),
        Content::Float(it) => Actual::Float(*it),
        Content::Text(text) | Content::Written { text, plain: _ } => Actual::Str(text.clone()),
        Content::List(_) => Actual::Seq,
        Content::Map(_) => Actual::Map,
    }
}

/// Most characters of a text that a message repeats; the line below shows it anyway.
const MAX_SHOWN: usize = 60;

fn show(actual: &Actual) -> String {
    match actual {
        Actual::Bool(it) => format!("`{it}`"),
        Actual::Unsigned(it) => format!("the number {it}"),
        Actual::Signed(it) => format!("the number {it}"),
        Actual::Float(it) => format!("the number {it}"),
        Actual::Str(text) => {
            let shown: String = text.chars().filter(|it| !it.is_control()).take(MAX_SHOWN).collect();
            let more = if text.chars().count() > MAX_SHOWN { "..." } else { "" };
            format!("the text `{shown}{more}`")
        }
        Actual::Unit | Actual::Option => "nothing".to_owned(),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a map".to_owned(),
        other => other.to_string(),
    }
}

/// Says in words of the configuration what a Rust type expects.
fn translate(expected: &str) -> String {
    let words = match expected {
        "a boolean" => "`true` or `false`",
        "a string" => "text",
        "a sequence" => "a list",
        "a map" => "a map of settings",
        "a duration" => "a duration such as `5s`",
        "socket address" => "an address with a port such as `127.0.0.1:9464`",
        "f32" | "f64" => "a number",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" | "a nonzero u64" | "a nonzero u128" | "a nonzero usize" => "a whole number from 1",
        _ if expected.starts_with("struct ") => "a map of settings",
        _ if expected.starts_with("a sequence") => "a list",
        _ => expected,
    };
    words.to_owned()
}

/// Shortest part of a secret that must not be told.
const TELLING_CHARS: usize = 4;

/// Tells whether a message repeats a part of a secret.
fn tells(message: &str, secret: &str) -> bool {
    let chars: Vec<char> = secret.chars().collect();
    chars
        .windows(TELLING_CHARS.min(chars.len()).max(1))
        .any(|window| message.contains(&window.iter().collect::<String>()))
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

/// Removes what stands at `path`, or the list that contains it: its other elements would change their numbers.
fn remove(value: &mut Value, path: &[String]) -> bool {
    let ([key, rest @ ..], Value::Dict(_, dict)) = (path, value) else { return false };
    match dict.get_mut(key) {
        Some(inner) => remove(inner, rest) || dict.remove(key).is_some(),
        None => false,
    }
}
