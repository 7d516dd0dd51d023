use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use component::InvalidSetting;
use http::{Uri, uri::Scheme};
use serde::Deserialize;

/// Pauses shorter than this would be an attack.
const MIN_PAUSE: Duration = Duration::from_millis(10);

/// What waits for longer than this waits for nothing that comes.
const MAX_FLUSH_TIMEOUT: Duration = Duration::from_mins(5);

/// What waits while the server takes nothing, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Queue {
    /// Most bytes of memory that requests take which wait or are on their way. What comes when there is no room is dropped, and
    /// counted. With a queue on disk, one half is for what is being written, the other for what is on its way.
    pub queue_size: NonZeroUsize,

    /// Most requests on their way at a time. More than one may overtake each other, which servers of metrics refuse.
    pub num_consumers: NonZeroUsize,

    /// Has what waits on disk; in memory if not set.
    pub disk: Option<Disk>,

    /// Puts requests together; each batch is a request of its own if not set.
    pub batch: Option<Batching>,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            queue_size: NonZeroUsize::new(16 * 1024 * 1024).expect("16 MiB is not zero"),
            num_consumers: NonZeroUsize::new(1).expect("1 is not zero"),
            disk: None,
            batch: None,
        }
    }
}

impl Queue {
    /// Reports settings that cannot be used, `path` being where these are.
    pub fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { queue_size: _, num_consumers: _, disk, batch } = self;
        let mut invalid = Vec::new();
        invalid.extend(disk.iter().flat_map(|it| it.validate(&format!("{path}.disk"))));
        invalid.extend(batch.iter().flat_map(|it| it.validate(&format!("{path}.batch"))));
        invalid
    }
}

/// What waits is in files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Directory for the files, which no other exporter uses. It is made if there is none.
    pub directory: PathBuf,

    /// Most bytes of all files. What comes when there is no room is dropped, and counted.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,

    /// When what is written is on the disk, and not only with the operating system. Until then it survives the end of the
    /// process, of any kind, but not that of the machine.
    #[serde(default)]
    pub sync: Sync,
}

/// When what is written is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sync {
    /// Before whoever sent it is told that it was taken: a power failure costs nothing.
    Always,
    /// Once a second: a power failure costs what came in the last second.
    #[default]
    Interval,
    /// When the operating system likes: a power failure may cost half a minute, or what waits.
    Never,
}

const MIN_MAX_BYTES: u64 = 1024 * 1024;

const fn default_max_bytes() -> u64 {
    1024 * 1024 * 1024
}

impl Disk {
    fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { directory, max_bytes, sync: _ } = self;
        let mut invalid = Vec::new();
        if !directory.is_absolute() {
            let found = format!("{:?}", directory.display());
            invalid.push(InvalidSetting::new(format!("{path}.directory"), "an absolute path", found));
        }
        if *max_bytes < MIN_MAX_BYTES {
            let expected = format!("at least {MIN_MAX_BYTES}");
            invalid.push(InvalidSetting::new(format!("{path}.max_bytes"), expected, max_bytes));
        }
        invalid
    }
}

/// How requests are put together before they are sent.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Batching {
    /// How long a request waits for others at most.
    #[serde(with = "humantime_serde")]
    pub flush_timeout: Duration,

    /// From which size a request waits for no other.
    pub min_size: u64,

    /// Which size a request has at most: larger ones are divided, but never within an item. `0` for any.
    pub max_size: u64,

    /// In what sizes are measured.
    pub sizer: Sizer,
}

/// In what the size of a request is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sizer {
    /// In data points, spans and log records.
    #[default]
    Items,
    /// In bytes before compression.
    Bytes,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            flush_timeout: Duration::from_millis(200),
            min_size: 8192,
            max_size: 0,
            sizer: Sizer::default(),
        }
    }
}

impl Batching {
    fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { flush_timeout, min_size, max_size, sizer: _ } = self;
        let allowed = Duration::from_millis(1)..=MAX_FLUSH_TIMEOUT;
        let timeout = format!("{path}.flush_timeout");
        let mut invalid = Vec::from_iter(InvalidSetting::check_duration(&timeout, *flush_timeout, allowed));
        if (1..*min_size).contains(max_size) {
            let expected = "at least `min_size`, or 0";
            invalid.push(InvalidSetting::new(format!("{path}.max_size"), expected, max_size));
        }
        invalid
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

    /// After how long a request is given up, and its items are dropped; `0s` for never. With a queue on disk it is never.
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
        let disk = Disk { directory: "queue".into(), max_bytes: 1000, sync: Sync::Always };
        let batch = Batching { flush_timeout: Duration::ZERO, max_size: 10, ..Batching::default() };
        let queue = Queue { disk: Some(disk), batch: Some(batch), ..Queue::default() };
        let paths: Vec<_> = queue.validate("queue").into_iter().map(|it| it.path).collect();
        let expected = ["disk.directory", "disk.max_bytes", "batch.flush_timeout", "batch.max_size"];
        assert_eq!(paths, expected.map(|it| format!("queue.{it}")));
    }
}
