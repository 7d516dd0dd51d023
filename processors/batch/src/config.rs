use std::time::Duration;

use component::InvalidSetting;
use serde::Deserialize;

/// Whoever sent what waits here waits for its answer, and has eight seconds of patience.
const MAX_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of the `batch` processor, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long something waits for more; at most five seconds, since its sender waits, too. With `0s` nothing waits.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,

    /// How many items are enough not to wait for more. With `0` nothing waits.
    pub send_batch_size: u64,

    /// Most items of a batch, at least `send_batch_size`: larger ones are divided. `0` for no limit.
    pub send_batch_max_size: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { timeout: Duration::from_millis(200), send_batch_size: 8192, send_batch_max_size: 0 }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { timeout, send_batch_size, send_batch_max_size } = self;
        let timeout = InvalidSetting::check_duration("timeout", *timeout, Duration::ZERO..=MAX_TIMEOUT);
        let is_small = *send_batch_max_size > 0 && send_batch_max_size < send_batch_size;
        let expected = "`0`, or at least `send_batch_size`";
        let max = is_small.then(|| InvalidSetting::new("send_batch_max_size", expected, send_batch_max_size));
        timeout.into_iter().chain(max).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let expected =
            Config { timeout: Duration::from_secs(1), send_batch_size: 100, send_batch_max_size: 200 };
        assert_eq!(config, expected);
    }

    #[test]
    fn every_mistake_is_reported() {
        let config = Config { timeout: Duration::from_secs(6), send_batch_size: 2, send_batch_max_size: 1 };
        let paths: Vec<_> = component::Config::validate(&config).into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["timeout", "send_batch_max_size"]);
    }
}
