use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use component::{BoxError, Telemetry};
use delivery::{Request, Verdict};
use flate2::write::GzEncoder;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT},
};
use http_body_util::{BodyExt, Full, Limited};
use prost::Message;
use tls::{Client, Versions};
use tokio::time::timeout;

use crate::{
    Compression, Config,
    exporter::{Response, taken},
};

/// Answers are short; a longer one is none.
const MAX_ANSWER: usize = 64 << 10;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("ridley/", env!("CARGO_PKG_VERSION")));

/// Sends requests by OTLP/HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client<Full<Bytes>>,
    endpoint: String,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

/// What a server that does not take a request says.
#[derive(Debug, thiserror::Error)]
#[error("the server answered {status}{}{text}", if text.is_empty() { "" } else { ": " })]
struct Refusal {
    status: StatusCode,
    text: String,
}

/// The body of an answer that refuses a request: `google.rpc.Status`, without its details.
#[derive(Clone, PartialEq, Message)]
struct StatusMessage {
    #[prost(string, tag = "2")]
    message: String,
}

impl Http {
    pub(crate) fn new(config: &Config, telemetry: &Telemetry) -> Result<Self, BoxError> {
        let endpoint: Uri = config.endpoint.parse()?;
        let is_encrypted = endpoint.scheme() == Some(&http::uri::Scheme::HTTPS);
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, AGENT);
        headers.insert(CONTENT_TYPE, PROTOBUF);
        match config.compression {
            Compression::None => {}
            Compression::Gzip => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
            Compression::Zstd => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
        }
        for (name, value) in &config.headers {
            let mut value: HeaderValue = value.reveal().parse()?;
            value.set_sensitive(true);
            headers.insert(name.parse::<HeaderName>()?, value);
        }
        Ok(Self {
            client: config.tls.client(Versions::Any, is_encrypted, telemetry)?,
            endpoint: config.endpoint.trim_end_matches('/').to_owned(),
            headers,
            compression: config.compression,
            timeout: config.timeout,
        })
    }

    pub(crate) async fn send(&self, request: &Request) -> Verdict {
        match timeout(self.timeout, self.post(request)).await {
            Ok(verdict) => verdict.unwrap_or_else(|error| Verdict::Failed { error, wait: None }),
            Err(elapsed) => Verdict::Failed { error: elapsed.into(), wait: None },
        }
    }

    /// Fails if nobody knows what became of the request.
    async fn post(&self, request: &Request) -> Result<Verdict, BoxError> {
        let body = match self.compress(&request.payload) {
            Ok(body) => body,
            Err(error) => return Ok(Verdict::Refused(error.into())),
        };
        let mut post = http::Request::new(Full::new(body));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = format!("{}/v1/{}", self.endpoint, request.signal).parse()?;
        *post.headers_mut() = self.headers.clone();
        let (parts, body) = self.client.request(post).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        if parts.status.is_success() {
            // Some servers answer with nothing, or in words.
            return Ok(taken(Response::decode(body).unwrap_or_default()));
        }
        Ok(verdict(parts.status, &parts.headers, &body))
    }

    fn compress(&self, payload: &Bytes) -> io::Result<Bytes> {
        Ok(match self.compression {
            Compression::None => payload.clone(),
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(payload)?;
                encoder.finish()?.into()
            }
            Compression::Zstd => zstd::bulk::compress(payload, ZSTD_LEVEL)?.into(),
        })
    }
}

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#failures-1>
fn verdict(status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Verdict {
    let text = match StatusMessage::decode(body.clone()) {
        Ok(StatusMessage { message }) if !message.is_empty() => message,
        _ => String::from_utf8_lossy(body).trim().chars().filter(|it| !it.is_control()).take(200).collect(),
    };
    let error = Refusal { status, text }.into();
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => {
            Verdict::Failed { error, wait: headers.get(RETRY_AFTER).and_then(retry_after) }
        }
        _ => Verdict::Refused(error),
    }
}

/// Reads for how long a server asks to be left alone: seconds, or a date.
fn retry_after(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "The requests that receive a response status code listed in following table SHOULD be retried. All other `4xx` or
    /// `5xx` response status codes MUST NOT be retried."
    #[test]
    fn codes_are_retryable_as_specified() {
        for code in 300..600 {
            let status = StatusCode::from_u16(code).unwrap();
            let verdict = verdict(status, &HeaderMap::new(), &Bytes::new());
            let is_retried = matches!(verdict, Verdict::Failed { wait: None, .. });
            assert_eq!(is_retried, [429, 502, 503, 504].contains(&code), "{code}");
        }
    }

    /// "The client SHOULD honor the waiting interval specified in the "Retry-After" header if it is present."
    #[test]
    fn the_servers_pause_is_kept() {
        let wait = |text: &str| retry_after(&text.parse().unwrap());
        assert_eq!(wait("7"), Some(Duration::from_secs(7)));
        assert_eq!(wait("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        let later = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(100));
        assert!(wait(&later).is_some_and(|it| (95..=100).contains(&it.as_secs())));
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let message = StatusMessage { message: "no such tenant".to_owned() }.encode_to_vec();
        for (body, expected) in [
            (message.as_slice(), "the server answered 401 Unauthorized: no such tenant"),
            (b"go away\n", "the server answered 401 Unauthorized: go away"),
            (b"", "the server answered 401 Unauthorized"),
        ] {
            let body = Bytes::copy_from_slice(body);
            let Verdict::Refused(error) = verdict(StatusCode::UNAUTHORIZED, &HeaderMap::new(), &body) else {
                panic!("it is no refusal");
            };
            assert_eq!(error.to_string(), expected);
        }
    }
}
