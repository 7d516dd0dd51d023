//! What real servers say of what they were sent.

use std::{path::Path, time::Duration};

use anyhow::{Context, ensure};
use integration::{
    Agent, World,
    agent::{Rights, free_address},
    cases,
    collector::{Collector, To},
    json_sink::JsonSink,
    metrics_server::{Kind, MetricsServer},
    poll,
};
use serde_json::{Value, json};

const OTLP: &str = include_str!("../configs/otlp.yaml");
const BETWEEN_COLLECTORS: &str = include_str!("../configs/between_collectors.yaml");

/// How long a request takes through three programs, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// Links arrive by OTLP, and a query of each server returns what the peers moved.
#[test]
fn links_arrive_by_otlp() -> anyhow::Result<()> {
    let world = World::new()?;
    let kinds = [Kind::Prometheus, Kind::Mimir, Kind::VictoriaMetrics];
    let servers = kinds.into_iter().map(MetricsServer::start).collect::<Result<Vec<_>, _>>()?;
    let mut endpoints: Vec<_> = servers.iter().map(MetricsServer::otlp_endpoint).collect();
    // A Collector is sent to by gRPC, and sends on to the first.
    let collector = Collector::sending(To::Http(&endpoints[0]))?;
    endpoints[0] = format!("http://{}", collector.grpc());
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

/// A Collector in front and one behind: what comes out is what went in.
#[test]
fn every_signal_passes_unchanged_between_collectors() -> anyhow::Result<()> {
    let sink = JsonSink::start()?;
    let behind = Collector::sending(To::Json(&sink.url()))?;
    let (own, next) = (free_address()?.to_string(), format!("http://{}", behind.grpc()));
    let variables = [("RIDLEY_OTLP", Path::new(&own)), ("RIDLEY_COLLECTOR", Path::new(&next))];
    let agent = Agent::launch(BETWEEN_COLLECTORS, Rights::All, &variables)?;
    let front = Collector::sending(To::Grpc(&own))?;
    for (path, sent) in [("/v1/traces", spans()), ("/v1/metrics", metrics()), ("/v1/logs", logs())] {
        let url = format!("http://{}{path}", front.http());
        let call = ureq::post(url).header("Content-Type", "application/json");
        call.send(sent.to_string()).with_context(|| format!("the first Collector refuses {path}"))?;
        poll::until(PATIENCE, || {
            let taken = sink.taken(path);
            ensure!(taken == [sent.clone()], "{path} was sent\n{sent:#}\nand came out as\n{taken:#?}");
            Ok(())
        })
        .with_context(|| format!("the agent said:\n{}", agent.log()))?;
    }
    agent.stop().map(drop)
}

fn spans() -> Value {
    json!({ "resourceSpans": [{
        "resource": resource(),
        "scopeSpans": [{ "scope": scope(), "spans": [{
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
            "parentSpanId": "eee19b7ec3c1b173", "traceState": "a=b", "flags": 257,
            "name": "GET /cart", "kind": 2,
            "startTimeUnixNano": "1544712660000000000", "endTimeUnixNano": "1544712661000000000",
            "attributes": [{ "key": "http.route", "value": { "stringValue": "/cart" } }],
            "events": [{ "timeUnixNano": "1544712660500000000", "name": "cache.miss" }],
            "links": [{ "traceId": "5b8efff798038103d269b633813fc60d", "spanId": "eee19b7ec3c1b175" }],
            "status": { "message": "no", "code": 2 },
        }] }],
    }] })
}

fn metrics() -> Value {
    let times = ["1544712660000000000", "1544712661000000000"];
    json!({ "resourceMetrics": [{
        "resource": resource(),
        "scopeMetrics": [{ "scope": scope(), "metrics": [
            { "name": "requests", "unit": "1", "description": "Requests.", "sum": {
                "aggregationTemporality": 2, "isMonotonic": true,
                "dataPoints": [{ "startTimeUnixNano": times[0], "timeUnixNano": times[1], "asInt": "7" }],
            } },
            { "name": "temperature", "gauge": { "dataPoints": [{ "timeUnixNano": times[1], "asDouble": 21.5 }] } },
            { "name": "latency", "histogram": { "aggregationTemporality": 2, "dataPoints": [{
                "startTimeUnixNano": times[0], "timeUnixNano": times[1], "count": "2", "sum": 3.5,
                "bucketCounts": ["1", "1"], "explicitBounds": [1.5], "min": 0.5, "max": 2.5,
            }] } },
        ] }],
    }] })
}

fn logs() -> Value {
    json!({ "resourceLogs": [{
        "resource": resource(),
        "scopeLogs": [{ "scope": scope(), "logRecords": [{
            "timeUnixNano": "1544712660300000000", "observedTimeUnixNano": "1544712660300000001",
            "severityNumber": 9, "severityText": "Information",
            "body": { "kvlistValue": { "values": [{ "key": "text", "value": { "stringValue": "over" } }] } },
            "attributes": [{ "key": "n", "value": { "intValue": "10" } }],
            "traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
        }] }],
    }] })
}

fn resource() -> Value {
    json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "cart" } }] })
}

fn scope() -> Value {
    json!({ "name": "shop.library", "version": "1.0.0" })
}
