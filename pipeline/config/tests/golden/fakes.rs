//! Component types with every form of setting that real ones have, and nothing behind them.

#![expect(dead_code, reason = "a test reads settings by their `Debug` alone")]

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use component::{BoxError, Config, Context, Exporter, Factory, InvalidSetting, Processor, Receiver};
use model::Signal;
use serde::Deserialize;

pub(crate) fn factories() -> Vec<Factory> {
    const FLOWS: &[Signal] = &[Signal::Flows];
    const METRICS: &[Signal] = &[Signal::Metrics];
    vec![
        Factory::receiver::<Ebpf, _, _>("ebpf", FLOWS, refuse::<Ebpf, Box<dyn Receiver>>),
        Factory::receiver::<Replay, _, _>("replay", FLOWS, refuse::<Replay, Box<dyn Receiver>>),
        Factory::receiver::<None, _, _>("forward", METRICS, refuse::<None, Box<dyn Receiver>>),
        Factory::processor::<None, _, _>("process", FLOWS, refuse::<None, Box<dyn Processor>>),
        Factory::processor::<Join, _, _>("join", FLOWS, refuse::<Join, Box<dyn Processor>>),
        Factory::connector::<Links, _, _>("links", FLOWS, METRICS, refuse::<Links, Box<dyn Processor>>),
        Factory::connector::<None, _, _>("forward", METRICS, METRICS, refuse::<None, Box<dyn Processor>>),
        Factory::exporter::<Prometheus, _, _>("prometheus", METRICS, refuse::<Prometheus, Box<dyn Exporter>>),
        Factory::exporter::<Debug, _, _>("debug", &Signal::ALL, refuse::<Debug, Box<dyn Exporter>>),
        Factory::exporter::<Otlp, _, _>("otlp", METRICS, refuse::<Otlp, Box<dyn Exporter>>),
    ]
}

async fn refuse<C, T>(_: C, _: Context) -> Result<T, BoxError> {
    Err("loading a configuration creates nothing".into())
}

macro_rules! config {
    ($($type:ty),*) => { $(impl Config for $type {})* };
}

config!(Ebpf, None, Join, Debug, Otlp, Prometheus);

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct None {}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Ebpf {
    #[serde(with = "humantime_serde")]
    pub sample_interval: Duration,
    pub ports: Vec<u16>,
    pub exclude: Vec<Cidr>,
}

/// A setting that is parsed by its type, with a message of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Cidr(pub String);

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some(_) => Ok(Self(text)),
            None => Err(format!("`{text}` is not a network such as `10.0.0.0/8`")),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Replay {
    pub path: PathBuf,
}

impl Config for Replay {
    fn validate(&self) -> Vec<InvalidSetting> {
        InvalidSetting::check_file("path", &self.path).into_iter().collect()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Join {
    #[serde(with = "humantime_serde")]
    pub wait: Duration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Links {
    pub max_series: NonZeroUsize,
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    pub buckets: BTreeMap<String, Vec<f64>>,
}

impl Default for Links {
    fn default() -> Self {
        Self { max_series: NonZeroUsize::MIN, interval: Duration::from_secs(5), buckets: BTreeMap::new() }
    }
}

impl Config for Links {
    fn validate(&self) -> Vec<InvalidSetting> {
        let mut invalid = Vec::new();
        if self.interval < Duration::from_millis(100) {
            invalid.push(InvalidSetting::new("interval", "at least 100ms", format!("{:?}", self.interval)));
        }
        for (name, bounds) in &self.buckets {
            if !bounds.is_sorted() {
                invalid.push(InvalidSetting::new(format!("buckets.{name}"), "bounds that rise", "others"));
            }
        }
        invalid
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Prometheus {
    pub endpoint: SocketAddr,
    pub compress: bool,
    pub tls: Option<Tls>,
}

impl Default for Prometheus {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from(([127, 0, 0, 1], 9464)), compress: true, tls: None }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub certificate: String,
    pub key: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Debug {
    #[serde(with = "humantime_serde")]
    pub interval: Duration,
    pub verbosity: Verbosity,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verbosity {
    #[default]
    Basic,
    Normal,
    Detailed,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Otlp {
    pub endpoint: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub auth: Option<Auth>,
    #[serde(default)]
    pub retries: Option<u8>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Auth {
    Bearer { token: String },
    Basic { user: String, password: String },
}
