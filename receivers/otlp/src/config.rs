use std::{
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
};

use auth::ServerAuth;
use component::InvalidSetting;
use serde::{Deserialize, Deserializer};
use tls::ServerTls;

/// Smaller requests than this are common.
const MIN_REQUEST_SIZE: usize = 64 * 1024;

/// Settings of the `otlp` receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which forms of OTLP are taken, and where. Both, unless one is named.
    pub protocols: Protocols,

    /// Who may send, by either form. Whoever reaches it, unless this is set.
    pub auth: Option<ServerAuth>,

    /// Most bytes of one request, after it was decompressed; at least 65536. A larger one is refused for good.
    pub max_request_size: NonZeroUsize,

    /// Most bytes of all requests that this receiver took and that are still somewhere in a pipeline; at least
    /// `max_request_size`. What has no room is refused for now, and its sender sends it again.
    pub max_in_flight: NonZeroUsize,
}

/// Which forms of OTLP are taken.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Protocols {
    /// gRPC.
    #[serde(default, deserialize_with = "named")]
    pub grpc: Option<Grpc>,

    /// HTTP with protobuf or JSON.
    #[serde(default, deserialize_with = "named")]
    pub http: Option<Http>,
}

/// gRPC.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpc {
    /// The address to listen at.
    pub endpoint: SocketAddr,

    /// The certificate to show, and who may connect. Nothing is encrypted unless this is set.
    pub tls: Option<ServerTls>,
}

/// HTTP with protobuf or JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// The address to listen at.
    pub endpoint: SocketAddr,

    /// The certificate to show, and who may connect. Nothing is encrypted unless this is set.
    pub tls: Option<ServerTls>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            protocols: Protocols::default(),
            auth: None,
            max_request_size: NonZeroUsize::new(4 * 1024 * 1024).expect("4 MiB is not zero"),
            max_in_flight: NonZeroUsize::new(32 * 1024 * 1024).expect("32 MiB is not zero"),
        }
    }
}

impl Default for Protocols {
    fn default() -> Self {
        Self { grpc: Some(Grpc::default()), http: Some(Http::default()) }
    }
}

impl Default for Grpc {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, 4317)), tls: None }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self { endpoint: SocketAddr::from((Ipv4Addr::LOCALHOST, 4318)), tls: None }
    }
}

/// Reads a section that is there as soon as it is named, also with nothing in it.
fn named<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer).map(|it| Some(it.unwrap_or_default()))
}

impl component::Config for Config {
    fn validate(&self) -> Vec<InvalidSetting> {
        let Self { protocols: Protocols { grpc, http }, auth, max_request_size, max_in_flight } = self;
        let mut invalid = Vec::new();
        if grpc.is_none() && http.is_none() {
            invalid.push(InvalidSetting::new("protocols", "`grpc` or `http`, or both", "neither"));
        }
        let tls = [
            ("protocols.grpc.tls", grpc.as_ref().and_then(|it| it.tls.as_ref())),
            ("protocols.http.tls", http.as_ref().and_then(|it| it.tls.as_ref())),
        ];
        invalid.extend(tls.into_iter().filter_map(|(path, it)| Some(it?.validate(path))).flatten());
        invalid.extend(auth.iter().flat_map(|it| it.validate("auth")));
        if max_request_size.get() < MIN_REQUEST_SIZE {
            let expected = format!("at least {MIN_REQUEST_SIZE}");
            invalid.push(InvalidSetting::new("max_request_size", expected, max_request_size));
        }
        if max_in_flight < max_request_size {
            invalid.push(InvalidSetting::new("max_in_flight", "at least `max_request_size`", max_in_flight));
        }
        invalid
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use auth::ServerBearer;
    use tls::MinVersion;

    use super::*;

    /// The file sets every setting to something else than its default, so that a renamed setting is noticed.
    #[test]
    fn every_setting_can_be_set() {
        let config: Config = serde_saphyr::from_str(include_str!("../testdata/config.yaml")).unwrap();
        let tls = |name| ServerTls {
            cert_file: format!("/etc/ridley/{name}.pem").into(),
            key_file: format!("/etc/ridley/{name}.key").into(),
            client_ca_file: Some("/etc/ridley/clients.pem".into()),
            min_version: MinVersion::Tls13,
            reload_interval: Duration::from_mins(5),
        };
        let expected = Config {
            protocols: Protocols {
                grpc: Some(Grpc { endpoint: "0.0.0.0:14317".parse().unwrap(), tls: Some(tls("grpc")) }),
                http: Some(Http { endpoint: "[::1]:14318".parse().unwrap(), tls: Some(tls("http")) }),
            },
            auth: Some(ServerAuth {
                bearer: Some(ServerBearer {
                    tokens: vec!["first".into(), "second".into()],
                    filename: Some("/etc/ridley/tokens".into()),
                }),
                basic: None,
                reload_interval: Duration::from_mins(1),
            }),
            max_request_size: NonZeroUsize::new(1_048_576).unwrap(),
            max_in_flight: NonZeroUsize::new(8_388_608).unwrap(),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_form_is_taken_as_soon_as_it_is_named() {
        let protocols = |text: &str| serde_saphyr::from_str::<Config>(text).unwrap().protocols;
        let (grpc, http) = (Some(Grpc::default()), Some(Http::default()));
        assert_eq!(protocols("{}"), Protocols { grpc: grpc.clone(), http: http.clone() });
        assert_eq!(protocols("protocols: {grpc: }"), Protocols { grpc, http: None });
        assert_eq!(protocols("protocols: {http: {}}"), Protocols { grpc: None, http });
    }

    #[test]
    fn every_mistake_is_reported() {
        let paths = |text: &str| {
            let config: Config = serde_saphyr::from_str(text).unwrap();
            let invalid = component::Config::validate(&config);
            invalid.into_iter().map(|it| it.path).collect::<Vec<_>>()
        };
        let text = "{protocols: {}, auth: {}, max_request_size: 1000, max_in_flight: 10}";
        assert_eq!(paths(text), ["protocols", "auth", "max_request_size", "max_in_flight"]);
        let text = "{protocols: {http: {tls: {cert_file: '', key_file: a}}}}";
        assert_eq!(paths(text), ["protocols.http.tls.cert_file"]);
    }
}
