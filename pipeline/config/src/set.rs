use std::sync::Arc;

use crate::{
    node::{Content, Entry, Map, Node},
    yaml::MAX_DEPTH,
};

/// A setting from the command line, such as `exporters.debug.interval=2s`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// What errors call it. Without the value, which may be a secret.
    pub(crate) name: Arc<str>,
    pub(crate) keys: Vec<String>,
    /// YAML.
    pub(crate) value: String,
}

/// Why an argument assigns nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) name: Arc<str>,
    pub(crate) message: &'static str,
}

/// Splits an argument into keys and value.
///
/// Keys are separated by dots; a key that contains a dot or an equals sign stands in double quotes.
pub(crate) fn parse(argument: &str) -> Result<Assignment, Refused> {
    let mut keys = Vec::new();
    let mut rest = argument;
    let name = |rest: &str| Arc::from(format!("--set {}", &argument[..argument.len() - rest.len()]));
    // The part before the equals sign is as much as can be told from a value.
    let refuse = |message| {
        let shown = argument.split_once('=').map_or(argument, |(keys, _)| keys);
        Err(Refused { name: format!("--set {shown}").into(), message })
    };
    loop {
        let (key, after) = if let Some(quoted) = rest.strip_prefix('"') {
            match quoted.split_once('"') {
                Some(split) => split,
                None => return refuse("a quoted key is not closed"),
            }
        } else {
            match rest.find(['.', '=']) {
                Some(end) => rest.split_at(end),
                None => return refuse("expected `key=value`"),
            }
        };
        if key.is_empty() {
            return refuse("a key is empty");
        }
        keys.push(key.to_owned());
        if keys.len() > MAX_DEPTH {
            return refuse("more keys than any setting has");
        }
        if let Some(value) = after.strip_prefix('=') {
            return Ok(Assignment { name: name(after), keys, value: value.to_owned() });
        }
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None => return refuse("expected `.` or `=` after a quoted key"),
        }
    }
}

/// Wraps a value into one map for each key.
pub(crate) fn nest(keys: &[String], value: Node) -> Node {
    keys.iter().rev().fold(value, |value, key| {
        let span = value.span.clone();
        let entry = Entry { key_span: span.clone(), value };
        Node::new(span, Content::Map(Map::from([(key.clone(), entry)])))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_separate_keys() {
        check("a.b.c=d", Ok((&["a", "b", "c"], "d")));
    }

    #[test]
    fn the_value_begins_after_the_first_equals_sign() {
        check("a=b=c.d", Ok((&["a"], "b=c.d")));
        check("a=", Ok((&["a"], "")));
    }

    /// The id `otlp/a.b` is one key.
    #[test]
    fn a_quoted_key_may_contain_dots() {
        check("exporters.\"otlp/a.b\".endpoint=x", Ok((&["exporters", "otlp/a.b", "endpoint"], "x")));
        check("\"a=b\"=c", Ok((&["a=b"], "c")));
    }

    #[test]
    fn what_assigns_nothing_is_refused() {
        check("a.b", Err("expected `key=value`"));
        check("=b", Err("a key is empty"));
        check("a..b=c", Err("a key is empty"));
        check("\"a=b", Err("a quoted key is not closed"));
        check("\"a\"b=c", Err("expected `.` or `=` after a quoted key"));
    }

    /// Whoever reads the log must not learn the value.
    #[test]
    fn the_name_does_not_tell_the_value() {
        assert_eq!(&*parse("a.token=secret").unwrap().name, "--set a.token");
        assert_eq!(&*parse("a..token=secret").unwrap_err().name, "--set a..token");
    }

    #[track_caller]
    fn check(argument: &str, expected: Result<(&[&str], &str), &str>) {
        let parsed = parse(argument);
        let actual = parsed.as_ref().map(|it| (it.keys.clone(), it.value.as_str()));
        let expected = expected.map(|(keys, value)| (keys.iter().map(ToString::to_string).collect(), value));
        assert_eq!(actual.map_err(|it| it.message), expected);
    }
}
