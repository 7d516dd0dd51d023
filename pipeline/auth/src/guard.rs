use std::{path::Path, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use component::{BoxError, Secret, Telemetry};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use tls::{Files, Watched};

use crate::{
    Htpasswd, ServerAuth, ServerBasic, ServerBearer,
    config::is_token,
    htpasswd::{InvalidLine, Users, has},
};

/// Lets in whoever says who it is.
#[derive(Debug)]
pub struct Guard {
    known: Watched<Arc<Known>>,
    challenge: HeaderValue,
}

#[derive(Debug)]
enum Known {
    Tokens(Vec<Secret>),
    Users(Users),
}

/// A file that lets in nobody.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error("line {number} of {path} is no token")]
    Token { number: usize, path: String },
    #[error("{path} names nobody")]
    Nobody { path: String },
    #[error("{path} is not text")]
    NoText { path: String },
    #[error("cannot use {path}")]
    Line { path: String, source: InvalidLine },
}

impl Guard {
    /// Returns whether the headers of a request say who may send. Costs as much for who may not.
    pub async fn admits(&self, headers: &HeaderMap) -> bool {
        let Some((scheme, given)) = headers.get(AUTHORIZATION).and_then(|it| split(it.as_bytes())) else {
            return false;
        };
        match &*self.known.current() {
            Known::Tokens(tokens) => scheme.eq_ignore_ascii_case(b"bearer") && has(tokens, given),
            Known::Users(users) => {
                let decoded = BASE64_STANDARD.decode(given).unwrap_or_default();
                let colon = decoded.iter().position(|it| *it == b':');
                match colon {
                    Some(idx) if scheme.eq_ignore_ascii_case(b"basic") => {
                        users.know(&decoded[..idx], &decoded[idx + 1..]).await
                    }
                    _ => false,
                }
            }
        }
    }

    /// Returns what who is not let in is told to say: the value of the header `www-authenticate`.
    pub const fn challenge(&self) -> &HeaderValue {
        &self.challenge
    }
}

impl ServerAuth {
    /// Makes the guard of a server, reading the files.
    ///
    /// # Errors
    ///
    /// A file is missing, or has not what it must have.
    pub fn guard(&self, telemetry: &Telemetry) -> Result<Guard, BoxError> {
        let Self { bearer, basic, reload_interval } = self.clone();
        let (file, challenge) = match (&bearer, &basic) {
            (Some(it), _) => (it.filename.clone(), HeaderValue::from_static("Bearer")),
            (None, it) => {
                let file = it.as_ref().and_then(|it| it.htpasswd.file.clone());
                (file, HeaderValue::from_static("Basic realm=\"ridley\", charset=\"UTF-8\""))
            }
        };
        let make = move |files: &Files| {
            Ok(Arc::new(match (&bearer, &basic) {
                (Some(ServerBearer { tokens, filename }), _) => {
                    let mut tokens = tokens.clone();
                    if let Some(path) = filename {
                        tokens.extend(tokens_of(path, files)?);
                    }
                    Known::Tokens(tokens)
                }
                (None, Some(ServerBasic { htpasswd: Htpasswd { file, inline } })) => {
                    let inline = inline.as_ref().map_or("", Secret::reveal);
                    let users = Users::read(inline)?;
                    match file {
                        Some(path) => Known::Users(users.and(users_of(path, files)?)),
                        None => Known::Users(users),
                    }
                }
                (None, None) => Known::Tokens(Vec::new()),
            }))
        };
        let known = Watched::open(Vec::from_iter(file), reload_interval, telemetry, make)?;
        Ok(Guard { known, challenge })
    }
}

fn split(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let blank = value.iter().position(|it| *it == b' ')?;
    Some((&value[..blank], value[blank..].trim_ascii()))
}

fn text<'a>(path: &Path, files: &'a Files) -> Result<&'a str, FileError> {
    str::from_utf8(files.of(path)).map_err(|_invalid| FileError::NoText { path: path.display().to_string() })
}

fn tokens_of(path: &Path, files: &Files) -> Result<Vec<Secret>, FileError> {
    let mut tokens = Vec::new();
    for (number, line) in (1..).zip(text(path, files)?.lines().map(str::trim)) {
        match line {
            "" => {}
            line if is_token(line) => tokens.push(line.into()),
            _ => return Err(FileError::Token { number, path: path.display().to_string() }),
        }
    }
    if tokens.is_empty() {
        return Err(FileError::Nobody { path: path.display().to_string() });
    }
    Ok(tokens)
}

fn users_of(path: &Path, files: &Files) -> Result<Users, FileError> {
    let line = |source| FileError::Line { path: path.display().to_string(), source };
    let users = Users::read(text(path, files)?).map_err(line)?;
    if users.is_empty() {
        return Err(FileError::Nobody { path: path.display().to_string() });
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use component::{ErrorChain, Kind, Registry};
    use tokio::time::advance;

    use super::*;
    use crate::{ClientAuth, ClientBasic, ClientBearer};

    #[tokio::test]
    async fn who_has_a_token_is_let_in() {
        let tokens = vec!["one".into(), "two".into()];
        let bearer = Some(ServerBearer { tokens, filename: None });
        let guard = ServerAuth { bearer, ..ServerAuth::default() }.guard(&telemetry()).unwrap();
        for (header, expected) in [
            (Some("Bearer one"), true),
            (Some("bearer   two "), true),
            (Some("Bearer three"), false),
            (Some("Bearer on"), false),
            (Some("Basic one"), false),
            (Some("Bearer"), false),
            (Some("Bearer "), false),
            (Some("one"), false),
            (None, false),
        ] {
            check(&guard, header, expected).await;
        }
        assert_eq!(guard.challenge(), "Bearer");
    }

    /// What a client says is what a server expects.
    #[tokio::test]
    async fn who_has_a_name_and_its_password_is_let_in() {
        let htpasswd = Htpasswd { file: None, inline: Some("ridley:pass:w\u{f6}rd".into()) };
        let server = ServerAuth { basic: Some(ServerBasic { htpasswd }), ..ServerAuth::default() };
        let guard = server.guard(&telemetry()).unwrap();
        for (username, password, expected) in
            [("ridley", "pass:w\u{f6}rd", true), ("ridley", "pass", false), ("else", "pass:w\u{f6}rd", false)]
        {
            let basic = ClientBasic {
                username: username.to_owned(),
                password: Some(password.into()),
                password_file: None,
            };
            let client = ClientAuth { basic: Some(basic), ..ClientAuth::default() };
            let header = client.credentials(&telemetry()).unwrap().header();
            check(&guard, Some(header.to_str().unwrap()), expected).await;
            assert!(header.is_sensitive());
        }
        for header in ["Basic !", "Basic cmlkbGV5", "Bearer cmlkbGV5OnBhc3M6d8O2cmQ="] {
            check(&guard, Some(header), false).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_and_users_in_files_are_those_that_they_have_now() {
        let folder = tempfile::tempdir().unwrap();
        let [tokens, users, token] = ["tokens", "users", "token"].map(|it| folder.path().join(it));
        fs::write(&tokens, "one\n\ntwo\n").unwrap();
        fs::write(&users, "a:one\n").unwrap();
        fs::write(&token, "two\n").unwrap();
        let bearer = Some(ServerBearer { tokens: Vec::new(), filename: Some(tokens.clone()) });
        let bearer = ServerAuth { bearer, ..ServerAuth::default() }.guard(&telemetry()).unwrap();
        let htpasswd = Htpasswd { file: Some(users.clone()), inline: None };
        let basic = ServerAuth { basic: Some(ServerBasic { htpasswd }), ..ServerAuth::default() };
        let basic = basic.guard(&telemetry()).unwrap();
        let client = Some(ClientBearer { token: None, filename: Some(token.clone()) });
        let client =
            ClientAuth { bearer: client, ..ClientAuth::default() }.credentials(&telemetry()).unwrap();
        assert_eq!(client.header(), "Bearer two");
        check(&bearer, Some("Bearer two"), true).await;
        check(&basic, Some("Basic YTpvbmU="), true).await;

        fs::write(&tokens, "three").unwrap();
        fs::write(&users, "b:two").unwrap();
        fs::write(&token, "three").unwrap();
        advance(Duration::from_secs(30)).await;
        assert_eq!(client.header(), "Bearer three");
        check(&bearer, Some("Bearer two"), false).await;
        check(&bearer, Some("Bearer three"), true).await;
        check(&basic, Some("Basic YTpvbmU="), false).await;

        // A file that is empty while it is written lets nobody out who was in.
        fs::write(&tokens, "").unwrap();
        advance(Duration::from_secs(30)).await;
        check(&bearer, Some("Bearer three"), true).await;
    }

    #[tokio::test]
    async fn files_that_let_in_nobody_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        for (contents, of_tokens, of_users) in [
            ("", "{} names nobody", "{} names nobody"),
            (
                "a:b\na b",
                "line 2 of {} is no token",
                "cannot use {}: expected `name:password` with a password \
              that is plain or encrypted by bcrypt (`htpasswd -B`), found no name or no password in line 2",
            ),
        ] {
            fs::write(&file, contents).unwrap();
            let bearer = Some(ServerBearer { tokens: Vec::new(), filename: Some(file.clone()) });
            let htpasswd = Htpasswd { file: Some(file.clone()), inline: None };
            for (auth, expected) in [
                (ServerAuth { bearer, ..ServerAuth::default() }, of_tokens),
                (ServerAuth { basic: Some(ServerBasic { htpasswd }), ..ServerAuth::default() }, of_users),
            ] {
                let error = auth.guard(&telemetry()).unwrap_err();
                let expected = expected.replace("{}", file.to_str().unwrap());
                assert_eq!(ErrorChain(&*error).to_string(), expected);
            }
        }
    }

    async fn check(guard: &Guard, header: Option<&str>, expected: bool) {
        let headers = header.map(|it| (AUTHORIZATION, HeaderValue::from_bytes(it.as_bytes()).unwrap()));
        assert_eq!(guard.admits(&headers.into_iter().collect()).await, expected, "{header:?}");
    }

    fn telemetry() -> Telemetry {
        Arc::new(Registry::default()).telemetry(Kind::Receiver, &"test".parse().unwrap())
    }
}
