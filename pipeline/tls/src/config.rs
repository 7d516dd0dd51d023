use std::{path::PathBuf, time::Duration};

use component::InvalidSetting;
use rustls::pki_types::ServerName;
use serde::Deserialize;

/// Files are not looked at more often than this.
const MIN_RELOAD: Duration = Duration::from_millis(100);

/// Who a server must be, and who the exporter is for it, in the words of the OpenTelemetry Collector. For endpoints that begin
/// with `https`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientTls {
    /// File of the certificates (PEM) that a server's must be signed by. By default those that the system trusts.
    pub ca_file: Option<PathBuf>,

    /// File of the certificate (PEM) to show to the server, with those that sign it.
    pub cert_file: Option<PathBuf>,

    /// File of the private key (PEM) of `cert_file`.
    pub key_file: Option<PathBuf>,

    /// Whether any server is taken for the right one, whoever it is. Only to try something.
    pub insecure_skip_verify: bool,

    /// The name that the server's certificate must have, if it is not that of the endpoint.
    pub server_name_override: Option<String>,

    /// The oldest version of TLS that is spoken, in quotes.
    pub min_version: MinVersion,

    /// How old what was read of the files may be when a connection is made; then they are read again, and used if they have
    /// changed. `0s` for never.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// The certificate that a server shows, and who may connect to it, in the words of the OpenTelemetry Collector.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// File of the certificate (PEM) to show to clients, with those that sign it.
    pub cert_file: PathBuf,

    /// File of the private key (PEM) of `cert_file`.
    pub key_file: PathBuf,

    /// File of the certificates (PEM) that a client's must be signed by. If it is set, who has none is not let in.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,

    /// The oldest version of TLS that is spoken, in quotes.
    #[serde(default)]
    pub min_version: MinVersion,

    /// How old what was read of the files may be when a connection comes; then they are read again, and used if they have
    /// changed. `0s` for never.
    #[serde(default = "default_reload", with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MinVersion {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            ca_file: None,
            cert_file: None,
            key_file: None,
            insecure_skip_verify: false,
            server_name_override: None,
            min_version: MinVersion::Tls12,
            reload_interval: default_reload(),
        }
    }
}

const fn default_reload() -> Duration {
    Duration::from_secs(30)
}

impl ClientTls {
    /// Reports settings that cannot be used, `path` being where these are.
    pub fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self {
            ca_file,
            cert_file,
            key_file,
            insecure_skip_verify: _,
            server_name_override,
            min_version: _,
            reload_interval,
        } = self;
        let files = [("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)];
        let mut invalid: Vec<_> = files
            .into_iter()
            .filter_map(|(name, file)| {
                InvalidSetting::check_file(&format!("{path}.{name}"), file.as_deref()?)
            })
            .collect();
        if cert_file.is_some() != key_file.is_some() {
            invalid.push(InvalidSetting::new(path, "both of `cert_file` and `key_file`", "one of them"));
        }
        if let Some(name) = server_name_override
            && ServerName::try_from(name.as_str()).is_err()
        {
            let path = format!("{path}.server_name_override");
            invalid.push(InvalidSetting::new(path, "the name or address of a host", format!("{name:?}")));
        }
        invalid.extend(check_reload(path, *reload_interval));
        invalid
    }
}

impl ServerTls {
    /// Reports settings that cannot be used, `path` being where these are.
    pub fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { cert_file, key_file, client_ca_file, min_version: _, reload_interval } = self;
        let files = [
            ("cert_file", Some(cert_file)),
            ("key_file", Some(key_file)),
            ("client_ca_file", client_ca_file.as_ref()),
        ];
        let check = |(name, file): (&str, Option<&PathBuf>)| {
            InvalidSetting::check_file(&format!("{path}.{name}"), file?)
        };
        let mut invalid: Vec<_> = files.into_iter().filter_map(check).collect();
        invalid.extend(check_reload(path, *reload_interval));
        invalid
    }
}

/// Checks how often files are read again, `path` being where that is set.
pub fn check_reload(path: &str, interval: Duration) -> Option<InvalidSetting> {
    let allowed = MIN_RELOAD..=InvalidSetting::MAX_INTERVAL;
    let path = format!("{path}.reload_interval");
    if interval.is_zero() { None } else { InvalidSetting::check_duration(&path, interval, allowed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported() {
        let tls = ClientTls {
            ca_file: Some(PathBuf::new()),
            cert_file: Some("a".into()),
            server_name_override: Some("a b".to_owned()),
            reload_interval: Duration::from_millis(1),
            ..ClientTls::default()
        };
        let paths: Vec<_> = tls.validate("tls").into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["tls.ca_file", "tls", "tls.server_name_override", "tls.reload_interval"]);
        let never = ClientTls { reload_interval: Duration::ZERO, ..ClientTls::default() };
        assert_eq!(never.validate("tls"), []);
    }
}
