use std::{num::NonZeroUsize, time::Duration};

use component::InvalidSetting;
use http::{Uri, uri::Scheme};
use serde::Deserialize;

/// Pauses shorter than this would be an attack.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// What waits while the server takes nothing, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Most bytes of memory that requests take which wait or are on their way. What comes when there is no room is dropped, and
    /// counted.
    pub queue_size: NonZeroUsize,

    /// Most requests on their way at a time. More than one may overtake each other, which servers of metrics refuse.
    pub num_consumers: NonZeroUsize,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            queue_size: NonZeroUsize::new(16 * 1024 * 1024).expect("16 MiB is not zero"),
            num_consumers: NonZeroUsize::new(1).expect("1 is not zero"),
        }
    }
}

/// When a request that failed for now is sent again, in the words of the OpenTelemetry Collector.
///
/// A server that says how long to wait is not asked earlier.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Whether it is sent again at all.
    pub enabled: bool,

    /// About how long the first pause takes. Each is half as long again as the one before, and random by up to half.
    #[serde(with = "humantime_serde")]
    pub initial_interval: Duration,

    /// About how long a pause takes at most.
    #[serde(with = "humantime_serde")]
    pub max_interval: Duration,

    /// After how long a request is given up, and its items are dropped; `0s` for never.
    #[serde(with = "humantime_serde")]
    pub max_elapsed_time: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_mins(5),
        }
    }
}

impl Retry {
    /// Reports settings that cannot be used, `path` being where these are.
    pub fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { enabled: _, initial_interval, max_interval, max_elapsed_time } = self;
        let (initial, max) = (format!("{path}.initial_interval"), format!("{path}.max_interval"));
        let day = InvalidSetting::MAX_INTERVAL;
        let mut invalid: Vec<_> = [
            InvalidSetting::check_duration(&initial, *initial_interval, MIN_PAUSE..=day),
            InvalidSetting::check_duration(&max, *max_interval, MIN_PAUSE..=day),
            InvalidSetting::check_duration(
                &format!("{path}.max_elapsed_time"),
                *max_elapsed_time,
                Duration::ZERO..=day,
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        if max_interval < initial_interval {
            let expected = "at least `initial_interval`";
            invalid.push(InvalidSetting::new(max, expected, humantime::format_duration(*max_interval)));
        }
        invalid
    }
}

/// Checks that a server's address is one: `http://host:port`, or `https`, with a path or without.
pub fn check_endpoint(path: &str, endpoint: &str) -> Option<InvalidSetting> {
    let expected = "a URL such as http://collector:4317";
    let is_known = |scheme: &Scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme);
    let is_url = endpoint.parse::<Uri>().is_ok_and(|it| {
        it.scheme().is_some_and(is_known)
            && it.host().is_some_and(|host| !host.is_empty())
            && it.query().is_none()
    });
    (!is_url).then(|| InvalidSetting::new(path, expected, format!("{endpoint:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url() {
        for endpoint in ["http://a:4317", "https://a", "http://[::1]:4318/otlp", "http://a:1/"] {
            assert_eq!(check_endpoint("endpoint", endpoint), None, "{endpoint}");
        }
        for endpoint in
            ["", "a:4317", "a", "ftp://a", "http://", "grpc://a:1", "http://a:4318?x=1", "http://a b"]
        {
            assert!(check_endpoint("endpoint", endpoint).is_some(), "{endpoint}");
        }
    }

    #[test]
    fn every_mistake_is_reported() {
        let retry = Retry {
            initial_interval: Duration::from_millis(100),
            max_interval: Duration::from_millis(1),
            max_elapsed_time: Duration::from_hours(25),
            ..Retry::default()
        };
        let paths: Vec<_> = retry.validate("retry").into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["retry.max_interval", "retry.max_elapsed_time", "retry.max_interval"]);
    }
}
