use std::{collections::BTreeMap, time::Duration};

use auth::ClientAuth;
use component::{InvalidSetting, Secret};
use delivery::{Queue, Retry};
use serde::Deserialize;
use tls::ClientTls;

const MIN_TIMEOUT: Duration = Duration::from_millis(100);

/// Settings of the `otlp` exporter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the server is: `http://host:port`, or `https`.
    ///
    /// With the protocol `http`, `/v1/metrics` and what corresponds are added to it.
    pub endpoint: String,

    /// Which form of OTLP the server speaks.
    #[serde(default)]
    pub protocol: Protocol,

    /// How requests are written. Only with the protocol `http`.
    #[serde(default)]
    pub encoding: Encoding,

    /// How requests are compressed.
    #[serde(default)]
    pub compression: Compression,

    /// Headers of every request, such as `authorization`, or `x-scope-orgid` where a server has tenants.
    #[serde(default)]
    pub headers: BTreeMap<String, Secret>,

    /// Who the exporter says it is: a header `authorization` that may change.
    #[serde(default)]
    pub auth: Option<ClientAuth>,

    /// How long the server may take to answer.
    #[serde(default = "default_timeout", with = "humantime_serde")]
    pub timeout: Duration,

    /// Who the server must be, and who the exporter is for it.
    #[serde(default)]
    pub tls: ClientTls,

    /// What waits while the server takes nothing.
    #[serde(default)]
    pub sending_queue: Queue,

    /// When what failed is sent again.
    #[serde(default)]
    pub retry_on_failure: Retry,
}

/// Which form of OTLP a server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// gRPC, mostly at port 4317.
    #[default]
    Grpc,
    /// HTTP, mostly at port 4318.
    Http,
}

/// How requests by HTTP are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As protobuf.
    #[default]
    Proto,
    /// As JSON: more bytes, and fields that this version does not know are left out.
    Json,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    None,
    /// With gzip, which every server must understand.
    #[default]
    Gzip,
    /// With zstd: smaller for less, where the server understands it.
    Zstd,
}

const fn default_timeout() -> Duration {
    Duration::from_secs(10)
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self {
            endpoint,
            protocol,
            encoding,
            compression: _,
            headers,
            auth,
            timeout,
            tls,
            sending_queue,
            retry_on_failure,
        } = self;
        let allowed = MIN_TIMEOUT..=InvalidSetting::MAX_INTERVAL;
        let mut invalid = Vec::from_iter(delivery::check_endpoint("endpoint", endpoint));
        if (*protocol, *encoding) == (Protocol::Grpc, Encoding::Json) {
            invalid.push(InvalidSetting::new("encoding", "`proto`, or `protocol: http`", "`json` with gRPC"));
        }
        invalid.extend(delivery::check_headers("headers", headers, auth.is_some().then_some("auth")));
        invalid.extend(auth.iter().flat_map(|it| it.validate("auth")));
        invalid.extend(InvalidSetting::check_duration("timeout", *timeout, allowed));
        invalid.extend(tls.validate("tls"));
        invalid.extend(sending_queue.validate("sending_queue"));
        invalid.extend(retry_on_failure.validate("retry_on_failure"));
        invalid
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use auth::ClientBasic;
    use delivery::{Batching, Disk, Sizer, Sync};
    use tls::MinVersion;

    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let expected = Config {
            endpoint: "https://collector.example:4318/otlp".to_owned(),
            protocol: Protocol::Http,
            encoding: Encoding::Json,
            compression: Compression::Zstd,
            headers: [("x-scope-orgid".to_owned(), "shop".into())].into(),
            auth: Some(ClientAuth {
                bearer: None,
                basic: Some(ClientBasic {
                    username: "ridley".to_owned(),
                    password: None,
                    password_file: Some("/etc/ridley/password".into()),
                }),
                reload_interval: Duration::from_mins(1),
            }),
            timeout: Duration::from_secs(3),
            tls: ClientTls {
                ca_file: Some("/etc/ridley/ca.pem".into()),
                cert_file: Some("/etc/ridley/agent.pem".into()),
                key_file: Some("/etc/ridley/agent.key".into()),
                insecure_skip_verify: true,
                server_name_override: Some("collector.internal".to_owned()),
                min_version: MinVersion::Tls13,
                reload_interval: Duration::from_mins(5),
            },
            sending_queue: Queue {
                queue_size: NonZeroUsize::new(1_048_576).unwrap(),
                num_consumers: NonZeroUsize::new(4).unwrap(),
                disk: Some(Disk {
                    directory: "/var/lib/ridley/otlp".into(),
                    max_bytes: 8_388_608,
                    sync: Sync::Always,
                }),
                batch: Some(Batching {
                    flush_timeout: Duration::from_secs(1),
                    min_size: 65_536,
                    max_size: 1_048_576,
                    sizer: Sizer::Bytes,
                }),
            },
            retry_on_failure: Retry {
                enabled: false,
                initial_interval: Duration::from_secs(2),
                max_interval: Duration::from_secs(20),
                max_elapsed_time: Duration::ZERO,
            },
        };
        assert_eq!(config, expected);
        assert_eq!(component::Config::validate(&config), []);
    }

    #[test]
    fn every_mistake_is_reported() {
        let text = "{endpoint: a, encoding: json, timeout: 1ms, tls: {ca_file: ''}, auth: {bearer: {token: a}}, \
                    headers: {'a b': c, ok: \"a\\nb\", Authorization: x}, \
                    retry_on_failure: {initial_interval: 1ms}}";
        let config: Config = serde_saphyr::from_str(text).unwrap();
        let paths: Vec<_> = component::Config::validate(&config).into_iter().map(|it| it.path).collect();
        let expected = [
            "endpoint",
            "encoding",
            "headers",
            "headers.ok",
            "auth",
            "timeout",
            "tls.ca_file",
            "retry_on_failure.initial_interval",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn headers_are_not_shown() {
        let config: Config =
            serde_saphyr::from_str("{endpoint: 'http://a', headers: {authorization: hidden}}").unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("authorization") && !shown.contains("hidden"), "{shown}");
    }
}
