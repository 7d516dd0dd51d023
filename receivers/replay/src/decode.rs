use std::fmt;

use model::{Endpoint, Entity, Flow};

/// Bytes in a line, at most. A record takes about one kilobyte, the longest cgroup path four.
pub(crate) const MAX_LINE: usize = 64 * 1024;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is longer than any record.
    #[error("the line is longer than {MAX_LINE} bytes")]
    TooLong,
    /// It is not JSON, or not that of a record.
    #[error("column {column}: {message}")]
    Json {
        /// Where.
        column: usize,
        /// What was expected.
        message: String,
    },
    /// Something has a name that is not one.
    #[error("`{field}` of the {end} is empty; leave it out if it is unknown")]
    Empty {
        /// `client` or `server`.
        end: &'static str,
        /// What is empty.
        field: Field,
    },
}

/// A field of an entity that is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// Its name.
    Name,
    /// Its kind.
    Kind,
    /// Its namespace.
    Namespace,
    /// One of its attributes.
    Attribute(model::Attribute),
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Kind => "kind",
            Self::Namespace => "namespace",
            Self::Attribute(attribute) => attribute.as_str(),
        })
    }
}

/// Reads a record from a line of the format that the `file` exporter documents.
///
/// What the line says need not have been written by that exporter: the result keeps what every record promises.
pub(crate) fn decode(line: &[u8]) -> Result<Flow, Malformed> {
    let mut flow: Flow = serde_json::from_slice(line).map_err(|err| Malformed::json(&err))?;
    for (name, end) in [("client", &mut flow.client), ("server", &mut flow.server)] {
        let Endpoint { address, port: _, entity } = end;
        *address = address.to_canonical();
        if let Some(field) = entity.as_ref().and_then(|it| empty_field(it)) {
            return Err(Malformed::Empty { end: name, field });
        }
    }
    Ok(flow)
}

fn empty_field(entity: &Entity) -> Option<Field> {
    let Entity { name, namespace, kind, attributes } = entity;
    if name.is_empty() {
        return Some(Field::Name);
    }
    if kind.is_empty() {
        return Some(Field::Kind);
    }
    if namespace.as_ref().is_some_and(|it| it.is_empty()) {
        return Some(Field::Namespace);
    }
    attributes
        .iter()
        .find(|(_, value)| value.is_empty())
        .map(|(attribute, _)| Field::Attribute(attribute.clone()))
}

impl Malformed {
    fn json(err: &serde_json::Error) -> Self {
        let text = err.to_string();
        // The parser takes every line for the first.
        let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
        Self::Json { column: err.column(), message: message.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use component_test::{any_flow, flow};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_examples_are_records() {
        let text = include_str!("../testdata/flows.jsonl");
        let flows: Vec<Flow> = text.lines().map(|it| decode(it.as_bytes()).unwrap()).collect();
        let ports: Vec<_> = flows.iter().map(|it| it.server.port).collect();
        assert_eq!(ports, [443, 22, 22]);
    }

    /// Later versions may write more.
    #[test]
    fn unknown_fields_are_ignored() {
        let line = line().replacen('{', r#"{"color":"blue","more":{"of":["it"]},"#, 1);
        assert_eq!(decode(line.as_bytes()), Ok(flow().build()));
    }

    #[test]
    fn a_v4_mapped_address_is_ipv4() {
        let line = line().replace("10.0.0.1", "::ffff:10.0.0.1");
        assert_eq!(decode(line.as_bytes()), Ok(flow().build()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let line = line();
        let entity = |it: &str| line.replacen(r#""port":80"#, &format!(r#""port":80,"entity":{it}"#), 1);
        let cases = [
            ("flows".to_owned(), "column 2: expected ident"),
            (line[..40].to_owned(), "column 40: EOF while parsing a string"),
            (
                line.replace(r#""tcp""#, r#""carrier pigeon""#),
                "unknown variant `carrier pigeon`, expected `tcp`",
            ),
            (line.replace("10.0.0.1", "10.0.0.256"), "invalid IP address syntax"),
            (line.replace("40000", "400000"), "invalid value: integer `400000`, expected u16"),
            (line.replace(r#""observer":"client","#, ""), "missing field `observer`"),
            (
                line.replacen('{', r#"{"id":"12","#, 1).replacen(r#""id":"0"#, r#""no":"0"#, 1),
                "sixteen hexadecimal",
            ),
            (entity(r#"{"name":"","kind":"Process"}"#), "`name` of the server is empty"),
            (entity(r#"{"name":"x","kind":""}"#), "`kind` of the server is empty"),
            (entity(r#"{"name":"x","namespace":"","kind":"Process"}"#), "`namespace` of the server is empty"),
            (
                entity(r#"{"name":"x","kind":"Process","attributes":{"process":""}}"#),
                "`process` of the server is empty; leave it out if it is unknown",
            ),
        ];
        for (line, expected) in cases {
            let message = decode(line.as_bytes()).unwrap_err().to_string();
            assert!(message.contains(expected), "{line}: {message}");
            assert!(!message.contains("line 1"), "{message}");
        }
    }

    proptest! {
        /// What the `file` exporter writes is what is read.
        #[test]
        fn records_round_trip(flow in any_flow()) {
            let line = serde_json::to_vec(&flow).unwrap();
            prop_assert!(line.len() <= MAX_LINE);
            prop_assert_eq!(decode(&line), Ok(flow));
        }

        /// Nothing that is in the file makes the reader fail otherwise than with a message.
        #[test]
        fn damaged_records_do_no_harm(
            flow in any_flow(),
            place: prop::sample::Index,
            bytes in prop::collection::vec(any::<u8>(), 0..4),
        ) {
            let mut line = serde_json::to_vec(&flow).unwrap();
            let at = place.index(line.len());
            let until = line.len().min(at + bytes.len());
            line.splice(at..until, bytes);
            if let Err(err) = decode(&line) {
                prop_assert!(!err.to_string().is_empty());
            }
        }
    }

    fn line() -> String {
        serde_json::to_string(&flow().build()).unwrap()
    }
}
