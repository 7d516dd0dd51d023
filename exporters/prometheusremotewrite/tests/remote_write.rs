//! The exporter against a server that answers by a script.

mod decoder;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use component_test::{Compliance, Harness};
use model::{Batch, Metrics};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};
use prometheusremotewrite_exporter::factory;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use self::decoder::{Seen, read_v1, read_v2};

const DONE: &str = "HTTP/1.1 204 No Content\r\n";
const WRITTEN: &str = "X-Prometheus-Remote-Write-Samples-Written: ";
/// Nobody waits for long.
const SOON: &str = "retry_on_failure: {initial_interval: 10ms, max_interval: 10ms}\n";

/// Nobody listens there, and nothing is sent again.
#[tokio::test(start_paused = true)]
async fn complies() {
    Compliance::new(factory(), env!("CARGO_MANIFEST_DIR"))
        .settings("{endpoint: 'http://127.0.0.1:1/api/v1/write', retry_on_failure: {enabled: false}}")
        .free_form("headers")
        .free_form("external_labels")
        .input(points(3))
        .check()
        .await;
}

/// By the specification's section on the protocol.
#[tokio::test]
async fn version_1_is_sent_as_specified() {
    let settings = "headers: {x-scope-orgid: shop}\nexternal_labels: {cluster: east}\n";
    let run = Run::start(settings, |_attempt, _request| answer(DONE)).await;
    run.harness.send(points(2)).await;
    let (requests, ended) = run.finish().await;
    assert_eq!(requests.len(), 1);
    for (name, expected) in [
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("x-prometheus-remote-write-version", "0.1.0"),
        ("x-scope-orgid", "shop"),
    ] {
        assert_eq!(requests[0].header(name), Some(expected));
    }
    assert!(requests[0].header("user-agent").is_some_and(|it| it.starts_with("ridley/")));
    assert_eq!(requests[0].first_line, "POST /api/v1/write HTTP/1.1");
    let series: Vec<_> =
        requests[0].seen().samples.into_iter().map(|(series, value, _)| (series, value)).collect();
    assert!(series[0].0.starts_with("test_points_total{cluster=\"east\",instance="), "{series:?}");
    assert!(series[1].0.contains("n=\"1\""), "{series:?}");
    assert_eq!(ended, Ended { delivered: 2, sent: 2, ..Ended::default() });
}

#[tokio::test]
async fn version_2_is_sent_to_who_proves_to_take_it() {
    let run =
        Run::start("protocol: v2\n", |_attempt, _request| answer(&format!("{DONE}{WRITTEN}2\r\n"))).await;
    run.harness.send(points(2)).await;
    run.harness.send(points(2)).await;
    let (requests, ended) = run.finish().await;
    assert_eq!(requests.len(), 2);
    for request in requests {
        let content_type = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
        assert_eq!(request.header("content-type"), Some(content_type));
        assert_eq!(request.header("x-prometheus-remote-write-version"), Some("2.0.0"));
        assert_eq!(request.seen().samples.len(), 2);
    }
    assert_eq!(ended, Ended { delivered: 4, sent: 4, ..Ended::default() });
}

/// "2xx without any Written header" is of a receiver of version 1.0 that has read an empty request.
#[tokio::test]
async fn who_does_not_take_version_2_is_sent_version_1() {
    for refusal in [DONE, "HTTP/1.1 415 Unsupported Media Type\r\n"] {
        let run = Run::start("protocol: v2\n", move |_attempt, request| {
            answer(if request.is_v2() { refusal } else { DONE })
        })
        .await;
        run.harness.send(points(2)).await;
        run.harness.send(points(3)).await;
        let (requests, ended) = run.finish().await;
        let versions: Vec<_> = requests.iter().map(Sent::is_v2).collect();
        assert_eq!(versions, [true, false, false], "it is asked once");
        let n_samples: Vec<_> = requests.iter().map(|it| it.seen().samples.len()).collect();
        assert_eq!(n_samples, [2, 2, 3]);
        assert_eq!(ended, Ended { delivered: 5, sent: 5, ..Ended::default() });
    }
}

/// "4xx HTTP responses MUST NOT be retried" but for 429, and 5xx must.
#[tokio::test]
async fn codes_are_retried_as_specified() {
    for (code, is_retried) in
        [(400, false), (401, false), (404, false), (429, true), (500, true), (501, true), (503, true)]
    {
        let failure = format!("HTTP/1.1 {code} No\r\n");
        let run =
            Run::start(SOON, move |attempt, _request| answer(if attempt == 0 { &failure } else { DONE }))
                .await;
        run.harness.send(points(2)).await;
        let (requests, ended) = run.finish().await;
        let expected = match is_retried {
            true => (2, Ended { delivered: 2, sent: 2, ..Ended::default() }),
            false => (1, Ended { refused: 2, sent: 2, rejected_samples: 2, ..Ended::default() }),
        };
        assert_eq!((requests.len(), ended), expected, "{code}");
    }
}

/// What the server says after the code is for people, and cannot change what became of the request.
#[tokio::test]
async fn a_long_or_broken_answer_says_what_its_code_says() {
    let long = "x".repeat(100_000);
    let long = format!("Content-Length: 100000\r\n\r\n{long}");
    for rest in [long.as_str(), "Transfer-Encoding: chunked\r\n\r\nno chunk\r\n"] {
        for (begin, expected) in [
            (DONE, Ended { delivered: 2, sent: 2, ..Ended::default() }),
            ("HTTP/1.1 400 No\r\n", Ended { refused: 2, sent: 2, rejected_samples: 2, ..Ended::default() }),
        ] {
            let answer = format!("{}{rest}", begin.replace("204 No Content", "200 OK"));
            let run = Run::start(SOON, move |_attempt, _request| answer.clone()).await;
            run.harness.send(points(2)).await;
            let (requests, ended) = run.finish().await;
            assert_eq!((requests.len(), ended), (1, expected), "{begin}");
        }
    }
}

/// What the server has is not sent again: it would be older than what follows.
#[tokio::test]
async fn an_attempt_goes_on_where_the_one_before_failed() {
    let settings = format!("{SOON}max_batch_size_bytes: 1024\n");
    let run = Run::start(&settings, |attempt, _request| {
        answer(if attempt == 1 { "HTTP/1.1 503 Not now\r\n" } else { DONE })
    })
    .await;
    run.harness.send(points(30)).await;
    let (requests, ended) = run.finish().await;
    let sent: Vec<_> = requests.iter().map(Sent::seen).collect();
    assert!(sent.len() > 3, "{}", sent.len());
    assert_eq!(sent[1], sent[2], "sent again");
    let n_samples: usize = sent.iter().map(|it| it.samples.len()).sum();
    assert_eq!(n_samples - sent[1].samples.len(), 30);
    assert_eq!(ended, Ended { delivered: 30, sent: 30, ..Ended::default() });
}

/// One request of a batch that is refused does not cost the others.
#[tokio::test]
async fn what_is_refused_in_part_is_counted_in_part() {
    let run = Run::start("max_batch_size_bytes: 1024\n", |attempt, _request| {
        answer(if attempt == 1 { "HTTP/1.1 400 Out of order\r\n" } else { DONE })
    })
    .await;
    run.harness.send(points(30)).await;
    let (requests, ended) = run.finish().await;
    let lost = i64::try_from(requests[1].seen().samples.len()).unwrap();
    let expected =
        Ended { delivered: 30 - lost, rejected: lost, sent: 30, rejected_samples: lost, refused: 0 };
    assert_eq!(ended, expected);
}

/// "Partial write": the receiver tells how many it has written.
#[tokio::test]
async fn what_is_written_in_part_is_counted_in_part() {
    let run = Run::start("protocol: v2\n", |_attempt, _request| {
        answer(&format!("HTTP/1.1 400 Bad Request\r\n{WRITTEN}3\r\n"))
    })
    .await;
    run.harness.send(points(5)).await;
    let (requests, ended) = run.finish().await;
    assert_eq!(requests.len(), 1, "it is not sent again");
    assert_eq!(ended, Ended { delivered: 3, rejected: 2, sent: 5, rejected_samples: 2, refused: 0 });
}

/// An exporter with a server.
struct Run {
    harness: Harness,
    requests: Arc<Mutex<Vec<Sent>>>,
    server: AbortHandle,
}

/// What a server was sent.
#[derive(Clone, Debug)]
struct Sent {
    first_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What became of items and of samples.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ended {
    delivered: i64,
    refused: i64,
    rejected: i64,
    sent: i64,
    rejected_samples: i64,
}

impl Sent {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn is_v2(&self) -> bool {
        self.header("content-type").is_some_and(|it| it.contains("v2.Request"))
    }

    fn seen(&self) -> Seen {
        let message = snap::raw::Decoder::new().decompress_vec(&self.body).expect("a block of snappy");
        if self.is_v2() { read_v2(&message) } else { read_v1(&message) }
    }
}

impl Run {
    /// Starts both. `script` answers each request by its number.
    async fn start(settings: &str, script: impl Fn(usize, &Sent) -> String + Send + Sync + 'static) -> Self {
        let listener =
            TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("loopback has ports");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (Arc::new(script), Arc::clone(&requests));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (Arc::clone(&script), Arc::clone(&seen));
                tokio::spawn(serve(stream, move |sent: Sent| {
                    let mut seen = seen.lock().expect("no script panics");
                    let answer = script(seen.len(), &sent);
                    seen.push(sent);
                    answer
                }));
            }
        });
        let settings =
            format!("endpoint: http://{address}/api/v1/write\ntarget_info: {{enabled: false}}\n{settings}");
        Self { harness: Harness::start(&factory(), &settings).await, requests, server: server.abort_handle() }
    }

    async fn finish(self) -> (Vec<Sent>, Ended) {
        let outcome = self.harness.finish().await;
        self.server.abort();
        outcome.result.expect("the exporter ends well");
        let value = |name: &str, of: &[(&str, &str)]| component_test::value(&outcome.registry, name, of);
        let dropped = |reason: &str| value("ridley.dropped.items", &[("reason", reason)]);
        let ended = Ended {
            delivered: value("ridley.exporter.delivered.items", &[]),
            refused: dropped("refused"),
            rejected: dropped("rejected"),
            sent: value("ridley.prometheusremotewrite.sent.samples", &[]),
            rejected_samples: value("ridley.prometheusremotewrite.rejected.samples", &[]),
        };
        let Ended { delivered, refused, rejected, .. } = ended;
        assert_eq!(
            outcome.ledger.consumed,
            (delivered + refused + rejected).cast_unsigned(),
            "nothing is lost"
        );
        let requests = self.requests.lock().expect("no script panics").clone();
        (requests, ended)
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, mut answer: impl FnMut(Sent) -> String) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await.unwrap_or_default() == 0 {
                return;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let first_line = lines.remove(0);
        let headers: Vec<_> = lines
            .iter()
            .filter_map(|it| it.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let mut sent = Sent { first_line, headers, body: Vec::new() };
        let len = sent.header("content-length").and_then(|it| it.parse().ok()).expect("a length");
        sent.body.resize(len, 0);
        stream.read_exact(&mut sent.body).await.expect("a whole body");
        let answer = answer(sent);
        stream.write_all(answer.as_bytes()).await.expect("the exporter waits for it");
    }
}

/// Returns a whole answer of what it begins with.
fn answer(begin: &str) -> String {
    let length = if begin.contains(" 204 ") { "" } else { "Content-Length: 0\r\n" };
    format!("{begin}{length}\r\n")
}

/// Makes a batch of a counter with so many series, later than those before.
fn points(n: u64) -> Batch {
    static SECONDS: AtomicU64 = AtomicU64::new(1_700_000_000);
    let time = SECONDS.fetch_add(1, Ordering::Relaxed) * 1_000_000_000;
    let point = |n: u64| NumberDataPoint {
        attributes: vec![KeyValue {
            key: "n".to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue(n.to_string())) }),
            ..KeyValue::default()
        }],
        value: Some(number_data_point::Value::AsInt(1)),
        time_unix_nano: time,
        ..NumberDataPoint::default()
    };
    let data = Data::Sum(Sum {
        data_points: (0..n).map(point).collect(),
        is_monotonic: true,
        aggregation_temporality: 2,
    });
    let metric = Metric { name: "test.points".to_owned(), data: Some(data), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    Batch::Metrics(Metrics::new(vec![ResourceMetrics {
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    }]))
}
