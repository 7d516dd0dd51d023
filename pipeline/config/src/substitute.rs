use std::{
    collections::BTreeMap,
    env::{self, VarError},
    fmt,
    ops::Range,
};

use crate::{
    diagnostic::Problem,
    node::{Content, Node},
    scalar, yaml,
};

/// Where `${env:NAME}` finds its values.
#[derive(Clone, Default)]
pub enum Environment {
    /// The variables of this process.
    #[default]
    Process,
    /// These variables and no others.
    Fixed(BTreeMap<String, String>),
}

// The values may be secrets.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("Process"),
            Self::Fixed(variables) => f.debug_tuple("Fixed").field(&variables.keys()).finish(),
        }
    }
}

impl Environment {
    fn get(&self, name: &str) -> Result<String, VarError> {
        match self {
            Self::Process => env::var(name),
            Self::Fixed(variables) => variables.get(name).cloned().ok_or(VarError::NotPresent),
        }
    }
}

/// Most bytes that variables may add to one text.
const MAX_SUBSTITUTED_BYTES: usize = 1 << 20;

/// Puts variables into the scalars of a tree and gives plain scalars their types.
///
/// `source` is the text that the tree was read from. A scalar with a mistake is reported and left broken.
pub(crate) fn substitute(root: &mut Node, source: &str, environment: &Environment) -> Vec<Problem> {
    let mut substitution =
        Substitution { source, environment, bytes_left: MAX_SUBSTITUTED_BYTES, problems: Vec::new() };
    substitution.node(root);
    substitution.problems
}

struct Substitution<'a> {
    source: &'a str,
    environment: &'a Environment,
    bytes_left: usize,
    problems: Vec<Problem>,
}

impl Substitution<'_> {
    fn node(&mut self, node: &mut Node) {
        match &mut node.content {
            Content::List(nodes) => nodes.iter_mut().for_each(|it| self.node(it)),
            Content::Map(map) => map.values_mut().for_each(|it| self.node(&mut it.value)),
            Content::Written { text, plain } => {
                let (text, plain) = (std::mem::take(text), *plain);
                match self.scalar(&text, plain) {
                    Ok((content, substituted)) => {
                        node.content = content;
                        node.substituted = substituted;
                    }
                    Err(mistakes) => {
                        node.content = Content::Broken;
                        self.report(&text, &node.span, mistakes);
                    }
                }
                // What a variable holds is written nowhere but as the variable.
                if node.substituted.is_some() {
                    let span = node.span.clone();
                    relocate(node, &span);
                }
            }
            _ => {}
        }
    }

    /// Returns the value of a scalar, and its text if that is not what is written.
    fn scalar(&mut self, text: &str, plain: bool) -> Result<(Content, Option<String>), Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut out = String::with_capacity(text.len());
        let mut n_variables = 0;
        let mut is_whole = false;
        let mut rest = 0;
        while let Some(at) = text[rest..].find('$').map(|at| rest + at) {
            out.push_str(&text[rest..at]);
            let after = &text[at + 1..];
            if after.starts_with('$') {
                out.push('$');
                rest = at + 2;
            } else if after.starts_with('{') {
                let token = at..after.find('}').map_or(text.len(), |end| at + 1 + end + 1);
                rest = token.end;
                n_variables += 1;
                is_whole = token == (0..text.len());
                match self.variable(&text[token.clone()]) {
                    Ok(value) => out.push_str(&value),
                    Err((message, help)) => mistakes.push(Mistake { token, message, help }),
                }
            } else {
                out.push('$');
                rest = at + 1;
            }
        }
        out.push_str(&text[rest..]);
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let content = if plain && is_whole {
            collection(&out).unwrap_or_else(|| scalar::typed(&out))
        } else if plain && out == text {
            scalar::typed(text)
        } else {
            Content::Text(out.clone())
        };
        Ok((content, (n_variables > 0).then_some(out)))
    }

    /// Reads `${env:NAME}` and `${env:NAME:-default}`; fails with a message and its remedy.
    fn variable(&mut self, token: &str) -> Result<String, (String, String)> {
        let Some(inside) = token.strip_prefix("${").and_then(|it| it.strip_suffix('}')) else {
            let help = "close it with `}`; for the text `${` write `$${`";
            return Err(("the variable is not closed".to_owned(), help.to_owned()));
        };
        if inside.contains("${") {
            let message = "a variable cannot stand inside a variable".to_owned();
            return Err((message, "give it a default of plain text".to_owned()));
        }
        let (name, _) = inside.split_once(":-").unwrap_or((inside, ""));
        let Some((scheme, _)) = name.split_once(':') else {
            let message = format!("`{token}` does not say where its value comes from");
            let help =
                format!("write `${{env:{inside}}}` for the environment variable, `${token}` for the text");
            return Err((message, help));
        };
        if scheme != "env" {
            let message = format!("`{scheme}` is not a source of values");
            return Err((message, "the environment is the only one: `${env:NAME}`".to_owned()));
        }
        let reference = &inside["env:".len()..];
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        if !is_variable_name(name) {
            let message = format!("`{name}` is not the name of an environment variable");
            return Err((message, "a name is letters, digits and `_`, a digit not first".to_owned()));
        }
        let value = match (self.environment.get(name), default) {
            (Ok(value), _) => value,
            (Err(VarError::NotPresent), Some(default)) => default.to_owned(),
            (Err(VarError::NotPresent), None) => {
                let message = format!("the environment variable `{name}` is not set");
                return Err((message, format!("set it, or give a default: `${{env:{name}:-value}}`")));
            }
            (Err(VarError::NotUnicode(_)), _) => {
                let message = format!("the environment variable `{name}` is not UTF-8");
                return Err((message, "set it to text".to_owned()));
            }
        };
        match self.bytes_left.checked_sub(value.len()) {
            Some(left) => self.bytes_left = left,
            None => {
                let message = format!("variables add more than {MAX_SUBSTITUTED_BYTES} bytes");
                return Err((message, "put values of this size into a file".to_owned()));
            }
        }
        Ok(value)
    }

    /// Reports mistakes in the scalar `text` that is written at `span`.
    fn report(&mut self, text: &str, span: &Range<usize>, mistakes: Vec<Mistake>) {
        let written = self.source.get(span.clone()).unwrap_or_default();
        let mut searched = 0;
        for Mistake { token, message, help } in mistakes {
            let token = &text[token];
            // Escapes and line folding may have changed the token; then the whole scalar is shown.
            let at = written[searched..].find(token).map(|at| searched + at);
            let span = at.map_or_else(|| span.clone(), |at| span.start + at..span.start + at + token.len());
            searched = at.map_or(searched, |at| at + token.len());
            self.problems.push(Problem::new(span, message).with_help(help));
        }
    }
}

/// A mistake in a scalar.
struct Mistake {
    /// Where it is in the scalar's text.
    token: Range<usize>,
    message: String,
    help: String,
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Reads a list or map in one line, such as `[a, b]`.
fn collection(text: &str) -> Option<Content> {
    if !text.starts_with(['[', '{']) {
        return None;
    }
    let document = yaml::parse(text);
    let mut root = document.root.filter(|_| document.problems.is_empty())?;
    type_scalars(&mut root);
    Some(root.content)
}

/// Types scalars that take no variables, because a variable gave them.
fn type_scalars(node: &mut Node) {
    match &mut node.content {
        Content::List(nodes) => nodes.iter_mut().for_each(type_scalars),
        Content::Map(map) => map.values_mut().for_each(|it| type_scalars(&mut it.value)),
        Content::Written { text, plain } => {
            let text = std::mem::take(text);
            node.content = if *plain { scalar::typed(&text) } else { Content::Text(text.clone()) };
            node.substituted = Some(text);
        }
        _ => {}
    }
}

fn relocate(node: &mut Node, span: &Range<usize>) {
    node.span = span.clone();
    match &mut node.content {
        Content::List(nodes) => nodes.iter_mut().for_each(|it| relocate(it, span)),
        Content::Map(map) => {
            for entry in map.values_mut() {
                entry.key_span = span.clone();
                relocate(&mut entry.value, span);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_dollar_alone_is_text() {
        check("$HOME and $", Ok("Text(\"$HOME and $\")"));
        check("$$HOME", Ok("Text(\"$HOME\")"));
        check("$$$$", Ok("Text(\"$$\")"));
    }

    /// An escaped variable stays what it is, however often it is read.
    #[test]
    fn an_escape_comes_before_a_variable() {
        check("$${env:NUMBER}", Ok("Text(\"${env:NUMBER}\")"));
        check("$$${env:NUMBER}", Ok("Text(\"$5\")"));
    }

    #[test]
    fn only_a_whole_plain_value_takes_the_type_of_its_variable() {
        check("${env:NUMBER}", Ok("Unsigned(5)"));
        check("${env:NUMBER}s", Ok("Text(\"5s\")"));
        check("${env:NUMBER}${env:NUMBER}", Ok("Text(\"55\")"));
        check("'${env:NUMBER}'", Ok("Text(\"5\")"));
        check("${env:EMPTY}", Ok("Null"));
    }

    #[test]
    fn a_default_counts_only_without_the_variable() {
        check("${env:MISSING:-true}", Ok("Bool(true)"));
        check("${env:MISSING:-}", Ok("Null"));
        check("${env:MISSING:-a:-b}", Ok("Text(\"a:-b\")"));
        check("${env:EMPTY:-7}", Ok("Null"));
        check("${env:NUMBER:-7}", Ok("Unsigned(5)"));
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        check("${NUMBER}", Err("`${NUMBER}` does not say where its value comes from"));
        check("${}", Err("`${}` does not say where its value comes from"));
        check("${env:}", Err("`` is not the name of an environment variable"));
        check("${env:A B}", Err("`A B` is not the name of an environment variable"));
        check("${http://x}", Err("`http` is not a source of values"));
        check("${env:MISSING}", Err("the environment variable `MISSING` is not set"));
        check("${env:NUMBER", Err("the variable is not closed"));
    }

    /// A secret must not be run as a configuration.
    #[test]
    fn what_a_variable_holds_is_not_read_again() {
        check("${env:VARIABLE}", Ok("Text(\"${env:NUMBER}\")"));
    }

    #[test]
    fn the_environment_does_not_show_its_values() {
        assert!(!format!("{:?}", environment()).contains("${env:NUMBER}"));
    }

    proptest! {
        #[test]
        fn no_text_makes_substitution_panic(text in "[${}:a-zA-Z_\\-5 \u{e9}]{0,40}", plain: bool) {
            let span = 0..text.len();
            let mut node = Node::new(span, Content::Written { text: text.clone(), plain });
            let problems = substitute(&mut node, &text, &environment());
            prop_assert_eq!(problems.is_empty(), !node.is_broken());
            for problem in problems {
                prop_assert!(text.get(problem.span).is_some());
            }
        }

        /// Text without a dollar is left alone.
        #[test]
        fn other_text_stays(text in "[^$]{0,40}") {
            let mut node = Node::new(0..0, Content::Written { text: text.clone(), plain: false });
            prop_assert!(substitute(&mut node, &text, &environment()).is_empty());
            prop_assert!(matches!(node.content, Content::Text(it) if it == text));
        }
    }

    fn environment() -> Environment {
        let variables = [("NUMBER", "5"), ("EMPTY", ""), ("VARIABLE", "${env:NUMBER}")];
        Environment::Fixed(variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let mut root = yaml::parse(text).root.unwrap();
        let problems = substitute(&mut root, text, &environment());
        let actual = match problems.as_slice() {
            [] => Ok(format!("{:?}", root.content)),
            [problem, ..] => Err(problem.message.clone()),
        };
        assert_eq!(actual.as_deref().map_err(String::as_str), expected, "{text}");
    }
}
