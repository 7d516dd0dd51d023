use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Names one TCP connection; equal at both of its ends and on both sides of a NAT.
///
/// NAT rewrites addresses and ports, never sequence numbers, so each end computes the same id alone from the two
/// initial sequence numbers. Two simultaneous connections share an id only if both numbers are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// Computes the id from the initial sequence numbers of the client and of the server.
    ///
    /// The mixing is a bijection: it loses nothing, and spreads the id evenly, so that it can serve as a trace id and as a
    /// shard key.
    pub const fn from_sequence_numbers(client: u32, server: u32) -> Self {
        Self(mix((client as u64) << 32 | server as u64))
    }

    pub(crate) const fn number(self) -> u64 {
        self.0
    }

    pub(crate) const fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// Spreads a number evenly, without loss: the finalizer of MurmurHash3.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The text is not sixteen hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidConnectionId;

impl fmt::Display for InvalidConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a connection id is sixteen hexadecimal digits")
    }
}

impl std::error::Error for InvalidConnectionId {}

impl FromStr for ConnectionId {
    type Err = InvalidConnectionId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidConnectionId);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_overflow| InvalidConnectionId)
    }
}

// As text: JSON numbers lose precision beyond 2^53 in most readers.
impl Serialize for ConnectionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ConnectionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A client's and a server's number are not interchangeable: the reverse connection is another one.
    #[test]
    fn the_roles_matter() {
        assert_ne!(ConnectionId::from_sequence_numbers(1, 2), ConnectionId::from_sequence_numbers(2, 1));
    }

    #[test]
    fn text_that_is_not_an_id_is_refused() {
        for text in ["", "12", "+123456789abcdef", "0123456789abcdeg", "0123456789abcdef0"] {
            assert_eq!(text.parse::<ConnectionId>(), Err(InvalidConnectionId), "{text}");
        }
    }

    proptest! {
        /// What is written can be read back, at both ends of the range.
        #[test]
        fn text_round_trips(client: u32, server: u32) {
            let id = ConnectionId::from_sequence_numbers(client, server);
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }
    }
}
