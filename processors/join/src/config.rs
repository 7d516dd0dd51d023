use std::{num::NonZeroUsize, time::Duration};

use serde::Deserialize;

/// Settings of the `join` processor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long the first record of a connection waits for the other end's observation.
    ///
    /// Longer than the time between two batches of the receiver; every connection with one end elsewhere shows up
    /// this much later.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,

    /// Most connections remembered at a time. When there are more, the oldest is decided early and forgotten.
    pub max_connections: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(2),
            max_connections: NonZeroUsize::new(100_000).expect("100 000 is not zero"),
        }
    }
}

impl component::Config for Config {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let max_connections = NonZeroUsize::new(5_000).unwrap();
        assert_eq!(config, Config { wait: Duration::from_millis(500), max_connections });
    }

    #[test]
    fn settings_that_do_not_exist_are_refused() {
        for text in ["waits: 1s", "max_connections: 0", "wait: soon"] {
            assert!(serde_saphyr::from_str::<Config>(text).is_err(), "{text}");
        }
    }
}
