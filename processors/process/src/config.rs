use std::{collections::BTreeMap, fmt, num::NonZeroUsize};

use component::InvalidSetting;
use serde::{Deserialize, Deserializer, de};

/// Longest name of a service that a user may give: it becomes part of a label.
const MAX_SERVICE_LEN: usize = 63;

/// Settings of the `process` processor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Names of services by the server's port, before those that are built in: `8443: shop`.
    ///
    /// An empty name takes a built-in one away. There are none by default.
    pub services: BTreeMap<Port, String>,

    /// Most connections whose names are remembered. When there are more, the oldest is forgotten, and named anew if it
    /// goes on.
    pub max_connections: NonZeroUsize,

    /// Most names kept for reuse, of ends on this host and of others each.
    pub max_entities: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            max_connections: NonZeroUsize::new(100_000).expect("100 000 is not zero"),
            max_entities: NonZeroUsize::new(10_000).expect("10 000 is not zero"),
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { services, max_connections: _, max_entities: _ } = self;
        let unusable =
            |name: &str| name.chars().count() > MAX_SERVICE_LEN || name.chars().any(char::is_control);
        services
            .iter()
            .filter(|(_, name)| unusable(name))
            .map(|(port, name)| {
                let expected = format!("a name of at most {MAX_SERVICE_LEN} printable characters");
                let found = match name.chars().count() {
                    n_chars if n_chars > MAX_SERVICE_LEN => format!("one of {n_chars}"),
                    _ => "one with a control character".to_owned(),
                };
                InvalidSetting::new(format!("services.{port}"), expected, found)
            })
            .collect()
    }
}

/// A port as the key of a map, which may reach us as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port(pub u16);

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Port;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port from 1 to 65535")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
                match u16::try_from(number) {
                    Ok(port) if port > 0 => Ok(Port(port)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(number), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
                match u64::try_from(number) {
                    Ok(number) => self.visit_u64(number),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Port, E> {
                match text.parse() {
                    Ok(port) if port > 0 => Ok(Port(port)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let size = |it| NonZeroUsize::new(it).unwrap();
        let services = [(Port(8_443), "shop".to_owned()), (Port(8_080), String::new())];
        let expected =
            Config { services: services.into(), max_connections: size(5_000), max_entities: size(1_000) };
        assert_eq!(config, expected);
    }
}
