use std::{num::NonZeroUsize, time::Duration};

use component::InvalidSetting;
use serde::Deserialize;

/// Held records are memory, and a map that is a minute old is no longer a live one.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Settings of the `join` processor.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long the first record of a connection waits for the other end's; at most a minute.
    ///
    /// A connection with one end elsewhere shows up this much later. Both ends on one host are mostly observed within
    /// milliseconds of each other, so the default is ten times what the `ebpf` receiver takes to bring both. A server's end
    /// that opens later (`TCP_DEFER_ACCEPT`, a full queue of connections to accept, a lost packet of the handshake) is not paired:
    /// such a connection counts by its client's end alone, whose server is `external`.
    #[serde(with = "humantime_serde")]
    pub wait: Duration,

    /// Most connections remembered at a time, about 220 bytes each.
    ///
    /// Of those beyond, the oldest, only which end counts is remembered, in about 20 bytes, for at least four times as
    /// many and never less than 65,536.
    pub max_connections: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(1),
            max_connections: NonZeroUsize::new(100_000).expect("100 000 is not zero"),
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { wait, max_connections: _ } = self;
        InvalidSetting::check_duration("wait", *wait, Duration::ZERO..=MAX_WAIT).into_iter().collect()
    }
}

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

    /// Both extremes are of use: no wait pairs what comes in one batch.
    #[test]
    fn no_wait_and_a_minute_are_valid() {
        for wait in [Duration::ZERO, MAX_WAIT] {
            let config = Config { wait, ..Config::default() };
            assert_eq!(component::Config::validate(&config), []);
        }
    }
}
