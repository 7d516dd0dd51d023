//! Requests over HTTP, as any client sends them.

use std::{io::Write, net::Ipv4Addr, time::Duration};

use bytes::Bytes;
use component_test::Harness;
use flate2::{Compression, write::GzEncoder};
use model::{Batch, Signal, Traces};
use tokio::task::{JoinHandle, spawn_blocking};

/// A resource with a scope with a span that has a name.
const SPAN: &[u8] = b"\x0a\x09\x12\x07\x12\x05\x2a\x03GET";

#[tokio::test]
async fn a_request_is_passed_on_as_it_came() {
    for (encoding, body) in
        [("identity", SPAN.to_vec()), ("gzip", gzip(SPAN)), ("zstd", zstd::bulk::compress(SPAN, 3).unwrap())]
    {
        let mut server = Server::start("").await;
        let answer = server.post("/v1/traces", "application/x-protobuf", encoding, body);
        let Some(Batch::Traces(traces)) = server.harness.recv().await else { panic!("{encoding}: no spans") };
        assert_eq!((traces.n_items(), payload(&traces)), (1, SPAN.into()), "{encoding}");
        assert_eq!(traces.peer(), Some(Ipv4Addr::LOCALHOST.into()), "who sent it");
        assert!(!answer.is_finished(), "it has not been let go of");
        drop(traces);
        assert_eq!(answer.await.unwrap(), Answer { status: 200, retry_after: None, message: String::new() });
        assert_eq!(server.harness.value("ridley.otlp.taken.requests", &[]), 1);
        assert_eq!(server.harness.value("ridley.otlp.in_flight.size", &[]), 0);
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_for_good() {
    let bomb = gzip(&vec![0; 1 << 20]);
    assert!(bomb.len() < 2_000, "it is small");
    let large = vec![0; 70_000];
    let (proto, json) = ("application/x-protobuf", "application/json");
    for (path, kind, encoding, body, status, reason, message) in [
        ("/v1/traces", proto, "identity", b"nonsense".to_vec(), 400, "malformed", "not a protobuf message"),
        ("/v1/logs", proto, "gzip", SPAN.to_vec(), 400, "unreadable", "cannot be decompressed"),
        ("/v1/logs", proto, "br", SPAN.to_vec(), 400, "unreadable", "`br` is none of gzip and zstd"),
        (
            "/v1/metrics",
            "text/plain",
            "identity",
            b"{}".to_vec(),
            415,
            "wrong_type",
            "neither application/x-protobuf",
        ),
        ("/v1/metrics", json, "identity", b"[1]".to_vec(), 400, "unreadable", "no JSON of OTLP"),
        ("/v1/metrics", proto, "identity", large, 413, "too_large", "`max_request_size`"),
        ("/v1/metrics", proto, "gzip", bomb, 413, "too_large", "`max_request_size`"),
    ] {
        let server = Server::start("max_request_size: 65536").await;
        let answer = server.post(path, kind, encoding, body).await.unwrap();
        assert_eq!((answer.status, answer.retry_after.as_ref()), (status, None), "{answer:?}");
        assert!(answer.message.contains(message), "{answer:?}");
        let refused = server.harness.value("ridley.otlp.refused.requests", &[("reason", reason)]);
        assert_eq!(refused, 1, "{reason}");
    }
}

/// "Trace and span ids are hexadecimal, 64 bit numbers are texts, keys are in lowerCamelCase, and unknown ones are ignored."
#[tokio::test]
async fn a_request_as_json_is_encoded() {
    let mut server = Server::start("").await;
    let json = br#"{"resourceSpans":[{"later":1,"scopeSpans":[{"spans":[{
        "traceId":"5b8efff798038103d269b633813fc60c","spanId":"EEE19B7EC3C1B174","name":"GET","kind":2,
        "startTimeUnixNano":"1544712660000000000","attributes":[{"key":"n","value":{"intValue":"-5"}}]}]}]}]}"#;
    let answer = server.post("/v1/traces", "application/json; charset=utf-8", "identity", json.to_vec());
    let Some(Batch::Traces(traces)) = server.harness.recv().await else { panic!("no spans") };
    let span = traces.decode().unwrap().resource_spans[0].scope_spans[0].spans[0].clone();
    assert_eq!(
        (span.name.as_str(), span.kind, span.start_time_unix_nano),
        ("GET", 2, 1_544_712_660_000_000_000)
    );
    assert_eq!(
        (span.trace_id[0], span.span_id),
        (0x5b, vec![0xee, 0xe1, 0x9b, 0x7e, 0xc3, 0xc1, 0xb1, 0x74])
    );
    assert_eq!(span.attributes[0].key, "n");
    drop(traces);
    let expected = Answer { status: 200, retry_after: None, message: "{}".to_owned() };
    assert_eq!(answer.await.unwrap(), expected);
}

#[tokio::test]
async fn nothing_is_taken_at_once() {
    let server = Server::start("").await;
    for (kind, body) in [
        ("application/x-protobuf", ""),
        ("application/json", "{}"),
        ("application/json", r#"{"resourceMetrics":[]}"#),
        ("application/json", r#"{"later":[{}]}"#),
    ] {
        for path in ["/v1/metrics", "/v1/traces", "/v1/logs"] {
            let answer = server.post(path, kind, "identity", body.into()).await.unwrap();
            assert_eq!(answer.status, 200, "a request without items has nothing to wait for: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_behind_it_can_refuse_for_now() {
    let mut server = Server::start("").await;
    let answer = server.post("/v1/traces", "application/x-protobuf", "identity", SPAN.to_vec());
    let batch = server.harness.recv().await.unwrap();
    batch.receipt().unwrap().refuse();
    drop(batch);
    let answer = answer.await.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("1")), "{answer:?}");
    assert_eq!(server.harness.value("ridley.otlp.refused.requests", &[("reason", "not_taken")]), 1);
}

/// Whoever keeps the bytes for later keeps their room, too.
#[tokio::test]
async fn what_has_no_room_is_refused_for_now() {
    let mut server = Server::start("{max_request_size: 65536, max_in_flight: 65536}").await;
    let body = [SPAN, &[0x0a, 0xf8, 0x9a, 0x03], &[0x12, 0].repeat(26_300)].concat();
    // And what it takes beside its bytes.
    let size = i64::try_from(body.len()).unwrap() + 512;
    let proto = "application/x-protobuf";
    let first = server.post("/v1/traces", proto, "identity", body.clone());
    let Some(Batch::Traces(traces)) = server.harness.recv().await else { panic!("no spans") };
    let space = traces.space().cloned();
    drop(traces);
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(server.harness.value("ridley.otlp.in_flight.size", &[]), size);
    let second = server.post("/v1/traces", proto, "identity", body.clone()).await.unwrap();
    assert_eq!((second.status, second.retry_after.as_deref()), (503, Some("1")), "{second:?}");
    drop(space);
    let third = server.post("/v1/traces", proto, "identity", body);
    drop(server.harness.recv().await);
    assert_eq!(third.await.unwrap().status, 200);
    assert_eq!(server.harness.value("ridley.otlp.refused.requests", &[("reason", "no_room")]), 1);
}

#[tokio::test]
async fn what_the_pipeline_does_not_take_is_refused_for_now() {
    let factory = otlp_receiver::factory();
    let harness = Harness::start_blocked(&factory, &settings("")).await;
    let server = Server { address: address(&harness), harness };
    let answer =
        server.post("/v1/traces", "application/x-protobuf", "identity", SPAN.to_vec()).await.unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref()), (503, Some("1")), "{answer:?}");
    assert_eq!(server.harness.value("ridley.otlp.refused.requests", &[("reason", "busy")]), 1);
}

#[tokio::test]
async fn requests_under_way_are_answered_at_the_end() {
    let mut server = Server::start("").await;
    let answer = server.post("/v1/logs", "application/x-protobuf", "identity", SPAN.to_vec());
    let batch = server.harness.recv().await.unwrap();
    assert_eq!(batch.signal(), Signal::Logs);
    server.harness.request_shutdown(Duration::from_secs(10));
    drop(batch);
    assert_eq!(answer.await.unwrap().status, 200);
    assert!(server.harness.finish().await.result.is_ok());
}

struct Server {
    harness: Harness,
    address: String,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    retry_after: Option<String>,
    message: String,
}

impl Server {
    async fn start(more: &str) -> Self {
        let harness = Harness::start(&otlp_receiver::factory(), &settings(more)).await;
        Self { address: address(&harness), harness }
    }

    fn post(&self, path: &str, kind: &str, encoding: &str, body: Vec<u8>) -> JoinHandle<Answer> {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let call = agent.post(format!("http://{}{path}", self.address));
        let call = call.header("Content-Type", kind).header("Content-Encoding", encoding);
        spawn_blocking(move || {
            let mut response = call.send(&body).expect("the server answers");
            let retry_after = response.headers().get("Retry-After");
            let retry_after = retry_after.map(|it| it.to_str().expect("a text").to_owned());
            let body = response.body_mut().read_to_vec().expect("an answer has a body");
            let message = String::from_utf8_lossy(&body).into_owned();
            Answer { status: response.status().as_u16(), retry_after, message }
        })
    }
}

fn settings(more: &str) -> String {
    let more = more.trim_start_matches('{').trim_end_matches('}');
    format!("{{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}, {more}}}")
}

/// Returns where it listens, as it tells users.
fn address(harness: &Harness) -> String {
    let notices = harness.notices();
    let notice = notices.iter().find_map(|it| it.strip_prefix("OTLP over HTTP at "));
    notice.expect("it tells where it listens").to_owned()
}

fn payload(traces: &Traces) -> Bytes {
    traces.encode(&Default::default())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("a vector grows");
    encoder.finish().expect("a vector grows")
}
