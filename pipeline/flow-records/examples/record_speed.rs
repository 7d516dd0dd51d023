//! Measures what a flow record costs on its way to a gateway: `cargo run --release -p ridley-flow-records --example record_speed`.
//!
//! What `join` does with it there is measured by its own example, `pairing_speed`.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use component_test::{FlowBuilder, flow};
use flow_records::{Decoder, encode_flows};
use model::{Attribute, Entity, Flow, Flows, Logs, Observer, kind};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// Records of a request, as many as an observer sends at a time.
const BATCH: u32 = 256;
const ROUNDS: u32 = 2_000;

fn main() {
    let records: Vec<Flow> = (0..BATCH).map(record).collect();
    let flows = Flows { records };
    let own = Resource::default();
    let (mut encoding, mut decoding, mut n_bytes) = (Duration::ZERO, Duration::ZERO, 0);
    let mut decoder = Decoder::default();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let request = encode_flows(&flows).encode(&own);
        encoding += begin.elapsed();
        n_bytes += request.len();
        let begin = Instant::now();
        let logs = Logs::from_encoded(request).expect("it was encoded");
        let decoded = decoder.decode(&logs).expect("it was encoded");
        decoding += begin.elapsed();
        assert_eq!(decoded.flows.len(), flows.records.len());
    }
    let n_records = f64::from(BATCH * ROUNDS);
    println!("{:.0} bytes each, before compression", n_bytes as f64 / n_records);
    for (what, spent) in [("encoded", encoding), ("decoded", decoding)] {
        let per_record = spent.as_secs_f64() / n_records;
        println!("{what}: {:.0} ns each, {:.0} a second", per_record * 1e9, 1.0 / per_record);
    }
}

/// Makes a record in the midst of a connection, as `process` names it on a plain host.
fn record(n: u32) -> Flow {
    let [client, server] = [entity("checkout.service", "checkout"), entity("postgresql.service", "postgres")];
    let own = if n.is_multiple_of(2) { Observer::Client } else { Observer::Server };
    let built: FlowBuilder = flow()
        .id(n)
        .observer(own)
        .client_entity(client)
        .server_entity(server)
        .started(1_767_225_600)
        .interval(1_767_225_600, 1_767_225_605)
        .request(1_000)
        .response(20_000)
        .rtts(Duration::from_micros(250), Duration::from_micros(200))
        .cgroup("/system.slice/checkout.service")
        .netns(4_026_531_840)
        .process(4_242, "checkout");
    built.build()
}

fn entity(name: &str, process: &str) -> Arc<Entity> {
    let mut entity = Entity::new(name, kind::UNIT);
    entity.set_attribute(Attribute::Process, process);
    Arc::new(entity)
}
