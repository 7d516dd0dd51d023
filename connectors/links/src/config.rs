use std::{num::NonZeroU32, time::Duration};

use component::InvalidSetting;
use serde::Deserialize;

use crate::{Buckets, OptionalAttribute, Shape};

const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Settings of the `links` connector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often the totals of every link are sent on; from `100ms` to a day.
    #[serde(with = "humantime_serde")]
    pub interval: Duration,

    /// Most links kept apart at a time, and most servers that listen; each is one series in every metric that has a value
    /// for it.
    ///
    /// Connections of further links are counted in the overflow link, whose client and server are named `other`; further
    /// servers in one of that name.
    pub max_series: NonZeroU32,

    /// Most connections remembered at a time, so that each is counted in one link from its beginning to its end.
    ///
    /// When there are more, the oldest is forgotten: it no longer counts as active until its next sample.
    pub max_connections: NonZeroU32,

    /// How long a link without connections is kept, and a server that no longer listens; at least `interval`.
    #[serde(with = "humantime_serde")]
    pub expire_after: Duration,

    /// What tells links apart beyond name, namespace and kind of both ends, server port, transport and observer.
    ///
    /// `process`, `service`, `container`, `pod`, `node`, `zone`, `region`, `service_name`, `service_namespace`, `address`, or
    /// the name that a processor gives a label, which has a dot in it; with `client.` or `server.` before it for one end
    /// only. The address of clients, and pods that come and go, make many links.
    pub attributes: Vec<OptionalAttribute>,

    /// Upper bounds of the histograms' buckets: lists of durations in `rtt`, `connect_duration`,
    /// `server_handshake_duration` and `connection_duration`.
    pub buckets: Buckets,

    /// By which others' names links are told of, beside their own: `service_graph` for Tempo's series, which Grafana's Service
    /// Graph shows, `obi` and `caretta`.
    pub shapes: Vec<Shape>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(5),
            max_series: NonZeroU32::new(20_000).expect("20 000 is not zero"),
            max_connections: NonZeroU32::new(100_000).expect("100 000 is not zero"),
            expire_after: Duration::from_mins(5),
            attributes: Vec::new(),
            buckets: Buckets::default(),
            shapes: Vec::new(),
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { interval, expire_after, .. } = self;
        let allowed = MIN_INTERVAL..=InvalidSetting::MAX_INTERVAL;
        let mut invalid = Vec::from_iter(InvalidSetting::check_duration("interval", *interval, allowed));
        if expire_after < interval {
            let [actual, least] = [*expire_after, *interval].map(humantime::format_duration);
            let expected = format!("at least `interval`, which is {least}");
            invalid.push(InvalidSetting::new("expire_after", expected, actual));
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use component::Config as _;

    use super::*;
    use crate::Bounds;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let bounds = |millis: &[u64]| {
            Bounds::try_new(millis.iter().map(|it| Duration::from_millis(*it)).collect()).unwrap()
        };
        let expected = Config {
            interval: Duration::from_secs(10),
            max_series: NonZeroU32::new(500).unwrap(),
            max_connections: NonZeroU32::new(2_000).unwrap(),
            expire_after: Duration::from_mins(1),
            attributes: ["process", "server.service", "client.address"]
                .map(|it| it.parse().unwrap())
                .to_vec(),
            buckets: Buckets {
                rtt: bounds(&[1, 10, 100]),
                connect_duration: bounds(&[5, 50]),
                server_handshake_duration: bounds(&[2, 20]),
                connection_duration: bounds(&[1_000, 60_000]),
            },
            shapes: vec![Shape::ServiceGraph, Shape::Obi, Shape::Caretta],
        };
        assert_eq!(config, expected);
        assert_eq!(config.validate(), []);
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), []);
    }

    /// A link must live through the interval in which it is sent.
    #[test]
    fn every_mistake_is_reported() {
        let config = Config {
            interval: Duration::from_millis(10),
            expire_after: Duration::from_millis(1),
            ..Config::default()
        };
        let paths: Vec<String> = config.validate().into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["interval", "expire_after"]);
    }
}
