//! What a real OpenTelemetry Collector reads of flow records.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use anyhow::ensure;
use integration::{
    Agent, Moment, World,
    agent::Rights,
    case::play_all,
    cases,
    collector::{Collector, To},
    json_sink::JsonSink,
    poll,
};
use serde_json::Value;

const AGENT: &str = include_str!("../configs/agent.yaml");

/// How long a request takes through three programs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whatever reads OTLP can read flow records: a Collector takes them, and what it writes has the bytes that the peers moved.
#[test]
fn a_collector_reads_flow_records() -> anyhow::Result<()> {
    let world = World::new()?;
    let sink = JsonSink::start()?;
    let collector = Collector::sending(To::Json(&sink.url()))?;
    let to = format!("http://{}", collector.grpc());
    let agent = Agent::start_as(Rights::All, AGENT, &[("RIDLEY_GATEWAY", Path::new(&to))])?;
    let moments = play_all(&[cases::named("a_service_is_one_edge")], &world, |moment| {
        poll::until(PATIENCE, || check_records(&sink, moment))
    })?;
    ensure!(moments.iter().all(|it| it.truth().opened > 0), "the case has no connections");
    agent.stop().map(drop)
}

/// Compares what both observers' log records add up to with the truth.
fn check_records(sink: &JsonSink, moment: &Moment) -> anyhow::Result<()> {
    let truth = moment.truth();
    let records = sink.taken("/v1/logs").iter().flat_map(log_records).collect::<Vec<_>>();
    for (observer, server) in [("client", moment.route.dial), ("server", moment.route.listen)] {
        let own: Vec<_> = records
            .iter()
            .filter(|it| it["eventName"] == "ridley.flow")
            .map(|it| (it, attributes(it)))
            .filter(|(_, it)| it.get("observer").is_some_and(|it| it == observer) && is_at(it, server))
            .collect();
        let sum = |key: &str| -> u64 {
            own.iter().filter_map(|(_, it)| it.get(key)?.as_str()?.parse::<u64>().ok()).sum()
        };
        let found = (sum("ridley.request.bytes"), sum("ridley.response.bytes"));
        let expected = (truth.request, truth.response);
        ensure!(found == expected, "the {observer}'s records say {found:?}, expected {expected:?}");
        let mut traces: Vec<_> =
            own.iter().map(|(it, _)| it["traceId"].as_str().unwrap_or_default()).collect();
        traces.sort_unstable();
        traces.dedup();
        ensure!(
            traces.len() as u64 == truth.opened && traces.iter().all(|it| it.len() == 32),
            "{} connections of the {observer} are in the traces {traces:?}",
            truth.opened
        );
    }
    Ok(())
}

fn is_at(attributes: &BTreeMap<String, Value>, server: SocketAddr) -> bool {
    let is = |key: &str, value: String| attributes.get(key).is_some_and(|it| *it == value);
    is("server.address", server.ip().to_canonical().to_string())
        && is("server.port", server.port().to_string())
}

fn log_records(request: &Value) -> Vec<Value> {
    let each = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let resources = each(request, "resourceLogs");
    resources.iter().flat_map(|it| each(it, "scopeLogs")).flat_map(|it| each(&it, "logRecords")).collect()
}

/// Returns the attributes whose values are texts, or numbers, which JSON has as texts.
fn attributes(record: &Value) -> BTreeMap<String, Value> {
    let all = record["attributes"].as_array().cloned().unwrap_or_default();
    let of = |it: &Value| {
        let value = it["value"].as_object()?.values().next()?;
        Some((it["key"].as_str()?.to_owned(), value.clone()))
    };
    all.iter().filter_map(of).collect()
}
