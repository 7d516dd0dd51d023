use std::{path::PathBuf, time::Duration};

use component::{InvalidSetting, Secret};
use http::HeaderValue;
use serde::Deserialize;

use crate::htpasswd::Users;

/// Who the exporter says it is: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientAuth {
    /// By a token.
    pub bearer: Option<ClientBearer>,

    /// By a name and a password.
    pub basic: Option<ClientBasic>,

    /// How old what was read of files may be when a request is sent; then they are read again, and used if they have changed.
    /// `0s` for never.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// A token: written here, or in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientBearer {
    /// The token. It is not shown.
    pub token: Option<Secret>,

    /// File that has the token.
    pub filename: Option<PathBuf>,
}

/// A name and a password: written here, or in a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientBasic {
    /// The name.
    pub username: String,

    /// The password. It is not shown.
    #[serde(default)]
    pub password: Option<Secret>,

    /// File that has the password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// Who may send: whoever has one of the tokens, or whoever has a name and its password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerAuth {
    /// Whoever has a token.
    pub bearer: Option<ServerBearer>,

    /// Whoever has a name and its password.
    pub basic: Option<ServerBasic>,

    /// How old what was read of files may be when a request comes; then they are read again, and used if they have changed.
    /// `0s` for never.
    #[serde(with = "humantime_serde")]
    pub reload_interval: Duration,
}

/// Tokens: written here, in a file, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerBearer {
    /// The tokens. They are not shown.
    pub tokens: Vec<Secret>,

    /// File that has more, one in a line.
    pub filename: Option<PathBuf>,
}

/// Names and passwords.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerBasic {
    /// As the web server Apache has them: `name:password` in each line, the password encrypted by bcrypt (`htpasswd -B`), or
    /// plain.
    pub htpasswd: Htpasswd,
}

/// Where names and passwords are: here, in a file, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Htpasswd {
    /// File with a line for each who may send: `name:password`, the password encrypted by bcrypt (`htpasswd -B`), or plain.
    pub file: Option<PathBuf>,

    /// Such lines themselves; they are looked at before those of the file, and not shown.
    pub inline: Option<Secret>,
}

impl Default for ClientAuth {
    fn default() -> Self {
        Self { bearer: None, basic: None, reload_interval: Duration::from_secs(30) }
    }
}

impl Default for ServerAuth {
    fn default() -> Self {
        Self { bearer: None, basic: None, reload_interval: Duration::from_secs(30) }
    }
}

impl ClientAuth {
    /// Reports settings that cannot be used, `path` being where these are.
    pub fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { bearer, basic, reload_interval } = self;
        let mut invalid = Vec::from_iter(check_one(path, bearer.is_some(), basic.is_some()));
        if let Some(ClientBearer { token, filename }) = bearer {
            let path = format!("{path}.bearer");
            if token.is_some() == filename.is_some() {
                invalid.push(InvalidSetting::new(&path, "one of `token` and `filename`", "both, or neither"));
            }
            invalid.extend(token.as_ref().and_then(|it| check_token(&format!("{path}.token"), it)));
            let file = filename.as_deref();
            invalid.extend(file.and_then(|it| InvalidSetting::check_file(&format!("{path}.filename"), it)));
        }
        if let Some(ClientBasic { username, password, password_file }) = basic {
            let path = format!("{path}.basic");
            if password.is_some() == password_file.is_some() {
                let expected = "one of `password` and `password_file`";
                invalid.push(InvalidSetting::new(&path, expected, "both, or neither"));
            }
            if username.is_empty() || username.contains(|c: char| c == ':' || c.is_control()) {
                let expected = "a name without a colon";
                invalid.push(InvalidSetting::new(
                    format!("{path}.username"),
                    expected,
                    format!("{username:?}"),
                ));
            }
            let file = password_file.as_deref();
            let path = format!("{path}.password_file");
            invalid.extend(file.and_then(|it| InvalidSetting::check_file(&path, it)));
        }
        invalid.extend(tls::check_reload(path, *reload_interval));
        invalid
    }
}

impl ServerAuth {
    /// Reports settings that cannot be used, `path` being where these are.
    pub fn validate(&self, path: &str) -> Vec<InvalidSetting> {
        let Self { bearer, basic, reload_interval } = self;
        let mut invalid = Vec::from_iter(check_one(path, bearer.is_some(), basic.is_some()));
        if let Some(ServerBearer { tokens, filename }) = bearer {
            let path = format!("{path}.bearer");
            if tokens.is_empty() && filename.is_none() {
                invalid.push(InvalidSetting::new(&path, "`tokens` or `filename`", "neither"));
            }
            invalid.extend(tokens.iter().find_map(|it| check_token(&format!("{path}.tokens"), it)));
            let file = filename.as_deref();
            invalid.extend(file.and_then(|it| InvalidSetting::check_file(&format!("{path}.filename"), it)));
        }
        if let Some(ServerBasic { htpasswd: Htpasswd { file, inline } }) = basic {
            let path = format!("{path}.basic.htpasswd");
            if file.is_none() && inline.is_none() {
                invalid.push(InvalidSetting::new(&path, "`file` or `inline`", "neither"));
            }
            if let Some(inline) = inline
                && let Err(error) = Users::read(inline.reveal())
            {
                invalid.push(InvalidSetting::new(format!("{path}.inline"), error.expected(), error.found()));
            }
            let file = file.as_deref();
            invalid.extend(file.and_then(|it| InvalidSetting::check_file(&format!("{path}.file"), it)));
        }
        invalid.extend(tls::check_reload(path, *reload_interval));
        invalid
    }
}

fn check_one(path: &str, bearer: bool, basic: bool) -> Option<InvalidSetting> {
    let found = if bearer { "both" } else { "neither" };
    (bearer == basic).then(|| InvalidSetting::new(path, "one of `bearer` and `basic`", found))
}

fn check_token(path: &str, token: &Secret) -> Option<InvalidSetting> {
    let expected = "a text of letters, digits and signs without blanks";
    (!is_token(token.reveal())).then(|| InvalidSetting::new(path, expected, "another"))
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_graphic()) && HeaderValue::from_str(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_reported() {
        let user = |it: &str| ClientBasic {
            username: it.to_owned(),
            password: None,
            password_file: Some(PathBuf::new()),
        };
        let client = ClientAuth {
            bearer: Some(ClientBearer { token: Some("a b".into()), filename: Some("a".into()) }),
            basic: Some(user("a:b")),
            reload_interval: Duration::from_millis(1),
        };
        check(
            &client.validate("auth"),
            &[
                "auth: expected one of `bearer` and `basic`, found both",
                "auth.bearer: expected one of `token` and `filename`, found both, or neither",
                "auth.bearer.token: expected a text of letters, digits and signs without blanks, found another",
                "auth.basic.username: expected a name without a colon, found \"a:b\"",
                "auth.basic.password_file: expected the name of a file, found an empty text",
                "auth.reload_interval: expected at least 100ms, found 1ms",
            ],
        );
        let inline = Some("one:secret\ntwo:$apr1$secret".into());
        let htpasswd = Htpasswd { file: None, inline };
        let server =
            ServerAuth { basic: Some(ServerBasic { htpasswd }), bearer: None, ..ServerAuth::default() };
        check(
            &server.validate("auth"),
            &["auth.basic.htpasswd.inline: expected `name:password` with a password that is plain or \
                encrypted by bcrypt (`htpasswd -B`), found another encryption in line 2"],
        );
        let nobody = ServerAuth {
            bearer: Some(ServerBearer::default()),
            basic: Some(ServerBasic::default()),
            ..ServerAuth::default()
        };
        check(
            &nobody.validate("auth"),
            &[
                "auth: expected one of `bearer` and `basic`, found both",
                "auth.bearer: expected `tokens` or `filename`, found neither",
                "auth.basic.htpasswd: expected `file` or `inline`, found neither",
            ],
        );
        check(
            &ServerAuth::default().validate("auth"),
            &["auth: expected one of `bearer` and `basic`, found neither"],
        );
    }

    #[track_caller]
    fn check(found: &[InvalidSetting], expected: &[&str]) {
        let found: Vec<_> = found.iter().map(|it| format!("{}: {it}", it.path)).collect();
        assert_eq!(found, expected);
    }
}
