//! The exporter through real sockets.

use std::{io::Read, net::SocketAddr, time::Duration};

use component::ErrorChain;
use component_test::{Compliance, Harness};
use flate2::read::GzDecoder;
use model::{Batch, Metrics};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};
use prometheus_exporter::factory;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{self, Instant},
};

const ANY_PORT: &str = "endpoint: 127.0.0.1:0\n";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                           text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

#[tokio::test(start_paused = true)]
async fn the_exporter_does_what_every_component_does() {
    Compliance::new(factory(), env!("CARGO_MANIFEST_DIR"))
        .settings(ANY_PORT)
        .input(counters(&[("a", 1), ("b", 2)]))
        .check()
        .await;
}

#[tokio::test]
async fn a_scrape_shows_what_was_sent() {
    let (harness, address) = start("").await;
    harness.send(counters(&[("ridley.link.bytes", 7)])).await;
    taken(&harness, 1).await;
    let answer = get(address, "/metrics", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("content-encoding"), None);
    assert!(answer.text().contains("\n# TYPE ridley_link_bytes_total counter\nridley_link_bytes_total 7\n"));
}

#[tokio::test]
async fn prometheus_gets_compressed_openmetrics() {
    let (harness, address) = start("").await;
    harness.send(counters(&[("ridley.link.bytes", 7)])).await;
    taken(&harness, 1).await;
    let headers = [("accept", OPENMETRICS), ("accept-encoding", "gzip")];
    let answer = get(address, "/metrics", &headers).await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.header("vary"), Some("Accept, Accept-Encoding"));
    let mut text = String::new();
    GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    assert!(text.contains("\n# TYPE ridley_link_bytes counter\nridley_link_bytes_total 7\n"), "{text}");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
}

/// The agent's own health is scraped with the rest.
#[tokio::test]
async fn the_process_shows_its_own_telemetry() {
    let (harness, address) = start("").await;
    harness.send(counters(&[("a", 1), ("b", 2)])).await;
    taken(&harness, 2).await;
    let text = get(address, "/metrics", &[]).await.text();
    let consumed = "otelcol_exporter_consumed_items_total{otelcol_component_id=\"prometheus\",\
                    otelcol_component_kind=\"exporter\"} 2\n";
    assert!(text.contains(consumed), "{text}");
    assert!(text.contains("reason=\"max_series\"} 0\n"), "{text}");
}

/// An answer of many pieces arrives whole, compressed or not.
#[tokio::test]
async fn a_large_answer_is_complete() {
    let (harness, address) = start("").await;
    let names: Vec<String> = (0..10_000).map(|n| format!("a.metric.with.number.{n}")).collect();
    let points: Vec<(&str, i64)> = names.iter().map(|it| (it.as_str(), 1)).collect();
    harness.send(counters(&points)).await;
    taken(&harness, 10_000).await;
    let plain = get(address, "/metrics", &[]).await.text();
    let packed = get(address, "/metrics", &[("accept-encoding", "gzip")]).await;
    let mut unpacked = String::new();
    GzDecoder::new(packed.body.as_slice()).read_to_string(&mut unpacked).unwrap();
    for text in [plain, unpacked] {
        assert_eq!(text.lines().filter(|it| it.starts_with("a_metric_with_number_")).count(), 10_000);
    }
}

/// However many points a metric has, and however many are taken in at once, none is missed.
#[tokio::test]
async fn a_metric_with_many_points_is_taken_whole() {
    let (harness, address) = start("").await;
    let Batch::Metrics(metrics) = counters(&[("a", 1)]) else { panic!("metrics") };
    let mut resource_metrics = metrics.decode().unwrap().resource_metrics.clone();
    if let Some(Data::Sum(sum)) = &mut resource_metrics[0].scope_metrics[0].metrics[0].data {
        let point = sum.data_points[0].clone();
        let of =
            |n: u32| NumberDataPoint { attributes: vec![attribute("n", &n.to_string())], ..point.clone() };
        sum.data_points = (0..2_500).map(of).collect();
    }
    harness.send(Batch::Metrics(Metrics::new(resource_metrics))).await;
    taken(&harness, 2_500).await;
    let text = get(address, "/metrics", &[]).await.text();
    assert_eq!(text.lines().filter(|it| it.starts_with("a_total{")).count(), 2_500);
}

#[tokio::test(start_paused = true)]
async fn series_that_have_expired_are_forgotten_without_a_scrape() {
    let (harness, _address) = start("metric_expiration: 8s").await;
    harness.send(counters(&[("a", 1)])).await;
    taken(&harness, 1).await;
    let started = Instant::now();
    while harness.value("ridley.prometheus.series", &[]) > 0 {
        time::sleep(Duration::from_millis(100)).await;
        assert!(started.elapsed() < Duration::from_secs(60), "the series is still held");
    }
    assert!((7..=11).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// One client that does not read its answer keeps nobody else from theirs.
#[tokio::test]
async fn a_client_that_does_not_read_disturbs_nobody() {
    let (harness, address) = start("").await;
    let names: Vec<String> = (0..50_000).map(|n| format!("a.metric.with.number.{n}")).collect();
    let points: Vec<(&str, i64)> = names.iter().map(|it| (it.as_str(), 1)).collect();
    harness.send(counters(&points)).await;
    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    taken(&harness, 50_000).await;
    harness.send(counters(&[("later", 1)])).await;
    taken(&harness, 50_001).await;
    assert!(get(address, "/metrics", &[]).await.text().contains("\nlater_total 1\n"));
}

#[tokio::test]
async fn a_head_request_has_the_headers_and_is_no_scrape() {
    let (harness, address) = start("").await;
    let answer = request(address, "HEAD", "/metrics", &[("accept", OPENMETRICS)]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    // That of the answer to `GET`, or none.
    assert_eq!(answer.header("content-length"), None);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert_eq!(harness.value("ridley.prometheus.scrapes", &[]), 0);
}

#[tokio::test]
async fn other_paths_say_where_the_metrics_are() {
    let (_harness, address) = start("").await;
    let answer = get(address, "/metric", &[]).await;
    assert_eq!((answer.status, answer.text().contains("/metrics")), (404, true));
    let answer = get(address, "/", &[]).await;
    assert_eq!((answer.status, answer.text().contains("href=\"/metrics\"")), (200, true));
    assert_eq!(get(address, "/-/healthy", &[]).await.text(), "ok\n");
    assert_eq!(request(address, "POST", "/metrics", &[]).await.status, 405);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_setting() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let error = Harness::try_start(&factory(), &format!("endpoint: {address}")).await.unwrap_err();
    let message = ErrorChain(&*error).to_string();
    let expected =
        format!("cannot listen on {address}; set `exporters.prometheus.endpoint` to a free address: ");
    assert!(message.starts_with(&expected), "{message}");
}

/// Resource attributes identify series and are shown once, as `target_info`; scopes only if wanted.
#[tokio::test]
async fn resources_and_scopes_become_labels() {
    let (harness, address) = start("without_scope_info: false").await;
    let Batch::Metrics(metrics) = counters(&[("requests", 3)]) else { panic!("metrics") };
    let mut resource_metrics = metrics.decode().unwrap().resource_metrics.clone();
    let attributes = [
        ("service.name", "api"),
        ("service.namespace", "shop"),
        ("service.instance.id", "i-1"),
        ("host.name", "node-1"),
    ];
    resource_metrics[0].resource = Some(Resource {
        attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        ..Default::default()
    });
    resource_metrics[0].scope_metrics[0].scope = Some(InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.2".to_owned(),
        ..Default::default()
    });
    harness.send(Batch::Metrics(Metrics::new(resource_metrics))).await;
    taken(&harness, 1).await;
    let text = get(address, "/metrics", &[]).await.text();
    let series = "\nrequests_total{instance=\"i-1\",job=\"shop/api\",otel_scope_name=\"lib\",otel_scope_version=\"1.2\"} 3\n";
    assert!(text.contains(series), "{text}");
    assert!(
        text.contains("\ntarget_info{host_name=\"node-1\",instance=\"i-1\",job=\"shop/api\"} 1\n"),
        "{text}"
    );
}

/// Whoever scrapes regularly gets the totals of the last moment before the exporter ends.
#[tokio::test]
async fn the_last_totals_are_scraped_before_the_end() {
    let (harness, address) = start("final_scrape_wait: 30s").await;
    harness.send(counters(&[("a", 1)])).await;
    taken(&harness, 1).await;
    get(address, "/metrics", &[]).await;
    harness.send(counters(&[("a", 2)])).await;
    let registry = harness.registry().clone();
    let ending = tokio::spawn(harness.finish());
    // The last scrape must begin after the input has ended, which the last item taken comes just before.
    while component_test::value(&registry, "otelcol.exporter.consumed.items", &[]) < 2 {
        time::sleep(Duration::from_millis(1)).await;
    }
    let started = Instant::now();
    let mut last = String::new();
    while !ending.is_finished() && started.elapsed() < Duration::from_secs(10) {
        if let Some(answer) = try_request(address, "GET", "/metrics", &[]).await {
            last = answer.text();
        }
        time::sleep(Duration::from_millis(10)).await;
    }
    ending.await.unwrap().result.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10), "it ends once it was scraped");
    assert!(last.contains("\na_total 2\n"), "{last}");
}

/// Without a scraper nobody waits for one.
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_a_scraper_that_never_came() {
    let started = Instant::now();
    let (harness, _address) = start("final_scrape_wait: 30s").await;
    harness.finish().await.result.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_the_last_scrape_is_limited() {
    let (harness, address) = start("final_scrape_wait: 30s").await;
    get(address, "/metrics", &[]).await;
    let started = Instant::now();
    harness.finish().await.result.unwrap();
    assert!((30..35).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_shutdown_ends_the_wait() {
    let (harness, address) = start("final_scrape_wait: 30s").await;
    get(address, "/metrics", &[]).await;
    let started = Instant::now();
    harness.request_shutdown(Duration::from_secs(3));
    harness.finish().await.result.unwrap();
    assert!((2..5).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// Connections that send nothing, or never finish their request, do not stay.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_ask_is_cut_off() {
    let (_harness, address) = start("").await;
    for beginning in ["", "GET /metrics HTTP/1.1\r\nhost: x\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(beginning.as_bytes()).await.unwrap();
        let started = Instant::now();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(20), "{beginning:?}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused() {
    let (_harness, address) = start("").await;
    let large = "x".repeat(64 * 1024);
    assert_eq!(
        try_request(address, "GET", "/metrics", &[("large", &large)]).await.map(|it| it.status),
        Some(431)
    );
}

#[tokio::test]
async fn the_number_of_connections_is_limited() {
    let (harness, address) = start("").await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let is_over = || {
        let closed = harness.value("ridley.prometheus.closed.connections", &[("reason", "idle")]);
        let open = harness.value("ridley.prometheus.connections", &[]);
        assert!(open <= 32, "{open} connections");
        (closed, open) == (8, 32)
    };
    let started = Instant::now();
    while !is_over() {
        time::sleep(Duration::from_millis(1)).await;
        assert!(started.elapsed() < Duration::from_secs(10), "there are not 32 connections");
    }
    // Those that were silent for longest have gone.
    for stream in &mut idle[..8] {
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    assert_eq!(get(address, "/metrics", &[]).await.status, 200);
}

/// A connection that is used again and again ends some time, so that no client holds one for ever.
#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_for_ever() {
    let (_harness, address) = start("").await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let started = Instant::now();
    loop {
        if stream.write_all(b"GET /-/healthy HTTP/1.1\r\nhost: x\r\n\r\n").await.is_err() {
            break;
        }
        let mut answer = [0; 1024];
        if stream.read(&mut answer).await.unwrap_or(0) == 0 {
            break;
        }
        time::sleep(Duration::from_secs(5)).await;
        assert!(started.elapsed() < Duration::from_secs(600), "the connection is still there");
    }
    assert!((115..=130).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
}

/// However many connect and ask for nothing, a scraper has its turn at once.
#[tokio::test]
async fn idle_connections_do_not_lock_scrapers_out() {
    let (harness, address) = start("").await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let started = Instant::now();
    assert_eq!(get(address, "/-/healthy", &[]).await.status, 200);
    assert_eq!(get(address, "/metrics", &[]).await.status, 200);
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(harness.value("ridley.prometheus.closed.connections", &[("reason", "idle")]) >= 33);
}

/// Nor does anyone who asks and does not take the answers.
#[tokio::test]
async fn stalled_connections_do_not_lock_scrapers_out() {
    let (harness, address) = start("").await;
    let names: Vec<String> = (0..100_000).map(|n| format!("a.metric.with.number.{n}")).collect();
    let points: Vec<(&str, i64)> = names.iter().map(|it| (it.as_str(), 1)).collect();
    harness.send(counters(&points)).await;
    taken(&harness, 100_000).await;
    let mut stalled = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // As long as it takes until no more of the answer fits between the two.
        stream.readable().await.unwrap();
        time::sleep(Duration::from_millis(20)).await;
        stalled.push(stream);
    }
    let started = Instant::now();
    assert!(get(address, "/metrics", &[]).await.text().contains("\na_metric_with_number_99999_total 1\n"));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert!(harness.value("ridley.prometheus.closed.connections", &[("reason", "stalled")]) >= 9);
}

async fn start(settings: &str) -> (Harness, SocketAddr) {
    let harness = Harness::start(&factory(), &format!("{ANY_PORT}{settings}")).await;
    let notices = harness.notices();
    let address = notices[0].strip_prefix("metrics at http://").and_then(|it| it.strip_suffix("/metrics"));
    let address = address.and_then(|it| it.parse().ok()).expect("a notice with the address");
    (harness, address)
}

/// Waits until the exporter has taken so many items in all, and has dealt with the last batch.
async fn taken(harness: &Harness, n_items: u64) {
    // The gauge is set at the end of a batch.
    let is_taken = || {
        harness.ledger().consumed >= n_items
            && harness.value("ridley.prometheus.series", &[]) >= n_items.cast_signed()
    };
    let started = Instant::now();
    while !is_taken() {
        time::sleep(Duration::from_millis(1)).await;
        assert!(started.elapsed() < Duration::from_secs(30), "{n_items} items are not taken");
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text is UTF-8")
    }
}

async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    request(address, "GET", path, headers).await
}

async fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    try_request(address, method, path, headers).await.expect("an answer")
}

/// Returns the answer, or `None` if the other end is gone.
async fn try_request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // What came before a reset is an answer too.
    drop(stream.read_to_end(&mut answer).await);
    let end = answer.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").expect("a header has a name and a value");
        (name.to_ascii_lowercase(), value.to_owned())
    };
    let headers: Vec<_> = lines.map(header).collect();
    let mut answer = Answer { status, headers, body: answer[end + 4..].to_vec() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = join_chunks(&answer.body)?;
    }
    Some(answer)
}

/// Joins the chunks of a body; `None` if the last one is missing.
fn join_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// Makes a batch of counters without attributes.
fn counters(values: &[(&str, i64)]) -> Batch {
    let metrics = values.iter().map(|(name, value)| {
        let point =
            NumberDataPoint { value: Some(number_data_point::Value::AsInt(*value)), ..Default::default() };
        let sum = Sum { data_points: vec![point], aggregation_temporality: 2, is_monotonic: true };
        Metric { name: (*name).to_owned(), data: Some(Data::Sum(sum)), ..Default::default() }
    });
    Batch::Metrics(Metrics::new(vec![ResourceMetrics {
        scope_metrics: vec![ScopeMetrics { metrics: metrics.collect(), ..Default::default() }],
        ..Default::default()
    }]))
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}
