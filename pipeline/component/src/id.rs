use std::{fmt, str::FromStr, sync::Arc};

/// Names a component in the configuration: `type` or `type/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    text: Arc<str>,
    type_len: usize,
}

impl Id {
    /// Returns the part before the slash: which factory makes the component.
    pub fn type_name(&self) -> &str {
        &self.text[..self.type_len]
    }

    /// Returns the id as the configuration writes it.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is not a component id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a component id; expected `type` or `type/name` of letters, digits, `_`, `-` and `.`, the type \
     beginning with a letter"
)]
pub struct InvalidId {
    text: String,
}

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (type_name, name) = match text.split_once('/') {
            Some((type_name, name)) => (type_name, Some(name)),
            None => (text, None),
        };
        let is_word = |it: &str| {
            !it.is_empty() && it.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        let starts_well = type_name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || !is_word(type_name) || !name.is_none_or(is_word) {
            return Err(InvalidId { text: text.to_owned() });
        }
        Ok(Self { type_len: type_name.len(), text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_ends_at_the_slash() {
        let id: Id = "otlp/tempo".parse().unwrap();
        assert_eq!((id.type_name(), id.as_str()), ("otlp", "otlp/tempo"));
        let id: Id = "ebpf".parse().unwrap();
        assert_eq!((id.type_name(), id.as_str()), ("ebpf", "ebpf"));
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for text in ["", "/", "otlp/", "/tempo", "otlp/a/b", "ot lp", "1otlp"] {
            assert!(text.parse::<Id>().is_err(), "{text}");
        }
    }
}
