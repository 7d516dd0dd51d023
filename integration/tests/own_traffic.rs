//! Whoever scrapes the agent does not become part of the map.

use std::{net::TcpStream, time::Duration};

use anyhow::{Context, ensure};
use integration::{
    Agent,
    agent::{LIVE, with_all_and_two},
    edges::{Edges, Interest},
    poll,
};

/// Scrapes, and as many attempts that come to nothing.
const N: u32 = 100;

/// What the agent says of its own connections.
#[derive(Clone, Copy, Debug)]
struct OwnTraffic {
    connections: f64,
    failed: f64,
    bytes: f64,
}

/// Neither the agent's end of a scrape nor that of who scrapes is a link, also if the scraper goes away without a word, and what was
/// left out is counted: each connection once.
#[test]
fn scrapes_of_the_agent_are_left_out_and_counted() -> anyhow::Result<()> {
    with_all_and_two(|rights| {
        let agent = Agent::start_as(rights, LIVE, &[])?;
        let before = own_traffic(&agent)?;
        // Each is a connection of its own, some of them at the very moment of a fetch.
        let mut n_bytes = 0;
        for _ in 0..N {
            n_bytes += agent.scrape_text("text/plain")?.len();
            TcpStream::connect(agent.address()).context("cannot connect to the agent")?;
        }
        // Both ends of each are on this host. The scrapes that ask for the counters are more, by a few.
        let (least, most) = (f64::from(2 * N), f64::from(4 * N));
        poll::until(Duration::from_secs(10), || {
            let now = own_traffic(&agent)?;
            let (n, bytes) = (now.connections - before.connections, now.bytes - before.bytes);
            ensure!((least..most).contains(&n), "{n} connections were counted, not {least} and a few");
            ensure!(bytes >= n_bytes as f64, "{bytes} bytes were counted of more than {n_bytes}");
            ensure!(now.failed == 0.0, "{} attempts of the agent failed, which made none", now.failed);
            Ok(())
        })?;
        agent.stop().map(drop)
    })
}

fn own_traffic(agent: &Agent) -> anyhow::Result<OwnTraffic> {
    let scrape = agent.scrape()?;
    let interest = Interest { names: Vec::new(), ports: vec![agent.address().port()], ..Interest::default() };
    let edges = Edges::of(&scrape, &interest)?;
    ensure!(edges.0.is_empty(), "the agent shows its own scrapes: {:?}", edges.0);
    let sum = |name| scrape.series(name).map(|(_, value)| value).sum();
    Ok(OwnTraffic {
        connections: sum("ridley_ebpf_own_connections_total"),
        failed: sum("ridley_ebpf_own_failed_total"),
        bytes: sum("ridley_ebpf_own_bytes_total"),
    })
}

/// Who wants to know what observing costs can have it shown.
#[test]
fn scrapes_of_the_agent_can_be_included() -> anyhow::Result<()> {
    let config = LIVE.replace("sample_interval: 200ms", "sample_interval: 200ms\n    own_traffic: include");
    with_all_and_two(|rights| {
        let agent = Agent::start_as(rights, &config, &[])?;
        let interest =
            Interest { names: Vec::new(), ports: vec![agent.address().port()], ..Interest::default() };
        poll::until(Duration::from_secs(10), || {
            let edges = Edges::of(&agent.scrape()?, &interest)?;
            let servers: Vec<_> = edges.0.keys().map(|it| it.server.name.as_str()).collect();
            // More than one if the ends of one scrape met too late on a busy host.
            ensure!(!servers.is_empty() && servers.iter().all(|it| *it == "ridley"), "links to {servers:?}");
            Ok(())
        })?;
        agent.stop().map(drop)
    })
}
