//! What Prometheus itself says of the agent's exposition.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use integration::{Agent, World, agent::LIVE, case::play_all, cases, command, poll};
use serde_json::Value;

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
    let prometheus = Prometheus::scraping(agent.address())?;
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

/// A Prometheus server that scrapes one agent. It ends with this value.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    // Removed at the end.
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn scraping(agent: SocketAddr) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for Prometheus")?;
        let config = format!(
            "global: {{scrape_interval: 1s}}\n\
             scrape_configs: [{{job_name: ridley, static_configs: [{{targets: ['{agent}']}}]}}]\n"
        );
        let path = folder.path().join("prometheus.yml");
        std::fs::write(&path, config).context("cannot write Prometheus's configuration")?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start Prometheus")?;
        let mut prometheus = Self { child, address, _folder: folder };
        poll::until(Duration::from_secs(30), || {
            if let Some(status) = prometheus.child.try_wait()? {
                // `setpriv` says 127 when there is no such program.
                bail!("prometheus ended with {status}; is Debian's package `prometheus` installed?");
            }
            prometheus.query("up").map(drop)
        })?;
        Ok(prometheus)
    }

    /// Waits until a query returns one value.
    fn expect(&self, query: &str, expected: u64) -> anyhow::Result<()> {
        poll::until(Duration::from_secs(15), || {
            let found = self.query(query)?;
            ensure!(found == [expected.to_string()], "{query} returns {found:?}, expected {expected}");
            Ok(())
        })
    }

    fn query(&self, query: &str) -> anyhow::Result<Vec<String>> {
        let url = format!("http://{}/api/v1/query", self.address);
        let mut response = ureq::get(url).query("query", query).call().context("cannot query Prometheus")?;
        let answer: Value = serde_json::from_str(&response.body_mut().read_to_string()?)?;
        let series = answer["data"]["result"].as_array().context("an answer without a result")?;
        Ok(series.iter().filter_map(|it| it["value"][1].as_str().map(str::to_owned)).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.child.kill();
        let _waited = self.child.wait();
    }
}
