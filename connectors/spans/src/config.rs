use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use component::InvalidSetting;
use serde::Deserialize;

/// Each of the parts of a period, whose spans are made at once, takes longer than a few passes of the timer.
const MIN_PERIOD: Duration = Duration::from_secs(1);

/// Settings of the `spans` connector.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often a connection that stays open has a span; from `1s` to a day.
    ///
    /// Periods are parts of time that all agents agree upon, of each connection at other moments. What observes the two ends of
    /// a connection must have the same.
    #[serde(with = "humantime_serde")]
    pub period: Duration,

    /// Which part of connections has spans: from 0 for none to 1 for all. Those that failed, were reset, timed out or were
    /// aborted always have.
    ///
    /// Chosen by the trace id, as OpenTelemetry's consistent samplers do: alike at both ends.
    pub ratio: f64,

    /// Most spans of one link in a second, those of errors not counted: of one client, server and port. Further ones are not made,
    /// and counted.
    pub max_per_second: NonZeroU32,

    /// Most ends of connections remembered at a time, about 300 bytes each: those that are open, until the end of their period.
    ///
    /// What is reported of further ones before they end is in no span, and counted.
    pub max_connections: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            period: Duration::from_mins(5),
            ratio: 1.0,
            max_per_second: NonZeroU32::new(100).expect("100 is not zero"),
            max_connections: NonZeroUsize::new(100_000).expect("100 000 is not zero"),
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { period, ratio, max_per_second: _, max_connections: _ } = self;
        let allowed = MIN_PERIOD..=InvalidSetting::MAX_INTERVAL;
        let mut invalid = Vec::from_iter(InvalidSetting::check_duration("period", *period, allowed));
        if !(0.0..=1.0).contains(ratio) {
            invalid.push(InvalidSetting::new("ratio", "a number from 0 to 1", ratio));
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use component::Config as _;

    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let expected = Config {
            period: Duration::from_mins(1),
            ratio: 0.25,
            max_per_second: NonZeroU32::new(10).unwrap(),
            max_connections: NonZeroUsize::new(2_000).unwrap(),
        };
        assert_eq!(config, expected);
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), []);
    }

    #[test]
    fn every_mistake_is_reported() {
        for ratio in [-0.1, 1.1, f64::NAN] {
            let config = Config { period: Duration::from_millis(10), ratio, ..Config::default() };
            let paths: Vec<String> = config.validate().into_iter().map(|it| it.path).collect();
            assert_eq!(paths, ["period", "ratio"], "{ratio}");
        }
    }
}
