use std::{fmt::Display, net::Ipv6Addr};

use component::InvalidSetting;
use figment::error::{Actual, Kind};

use crate::{
    node::{Content, Node},
    suggest,
};

/// Says what is wrong with a value, and what to do. Never tells what a variable holds.
pub(crate) fn describe(kind: &Kind, node: &Node, written: &str) -> (String, Option<String>) {
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
                (Actual::Unsigned(port @ 0..=65_535), "socket address") if secret.is_none() => {
                    Some(format!("add an address, such as `127.0.0.1:{port}`"))
                }
                (Actual::Unsigned(_) | Actual::Float(_) | Actual::Bool(_), "a string" | "path string") => {
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
            let address = ADDRESSES.iter().find(|(it, _)| it == message);
            let text = match address {
                Some((_, expected)) => {
                    format!("expected {expected}, found {}", found(&actual(&node.content)))
                }
                None if secret.is_some_and(|it| tells(message, it)) => {
                    format!("the value of `{written}` is not accepted")
                }
                None => message.clone(),
            };
            let help = match (&node.content, secret) {
                (Content::Text(text), None) if message == NO_SOCKET_ADDRESS => socket_address_help(text),
                _ => None,
            };
            (text, help.map(str::to_owned))
        }
        other => (other.to_string(), None),
    }
}

/// Says what is wrong with a value that could be read. Never tells what a variable holds.
pub(crate) fn invalid(invalid: &InvalidSetting, node: &Node, written: &str) -> String {
    match &node.substituted {
        Some(_) => format!("expected {}, found {} from `{written}`", invalid.expected, node.describe()),
        None => invalid.to_string(),
    }
}

/// What the standard library says of addresses it cannot read, and what it expects.
const ADDRESSES: [(&str, &str); 4] = [
    (NO_SOCKET_ADDRESS, "an address with a port such as `127.0.0.1:9464`"),
    ("invalid IP address syntax", "an IP address"),
    ("invalid IPv4 address syntax", "an IPv4 address"),
    ("invalid IPv6 address syntax", "an IPv6 address"),
];

const NO_SOCKET_ADDRESS: &str = "invalid socket address syntax";

/// Says what to do about text that is no address with a port.
fn socket_address_help(text: &str) -> Option<&'static str> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some("put an IPv6 address in brackets, and add a port: `[::1]:9464`");
    }
    let Some((host, port)) = text.rsplit_once(':') else { return Some("add a port, such as `:9464`") };
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
    match port.parse::<u16>() {
        Err(_) if !port.is_empty() && port.chars().all(|it| it.is_ascii_digit()) => {
            Some("the highest port is 65535")
        }
        Err(_) => Some("a port is a number from 0 to 65535"),
        Ok(_) if host.is_empty() => Some("add an address: `0.0.0.0` is every IPv4 address of this host"),
        Ok(_) if host == "localhost" => {
            Some("names are not looked up: write `127.0.0.1` or `[::1]` for `localhost`")
        }
        Ok(_) if host.parse::<Ipv6Addr>().is_ok() => Some("put an IPv6 address in brackets: `[::1]:9464`"),
        Ok(_) if host.chars().all(is_name) && host.contains(char::is_alphabetic) => {
            Some("names are not looked up: write the IP address")
        }
        Ok(_) => None,
    }
}

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
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        "a map" => "a map of settings",
        "a duration" => "a duration such as `5s`",
        "socket address" => "an address with a port such as `127.0.0.1:9464`",
        "f32" | "f64" => "a number",
        "u8" => return whole_number(0, u8::MAX),
        "u16" => return whole_number(0, u16::MAX),
        "u32" => return whole_number(0, u32::MAX),
        "u64" => return whole_number(0, u64::MAX),
        "usize" => return whole_number(0, usize::MAX),
        "i8" => return whole_number(i8::MIN, i8::MAX),
        "i16" => return whole_number(i16::MIN, i16::MAX),
        "i32" => return whole_number(i32::MIN, i32::MAX),
        "i64" => return whole_number(i64::MIN, i64::MAX),
        "isize" => return whole_number(isize::MIN, isize::MAX),
        "a nonzero u8" => return whole_number(1, u8::MAX),
        "a nonzero u16" => return whole_number(1, u16::MAX),
        "a nonzero u32" => return whole_number(1, u32::MAX),
        "a nonzero u64" => return whole_number(1, u64::MAX),
        "a nonzero usize" => return whole_number(1, usize::MAX),
        "enum" => "the name of one form, or a map with that one key",
        _ if expected.starts_with("enum ") => "the name of one form, or a map with that one key",
        _ if expected.starts_with("struct ") => "a map of settings",
        _ if expected.starts_with("a sequence") => "a list",
        _ => expected,
    };
    words.to_owned()
}

fn whole_number<T: Display>(least: T, most: T) -> String {
    format!("a whole number from {least} to {most}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_a_secret_by_any_part_of_it() {
        check("invalid digit in `hunter2`", "hunter2", true);
        check("unknown unit `nter`", "hunter2", true);
        check("expected a duration", "hunter2", false);
    }

    #[test]
    fn a_short_secret_is_told_as_a_whole() {
        check("`ab` is no number", "ab", true);
        check("no number", "ab", false);
    }

    /// What is empty is no secret.
    #[test]
    fn nothing_cannot_be_told() {
        check("expected a word", "", false);
    }

    /// Every address that cannot be read has a remedy that fits.
    #[test]
    fn an_address_that_cannot_be_read_has_a_remedy() {
        for (text, expected) in [
            ("localhost:9464", Some("names are not looked up: write `127.0.0.1`")),
            ("metrics.example.org:9464", Some("names are not looked up: write the IP address")),
            ("127.0.0.1:99999", Some("the highest port is 65535")),
            ("127.0.0.1:http", Some("a port is a number")),
            ("127.0.0.1:", Some("a port is a number")),
            ("127.0.0.1", Some("add a port")),
            (":9464", Some("add an address")),
            ("::1", Some("put an IPv6 address in brackets, and add a port")),
            ("fe80::1%eth0:9464", None),
            ("1.2.3:80", None),
        ] {
            let help = socket_address_help(text);
            match expected {
                Some(expected) => {
                    assert!(help.is_some_and(|it| it.starts_with(expected)), "{text}: {help:?}")
                }
                None => assert_eq!(help, None, "{text}"),
            }
        }
    }

    #[track_caller]
    fn check(message: &str, secret: &str, expected: bool) {
        assert_eq!(tells(message, secret), expected);
    }
}
