//! What exporters that send by HTTP have in common.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};
use component::{BoxError, InvalidSetting, Secret};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AUTHORIZATION, RETRY_AFTER},
};
use http_body::Body;
use http_body_util::BodyExt;

/// The most of an answer that is read: answers are short.
const MAX_ANSWER: usize = 64 << 10;

/// How much of a server's words is told.
const MAX_WORDS: usize = 200;

/// Reports headers that cannot be sent, `path` being where they are, and `auth` the setting that tells who sends, if it is set.
pub fn check_headers(
    path: &str,
    headers: &BTreeMap<String, Secret>,
    auth: Option<&str>,
) -> Vec<InvalidSetting> {
    let check = |(name, value): (&String, &Secret)| {
        if name.parse::<HeaderName>().is_err() {
            return Some(InvalidSetting::new(path, "names of headers", format!("{name:?}")));
        }
        let is_value = value.reveal().parse::<HeaderValue>().is_ok();
        let of_header = format!("{path}.{name}");
        (!is_value).then(|| InvalidSetting::new(of_header, "a text without control characters", "another"))
    };
    let mut invalid: Vec<_> = headers.iter().filter_map(check).collect();
    let says_who = |name: &String| name.eq_ignore_ascii_case(AUTHORIZATION.as_str());
    if let Some(auth) = auth.filter(|_| headers.keys().any(says_who)) {
        invalid.push(InvalidSetting::new(auth, "no header `authorization` beside it", "one"));
    }
    invalid
}

/// Returns headers as they are sent.
///
/// # Errors
///
/// One cannot be; [`check_headers`] tells which.
pub fn header_map(headers: &BTreeMap<String, Secret>) -> Result<HeaderMap, BoxError> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let mut value: HeaderValue = value.reveal().parse()?;
        value.set_sensitive(true);
        map.insert(name.parse::<HeaderName>()?, value);
    }
    Ok(map)
}

/// What a server that does not take a request says.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}{}{text}", if text.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// The code.
    pub status: StatusCode,
    /// Its words, if it has some.
    pub text: String,
}

/// Reads what a server says after its code, which alone tells what became of the request: what is too long is cut off, and of
/// what breaks off there is what has come.
pub async fn read_answer(mut body: impl Body<Data = Bytes> + Unpin) -> Bytes {
    let mut read = BytesMut::new();
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(data) = frame.into_data() else { continue };
        let left = MAX_ANSWER - read.len();
        read.extend_from_slice(&data[..data.len().min(left)]);
        if read.len() == MAX_ANSWER {
            break;
        }
    }
    read.freeze()
}

/// Returns a server's words as they can be shown.
pub fn words(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().filter(|it| !it.is_control()).take(MAX_WORDS).collect()
}

/// Reads for how long a server asks to be left alone: seconds, or a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "The client SHOULD honor the waiting interval specified in the "Retry-After" header if it is present."
    #[test]
    fn the_servers_pause_is_kept() {
        let wait = |text: &str| retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]));
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(wait(&later).is_some_and(|it| (95..=100).contains(&it.as_secs())));
    }

    #[test]
    fn headers_that_cannot_be_sent_are_reported() {
        let headers = [("a b", "c"), ("ok", "a\nb"), ("Authorization", "x")]
            .map(|(name, value)| (name.to_owned(), Secret::from(value)))
            .into();
        let paths: Vec<_> =
            check_headers("headers", &headers, Some("auth")).into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["headers", "headers.ok", "auth"]);
    }
}
