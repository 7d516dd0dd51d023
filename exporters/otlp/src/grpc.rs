use std::{error::Error, time::Duration};

use auth::Credentials;
use bytes::{Buf, BufMut, Bytes};
use component::{BoxError, Telemetry};
use delivery::{Request, Verdict, header_map};
use http::{HeaderMap, Uri, header::AUTHORIZATION, uri::PathAndQuery};
use model::Signal;
use prost::Message;
use tls::{Client, Versions};
use tokio::time::timeout;
use tonic::{
    Code, Extensions, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
    metadata::MetadataMap,
};
use tonic_types::StatusExt;

use crate::{
    Compression, Config,
    exporter::{Response, taken},
};

/// Sends requests by OTLP/gRPC.
#[derive(Debug)]
pub(crate) struct Grpc {
    client: tonic::client::Grpc<Client<Body>>,
    headers: HeaderMap,
    timeout: Duration,
    credentials: Option<Credentials>,
}

impl Grpc {
    pub(crate) fn new(config: &Config, telemetry: &Telemetry) -> Result<Self, BoxError> {
        let endpoint: Uri = config.endpoint.parse()?;
        let is_encrypted = endpoint.scheme() == Some(&http::uri::Scheme::HTTPS);
        let client = config.tls.client(Versions::Two, is_encrypted, telemetry)?;
        let mut client = tonic::client::Grpc::with_origin(client, endpoint);
        match config.compression {
            Compression::None => {}
            Compression::Gzip => client = client.send_compressed(CompressionEncoding::Gzip),
            Compression::Zstd => client = client.send_compressed(CompressionEncoding::Zstd),
        }
        // Servers answer in the way that they are asked.
        client =
            client.accept_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Zstd);
        Ok(Self {
            client,
            headers: header_map(&config.headers)?,
            timeout: config.timeout,
            credentials: config.auth.as_ref().map(|it| it.credentials(telemetry)).transpose()?,
        })
    }

    pub(crate) async fn send(&self, request: &Request) -> Verdict {
        let mut client = self.client.clone();
        let export = async {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            let mut headers = self.headers.clone();
            if let Some(credentials) = &self.credentials {
                headers.insert(AUTHORIZATION, credentials.header());
            }
            let mut call = tonic::Request::from_parts(
                MetadataMap::from_headers(headers),
                Extensions::default(),
                request.payload.clone(),
            );
            call.set_timeout(self.timeout);
            client.unary(call, path(request.signal), Encoded).await
        };
        match timeout(self.timeout, export).await {
            Ok(Ok(response)) => taken(response.into_inner()),
            Ok(Err(status)) => verdict(status),
            Err(elapsed) => Verdict::Failed { error: elapsed.into(), wait: None },
        }
    }
}

fn path(signal: Signal) -> PathAndQuery {
    PathAndQuery::from_static(match signal {
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Flows | Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    })
}

/// <https://github.com/open-telemetry/opentelemetry-proto/blob/v1.9.0/docs/specification.md#failures>
fn verdict(status: Status) -> Verdict {
    // What has a cause here is not what the server said: there was no connection, or it broke.
    if status.source().is_some() {
        return Verdict::Failed { error: status.into(), wait: None };
    }
    let wait = status.get_details_retry_info().and_then(|it| it.retry_delay);
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Verdict::Failed { error: status.into(), wait },
        Code::ResourceExhausted if wait.is_some() => Verdict::Failed { error: status.into(), wait },
        _ => Verdict::Refused(status.into()),
    }
}

/// Requests that are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = Response;
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
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, request: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(request);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Response;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Response>, Status> {
        let response = Response::decode(from.copy_to_bytes(from.remaining()));
        response.map(Some).map_err(|error| Status::internal(format!("not an answer of OTLP: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    /// "The client SHOULD interpret gRPC status codes as retryable or not-retryable according to the following table".
    #[test]
    fn codes_are_retryable_as_specified() {
        let retryable = [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ];
        for code in (1..=16).map(Code::from_i32) {
            let is_retried = matches!(verdict(Status::new(code, "")), Verdict::Failed { wait: None, .. });
            assert_eq!(is_retried, retryable.contains(&code), "{code:?}");
        }
    }

    /// "If the client is unable to connect to the server, the client SHOULD retry the connection".
    #[test]
    fn no_answer_is_no_refusal() {
        let status =
            Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)));
        assert_eq!(status.code(), Code::Unknown);
        assert!(matches!(verdict(status), Verdict::Failed { wait: None, .. }));
    }

    /// "RESOURCE_EXHAUSTED: Only if the server can recover (see below)", which it says by `RetryInfo`.
    #[test]
    fn the_servers_pause_is_kept() {
        let pause = Duration::from_millis(1_500);
        for code in [Code::ResourceExhausted, Code::Unavailable] {
            let status = Status::with_error_details(code, "", ErrorDetails::with_retry_info(Some(pause)));
            let verdict = verdict(status);
            assert!(
                matches!(verdict, Verdict::Failed { wait: Some(wait), .. } if wait == pause),
                "{verdict:?}"
            );
        }
    }
}
