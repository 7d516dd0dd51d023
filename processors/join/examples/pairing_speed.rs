//! Measures how many records a second are paired: `cargo run --release -p join-processor --example pairing_speed`.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use component_test::flow;
use join_processor::Pairing;
use model::{Begin, CloseReason, End, Flow, Flows, Observer};

/// Connections that are open at a time.
const CONNECTIONS: u32 = 20_000;

/// Records of each end of a connection, from the first to the last.
const RECORDS: u32 = 10;

fn main() {
    let mut pairing =
        Pairing::new(Duration::from_secs(1), NonZeroUsize::new(100_000).expect("100 000 is not zero"));
    let mut out = Vec::new();
    let mut n_records = 0_u64;
    let mut spent = Duration::ZERO;
    // A round of connections, each with both ends here, sampled together as the receiver does.
    for round in 0..5 {
        for sample in 0..RECORDS {
            let first = round * CONNECTIONS;
            let ids: Vec<u32> = (first..first + CONNECTIONS).collect();
            for some in ids.chunks(256) {
                let both = |id: &u32| {
                    [Observer::Client, Observer::Server].map(|observer| record(*id, observer, sample))
                };
                let flows = Flows { records: some.iter().flat_map(both).collect() };
                n_records += flows.records.len() as u64;
                let begin = Instant::now();
                pairing.push_batch(flows, begin, &mut out);
                pairing.expire(begin, &mut out);
                spent += begin.elapsed();
                out.clear();
            }
        }
    }
    assert!(pairing.is_empty(), "every connection has ended");
    let per_record = spent.as_secs_f64() / n_records as f64;
    println!("{n_records} records, {:.0} ns each, {:.0} a second", per_record * 1e9, 1.0 / per_record);
}

fn record(id: u32, observer: Observer, sample: u32) -> Flow {
    let mut flow = flow().id(id).observer(observer).started(1).request(100).response(1_000).build();
    flow.begin = (sample == 0).then_some(Begin::Opened);
    flow.end = (sample + 1 == RECORDS).then_some(End::Closed(CloseReason::Normal));
    flow
}
