use std::str::FromStr;

use model::Attribute;
use serde::Deserialize;

/// An attribute that link series carry only when the configuration asks for it.
///
/// Written as `process` for both ends, or as `client.process` or `server.process` for one of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct OptionalAttribute {
    ends: Ends,
    field: Field,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Both,
    Client,
    Server,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Address,
    Of(Attribute),
}

const ADDRESS: &str = "address";

/// The text names no optional attribute.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not an optional attribute; expected {}, `address`, or the name that a processor gives a label, which has \
     a dot in it; with `client.` or `server.` before it for one end only",
    named()
)]
pub struct InvalidAttribute {
    text: String,
}

fn named() -> String {
    let words: Vec<_> = Attribute::NAMED.iter().map(|it| format!("`{}`", it.as_str())).collect();
    words.join(", ")
}

impl FromStr for OptionalAttribute {
    type Err = InvalidAttribute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ends, word) = match text.split_once('.') {
            Some(("client", word)) => (Ends::Client, word),
            Some(("server", word)) => (Ends::Server, word),
            _ => (Ends::Both, text),
        };
        let field = match word.parse() {
            _ if word == ADDRESS => Field::Address,
            Ok(attribute) => Field::Of(attribute),
            Err(_) => return Err(InvalidAttribute { text: text.to_owned() }),
        };
        Ok(Self { ends, field })
    }
}

impl TryFrom<String> for OptionalAttribute {
    type Error = InvalidAttribute;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Which optional attributes tell links apart, per end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) client: EndSelection,
    pub(crate) server: EndSelection,
}

/// Which optional attributes of one end tell links apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EndSelection {
    /// Whether the address does.
    pub(crate) address: bool,
    /// The attributes of the end's entity that do, sorted, each once.
    pub(crate) attributes: Vec<Attribute>,
}

impl Selection {
    pub(crate) fn new(wanted: &[OptionalAttribute]) -> Self {
        let mut selection = Self::default();
        for OptionalAttribute { ends, field } in wanted {
            if matches!(ends, Ends::Both | Ends::Client) {
                selection.client.add(field);
            }
            if matches!(ends, Ends::Both | Ends::Server) {
                selection.server.add(field);
            }
        }
        selection
    }
}

impl EndSelection {
    fn add(&mut self, field: &Field) {
        match field {
            Field::Address => self.address = true,
            Field::Of(attribute) => {
                if let Err(idx) = self.attributes.binary_search(attribute) {
                    self.attributes.insert(idx, attribute.clone());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_word_selects_both_ends() {
        check(&["process"], (&[Attribute::Process], false), (&[Attribute::Process], false));
    }

    #[test]
    fn a_prefix_selects_one_end() {
        check(&["client.container", "server.address"], (&[Attribute::Container], false), (&[], true));
    }

    /// Order and repetition in the configuration do not make other links.
    #[test]
    fn attributes_are_kept_sorted_and_once() {
        let both = [Attribute::Process, Attribute::Service];
        check(&["service", "process", "client.service", "client.address"], (&both, true), (&both, false));
    }

    #[test]
    fn other_words_are_refused() {
        for text in ["", "pods", "client.", "server.pods", "Process"] {
            assert!(text.parse::<OptionalAttribute>().is_err(), "{text}");
        }
    }

    #[track_caller]
    fn check(words: &[&str], client: (&[Attribute], bool), server: (&[Attribute], bool)) {
        let wanted: Vec<OptionalAttribute> = words.iter().map(|it| it.parse().unwrap()).collect();
        let Selection { client: it, server: that } = Selection::new(&wanted);
        assert_eq!((it.attributes.as_slice(), it.address), client);
        assert_eq!((that.attributes.as_slice(), that.address), server);
    }
}
