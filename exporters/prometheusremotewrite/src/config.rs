use std::{collections::BTreeMap, num::NonZeroUsize, time::Duration};

use auth::ClientAuth;
use component::{InvalidSetting, Secret};
use delivery::{Disk, Queue, Retry};
use serde::Deserialize;
use tls::ClientTls;

const MIN_TIMEOUT: Duration = Duration::from_millis(100);
const MIN_EXPIRATION: Duration = Duration::from_secs(1);
const MIN_BATCH_SIZE_BYTES: usize = 1024;

/// Settings of the `prometheusremotewrite` exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server takes remote write, path included: `http://prometheus:9090/api/v1/write`, or `https`.
    pub endpoint: String,

    /// Which version of remote write is sent.
    #[serde(default)]
    pub protocol: Protocol,

    /// Headers of every request, such as `authorization`, or `x-scope-orgid` where a server has tenants.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,

    /// Who the exporter says it is: a header `authorization` that may change.
    #[serde(default)]
    pub auth: Option<ClientAuth>,

    /// Labels that every series gets which has none of the name.
    #[serde(default)]
    pub external_labels: BTreeMap<String, String>,

    /// How long the server may take to answer.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,

    /// Who the server must be, and who the exporter is for it.
    #[serde(default)]
    pub tls: ClientTls,

    /// What waits while the server takes nothing.
    #[serde(default)]
    pub sending_queue: SendingQueue,

    /// When what failed is sent again.
    #[serde(default)]
    pub retry_on_failure: Retry,

    /// Most bytes of a request before compression, in the form of version 1.0. A batch that is more is sent as several. The
    /// samples of one point stay together.
    #[serde(default = "default_max_batch_size_bytes")]
    pub max_batch_size_bytes: usize,

    /// Most series remembered at a time, a histogram counting as one. Points of further series are dropped and counted.
    #[serde(default = "default_max_series")]
    pub max_series: NonZeroUsize,

    /// Time after which a series that is no longer updated is told to have ended.
    ///
    /// Longer than the interval in which the pipeline updates its metrics; from `1s` to a day. The series of `links` are told to
    /// have ended when they have, without this.
    #[serde(default = "default_metric_expiration", with = "humantime_serde")]
    pub metric_expiration: Duration,

    /// Whether to leave out the labels `otel_scope_name`, `otel_scope_version` and `otel_scope_schema_url`.
    #[serde(default = "default_without_scope_info")]
    pub without_scope_info: bool,

    /// What tells of resources.
    #[serde(default)]
    pub target_info: TargetInfo,
}

/// What waits while the server takes nothing, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendingQueue {
    /// Most bytes of memory that requests take which wait or are on their way. What comes when there is no room is dropped, and
    /// counted. With a queue on disk, one half is for what is being written, the other for what is on its way.
    pub queue_size: NonZeroUsize,

    /// Most batches on their way at a time. More than one may overtake each other, which servers refuse.
    pub num_consumers: NonZeroUsize,

    /// Has what waits on disk; in memory if not set.
    pub disk: Option<Disk>,
}

impl Default for SendingQueue {
    fn default() -> Self {
        Self {
            queue_size: NonZeroUsize::new(16 * 1024 * 1024).expect("16 MiB is not zero"),
            num_consumers: NonZeroUsize::new(1).expect("1 is not zero"),
            disk: None,
        }
    }
}

impl From<SendingQueue> for Queue {
    fn from(queue: SendingQueue) -> Self {
        let SendingQueue { queue_size, num_consumers, disk } = queue;
        // A batch is what servers take at once already, and requests cannot be put together by their bytes.
        Self { queue_size, num_consumers, disk, batch: None }
    }
}

/// Which version of remote write is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// Version 1.0, which every server understands.
    #[default]
    V1,
    /// Version 2.0, which takes less to send and has the type of every series with it. A server that does not prove to have
    /// taken it is sent 1.0.
    V2,
}

/// What tells of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetInfo {
    /// Whether there is `target_info`, with the attributes of each resource but those that are `job` and `instance`.
    pub enabled: bool,
}

impl Default for TargetInfo {
    fn default() -> Self {
        Self { enabled: true }
    }
}

const fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

const fn default_max_batch_size_bytes() -> usize {
    3_000_000
}

fn default_max_series() -> NonZeroUsize {
    // As many as the `prometheus` exporter holds.
    NonZeroUsize::new(440_000).expect("440 000 is not zero")
}

const fn default_metric_expiration() -> Duration {
    Duration::from_mins(5)
}

const fn default_without_scope_info() -> bool {
    true
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self {
            endpoint,
            protocol: _,
            headers,
            auth,
            external_labels,
            timeout,
            tls,
            sending_queue,
            retry_on_failure,
            max_batch_size_bytes,
            max_series: _,
            metric_expiration,
            without_scope_info: _,
            target_info: _,
        } = self;
        let longest = InvalidSetting::MAX_INTERVAL;
        let mut invalid = Vec::from_iter(delivery::check_endpoint("endpoint", endpoint));
        invalid.extend(delivery::check_headers("headers", headers, auth.is_some().then_some("auth")));
        invalid.extend(auth.iter().flat_map(|it| it.validate("auth")));
        invalid.extend(external_labels.iter().filter_map(|(name, value)| check_label(name, value)));
        invalid.extend(InvalidSetting::check_duration("timeout", *timeout, MIN_TIMEOUT..=longest));
        invalid.extend(tls.validate("tls"));
        invalid.extend(Queue::from(sending_queue.clone()).validate("sending_queue"));
        invalid.extend(retry_on_failure.validate("retry_on_failure"));
        if *max_batch_size_bytes < MIN_BATCH_SIZE_BYTES {
            let expected = format!("at least {MIN_BATCH_SIZE_BYTES}");
            invalid.push(InvalidSetting::new("max_batch_size_bytes", expected, max_batch_size_bytes));
        }
        let expiration = MIN_EXPIRATION..=longest;
        invalid.extend(InvalidSetting::check_duration("metric_expiration", *metric_expiration, expiration));
        invalid
    }
}

fn check_label(name: &str, value: &str) -> Option<InvalidSetting> {
    let is_name = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_')
        && name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_')
        && !name.starts_with("__");
    if !is_name {
        let expected =
            "names of letters, digits and underscores, which do not begin with a digit or two underscores";
        return Some(InvalidSetting::new("external_labels", expected, format!("{name:?}")));
    }
    let path = format!("external_labels.{name}");
    value.is_empty().then(|| InvalidSetting::new(path, "a text that is not empty", "an empty one"))
}

#[cfg(test)]
mod tests {
    use auth::ClientBasic;
    use delivery::Sync;

    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let expected = Config {
            endpoint: "https://mimir.example/api/v1/push".to_owned(),
            protocol: Protocol::V2,
            headers: [("x-scope-orgid".to_owned(), "shop".into())].into(),
            auth: Some(ClientAuth {
                basic: Some(ClientBasic {
                    username: "ridley".to_owned(),
                    password: None,
                    password_file: Some("/etc/ridley/password".into()),
                }),
                ..ClientAuth::default()
            }),
            external_labels: [("cluster".to_owned(), "east".to_owned())].into(),
            timeout: Duration::from_secs(3),
            tls: ClientTls { ca_file: Some("/etc/ridley/ca.pem".into()), ..ClientTls::default() },
            sending_queue: SendingQueue {
                queue_size: NonZeroUsize::new(1_048_576).unwrap(),
                num_consumers: NonZeroUsize::new(4).unwrap(),
                disk: Some(Disk {
                    directory: "/var/lib/ridley/remote-write".into(),
                    max_bytes: 8_388_608,
                    sync: Sync::Always,
                }),
            },
            retry_on_failure: Retry {
                enabled: false,
                initial_interval: Duration::from_secs(2),
                max_interval: Duration::from_secs(20),
                max_elapsed_time: Duration::ZERO,
            },
            max_batch_size_bytes: 100_000,
            max_series: NonZeroUsize::new(1_000).unwrap(),
            metric_expiration: Duration::from_mins(1),
            without_scope_info: false,
            target_info: TargetInfo { enabled: false },
        };
        assert_eq!(config, expected);
        assert_eq!(component::Config::validate(&config), []);
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = "{endpoint: a, timeout: 1ms, headers: {'a b': c}, external_labels: {a-b: c, __name__: x, ok: ''}, \
                    retry_on_failure: {initial_interval: 1ms}, max_batch_size_bytes: 1, metric_expiration: 25h}";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let paths: Vec<_> = component::Config::validate(&config).into_iter().map(|it| it.path).collect();
        let expected = [
            "endpoint",
            "headers",
            "external_labels",
            "external_labels",
            "external_labels.ok",
            "timeout",
            "retry_on_failure.initial_interval",
            "max_batch_size_bytes",
            "metric_expiration",
        ];
        assert_eq!(paths, expected);
    }
}
