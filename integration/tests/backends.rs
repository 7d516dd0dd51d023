//! What real servers say of what they were sent.

use std::{
    net::SocketAddr,
    ops::Range,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use integration::{
    Agent, World,
    agent::Rights,
    api_server::{ApiServer, User},
    cases,
    collector::{Collector, To},
    json_sink::JsonSink,
    metrics_server::{Kind, MetricsServer},
    moment::Moment,
    poll,
    ports::free_address,
};
use serde_json::{Value, json};

const OTLP: &str = include_str!("../configs/otlp.yaml");
const REMOTE_WRITE: &str = include_str!("../configs/remote_write.yaml");
const REMOTE_WRITE_OUTAGE: &str = include_str!("../configs/remote_write_outage.yaml");
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
    // What it exports is its own traffic.
    let scraped = agent.scrape()?;
    let is_of_test = |port: &str| endpoints.iter().any(|it| it.contains(&format!(":{port}")));
    let own: Vec<_> = scraped
        .series("ridley_link_connections_opened_total")
        .filter(|(labels, _)| labels["client_name"] == "ridley" && is_of_test(&labels["server_port"]))
        .collect();
    let left_out: f64 = scraped.series("ridley_ebpf_own_connections_total").map(|(_, value)| value).sum();
    ensure!(
        own.is_empty() && left_out >= 3.0,
        "links of its own: {own:?}; {left_out} connections were left out"
    );
    let log = agent.log();
    ensure!(!log.contains("deliver") && !log.contains("dropped"), "the agent said:\n{log}");
    agent.stop().map(drop)
}

/// Links arrive by remote write in the version that each server takes, and a query returns what the peers moved. When a link
/// is no more its series are gone at once, not after the five minutes that a query looks back.
#[test]
fn links_arrive_by_remote_write() -> anyhow::Result<()> {
    let world = World::new()?;
    let kinds = [Kind::Prometheus, Kind::Mimir, Kind::VictoriaMetrics];
    let servers = kinds.into_iter().map(MetricsServer::start).collect::<Result<Vec<_>, _>>()?;
    let endpoints: Vec<_> = servers.iter().map(MetricsServer::write_endpoint).collect();
    let names = ["RIDLEY_PROMETHEUS", "RIDLEY_MIMIR", "RIDLEY_VICTORIAMETRICS"];
    let variables: Vec<_> = names.into_iter().zip(endpoints.iter().map(Path::new)).collect();
    let agent = Agent::start_as(Rights::All, REMOTE_WRITE, &variables)?;

    let case = cases::named("keep_alive_bytes_do_not_freeze");
    let mut play = case.start(&world)?;
    let moment = play.holding()?;
    agent.expect(&moment)?;
    let link = |metric: &str, cluster: &str, more: &str| {
        let [client, server] = [0, 1].map(|it| &moment.interest.names[it]);
        let names = format!("client_name=\"{client}\",server_name=\"{server}\"");
        format!("{metric}{{{names},cluster=\"{cluster}\",job=\"ridley\"{more}}}")
    };
    let writes = [(0, "one"), (0, "two"), (1, "one"), (2, "one"), (2, "two")];
    let truth = moment.truth();
    for (server, cluster) in writes {
        let expect = |query: &str, value| {
            servers[server].expect(query, value).with_context(|| format!("the agent said:\n{}", agent.log()))
        };
        expect(&link("ridley_link_bytes_total", cluster, ",direction=\"request\""), truth.request)?;
        expect(&link("ridley_link_bytes_total", cluster, ",direction=\"response\""), truth.response)?;
        expect(&link("ridley_link_connections_opened_total", cluster, ""), 1)?;
        expect(&link("ridley_link_connections_active", cluster, ""), 1)?;
        expect(&format!("count({} > 0)", link("ridley_link_rtt_seconds_count", cluster, "")), 1)?;
        expect(&format!("count({})", link("ridley_link_rtt_seconds_bucket", cluster, "")), 16)?;
    }
    shapes(&servers[0], &moment)?;
    play.go()?;
    play.holding()?;
    play.go()?;
    let moment = play.done()?;
    agent.expect(&moment)?;
    let truth = moment.truth();
    for (server, cluster) in writes {
        // The last value is there at one moment or another, and then nothing is.
        let query = link("ridley_link_bytes_total", cluster, ",direction=\"request\"");
        servers[server].expect(&format!("last_over_time({query}[5m])"), truth.request)?;
        for metric in
            ["ridley_link_bytes_total", "ridley_link_connections_active", "ridley_link_rtt_seconds_bucket"]
        {
            servers[server].expect_nothing(&link(metric, cluster, ""))?;
        }
    }
    let log = agent.log();
    ensure!(log.matches("is sent 1.0").count() == 1, "one server does not take version 2.0:\n{log}");
    ensure!(!log.contains("deliver") && !log.contains("dropped"), "the agent said:\n{log}");
    agent.stop().map(drop)
}

/// The queries of others' dashboards find the case's link, and what its peers moved.
fn shapes(server: &MetricsServer, moment: &Moment) -> anyhow::Result<()> {
    let [client, server_name] = [0, 1].map(|it| &moment.interest.names[it]);
    let truth = moment.truth();
    // Grafana's Service Graph: which edges there are, and by three sums how they fare.
    let ends = format!("client=\"{client}\",server=\"{server_name}\",source=\"ridley\",cluster=\"one\"");
    let edges = "client, connection_type, server, client_service_namespace, server_service_namespace";
    for metric in
        ["request_total", "request_failed_total", "request_server_seconds_sum", "request_client_seconds_sum"]
    {
        let metric = format!("traces_service_graph_{metric}{{{ends}}}");
        server.expect(&format!("count(group by ({edges}) ({metric}))"), 1)?;
        server.expect(&format!("count(sum by (client, server) (rate({metric}[1m])))"), 1)?;
    }
    server.expect(&format!("sum by (client, server) (traces_service_graph_request_total{{{ends}}})"), 1)?;
    server.expect(
        &format!("sum by (client, server) (traces_service_graph_request_failed_total{{{ends}}})"),
        0,
    )?;
    let buckets = format!("traces_service_graph_request_server_seconds_bucket{{{ends}}}");
    server.expect(&format!("count(histogram_quantile(0.9, sum by (le, client, server) ({buckets})))"), 1)?;
    // Caretta's map: an edge by its id, and the nodes that it is between.
    let names = format!("client_name=\"{client}\",server_name=\"{server_name}\",cluster=\"one\"");
    for (role, bytes) in [(1, truth.request), (2, truth.response)] {
        let edge = format!("caretta_links_observed{{{names},role=\"{role}\"}}");
        server.expect(&format!("sum by (link_id, client_id, server_id, server_port) ({edge})"), bytes)?;
    }
    for (direction, src, dst, bytes) in
        [("request", client, server_name, truth.request), ("response", server_name, client, truth.response)]
    {
        let ends = format!("src_name=\"{src}\",dst_name=\"{dst}\",cluster=\"one\"");
        let flow = format!("obi_network_flow_bytes_total{{{ends},direction=\"{direction}\"}}");
        server.expect(&format!("sum by (src_name, dst_name) ({flow})"), bytes)?;
    }
    Ok(())
}

/// What comes while Prometheus is away is there when it is back, every sample at its time.
#[test]
fn an_outage_costs_no_sample() -> anyhow::Result<()> {
    let address = free_address()?;
    let http = free_address()?.to_string();
    let endpoint = format!("http://{address}/api/v1/write");
    let variables = [("RIDLEY_OTLP_HTTP", Path::new(&http)), ("RIDLEY_PROMETHEUS", Path::new(&endpoint))];
    let agent = Agent::launch(REMOTE_WRITE_OUTAGE, Rights::All, &variables)?;
    let begin = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() - 200;
    let send = |n: u64| -> anyhow::Result<()> {
        let point =
            json!({ "timeUnixNano": format!("{}", (begin + n) * 1_000_000_000), "asInt": n.to_string() });
        let metric = json!({ "name": "numbers", "gauge": { "dataPoints": [point] } });
        let request = json!({ "resourceMetrics": [{ "resource": resource(), "scopeMetrics": [{ "metrics": [metric] }] }] });
        let call = ureq::post(format!("http://{http}/v1/metrics")).header("Content-Type", "application/json");
        call.send(request.to_string())
            .with_context(|| format!("the agent does not take number {n}"))
            .map(drop)
    };
    (1..=60).try_for_each(send)?;
    let server = MetricsServer::start_later(Kind::Prometheus, address)?;
    let all = "numbers{job=\"cart\"}";
    server.expect(&format!("count_over_time({all}[5m])"), 60)?;
    (61..=120).try_for_each(send)?;
    server.expect(&format!("count_over_time({all}[5m])"), 120)?;
    server.expect(&format!("sum_over_time({all}[5m])"), (1..=120).sum())?;
    // Each is one more than the one before, a second later.
    server.expect(&format!("changes({all}[5m])"), 119)?;
    server.expect(&format!("resets({all}[5m])"), 0)?;
    let scraped = agent.scrape()?;
    let of = |name: &str| scraped.series(name).map(|(_, value)| value).sum::<f64>();
    let delivered = of("ridley_exporter_delivered_items_total");
    ensure!(delivered == 120.0 && of("ridley_exporter_retries_total") > 0.0, "{delivered} delivered");
    agent.stop().map(drop)
}

/// A Collector in front and one behind, by gRPC or as JSON: what comes out is what went in. JSON that comes without one is no
/// other than that which one has made protobuf of.
#[test]
fn every_signal_passes_unchanged_between_collectors() -> anyhow::Result<()> {
    for by in [By::Grpc, By::Json] {
        let sink = JsonSink::start()?;
        let behind = Collector::sending(To::Json(&sink.url()))?;
        let next = if by == By::Grpc { behind.grpc() } else { behind.http() };
        let (agent, [grpc, http]) = between(next, by)?;
        let front = Collector::sending(To::Grpc(&grpc))?;
        for (path, sent) in [("/v1/traces", spans()), ("/v1/metrics", metrics()), ("/v1/logs", logs())] {
            for (n, to) in [front.http().to_string(), http.clone()].iter().enumerate() {
                let call =
                    ureq::post(format!("http://{to}{path}")).header("Content-Type", "application/json");
                call.send(sent.to_string()).with_context(|| format!("{to} refuses {path}"))?;
                poll::until(PATIENCE, || {
                    let taken = sink.taken(path);
                    let expected = vec![sent.clone(); n + 1];
                    ensure!(
                        taken == expected,
                        "by {by:?} {path} was sent\n{sent:#}\nand came out as\n{taken:#?}"
                    );
                    Ok(())
                })
                .with_context(|| format!("the agent said:\n{}", agent.log()))?;
            }
        }
        agent.stop()?;
    }
    Ok(())
}

/// Applications need not say in which pod they are: it is found by who sent it, or by what a resource says. What it says of itself
/// stays, and nothing else changes, whether a Collector is in front or an application sends JSON.
#[test]
fn every_signal_is_told_which_pod_it_is_of() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    let [here, elsewhere] = create_cart(&server)?;
    let sink = JsonSink::start()?;
    let behind = Collector::sending(To::Json(&sink.url()))?;
    let config = BETWEEN_COLLECTORS
        .replace("receivers: [otlp], ", "receivers: [otlp], processors: [kubernetes], ")
        .replace(
            "connectors:",
            "processors:\n  kubernetes: { kubeconfig: '${env:RIDLEY_KUBECONFIG}' }\nconnectors:",
        );
    let kubeconfig = server.kubeconfig(User::Admin);
    let (agent, [grpc, http]) =
        between_with(&config, behind.grpc(), By::Grpc, &[("RIDLEY_KUBECONFIG", &kubeconfig)])?;
    let front = Collector::sending(To::Grpc(&grpc))?;
    let text = |(key, value): (&str, &str)| json!({ "key": key, "value": { "stringValue": value } });
    for (path, key, sent) in [
        ("/v1/traces", "resourceSpans", spans()),
        ("/v1/metrics", "resourceMetrics", metrics()),
        ("/v1/logs", "resourceLogs", logs()),
    ] {
        let with = |attributes: &[(&str, &str)]| {
            let mut with = sent.clone();
            let all =
                with[key][0]["resource"]["attributes"].as_array_mut().expect("a resource has attributes");
            all.extend(attributes.iter().copied().map(text));
            with
        };
        let mut expected = Vec::new();
        for to in [front.http().to_string(), http.clone()] {
            let common = [("service.namespace", "shop"), ("k8s.deployment.name", "cart")];
            let of = |pod: &'static str, node: &'static str| [("k8s.pod.name", pod), ("k8s.node.name", node)];
            let [by_connection, by_uid] = [of("cart-6f-here", "kn1"), of("cart-6f-elsewhere", "kn2")];
            let namespace = ("k8s.namespace.name", "shop");
            for (said, added) in [
                (vec![], vec![namespace, by_connection[0], ("k8s.pod.uid", &here), by_connection[1]]),
                (vec![("k8s.pod.uid", elsewhere.as_str())], vec![namespace, by_uid[0], by_uid[1]]),
            ] {
                let call =
                    ureq::post(format!("http://{to}{path}")).header("Content-Type", "application/json");
                call.send(with(&said).to_string()).with_context(|| format!("{to} refuses {path}"))?;
                expected.push(with(&[said, added, common.to_vec()].concat()));
                poll::until(PATIENCE, || {
                    let taken = sink.taken(path);
                    ensure!(taken == expected, "expected\n{expected:#?}\nand came out as\n{taken:#?}");
                    Ok(())
                })
                .with_context(|| format!("the agent said:\n{}", agent.log()))?;
            }
        }
    }
    agent.stop().map(drop)
}

/// Creates two pods of the Deployment `cart`, one with the address that connections on this machine are from. Returns their uids.
fn create_cart(server: &ApiServer) -> anyhow::Result<[String; 2]> {
    let controller = |api_version: &str, kind: &str, name: &str, uid: &str| json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true }]);
    let uid =
        |it: &Value| it["metadata"]["uid"].as_str().map(str::to_owned).context("an object without a uid");
    let labels = json!({ "app": "cart" });
    let containers = json!([{ "name": "c", "image": "i" }]);
    let created = server.create(&[
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": { "name": "cart-6f", "namespace": "shop", "ownerReferences":
                controller("apps/v1", "Deployment", "cart", "11111111-2222-3333-4444-555555555555") },
            "spec": { "selector": { "matchLabels": labels },
                "template": { "metadata": { "labels": labels }, "spec": { "containers": containers } } },
        }),
    ])?;
    let owner = controller("apps/v1", "ReplicaSet", "cart-6f", &uid(&created[1])?);
    let pods = [("cart-6f-here", "kn1", "127.0.0.1"), ("cart-6f-elsewhere", "kn2", "10.244.2.5")];
    let pods = server.create(&pods.map(|(name, node, address)| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "shop", "ownerReferences": owner },
            "spec": { "nodeName": node, "containers": containers },
            "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "startTime": "2026-01-01T00:00:00Z" },
        })
    }))?;
    Ok([uid(&pods[0])?, uid(&pods[1])?])
}

/// What was taken while the next server was away arrives when it is back, once each.
#[test]
fn what_was_taken_in_an_outage_arrives_after_it() -> anyhow::Result<()> {
    let sink = JsonSink::start()?;
    let address = free_address()?;
    let (agent, [_, http]) = between(address, By::Grpc)?;
    let send = |n: usize| -> anyhow::Result<()> {
        let call =
            ureq::post(format!("http://{http}/v1/logs")).header("Content-Type", "application/x-protobuf");
        call.send(numbered_log(n)).with_context(|| format!("the agent does not take number {n}")).map(drop)
    };
    // Nobody is there yet; then for a while somebody is; then again, after a pause.
    (0..100).try_for_each(send)?;
    let arrive = |numbers: Range<usize>| {
        poll::until(PATIENCE, || {
            let mut arrived: Vec<_> = sink.taken("/v1/logs").iter().flat_map(numbers_of).collect();
            arrived.sort_unstable();
            ensure!(
                arrived == numbers.clone().collect::<Vec<_>>(),
                "{} have arrived: {arrived:?}",
                arrived.len()
            );
            Ok(())
        })
        .with_context(|| format!("the agent said:\n{}", agent.log()))
    };
    let behind = Collector::sending_at(address, To::Json(&sink.url()))?;
    arrive(0..100)?;
    drop(behind);
    (100..200).try_for_each(send)?;
    let _behind = Collector::sending_at(address, To::Json(&sink.url()))?;
    arrive(0..200)?;
    let scraped = agent.scrape()?;
    let of = |name: &str| scraped.series(name).map(|(_, value)| value).sum::<f64>();
    let (taken, refused) = (of("ridley_otlp_taken_requests_total"), of("ridley_otlp_refused_requests_total"));
    let delivered = of("ridley_exporter_delivered_items_total");
    ensure!(
        (taken, refused, delivered) == (200.0, 0.0, 200.0),
        "{taken} taken, {refused} refused, {delivered} delivered"
    );
    ensure!(of("ridley_exporter_retries_total") > 0.0, "nothing was sent again");
    agent.stop().map(drop)
}

/// How an agent sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Grpc,
    Json,
}

/// Starts an agent that passes everything on to a Collector. Returns where it takes OTLP by gRPC and by HTTP.
fn between(collector: SocketAddr, by: By) -> anyhow::Result<(Agent, [String; 2])> {
    between_with(BETWEEN_COLLECTORS, collector, by, &[])
}

/// Like [`between`], with another configuration and further variables of the environment.
fn between_with(
    config: &str,
    collector: SocketAddr,
    by: By,
    more: &[(&str, &Path)],
) -> anyhow::Result<(Agent, [String; 2])> {
    let [grpc, http] = [free_address()?.to_string(), free_address()?.to_string()];
    let next = format!("http://{collector}");
    let (protocol, encoding) = match by {
        By::Grpc => ("grpc", "proto"),
        By::Json => ("http", "json"),
    };
    let variables = [
        ("RIDLEY_OTLP", Path::new(&grpc)),
        ("RIDLEY_OTLP_HTTP", Path::new(&http)),
        ("RIDLEY_COLLECTOR", Path::new(&next)),
        ("RIDLEY_PROTOCOL", Path::new(protocol)),
        ("RIDLEY_ENCODING", Path::new(encoding)),
    ];
    let variables = [&variables, more].concat();
    Ok((Agent::launch(config, Rights::All, &variables)?, [grpc, http]))
}

/// Makes a request with one log record, whose body is a number.
fn numbered_log(n: usize) -> Vec<u8> {
    let message = |number: u8, inside: Vec<u8>| {
        let len = u8::try_from(inside.len()).expect("it is short");
        [vec![number << 3 | 2, len], inside].concat()
    };
    // Resource, scope and record, and of that its body, a text.
    [1, 5, 2, 2, 1].into_iter().fold(n.to_string().into_bytes(), |inside, number| message(number, inside))
}

/// Returns the numbers in a request as JSON.
fn numbers_of(request: &Value) -> Vec<usize> {
    let each = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let resources = each(request, "resourceLogs");
    let records =
        resources.iter().flat_map(|it| each(it, "scopeLogs")).flat_map(|it| each(&it, "logRecords"));
    records.filter_map(|it| it["body"]["stringValue"].as_str()?.parse().ok()).collect()
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
            { "name": "ratio", "gauge": { "dataPoints": [{ "timeUnixNano": times[1], "asDouble": "NaN" }] } },
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
    json!({ "name": "shop.orders", "version": "1.0.0" })
}
