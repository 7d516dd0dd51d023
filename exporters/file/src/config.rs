use std::{num::NonZeroU32, path::PathBuf};

use component::InvalidSetting;
use serde::Deserialize;

/// Files smaller than this would hold a few seconds of a busy host.
const MIN_BYTES: u64 = 64 * 1024;

/// Settings of the `file` exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File to write to. Its folder must exist.
    pub path: PathBuf,

    /// What to do with records that are in the file at the start.
    #[serde(default = "default_mode")]
    pub mode: Mode,

    /// Most bytes in one file, at least 65536; the next record begins a new one.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: u64,

    /// Most files kept: the one being written, and with `.1`, `.2` and so on behind its name those before it.
    ///
    /// With the default of `max_bytes`, half a gigabyte on disk.
    #[serde(default = "default_max_files")]
    pub max_files: NonZeroU32,
}

/// What to do with records that are in the file at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Keep them, and write behind them.
    Append,
    /// Remove them. Older files stay until they are replaced.
    Truncate,
}

const fn default_mode() -> Mode {
    Mode::Append
}

const fn default_max_bytes() -> u64 {
    100 * 1024 * 1024
}

const fn default_max_files() -> NonZeroU32 {
    NonZeroU32::new(5).expect("5 is not zero")
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { path, mode: _, max_bytes, max_files: _ } = self;
        let mut invalid = Vec::from_iter(InvalidSetting::check_file("path", path));
        if *max_bytes < MIN_BYTES {
            invalid.push(InvalidSetting::new("max_bytes", format!("at least {MIN_BYTES}"), max_bytes));
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
            path: "/var/lib/ridley/flows.jsonl".into(),
            mode: Mode::Truncate,
            max_bytes: 1024 * 1024,
            max_files: NonZeroU32::new(2).unwrap(),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn every_mistake_is_reported() {
        let config: Config = serde_saphyr::from_str("{path: '', max_bytes: 1}").unwrap();
        let paths: Vec<_> = component::Config::validate(&config).into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["path", "max_bytes"]);
    }
}
