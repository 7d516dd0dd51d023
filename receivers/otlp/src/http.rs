//! Requests by OTLP/HTTP.

use std::{
    io::{self, Read},
    sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};
use model::Signal;
use prost::Message;

use crate::intake::{Intake, PAUSE, Refusal};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// `google.rpc.Status`, without code and details.
#[derive(Clone, PartialEq, Message)]
struct StatusMessage {
    #[prost(string, tag = "2")]
    message: String,
}

pub(crate) fn router(intake: Arc<Intake>) -> Router {
    let mut router = Router::new();
    for signal in [Signal::Metrics, Signal::Traces, Signal::Logs] {
        let handler = move |State(intake): State<Arc<Intake>>, request: Request<Body>| async move {
            answer(receive(&intake, signal, request).await)
        };
        router = router.route(&format!("/v1/{signal}"), post(handler));
    }
    router.with_state(intake)
}

async fn receive(intake: &Arc<Intake>, signal: Signal, request: Request<Body>) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    let read = async {
        let is_protobuf = |it: &HeaderValue| it.as_bytes().starts_with(PROTOBUF.as_bytes());
        if !parts.headers.get(CONTENT_TYPE).is_some_and(is_protobuf) {
            return Err(Refusal::WrongType);
        }
        let body = intake.read(body, 0).await?;
        decompress(&parts.headers, body, intake.max_request_size)
    };
    let request = read.await.inspect_err(|refusal| intake.instruments.refused(refusal))?;
    intake.take(signal, request).await
}

fn decompress(headers: &HeaderMap, body: Bytes, max: usize) -> Result<Bytes, Refusal> {
    let read = |compressed: &mut dyn Read| {
        let mut request = Vec::new();
        // One byte more than it may have tells that it has too many, and no room is made for more.
        let n_read = compressed.take(max as u64 + 1).read_to_end(&mut request);
        match n_read {
            Ok(n) if n > max => Err(Refusal::TooLarge(max)),
            Ok(_) => Ok(request.into()),
            Err(error) => Err(unreadable(&error)),
        }
    };
    match headers.get(CONTENT_ENCODING).map_or(b"identity".as_slice(), HeaderValue::as_bytes) {
        b"identity" => Ok(body),
        b"gzip" => read(&mut MultiGzDecoder::new(&*body)),
        b"zstd" => read(&mut zstd::Decoder::new(&*body).map_err(|error| unreadable(&error))?),
        other => Err(Refusal::Unreadable(format!(
            "the content encoding `{}` is none of gzip and zstd",
            String::from_utf8_lossy(other)
        ))),
    }
}

fn unreadable(error: &io::Error) -> Refusal {
    Refusal::Unreadable(format!("it cannot be decompressed: {error}"))
}

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#otlphttp-response>
fn answer(received: Result<(), Refusal>) -> Response {
    let Err(refusal) = received else {
        // An answer without fields: everything was taken.
        return ([(CONTENT_TYPE, PROTOBUF)], Bytes::new()).into_response();
    };
    let status = match &refusal {
        Refusal::Malformed(_) | Refusal::Unreadable(_) => StatusCode::BAD_REQUEST,
        Refusal::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::NoPipeline(_) => StatusCode::NOT_FOUND,
        Refusal::NoRoom | Refusal::Busy | Refusal::NotTaken => StatusCode::SERVICE_UNAVAILABLE,
    };
    let body = StatusMessage { message: refusal.to_string() }.encode_to_vec();
    let mut response = (status, [(CONTENT_TYPE, PROTOBUF)], body).into_response();
    if refusal.is_for_now() {
        response.headers_mut().insert(RETRY_AFTER, PAUSE.as_secs().into());
    }
    response
}
