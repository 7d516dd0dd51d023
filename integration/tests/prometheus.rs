//! What Prometheus itself says of the agent's exposition.

use anyhow::ensure;
use integration::{Agent, World, agent::LIVE, case::play_all, cases, command, metrics_server::MetricsServer};

/// The linter of Prometheus has nothing to say.
#[test]
fn promtool_finds_nothing() -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::start(LIVE)?;
    let cases = ["short_connection", "client_resets", "refused", "through_a_service_over_ipv6"];
    play_all(&cases.map(cases::named), &world, |moment| agent.expect(moment))?;
    let text = agent.scrape_text("text/plain;version=0.0.4")?;
    for metric in [
        "ridley_link_bytes_total",
        "ridley_link_connections_failed_total",
        "ridley_link_connect_duration_seconds_bucket",
    ] {
        ensure!(text.contains(metric), "{metric} is missing: there is too little to check");
    }
    let said = command::run_with_input("promtool", &["check", "metrics"], &text)?;
    ensure!(said.is_empty(), "promtool says: {said}");
    agent.stop().map(drop)
}

/// The two formats say the same.
#[test]
fn openmetrics_is_offered_and_complete() -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::start(LIVE)?;
    let moment = cases::named("short_connection").play(&world, &mut |moment| agent.expect(moment))?;
    let text = agent.scrape_text("application/openmetrics-text;version=1.0.0")?;
    ensure!(text.ends_with("\n# EOF\n"), "the end is not marked");
    let name = &moment.interest.names[0];
    let request = moment.truth().request;
    let found = text.lines().any(|line| {
        line.starts_with("ridley_link_bytes_total{")
            && line.contains(&format!("client_name=\"{name}\""))
            && line.contains("direction=\"request\"")
            && line
                .split("} ")
                .nth(1)
                .is_some_and(|it| it.split(' ').next().unwrap_or_default().parse() == Ok(request as f64))
    });
    ensure!(found, "the request bytes of {name} are missing in:\n{text}");
    agent.stop().map(drop)
}

/// A real Prometheus scrapes the agent, and a query returns the links with their true totals.
#[test]
fn a_query_returns_the_links() -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::start(LIVE)?;
    let prometheus = MetricsServer::scraping(agent.address())?;
    let case = cases::named("keep_alive_bytes_do_not_freeze");
    let mut play = case.start(&world)?;
    let moment = play.holding()?;
    let (truth, name) = (moment.truth(), &moment.interest.names[0]);
    let link = format!("{{client_name=\"{name}\",server_name=\"{}\"}}", moment.interest.names[1]);
    for (query, expected) in [
        (
            format!("sum(ridley_link_bytes_total{{client_name=\"{name}\",direction=\"request\"}})"),
            truth.request,
        ),
        (
            format!("sum(ridley_link_bytes_total{{client_name=\"{name}\",direction=\"response\"}})"),
            truth.response,
        ),
        (format!("ridley_link_connections_opened_total{link}"), 1),
        (format!("ridley_link_connections_active{link}"), 1),
        (format!("count(ridley_link_rtt_seconds_count{link} > 0)"), 1),
        ("up".to_owned(), 1),
    ] {
        prometheus.expect(&query, expected)?;
    }
    play.go()?;
    play.holding()?;
    play.go()?;
    let moment = play.done()?;
    prometheus.expect(&format!("ridley_link_connections_active{link}"), 0)?;
    prometheus.expect(
        &format!("sum(ridley_link_bytes_total{link})"),
        moment.truth().request + moment.truth().response,
    )?;
    agent.stop().map(drop)
}
