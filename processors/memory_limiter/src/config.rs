use std::time::Duration;

use component::InvalidSetting;
use serde::Deserialize;

const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Settings of the `memory_limiter` processor, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How old what is known of the memory may be when something comes.
    #[serde(with = "humantime_serde")]
    pub check_interval: Duration,

    /// Most MiB that the process should have; this or `limit_percentage`.
    pub limit_mib: Option<u64>,

    /// How many MiB below the limit refusing begins, for what comes between two looks; by default a fifth of the limit.
    pub spike_limit_mib: Option<u64>,

    /// Most of the memory that the process may have, in percent: of its control group's limit, else of the machine's memory.
    pub limit_percentage: Option<u64>,

    /// How much below the limit refusing begins, in percent of the same memory; by default a fifth of the limit.
    pub spike_limit_percentage: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            check_interval: Duration::from_secs(1),
            limit_mib: None,
            spike_limit_mib: None,
            limit_percentage: None,
            spike_limit_percentage: None,
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { check_interval, limit_mib, spike_limit_mib, limit_percentage, spike_limit_percentage } =
            self;
        let allowed = MIN_INTERVAL..=InvalidSetting::MAX_INTERVAL;
        let mut invalid =
            Vec::from_iter(InvalidSetting::check_duration("check_interval", *check_interval, allowed));
        if limit_mib.is_none() && limit_percentage.is_none() {
            let expected = "a number above 0, or `limit_percentage`";
            invalid.push(InvalidSetting::new("limit_mib", expected, "neither"));
        }
        for (path, limit) in [("limit_mib", limit_mib), ("limit_percentage", limit_percentage)] {
            let max = if path == "limit_mib" { u64::MAX >> 20 } else { 100 };
            if let Some(limit) = limit.filter(|it| !(1..=max).contains(it)) {
                invalid.push(InvalidSetting::new(path, format!("a number from 1 to {max}"), limit));
            }
        }
        for (path, spike, of, limit) in [
            ("spike_limit_mib", spike_limit_mib, "limit_mib", limit_mib),
            ("spike_limit_percentage", spike_limit_percentage, "limit_percentage", limit_percentage),
        ] {
            if let Some(spike) = spike.filter(|it| limit.is_none_or(|limit| *it >= limit)) {
                invalid.push(InvalidSetting::new(path, format!("less than `{of}`, which is set"), spike));
            }
        }
        invalid
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
            check_interval: Duration::from_millis(500),
            limit_mib: Some(400),
            spike_limit_mib: Some(100),
            limit_percentage: Some(80),
            spike_limit_percentage: Some(15),
        };
        assert_eq!(config, expected);
        assert_eq!(component::Config::validate(&config), []);
    }

    #[test]
    fn every_mistake_is_reported() {
        for (text, expected) in [
            ("{check_interval: 1ms}", vec!["check_interval", "limit_mib"]),
            ("{limit_mib: 0, limit_percentage: 101}", vec!["limit_mib", "limit_percentage"]),
            ("{limit_mib: 5, spike_limit_mib: 5}", vec!["spike_limit_mib"]),
            ("{limit_mib: 5, spike_limit_percentage: 1}", vec!["spike_limit_percentage"]),
            ("{limit_percentage: 5, spike_limit_percentage: 4}", vec![]),
        ] {
            let config: Config = serde_saphyr::from_str(text).unwrap();
            let found: Vec<_> = component::Config::validate(&config).into_iter().map(|it| it.path).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}
