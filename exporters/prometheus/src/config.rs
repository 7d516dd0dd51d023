use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    time::Duration,
};

use component::InvalidSetting;
use serde::Deserialize;

const MIN_EXPIRATION: Duration = Duration::from_secs(1);

/// Settings of the `prometheus` exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Address to serve `/metrics` on.
    ///
    /// The default accepts local scrapes only. Set `0.0.0.0:9464` to be scraped from elsewhere: there is no
    /// authentication.
    pub endpoint: SocketAddr,

    /// Most series held at a time, a histogram counting as one. Points of further series are dropped and counted.
    pub max_series: NonZeroUsize,

    /// Time after which a series that is no longer updated disappears.
    ///
    /// Longer than the interval in which the pipeline updates its metrics; from `1s` to a day.
    #[serde(with = "humantime_serde")]
    pub metric_expiration: Duration,

    /// How long to go on serving at the end, so that the last totals are scraped; at most a day.
    ///
    /// Waits only if there was a scrape before, and no longer than until the next one. Longer than the scrape interval
    /// to be sure; `service.shutdown_timeout` limits it.
    #[serde(with = "humantime_serde")]
    pub final_scrape_wait: Duration,

    /// Whether to leave out the labels `otel_scope_name`, `otel_scope_version` and `otel_scope_schema_url`.
    pub without_scope_info: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, 9464)),
            // 18 series for each of 20,000 links whose connections end as they should, and four for as many servers that
            // listen: where the limits of `links` end. A link that has every reason for an end and for a failure has 28.
            max_series: NonZeroUsize::new(440_000).expect("440 000 is not zero"),
            metric_expiration: Duration::from_mins(5),
            final_scrape_wait: Duration::from_secs(5),
            without_scope_info: true,
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { metric_expiration, final_scrape_wait, .. } = self;
        let longest = InvalidSetting::MAX_INTERVAL;
        let expiration = MIN_EXPIRATION..=longest;
        [
            InvalidSetting::check_duration("metric_expiration", *metric_expiration, expiration),
            InvalidSetting::check_duration("final_scrape_wait", *final_scrape_wait, Duration::ZERO..=longest),
        ]
        .into_iter()
        .flatten()
        .collect()
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
            endpoint: "0.0.0.0:9090".parse().unwrap(),
            max_series: NonZeroUsize::new(1_000).unwrap(),
            metric_expiration: Duration::from_mins(1),
            final_scrape_wait: Duration::from_secs(30),
            without_scope_info: false,
        };
        assert_eq!(config, expected);
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), []);
    }
}
