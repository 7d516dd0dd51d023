//! Requests over gRPC, by a client that compresses or does not.

use std::net::Ipv4Addr;

use bytes::{Buf, BufMut, Bytes};
use component_test::Harness;
use http::{Uri, uri::PathAndQuery};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use model::{Batch, Signal};
use tokio::task::JoinHandle;
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_types::StatusExt;

/// A resource with a scope with a log record without anything.
const LOG: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];
const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

#[tokio::test]
async fn a_request_is_passed_on() {
    for compression in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut server = Server::start().await;
        let answer = server.call(LOGS, compression, LOG.to_vec());
        let batch = server.harness.recv().await.unwrap();
        assert_eq!((batch.signal(), batch.n_items()), (Signal::Logs, 1));
        let Batch::Logs(logs) = &batch else { unreachable!("it is of their signal") };
        assert_eq!(logs.peer(), Some(Ipv4Addr::LOCALHOST.into()), "who sent it");
        assert!(!answer.is_finished(), "it has not been let go of");
        drop(batch);
        assert_eq!(answer.await.unwrap().unwrap(), "", "an answer without fields");
    }
}

/// "If the server is overloaded [it] SHOULD signal that [by] UNAVAILABLE and MAY supply additional details via status using
/// RetryInfo".
#[tokio::test]
async fn what_is_refused_for_now_may_come_back_after_a_while() {
    let mut server = Server::start().await;
    let answer = server.call(LOGS, None, LOG.to_vec());
    let batch = server.harness.recv().await.unwrap();
    batch.receipt().unwrap().refuse();
    drop(batch);
    let status = answer.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let pause = status.get_details_retry_info().and_then(|it| it.retry_delay);
    assert_eq!(pause.map(|it| it.as_secs()), Some(1));
}

/// What is too large is so for good: a code that says to send it again would have it sent for ever.
#[tokio::test]
async fn what_is_refused_for_good_is_not_sent_again() {
    let zeros = |n| vec![0; n];
    let unknown = LOGS.replace("Export", "Import");
    for (path, compression, request, expected) in [
        (LOGS, None, zeros(70_000), Code::ResourceExhausted),
        (LOGS, Some(CompressionEncoding::Gzip), zeros(70_000), Code::ResourceExhausted),
        (LOGS, Some(CompressionEncoding::Zstd), zeros(100 << 20), Code::ResourceExhausted),
        (LOGS, None, b"nonsense".to_vec(), Code::InvalidArgument),
        (&unknown, None, LOG.to_vec(), Code::Unimplemented),
    ] {
        let server = Server::start().await;
        let status = server.call(path, compression, request).await.unwrap().unwrap_err();
        assert_eq!(status.code(), expected, "{status:?}");
        assert!(status.get_details_retry_info().is_none());
    }
}

struct Server {
    harness: Harness,
    origin: Uri,
}

impl Server {
    async fn start() -> Self {
        let settings = "{protocols: {grpc: {endpoint: '127.0.0.1:0'}}, max_request_size: 65536}";
        let harness = Harness::start(&otlp_receiver::factory(), settings).await;
        let notices = harness.notices();
        let address = notices.iter().find_map(|it| it.strip_prefix("OTLP over gRPC at "));
        let address = address.expect("it tells where it listens");
        Self { origin: format!("http://{address}").parse().expect("an address"), harness }
    }

    fn call(
        &self,
        path: &str,
        compression: Option<CompressionEncoding>,
        request: Vec<u8>,
    ) -> JoinHandle<Result<Bytes, Status>> {
        let client: Client<HttpConnector, Body> =
            Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let mut client = tonic::client::Grpc::with_origin(client, self.origin.clone());
        if let Some(compression) = compression {
            client = client.send_compressed(compression);
        }
        let path: PathAndQuery = path.parse().expect("a path");
        tokio::spawn(async move {
            client.ready().await.expect("it is always ready");
            client
                .unary(tonic::Request::new(request.into()), path, Plain)
                .await
                .map(tonic::Response::into_inner)
        })
    }
}

/// Messages as they are on the wire.
struct Plain;

impl Codec for Plain {
    type Encode = Bytes;
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

impl Encoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
