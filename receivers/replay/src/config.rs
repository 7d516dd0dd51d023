use std::path::PathBuf;

use component::InvalidSetting;
use serde::Deserialize;

/// Settings of the `replay` receiver.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// File to read: what the `file` exporter wrote.
    pub path: PathBuf,

    /// How fast: `1` as recorded, `10` ten times as fast, `0` as fast as possible.
    #[serde(default = "default_speed")]
    pub speed: f64,

    /// Which times the records say.
    #[serde(default = "default_times")]
    pub times: Times,

    /// What to do at a line that is not a record.
    #[serde(default = "default_on_error")]
    pub on_error: OnError,
}

/// Which times the records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// As if the first record were made when the replay begins; all are moved by the same span.
    Shift,
    /// Those of the file.
    Keep,
}

/// What to do at a line that is not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// End the run with an error that names the line.
    Stop,
    /// Go on with the next line, and count it.
    Skip,
}

const fn default_speed() -> f64 {
    1.0
}

const fn default_times() -> Times {
    Times::Shift
}

const fn default_on_error() -> OnError {
    OnError::Stop
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { path, speed, times: _, on_error: _ } = self;
        let mut invalid = Vec::from_iter(InvalidSetting::check_file("path", path));
        if !speed.is_finite() || *speed < 0.0 {
            let expected = "a factor above 0, or 0 for as fast as possible";
            invalid.push(InvalidSetting::new("speed", expected, speed));
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
        let expected =
            Config { path: "flows.jsonl".into(), speed: 2.5, times: Times::Keep, on_error: OnError::Skip };
        assert_eq!(config, expected);
    }

    #[test]
    fn speeds_that_are_none_are_refused() {
        for (speed, n_mistakes) in [("0", 0), ("0.5", 0), ("100", 0), ("-1", 1), (".nan", 1), (".inf", 1)] {
            let text = format!("{{path: flows.jsonl, speed: {speed}}}");
            let config: Config = serde_saphyr::from_str(&text).unwrap();
            assert_eq!(component::Config::validate(&config).len(), n_mistakes, "{speed}");
        }
    }
}
