//! Whoever scrapes the agent does not become part of the map.

use std::time::Duration;

use anyhow::ensure;
use integration::{
    Agent,
    agent::LIVE,
    edges::{Edges, Interest},
    poll,
};

/// Neither the agent's end of a scrape nor that of who scrapes is a link, and what was left out is counted.
#[test]
fn scrapes_of_the_agent_are_left_out_and_counted() -> anyhow::Result<()> {
    let agent = Agent::start(LIVE)?;
    let interest = Interest { names: Vec::new(), ports: vec![agent.address().port()] };
    let counted = || -> anyhow::Result<f64> {
        let scrape = agent.scrape()?;
        let edges = Edges::of(&scrape, &interest)?;
        ensure!(edges.0.is_empty(), "the agent shows its own scrapes: {:?}", edges.0);
        Ok(scrape.series("ridley_ebpf_own_bytes_total").map(|(_, value)| value).sum())
    };
    // Each is a connection of its own, some of them at the very moment of a fetch.
    for _ in 0..100 {
        agent.scrape_text("text/plain")?;
    }
    let before = counted()?;
    poll::until(Duration::from_secs(10), || {
        let now = counted()?;
        ensure!(now > before, "{now} bytes of scrapes were counted, no more than before");
        Ok(())
    })?;
    agent.stop().map(drop)
}

/// Who wants to know what observing costs can have it shown.
#[test]
fn scrapes_of_the_agent_can_be_included() -> anyhow::Result<()> {
    let config = LIVE.replace("sample_interval: 200ms", "sample_interval: 200ms\n    own_traffic: include");
    let agent = Agent::start(&config)?;
    let interest = Interest { names: Vec::new(), ports: vec![agent.address().port()] };
    poll::until(Duration::from_secs(10), || {
        let edges = Edges::of(&agent.scrape()?, &interest)?;
        let servers: Vec<_> = edges.0.keys().map(|it| it.server.name.as_str()).collect();
        // More than one if the ends of one scrape met too late on a busy host.
        ensure!(!servers.is_empty() && servers.iter().all(|it| *it == "ridley"), "links to {servers:?}");
        Ok(())
    })?;
    agent.stop().map(drop)
}
