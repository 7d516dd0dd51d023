//! What real servers say of what they were sent.

use std::path::Path;

use anyhow::ensure;
use integration::{
    Agent, World,
    agent::Rights,
    cases,
    collector::Collector,
    metrics_server::{Kind, MetricsServer},
};

const OTLP: &str = include_str!("../configs/otlp.yaml");

/// Links arrive by OTLP, and a query of each server returns what the peers moved.
#[test]
fn links_arrive_by_otlp() -> anyhow::Result<()> {
    let world = World::new()?;
    let kinds = [Kind::Prometheus, Kind::Mimir, Kind::VictoriaMetrics];
    let servers = kinds.into_iter().map(MetricsServer::start).collect::<Result<Vec<_>, _>>()?;
    let mut endpoints: Vec<_> = servers.iter().map(MetricsServer::otlp_endpoint).collect();
    // A Collector is sent to by gRPC, and sends on to the first.
    let collector = Collector::sending_to(&endpoints[0])?;
    endpoints[0] = collector.grpc_endpoint();
    let names = ["RIDLEY_COLLECTOR", "RIDLEY_MIMIR", "RIDLEY_VICTORIAMETRICS"];
    let variables: Vec<_> = names.into_iter().zip(endpoints.iter().map(Path::new)).collect();
    let agent = Agent::start_as(Rights::All, OTLP, &variables)?;

    let case = cases::named("keep_alive_bytes_do_not_freeze");
    let mut play = case.start(&world)?;
    let moment = play.holding()?;
    agent.expect(&moment)?;
    let link = |metric: &str, more: &str| {
        let [client, server] = [0, 1].map(|it| &moment.interest.names[it]);
        format!("{metric}{{client_name=\"{client}\",server_name=\"{server}\"{more}}}")
    };
    let truth = moment.truth();
    for (kind, server) in kinds.into_iter().zip(&servers) {
        // Mimir leaves out what Prometheus puts behind a name, unless it is told otherwise.
        let named = |name: &str, suffix: &str| match kind {
            Kind::Mimir => name.to_owned(),
            _ => format!("{name}{suffix}"),
        };
        // Two hosts' series differ by of whom they are.
        let own = match kind {
            Kind::VictoriaMetrics => ",service_name=\"ridley\"",
            _ => ",job=\"ridley\"",
        };
        let bytes = named("ridley_link_bytes", "_total");
        server.expect(&link(&bytes, ",direction=\"request\""), truth.request)?;
        server.expect(&link(&bytes, ",direction=\"response\""), truth.response)?;
        server.expect(&link(&named("ridley_link_connections_opened", "_total"), own), 1)?;
        server.expect(&link("ridley_link_connections_active", ""), 1)?;
        let rtt = named("ridley_link_rtt", "_seconds");
        server.expect(&format!("count({} > 0)", link(&format!("{rtt}_count"), "")), 1)?;
    }
    play.go()?;
    play.holding()?;
    play.go()?;
    let moment = play.done()?;
    agent.expect(&moment)?;
    let log = agent.log();
    ensure!(!log.contains("deliver") && !log.contains("dropped"), "the agent said:\n{log}");
    agent.stop().map(drop)
}
