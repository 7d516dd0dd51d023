use std::{num::NonZeroUsize, time::Duration};

use component::InvalidSetting;
use serde::Deserialize;

const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Settings of the `debug` exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Least time between two tables.
    ///
    /// From `100ms` to a day. A table is drawn when metrics arrive, so there are none more often than the `links`
    /// connector sends.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,

    /// Most links in a table, those with the most traffic first; the others share the last line.
    ///
    /// On a terminal there are never more than fit.
    pub max_links: NonZeroUsize,

    /// Whether a table replaces the one before it, or is printed below.
    pub redraw: When,

    /// Whether to print in colors.
    pub color: When,
}

/// When to do something that only a terminal understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// If the output is a terminal.
    #[default]
    Auto,
    /// Whatever the output is.
    Always,
    /// Not at all.
    Never,
}

impl When {
    /// Decides, knowing whether the output understands it.
    pub(crate) const fn decide(self, able: bool) -> bool {
        match self {
            Self::Auto => able,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            max_links: NonZeroUsize::new(20).expect("20 is not zero"),
            redraw: When::Auto,
            color: When::Auto,
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { interval, max_links: _, redraw: _, color: _ } = self;
        let allowed = MIN_INTERVAL..=InvalidSetting::MAX_INTERVAL;
        InvalidSetting::check_duration("interval", *interval, allowed).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let expected = Config {
            interval: Duration::from_secs(10),
            max_links: NonZeroUsize::new(50).unwrap(),
            redraw: When::Never,
            color: When::Always,
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn only_auto_asks_the_terminal() {
        for (when, able, expected) in [
            (When::Auto, true, true),
            (When::Auto, false, false),
            (When::Always, false, true),
            (When::Never, true, false),
        ] {
            assert_eq!(when.decide(able), expected, "{when:?}");
        }
    }
}
