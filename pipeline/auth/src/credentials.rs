use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use component::{BoxError, Secret, Telemetry};
use http::HeaderValue;
use tls::{Files, Watched};

use crate::{ClientAuth, ClientBasic, ClientBearer, config::is_token};

/// What a request says of who sends it.
#[derive(Debug)]
pub struct Credentials(Watched<HeaderValue>);

/// A file that has no token, or no password.
#[derive(Debug, thiserror::Error)]
#[error("{path} has not one line of letters, digits and signs")]
struct NoSecret {
    path: String,
}

impl Credentials {
    /// Returns the value of the header `authorization`.
    pub fn header(&self) -> HeaderValue {
        self.0.current()
    }
}

impl ClientAuth {
    /// Makes what requests say, reading the files; nothing if nothing is set.
    ///
    /// # Errors
    ///
    /// A file is missing, or has not what it must have.
    pub fn credentials(&self, telemetry: &Telemetry) -> Result<Credentials, BoxError> {
        let Self { bearer, basic, reload_interval } = self.clone();
        let file = match (&bearer, &basic) {
            (Some(it), _) => it.filename.clone(),
            (None, Some(it)) => it.password_file.clone(),
            (None, None) => None,
        };
        let make = move |files: &Files| {
            let text = match (&bearer, &basic) {
                (Some(ClientBearer { token, filename }), _) => {
                    let token = secret(token.as_ref(), filename.as_deref(), files)?;
                    if !is_token(&token) {
                        let path =
                            filename.as_deref().map_or("`token`".into(), |it| it.display().to_string());
                        return Err(NoSecret { path }.into());
                    }
                    format!("Bearer {token}")
                }
                (None, Some(ClientBasic { username, password, password_file })) => {
                    let password = secret(password.as_ref(), password_file.as_deref(), files)?;
                    format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}")))
                }
                (None, None) => String::new(),
            };
            let mut value = HeaderValue::from_str(&text)?;
            value.set_sensitive(true);
            Ok(value)
        };
        Watched::open(Vec::from_iter(file), reload_interval, telemetry, make).map(Credentials)
    }
}

/// What is written, or what the file has without the end of its line.
fn secret(text: Option<&Secret>, file: Option<&Path>, files: &Files) -> Result<String, NoSecret> {
    if let Some(text) = text {
        return Ok(text.reveal().to_owned());
    }
    let Some(path) = file else { return Ok(String::new()) };
    match str::from_utf8(files.of(path)) {
        Ok(text) if !text.trim_end_matches(['\r', '\n']).is_empty() => {
            Ok(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        _ => Err(NoSecret { path: path.display().to_string() }),
    }
}
