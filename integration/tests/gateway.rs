//! Agents report to a gateway, which counts as one that had observed it all.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context, ensure};
use integration::{Agent, World, agent::Rights, case::play_all, cases, ports::free_address};

const AGENT: &str = include_str!("../configs/agent.yaml");
const GATEWAY: &str = include_str!("../configs/gateway.yaml");

/// Links of a gateway that has no right to anything are what the peers moved, while connections are open and at their end;
/// both ends' reports are paired there, without a difference.
#[test]
fn a_gateway_counts_what_agents_report() -> anyhow::Result<()> {
    let world = World::new()?;
    let otlp = free_address()?;
    let gateway = launch_gateway(otlp)?;
    let agent = launch_agent(otlp)?;
    let names = [
        "keep_alive_bytes_do_not_freeze",
        "a_service_is_one_edge",
        "many_resets",
        "refused_over_ipv6",
        "bulk_both_ways_at_once",
        "containers_are_named",
    ];
    let moments = play_all(&names.map(cases::named), &world, |moment| gateway.expect(moment))?;
    let scraped = gateway.scrape()?;
    let of = |name: &str| scraped.series(name).map(|(_, value)| value).sum::<f64>();
    let n_opened: u64 = moments.iter().flat_map(|it| it.edges.0.values()).map(|it| it.opened).sum();
    let [paired, mismatched] =
        ["paired", "mismatched"].map(|it| of(&format!("ridley_join_{it}_connections_total")));
    ensure!(paired >= n_opened as f64 && n_opened > 0, "{paired} of {n_opened} connections are paired");
    ensure!(mismatched == 0.0, "{mismatched} connections have two ends that differ");
    let of_agent = agent.scrape()?;
    let delivered: f64 =
        of_agent.series("ridley_exporter_delivered_items_total").map(|(_, value)| value).sum();
    ensure!(delivered > 0.0, "the agent says that it delivered nothing");
    for scraped in [&scraped, &of_agent] {
        let dropped: Vec<_> =
            scraped.series("ridley_dropped_items_total").filter(|(_, value)| *value > 0.0).collect();
        ensure!(dropped.is_empty(), "dropped: {dropped:?}");
    }
    agent.stop()?;
    gateway.stop().map(drop)
}

fn launch_gateway(otlp: SocketAddr) -> anyhow::Result<Agent> {
    let otlp = otlp.to_string();
    Agent::launch(GATEWAY, Rights::None, &[("RIDLEY_OTLP", Path::new(&otlp))]).context("no gateway")
}

fn launch_agent(to: SocketAddr) -> anyhow::Result<Agent> {
    let to = format!("http://{to}");
    Agent::start_as(Rights::All, AGENT, &[("RIDLEY_GATEWAY", Path::new(&to))])
}
