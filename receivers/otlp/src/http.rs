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
    header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use model::Signal;
use otlp_json::schema;
use prost::Message;
use serde::Serialize;

use crate::{
    intake::{Intake, PAUSE, Refusal},
    server::Peer,
};

/// How a request is written, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    const ALL: [Self; 2] = [Self::Protobuf, Self::Json];

    const fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    fn of(headers: &HeaderMap) -> Option<Self> {
        let found = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        // Behind it may be parameters.
        let name = found.split(';').next().unwrap_or_default().trim();
        Self::ALL.into_iter().find(|it| name.eq_ignore_ascii_case(it.content_type()))
    }
}

/// `google.rpc.Status`, without code and details.
#[derive(Clone, PartialEq, Message, Serialize)]
struct StatusMessage {
    #[prost(string, tag = "2")]
    message: String,
}

pub(crate) fn router(intake: Arc<Intake>) -> Router {
    let mut router = Router::new();
    for signal in [Signal::Metrics, Signal::Traces, Signal::Logs] {
        let handler = move |State(intake): State<Arc<Intake>>, request: Request<Body>| async move {
            let form = Form::of(request.headers());
            answer(form, receive(&intake, signal, form, request).await)
        };
        router = router.route(&format!("/v1/{signal}"), post(handler));
    }
    router.with_state(intake)
}

async fn receive(
    intake: &Arc<Intake>,
    signal: Signal,
    form: Option<Form>,
    request: Request<Body>,
) -> Result<(), Refusal> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().map(|it| it.0);
    let read = async {
        intake.admit(&parts.headers).await?;
        let form = form.ok_or(Refusal::WrongType)?;
        let body = intake.read(body, 0).await?;
        let request = decompress(&parts.headers, body, intake.max_request_size)?;
        match form {
            Form::Protobuf => Ok(request),
            Form::Json => encoded(signal, &request),
        }
    };
    let request = read.await.inspect_err(|refusal| intake.instruments.refused(refusal))?;
    intake.take(signal, request, peer).await
}

/// Encodes a request that is written as JSON. What it says that this version does not know is lost.
fn encoded(signal: Signal, json: &[u8]) -> Result<Bytes, Refusal> {
    let message = match signal {
        Signal::Metrics => &schema::METRICS,
        Signal::Traces => &schema::TRACES,
        Signal::Logs => &schema::LOGS,
        Signal::Flows => return Err(Refusal::NoPipeline(signal)),
    };
    let encoded = otlp_json::to_protobuf(message, json);
    encoded.map(Bytes::from).map_err(|error| Refusal::Unreadable(format!("it is no JSON of OTLP: {error}")))
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
fn answer(form: Option<Form>, received: Result<(), Refusal>) -> Response {
    let form = form.unwrap_or(Form::Json);
    let content_type = [(CONTENT_TYPE, form.content_type())];
    let Err(refusal) = received else {
        // An answer without fields: everything was taken.
        let body = if form == Form::Json { "{}" } else { "" };
        return (content_type, body).into_response();
    };
    let status = match &refusal {
        Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
        Refusal::Malformed(_) | Refusal::Unreadable(_) => StatusCode::BAD_REQUEST,
        Refusal::WrongType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Refusal::Slow => StatusCode::REQUEST_TIMEOUT,
        Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::NoPipeline(_) => StatusCode::NOT_FOUND,
        Refusal::NoRoom | Refusal::Busy | Refusal::NotTaken => StatusCode::SERVICE_UNAVAILABLE,
    };
    let message = StatusMessage { message: refusal.to_string() };
    let body = match form {
        Form::Protobuf => message.encode_to_vec(),
        Form::Json => serde_json::to_vec(&message).unwrap_or_default(),
    };
    let mut response = (status, content_type, body).into_response();
    if let Refusal::Unauthenticated(challenge) = &refusal {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if refusal.is_for_now() {
        response.headers_mut().insert(RETRY_AFTER, PAUSE.as_secs().into());
    }
    response
}
