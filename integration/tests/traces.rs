//! What a real server of traces says of connections: a Jaeger, or the Tempo that `cargo xtask backend-test` is given.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, World,
    agent::{self, RECORD, Rights},
    cases,
    plan::{Side, Step},
    poll,
    record::{self, Record},
    trace_server::{Span, TraceServer, trace_of},
    world::{Family, Path as Way},
};
use tempfile::TempDir;

const SPANS: &str = include_str!("../configs/spans.yaml");
const REPLAY_SPANS: &str = include_str!("../configs/replay_spans.yaml");

/// Connections of a case.
const N: u64 = 3;
/// Periods that a long connection lives through at least.
const N_PERIODS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(20);

/// Two agents that know nothing of each other, each with the records of its own node alone, make one trace of each connection
/// through address translation: found by its id and by the services at its ends, the server's span a child of the client's.
#[test]
fn two_nodes_make_one_trace_of_a_connection() -> anyhow::Result<()> {
    let (world, server) = (World::new()?, TraceServer::start()?);
    for family in [Family::Ipv4, Family::Ipv6] {
        let exchange = Step::Exchange { request: 1_000, response: 20_000 };
        let mut case = Case { path: Way::Service, family, ..Case::new("one_trace", [exchange]) };
        case.traffic.connections = Some(N);
        let (moment, records) = record_case(&world, &case)?;
        for side in [Side::Client, Side::Server] {
            replay_node(&world, &server, &moment, &records, side)?;
        }
        let own = records_of(&world, &moment, &records, Side::Client)?;
        let mut ids: Vec<_> = own.iter().filter_map(|(_, it)| it.id.clone()).collect();
        ids.dedup();
        ids.sort_unstable();
        ids.dedup();
        ensure!(ids.len() as u64 == N, "{N} connections have the ids {ids:?}");
        let traces: Vec<_> = ids.iter().map(|it| trace_of(it)).collect();
        for trace in &traces {
            server.await_trace(trace, |spans| check_pair(spans, &moment))?;
        }
        for name in &moment.interest.names {
            let found = server.await_traces_of(name, traces.len())?;
            ensure!(traces.iter().all(|it| found.contains(it)), "{name} has {found:?}, expected {traces:?}");
        }
    }
    Ok(())
}

/// An attempt that fails is an error with its cause.
#[test]
fn a_failure_is_an_error() -> anyhow::Result<()> {
    let (world, server) = (World::new()?, TraceServer::start()?);
    let agent = Traced::start(&server)?;
    let case = cases::named("refused_over_ipv6");
    let moment = case.start(&world)?.done()?;
    let n_failed = usize::try_from(moment.truth().failed.values().sum::<u64>())?;
    ensure!(n_failed > 0, "nothing has failed");
    let traces = server.await_traces_of(&moment.interest.names[0], n_failed)?;
    ensure!(traces.len() == n_failed, "{n_failed} attempts made the traces {traces:?}");
    for trace in &traces {
        server.await_trace(trace, |spans| {
            let [span] = spans else { anyhow::bail!("expected one span") };
            let error = span.attributes.get("error.type").map(String::as_str);
            let found = (span.kind.as_str(), span.is_error, error);
            ensure!(found == ("client", true, Some("refused")), "{found:?}");
            Ok(())
        })?;
    }
    agent.stop()
}

/// A connection that stays open has a span in each period, before its end, and all of them together have its bytes.
#[test]
fn a_long_connection_has_a_span_in_each_period() -> anyhow::Result<()> {
    let (world, server) = (World::new()?, TraceServer::start()?);
    let agent = Traced::start(&server)?;
    let exchange = Step::Exchange { request: 3_000, response: 50_000 };
    let case = Case { path: Way::Service, ..Case::new("long", [exchange.clone(), Step::Hold, exchange]) };
    let mut play = case.start(&world)?;
    let moment = play.holding()?;
    let id = poll::until(PATIENCE, || {
        let lines = lines(&agent.flows)?;
        let records = records_of(&world, &moment, &lines, Side::Client)?;
        records.iter().find_map(|(_, it)| it.id.clone()).context("no record of the connection")
    })?;
    let trace = trace_of(&id);
    server.await_trace(&trace, |spans| {
        let n_open = of_kind(spans, "client").filter(|it| is(it, "ridley.connection.state", "open")).count();
        ensure!(n_open >= N_PERIODS, "there are {n_open} spans while the connection is open");
        Ok(())
    })?;
    play.go()?;
    let moment = play.done()?;
    server.await_trace(&trace, |spans| {
        for kind in ["client", "server"] {
            let is_closed = |it: &&Span| is(it, "ridley.connection.close.reason", "normal");
            ensure!(of_kind(spans, kind).filter(is_closed).count() == 1, "the {kind}'s end is not told");
            let sum = |key: &str| -> u64 {
                of_kind(spans, kind).filter_map(|it| it.attributes.get(key)?.parse::<u64>().ok()).sum()
            };
            let found = (sum("ridley.request.bytes"), sum("ridley.response.bytes"));
            let expected = (moment.truth().request, moment.truth().response);
            ensure!(found == expected, "{kind}: {found:?} bytes, expected {expected:?}");
        }
        // The ends of an interval, or of the connection, can be in two periods.
        let has_parent =
            |it: &&Span| of_kind(spans, "client").any(|client| Some(&client.id) == it.parent.as_ref());
        let n_alone = of_kind(spans, "server").filter(|it| !has_parent(it)).count();
        ensure!(n_alone <= 1, "{n_alone} spans of the server have no parent");
        Ok(())
    })?;
    agent.stop()
}

/// Checks the two spans of a short connection.
fn check_pair(spans: &[Span], moment: &Moment) -> anyhow::Result<()> {
    let [clients, servers] = ["client", "server"].map(|kind| of_kind(spans, kind).collect::<Vec<_>>());
    let ([client], [server]) = (&clients[..], &servers[..]) else {
        anyhow::bail!("expected one of each kind")
    };
    ensure!(client.parent.is_none() && server.parent.as_ref() == Some(&client.id), "the wrong parent");
    ensure!(!client.is_error && !server.is_error, "there was no error");
    let services = [&client.service, &server.service];
    ensure!(services.into_iter().eq(&moment.interest.names), "the services are {services:?}");
    let truth = moment.truth();
    for (span, address) in [(client, moment.route.dial), (server, moment.route.listen)] {
        for (key, expected) in [
            ("server.address", address.ip().to_canonical().to_string()),
            ("server.port", address.port().to_string()),
            ("network.transport", "tcp".to_owned()),
            ("ridley.request.bytes", (truth.request / N).to_string()),
            ("ridley.response.bytes", (truth.response / N).to_string()),
        ] {
            ensure!(is(span, key, &expected), "the {}'s {key} is not {expected}", span.kind);
        }
    }
    Ok(())
}

fn of_kind<'a>(spans: &'a [Span], kind: &'a str) -> impl Iterator<Item = &'a Span> {
    spans.iter().filter(move |it| it.kind == kind)
}

fn is(span: &Span, key: &str, value: &str) -> bool {
    span.attributes.get(key).is_some_and(|it| it == value)
}

/// Plays a case before an agent that records what each end reports. Returns the lines of its file.
fn record_case(world: &World, case: &Case) -> anyhow::Result<(Moment, Vec<String>)> {
    let config = RECORD.replace("[process, join]", "[process]");
    assert_ne!(config, RECORD, "both ends would be one record");
    let folder = tempfile::tempdir()?;
    let flows = folder.path().join("flows.jsonl");
    let agent = Agent::start_as(Rights::All, &config, &[("RIDLEY_FLOWS", &flows)])?;
    let moment = case.start(world)?.done()?;
    agent.stop()?;
    Ok((moment, lines(&flows)?))
}

/// Runs an agent that has the records of one node alone, to their end.
fn replay_node(
    world: &World,
    server: &TraceServer,
    moment: &Moment,
    records: &[String],
    side: Side,
) -> anyhow::Result<()> {
    let own = records_of(world, moment, records, side)?;
    let folder = tempfile::tempdir()?;
    let flows = folder.path().join("flows.jsonl");
    fs::write(&flows, own.iter().map(|(line, _)| format!("{line}\n")).collect::<String>())?;
    let config = folder.path().join("ridley.yaml");
    fs::write(&config, REPLAY_SPANS)?;
    // It ends by itself at the end of the file, and has delivered by then.
    let mut agent = Command::new(agent::program()?);
    agent.args(["run", "--config"]).arg(&config);
    let ended = agent.env("RIDLEY_FLOWS", &flows).env("RIDLEY_TRACES", server.otlp_endpoint()).output()?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "the agent ended with {}:\n{said}", ended.status);
    Ok(())
}

/// Returns the records that the agent of a node would have: those of one end in one namespace.
fn records_of<'a>(
    world: &World,
    moment: &Moment,
    records: &'a [String],
    side: Side,
) -> anyhow::Result<Vec<(&'a String, Record)>> {
    let (observer, namespace, port) = match side {
        Side::Client => ("client", moment.route.client, moment.route.dial.port()),
        Side::Server => ("server", moment.route.server, moment.route.listen.port()),
    };
    let netns = world.inode(namespace)?;
    let mut own = Vec::new();
    for line in records {
        let record = record::parse(line)?;
        if record.observer == observer && record.local.netns == netns && record.server.port == port {
            own.push((line, record));
        }
    }
    Ok(own)
}

/// Reads the whole lines of a file that may still be written.
fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.split_inclusive('\n').filter_map(|it| it.strip_suffix('\n')).map(str::to_owned).collect())
}

/// An agent that makes spans, and records what it makes them of.
struct Traced {
    agent: Agent,
    flows: PathBuf,
    // Removed at the end.
    _folder: TempDir,
}

impl Traced {
    fn start(server: &TraceServer) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let flows = folder.path().join("flows.jsonl");
        let variables =
            [("RIDLEY_FLOWS", flows.as_path()), ("RIDLEY_TRACES", Path::new(server.otlp_endpoint()))];
        let agent = Agent::start_as(Rights::All, SPANS, &variables)?;
        Ok(Self { agent, flows, _folder: folder })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.agent.stop().map(drop)
    }
}
