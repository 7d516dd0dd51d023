//! Measures what holding and scraping the metrics of many links costs.
//!
//! `cargo run --release -p prometheus-exporter --example size -- 20000` prints figures; a second number is for how many
//! seconds to go on serving, for a look with other tools.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    env, fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use component_test::Harness;
use model::{Batch, Metrics};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        metric::Data, number_data_point,
    },
};
use tokio::{task, time};

/// Links in one batch.
const N_PER_BATCH: u32 = 100;

/// Batches that are made before they are sent together, so that making them is not measured.
const BATCHES_AT_ONCE: u32 = 4;

/// Upper bounds of a histogram's buckets, as many as the links connector has.
const BOUNDS: [f64; 15] =
    [5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

#[tokio::main]
async fn main() {
    let mut arguments = env::args().skip(1).map(|it| it.parse().expect("a number"));
    let n_links: u32 = arguments.next().unwrap_or(20_000);
    let serve_secs = arguments.next().unwrap_or(0);

    let harness = Harness::start(&prometheus_exporter::factory(), "endpoint: 127.0.0.1:0").await;
    let notice = harness.notices().join(", ");
    println!("{notice}");
    let address = notice.split(['/']).nth(2).expect("a notice with a URL").to_owned();

    let before = resident_bytes();
    let mut n_points_taken = 0;
    for round in 0..2 {
        let (mut taken, mut n_points) = (Duration::ZERO, 0);
        for from in (0..n_links).step_by((N_PER_BATCH * BATCHES_AT_ONCE) as usize) {
            let to = n_links.min(from + N_PER_BATCH * BATCHES_AT_ONCE);
            let batches: Vec<Batch> = (from..to)
                .step_by(N_PER_BATCH as usize)
                .map(|it| batch(it..to.min(it + N_PER_BATCH)))
                .collect();
            n_points += batches.iter().map(Batch::n_items).sum::<u64>();
            let started = cpu_time();
            for batch in batches {
                harness.send(batch).await;
            }
            let n_consumed = n_points + n_points_taken;
            while harness.ledger().consumed < n_consumed {
                time::sleep(Duration::from_micros(100)).await;
            }
            taken += cpu_time() - started;
        }
        n_points_taken += n_points;
        let each = taken / u32::try_from(n_points).expect("few enough links to wait for");
        println!("round {round}: {n_points} points taken in {taken:?} of CPU time, {each:?} each");
    }
    // The last batch is counted as taken a moment before it is held.
    time::sleep(Duration::from_millis(100)).await;
    let n_series = harness.value("ridley.prometheus.series", &[]).cast_unsigned();
    let held = resident_bytes().saturating_sub(before) as u64;
    println!("{n_series} series held in {held} bytes, {} bytes each", held / n_series);

    for gzip in [false, true] {
        let address = address.clone();
        let (started, started_cpu) = (Instant::now(), cpu_time());
        let size = task::spawn_blocking(move || scrape(&address, gzip)).await.expect("a scrape");
        let (elapsed, cpu) = (started.elapsed(), cpu_time() - started_cpu);
        println!("a scrape, gzip {gzip}: {size} bytes in {elapsed:?}, {cpu:?} of CPU time");
    }
    let grown = resident_bytes().saturating_sub(before) as u64 - held;
    println!("{grown} bytes more after the scrapes");

    let end = time::Instant::now() + Duration::from_secs(u64::from(serve_secs));
    while time::Instant::now() < end {
        for from in (0..n_links).step_by(N_PER_BATCH as usize) {
            harness.send(batch(from..n_links.min(from + N_PER_BATCH))).await;
        }
        time::sleep(Duration::from_secs(5)).await;
    }
}

/// Returns how long the answer is.
fn scrape(address: &str, gzip: bool) -> usize {
    let mut stream = TcpStream::connect(address).expect("the exporter listens");
    let encoding = if gzip { "gzip" } else { "identity" };
    let request = format!("GET /metrics HTTP/1.0\r\naccept-encoding: {encoding}\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("the exporter reads");
    let (mut buffer, mut size) = (vec![0; 64 * 1024], 0);
    loop {
        match stream.read(&mut buffer).expect("the exporter answers") {
            0 => return size,
            n => size += n,
        }
    }
}

/// Makes the points of some links: ten each, three of them histograms.
fn batch(links: std::ops::Range<u32>) -> Batch {
    let attributes = |n: u32, key: &str, value: &str| {
        let client = format!("a-client-of-usual-length-{}", n % 200);
        let server = format!("a-server-of-usual-length-{}", n / 200);
        let texts = [
            ("client.name", client.as_str()),
            ("client.namespace", "a-namespace-of-usual-length"),
            ("client.kind", "Unit"),
            ("server.name", server.as_str()),
            ("server.namespace", "a-namespace-of-usual-length"),
            ("server.kind", "Unit"),
            ("server.port", "443"),
            ("network.transport", "tcp"),
            ("observer", "client"),
            (key, value),
        ];
        let known = texts.into_iter().filter(|(key, _)| !key.is_empty());
        known.map(|(key, value)| attribute(key, value)).collect::<Vec<_>>()
    };
    let sum = |name: &str, unit: &str, key: &str, values: &[&str]| {
        let points = links.clone().flat_map(|n| values.iter().map(move |it| (n, it)));
        let points = points.map(|(n, value)| NumberDataPoint {
            attributes: attributes(n, key, value),
            value: Some(number_data_point::Value::AsInt(123_456 + i64::from(n))),
            ..Default::default()
        });
        let sum = Sum { data_points: points.collect(), aggregation_temporality: 2, is_monotonic: true };
        metric(name, unit, Data::Sum(sum))
    };
    let histogram = |name: &str| {
        let points = links.clone().map(|n| HistogramDataPoint {
            attributes: attributes(n, "", ""),
            count: 16 * 1_000,
            sum: Some(12.345),
            bucket_counts: vec![1_000; 16],
            explicit_bounds: BOUNDS.to_vec(),
            ..Default::default()
        });
        metric(
            name,
            "s",
            Data::Histogram(Histogram { data_points: points.collect(), aggregation_temporality: 2 }),
        )
    };
    let metrics = vec![
        sum("ridley.link.bytes", "By", "direction", &["request", "response"]),
        sum("ridley.link.connections.opened", "{connection}", "", &[""]),
        sum("ridley.link.connections.closed", "{connection}", "reason", &["normal"]),
        sum("ridley.link.connections.active", "{connection}", "", &[""]),
        sum("ridley.link.retransmits", "{segment}", "direction", &["request", "response"]),
        histogram("ridley.link.rtt"),
        histogram("ridley.link.connect.duration"),
        histogram("ridley.link.connection.duration"),
    ];
    Batch::Metrics(Metrics::new(vec![ResourceMetrics {
        scope_metrics: vec![ScopeMetrics { metrics, ..Default::default() }],
        ..Default::default()
    }]))
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric {
        name: name.to_owned(),
        description: "What the metric is.".to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
}

/// Returns how long the threads of this process have run: what else the machine does matters less to it than to a clock.
fn cpu_time() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux has /proc/self/task");
    let nanos = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.flatten().filter_map(nanos).sum())
}

/// Returns the memory of this process, as the kernel counts it.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages = statm.split_whitespace().nth(1).and_then(|it| it.parse::<usize>().ok());
    pages.expect("the second number is the resident set in pages") * 4096
}
