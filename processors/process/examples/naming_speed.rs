//! Measures how long naming takes: `cargo run --release -p process-processor --example naming_speed`.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::time::{Duration, Instant};

use component_test::flow;
use model::{CloseReason, Flow, Observer};
use process_processor::{Config, Naming};

/// Connections that begin and end one after the other.
const CONNECTIONS: u32 = 200_000;

fn main() {
    let mut naming = Naming::new(&Config::default());
    let mut spent = Duration::ZERO;
    for id in 0..CONNECTIONS {
        // The begin names, the end only looks up.
        let mut records = [record(id, true), record(id, false)];
        let begin = Instant::now();
        for flow in &mut records {
            naming.name(flow);
        }
        spent += begin.elapsed();
    }
    assert_eq!(naming.n_connections(), 0, "every connection has ended");
    println!("{:.0} ns for each connection", spent.as_secs_f64() / f64::from(CONNECTIONS) * 1e9);
}

fn record(id: u32, is_first: bool) -> Flow {
    let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a2b3c4d_0000_1111_2222_333344445555.slice";
    let container = "cri-containerd-2b1f7c3a9d0e4f5866778899aabbccddeeff00112233445566778899aabbccdd.scope";
    let flow = flow()
        .id(id)
        .observer(Observer::Server)
        .client(&format!("10.0.{}.{}:40000", id / 256 % 4, id % 256))
        .cgroup(&format!("{pod}/{container}"))
        .process(7, "nginx");
    if is_first { flow.opened(1).build() } else { flow.closed(CloseReason::Normal).build() }
}
