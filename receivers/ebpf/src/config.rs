use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use component::InvalidSetting;
use serde::Deserialize;

/// A sample costs about a microsecond for each socket, and an empty table half a millisecond.
const MIN_SAMPLE_INTERVAL: Duration = Duration::from_millis(10);
/// The kernel counts segments in 32 bits: of one connection with a million in a second they would not be known after more
/// than half an hour.
const MAX_SAMPLE_INTERVAL: Duration = Duration::from_mins(10);
const MIN_DRAIN_INTERVAL: Duration = Duration::from_millis(1);

/// The kernel takes powers of two that are multiples of a page, which has 64 KiB on some machines.
const MIN_RING_BYTES: u32 = 1 << 16;
const MAX_RING_BYTES: u32 = 1 << 28;

/// Settings of the `ebpf` receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often live connections are sampled: bytes, retransmissions and round-trip times of a connection that stays
    /// open are as fresh as this.
    ///
    /// Begins and ends do not wait for it. Listening sockets are sampled as often, once a second at most. From `10ms` to
    /// `10m`.
    #[serde(with = "humantime_serde")]
    pub sample_interval: Duration,

    /// How often begins and ends are fetched from the kernel.
    ///
    /// The kernel wakes the receiver earlier when its buffer is half full. From `1ms` to a day.
    #[serde(with = "humantime_serde")]
    pub drain_interval: Duration,

    /// Bytes of kernel memory for begins and ends that wait to be fetched; a power of two from 65536 to 268435456.
    ///
    /// The default holds about 10000 records, which are four for a connection with both ends on this host. What finds no
    /// room is counted in `ridley.ebpf.skipped` with the reason `ring_full`, and repaired by the next samples as far as the
    /// connection lives on, but for the client's process.
    pub ring_bytes: NonZeroU32,

    /// Most connections followed at a time, about 400 bytes each.
    ///
    /// Those beyond are counted in `ridley.ebpf.untracked`, and reported as a whole when they end.
    pub max_connections: NonZeroUsize,

    /// What to do with connections of the agent itself: scrapes that it answers, what it exports.
    ///
    /// They are counted in `ridley.ebpf.own.connections` and `ridley.ebpf.own.bytes` either way.
    pub own_traffic: OwnTraffic,

    /// Whose connections are observed where several nodes of Kubernetes share one kernel, as those of kind and k3d do.
    ///
    /// The node is that of the agent's own pod, by its cgroup; connections of others are left out and counted in
    /// `ridley.ebpf.other_nodes.connections`. An agent outside of pods, and one whose node has a kernel of its own, observes
    /// the whole machine either way.
    pub nodes: Nodes,
}

/// Whose connections are observed where several nodes share one kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nodes {
    /// Those of the agent's own node.
    #[default]
    Own,
    /// Those of every node.
    All,
}

/// What to do with connections of the agent itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnTraffic {
    /// Leave them out, at both ends.
    #[default]
    Exclude,
    /// Pass them on like all others.
    Include,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sample_interval: Duration::from_secs(5),
            drain_interval: Duration::from_millis(100),
            ring_bytes: NonZeroU32::new(1 << 21).expect("2 MiB is not zero"),
            max_connections: NonZeroUsize::new(100_000).expect("100 000 is not zero"),
            own_traffic: OwnTraffic::Exclude,
            nodes: Nodes::Own,
        }
    }
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self {
            sample_interval,
            drain_interval,
            ring_bytes,
            max_connections: _,
            own_traffic: _,
            nodes: _,
        } = self;
        let mut invalid = Vec::new();
        for (path, actual, allowed) in [
            ("sample_interval", *sample_interval, MIN_SAMPLE_INTERVAL..=MAX_SAMPLE_INTERVAL),
            ("drain_interval", *drain_interval, MIN_DRAIN_INTERVAL..=InvalidSetting::MAX_INTERVAL),
        ] {
            invalid.extend(InvalidSetting::check_duration(path, actual, allowed));
        }
        let bytes = ring_bytes.get();
        if !bytes.is_power_of_two() || !(MIN_RING_BYTES..=MAX_RING_BYTES).contains(&bytes) {
            let expected = format!("a power of two from {MIN_RING_BYTES} to {MAX_RING_BYTES}");
            invalid.push(InvalidSetting::new("ring_bytes", expected, bytes));
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
            sample_interval: Duration::from_secs(1),
            drain_interval: Duration::from_millis(50),
            ring_bytes: NonZeroU32::new(1 << 23).unwrap(),
            max_connections: NonZeroUsize::new(5_000).unwrap(),
            own_traffic: OwnTraffic::Include,
            nodes: Nodes::All,
        };
        assert_eq!(config, expected);
        assert_eq!(component::Config::validate(&config), []);
    }

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(component::Config::validate(&Config::default()), []);
    }

    /// One run tells every mistake.
    #[test]
    fn mistakes_are_reported_together() {
        let config = Config {
            sample_interval: Duration::ZERO,
            drain_interval: Duration::ZERO,
            ring_bytes: NonZeroU32::MIN,
            ..Config::default()
        };
        let paths: Vec<_> = component::Config::validate(&config).into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["sample_interval", "drain_interval", "ring_bytes"]);
    }
}
