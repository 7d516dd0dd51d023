use std::{
    io::{self, Write},
    time::Duration,
};

use auth::Credentials;
use bytes::Bytes;
use component::{BoxError, Telemetry};
use delivery::{Refusal, Request, Verdict, header_map, read_answer, retry_after, words};
use flate2::write::GzEncoder;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode, Uri,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use model::Signal;
use otlp_json::schema;
use prost::Message;
use tls::{Client, Versions};
use tokio::time::timeout;

use crate::{
    Compression, Config, Encoding,
    exporter::{carrier, taken},
};

/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;

const AGENT: HeaderValue = HeaderValue::from_static(concat!("ridley/", env!("CARGO_PKG_VERSION")));

/// Sends requests by OTLP/HTTP.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client<Full<Bytes>>,
    endpoint: String,
    headers: HeaderMap,
    encoding: Encoding,
    compression: Compression,
    timeout: Duration,
    credentials: Option<Credentials>,
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
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(config.encoding.content_type()));
        match config.compression {
            Compression::None => {}
            Compression::Gzip => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
            Compression::Zstd => drop(headers.insert(CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
        }
        headers.extend(header_map(&config.headers)?);
        Ok(Self {
            client: config.tls.client(Versions::Any, is_encrypted, telemetry)?,
            endpoint: config.endpoint.trim_end_matches('/').to_owned(),
            headers,
            encoding: config.encoding,
            compression: config.compression,
            timeout: config.timeout,
            credentials: config.auth.as_ref().map(|it| it.credentials(telemetry)).transpose()?,
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
        let body = match self.body(request) {
            Ok(body) => body,
            Err(error) => return Ok(Verdict::Refused(error)),
        };
        let mut post = http::Request::new(Full::new(body));
        *post.method_mut() = Method::POST;
        *post.uri_mut() = format!("{}/v1/{}", self.endpoint, carrier(request.signal)).parse()?;
        *post.headers_mut() = self.headers.clone();
        if let Some(credentials) = &self.credentials {
            post.headers_mut().insert(AUTHORIZATION, credentials.header());
        }
        let (parts, body) = self.client.request(post).await?.into_parts();
        let body = read_answer(body).await;
        if parts.status.is_success() {
            // Some servers answer with nothing, or in words.
            return Ok(taken(self.encoding.read(&schema::RESPONSE, &body).unwrap_or_default()));
        }
        let message = self.encoding.read(&schema::ERROR, &body);
        Ok(verdict(parts.status, &parts.headers, message, &body))
    }

    fn body(&self, request: &Request) -> Result<Bytes, BoxError> {
        let written = match (self.encoding, request.signal) {
            (Encoding::Proto, _) => request.payload.clone(),
            (Encoding::Json, signal) => otlp_json::to_json(message_of(signal), &request.payload)?.into(),
        };
        Ok(self.compress(&written)?)
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

fn message_of(signal: Signal) -> &'static schema::Message {
    match signal {
        Signal::Metrics => &schema::METRICS,
        Signal::Traces => &schema::TRACES,
        Signal::Flows | Signal::Logs => &schema::LOGS,
    }
}

impl Encoding {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Proto => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// Reads an answer, which is written as the request was; `None` if it is not.
    fn read<M: Message + Default>(self, message: &'static schema::Message, answer: &Bytes) -> Option<M> {
        match self {
            Self::Proto => M::decode(answer.clone()).ok(),
            Self::Json => M::decode(&*otlp_json::to_protobuf(message, answer).ok()?).ok(),
        }
    }
}

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#failures-1>
fn verdict(status: StatusCode, headers: &HeaderMap, message: Option<StatusMessage>, body: &Bytes) -> Verdict {
    let text = match message {
        Some(StatusMessage { message }) if !message.is_empty() => message,
        _ => words(body),
    };
    let error = Refusal { status, text }.into();
    match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Verdict::Failed { error, wait: retry_after(headers) },
        _ => Verdict::Refused(error),
    }
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
            let verdict = verdict(status, &HeaderMap::new(), None, &Bytes::new());
            let is_retried = matches!(verdict, Verdict::Failed { wait: None, .. });
            assert_eq!(is_retried, [429, 502, 503, 504].contains(&code), "{code}");
        }
    }

    #[test]
    fn a_refusal_says_what_the_server_said() {
        let message = StatusMessage { message: "no such tenant".to_owned() }.encode_to_vec();
        let json = br#"{"code":16,"message":"no such tenant","details":[{}]}"#;
        for (encoding, body, expected) in [
            (Encoding::Proto, message.as_slice(), "the server answered 401 Unauthorized: no such tenant"),
            (Encoding::Json, json, "the server answered 401 Unauthorized: no such tenant"),
            (Encoding::Proto, b"go away\n", "the server answered 401 Unauthorized: go away"),
            (Encoding::Json, b"go away\n", "the server answered 401 Unauthorized: go away"),
            (Encoding::Proto, b"", "the server answered 401 Unauthorized"),
        ] {
            let body = Bytes::copy_from_slice(body);
            let message = encoding.read(&schema::ERROR, &body);
            let verdict = verdict(StatusCode::UNAUTHORIZED, &HeaderMap::new(), message, &body);
            let Verdict::Refused(error) = verdict else { panic!("it is no refusal") };
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn a_server_says_what_it_did_not_take() {
        for json in [
            r#"{"partialSuccess":{"rejectedSpans":"2","errorMessage":"too old"}}"#,
            r#"{"partialSuccess":{"rejectedDataPoints":2,"errorMessage":"too old"}}"#,
            r#"{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}"#,
        ] {
            let response = Encoding::Json.read(&schema::RESPONSE, &Bytes::from(json)).unwrap();
            let Verdict::Taken { n_rejected, message } = taken(response) else { panic!("it was taken") };
            assert_eq!((n_rejected, message.as_str()), (2, "too old"), "{json}");
        }
    }
}
