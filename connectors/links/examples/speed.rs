//! Measures what a record, a link and an emission cost: `cargo run --release -p links-connector --example speed`.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    fs,
    hint::black_box,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use component_test::flow;
use links_connector::{Aggregate, Buckets, Limits};
use model::{ConnectionId, Entity, Flow, UnixNanos, kind};

const N_LINKS: u32 = 20_000;
const N_CONNECTIONS: u32 = 100_000;

fn main() {
    let limit = |n| NonZeroU32::new(n).expect("not zero");
    let limits = Limits {
        links: limit(N_LINKS),
        connections: limit(N_CONNECTIONS),
        expire_after: Duration::from_mins(5),
    };
    let records: Vec<Flow> = (0..N_CONNECTIONS).map(record).collect();
    let mut live = records.clone();
    for flow in &mut live {
        flow.begin = None;
        flow.connect = None;
    }
    let mut closed = live.clone();
    for flow in &mut closed {
        flow.end = Some(model::End::Closed(model::CloseReason::Normal));
    }

    // Records without an id make links and no connections. With an end, so that every histogram is there.
    let mut anonymous = closed.clone();
    for flow in &mut anonymous {
        flow.id = None;
        flow.connect = Some(Duration::from_micros(90));
    }

    let mut aggregate = Aggregate::new(limits, &[], &Buckets::default(), &[], UnixNanos(1));
    let empty = resident_bytes();
    report("records of new links", &anonymous[..N_LINKS as usize], &mut aggregate);
    let n_links = aggregate.n_links();
    let with_links = resident_bytes();
    println!("{n_links} links, {} bytes each", with_links.saturating_sub(empty) / n_links);
    report("first records of connections", &records, &mut aggregate);
    let n_connections = aggregate.n_connections();
    let after = resident_bytes();
    println!("{n_connections} connections, {} bytes each", after.saturating_sub(with_links) / n_connections);
    report("records of live connections", &live, &mut aggregate);
    report("last records of connections", &closed, &mut aggregate);

    let started = Instant::now();
    let (mut from, mut n_points, mut n_batches) = (0, 0, 0_u32);
    while let Some((metrics, next)) = aggregate.encode(from, UnixNanos(2)) {
        n_points += black_box(metrics).n_items();
        n_batches += 1;
        from = next;
    }
    println!("one emission: {n_points} points in {n_batches} batches, {:?}", started.elapsed());
    println!("and then {} bytes more", resident_bytes().saturating_sub(after));
}

fn report(what: &str, records: &[Flow], aggregate: &mut Aggregate) {
    let started = Instant::now();
    for flow in records {
        aggregate.push(black_box(flow), started);
    }
    let each = started.elapsed().as_nanos() / records.len() as u128;
    println!("{what}: {each} ns each");
}

fn record(n: u32) -> Flow {
    let link = n % N_LINKS;
    // Entities are shared in a pipeline; here only within a record, which is the dearer case.
    let entity = |name: String| {
        let mut entity = Entity::new(name, kind::UNIT);
        entity.namespace = Some("a-namespace-of-usual-length".into());
        Arc::new(entity)
    };
    let mut flow = flow()
        .opened(1)
        .request(200)
        .response(1_000)
        .rtt(Duration::from_micros(150))
        .connect(Duration::from_micros(90))
        .client_entity(entity(format!("a-client-of-usual-length-{}", link % 200)))
        .server_entity(entity(format!("a-server-of-usual-length-{}", link / 200)))
        .interval(2, 3)
        .build();
    flow.id = Some(ConnectionId::from_sequence_numbers(n, 1));
    flow
}

/// Returns the memory of this process, as the kernel counts it.
fn resident_bytes() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux has /proc/self/statm");
    let pages: usize = statm
        .split_whitespace()
        .nth(1)
        .and_then(|it| it.parse().ok())
        .expect("the second number is the resident set in pages");
    pages * 4096
}
