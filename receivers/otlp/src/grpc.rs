//! Requests by OTLP/gRPC.

use std::{net::IpAddr, pin::Pin, sync::Arc};

use axum::{Router, body::Body, extract::State, routing::post};
use bytes::{Buf, Bytes};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use model::Signal;
use tonic::{
    Code, Status,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::UnaryService,
};
use tonic_types::{ErrorDetails, StatusExt};

use crate::{
    intake::{Intake, PAUSE, Refusal},
    server::Peer,
};

const GRPC_STATUS: &str = "grpc-status";
/// Bytes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;

pub(crate) fn router(intake: Arc<Intake>) -> Router {
    let mut router = Router::new();
    for (signal, service) in [
        (Signal::Metrics, "metrics.v1.MetricsService"),
        (Signal::Traces, "trace.v1.TraceService"),
        (Signal::Logs, "logs.v1.LogsService"),
    ] {
        let handler =
            move |State(intake): State<Arc<Intake>>, request: Request<Body>| receive(intake, signal, request);
        let path = format!("/opentelemetry.proto.collector.{service}/Export");
        router = router.route(&path, post(handler));
    }
    // The specification of gRPC has no other answer to a method that is not there.
    let unknown = async || Status::unimplemented("there is no such method").into_http::<Body>();
    router.fallback(unknown).with_state(intake)
}

async fn receive(intake: Arc<Intake>, signal: Signal, request: Request<Body>) -> Response<tonic::body::Body> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().map(|it| it.0);
    let read = async {
        intake.admit(&parts.headers).await?;
        intake.read(body, PREFIX).await
    };
    let body = match read.await {
        Ok(body) => body,
        Err(refusal) => {
            intake.instruments.refused(&refusal);
            return status(&refusal).into_http();
        }
    };
    let mut grpc = tonic::server::Grpc::new(Encoded)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .max_decoding_message_size(intake.max_request_size);
    let request = Request::from_parts(parts, Full::new(body));
    let mut response = grpc.unary(Export { intake, signal, peer }, request).await;
    // A message that is too large has a code that says to send it again.
    let too_large = HeaderValue::from(Code::OutOfRange as i32);
    if response.headers().get(GRPC_STATUS) == Some(&too_large) {
        response.headers_mut().insert(GRPC_STATUS, HeaderValue::from(Code::ResourceExhausted as i32));
    }
    response
}

struct Export {
    intake: Arc<Intake>,
    signal: Signal,
    peer: Option<IpAddr>,
}

impl UnaryService<Bytes> for Export {
    type Response = ();
    type Future = Pin<Box<dyn Future<Output = Result<tonic::Response<()>, Status>> + Send>>;

    fn call(&mut self, request: tonic::Request<Bytes>) -> Self::Future {
        let (intake, signal, peer) = (Arc::clone(&self.intake), self.signal, self.peer);
        Box::pin(async move {
            let taken = intake.take(signal, request.into_inner(), peer).await;
            taken.map(tonic::Response::new).map_err(|refusal| status(&refusal))
        })
    }
}

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#otlpgrpc-response>
fn status(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Unauthenticated(_) => Code::Unauthenticated,
        Refusal::Malformed(_) | Refusal::Unreadable(_) | Refusal::WrongType => Code::InvalidArgument,
        Refusal::Slow => Code::DeadlineExceeded,
        Refusal::TooLarge(_) => Code::ResourceExhausted,
        Refusal::NoPipeline(_) => Code::Unimplemented,
        Refusal::NoRoom | Refusal::Busy | Refusal::NotTaken => Code::Unavailable,
    };
    if refusal.is_for_now() {
        let details = ErrorDetails::with_retry_info(Some(PAUSE));
        return Status::with_error_details(code, refusal.to_string(), details);
    }
    Status::new(code, refusal.to_string())
}

/// Requests that stay encoded, and answers without fields.
struct Encoded;

impl Codec for Encoded {
    type Encode = ();
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
