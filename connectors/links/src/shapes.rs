//! Series of names that other programs made known, for dashboards that are there already.

use model::kind;
use opentelemetry_proto::tonic::{
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint},
};
use serde::Deserialize;

use crate::{
    identity::text,
    link::{Link, Totals},
    otlp::{Encoder, PointMaker, gauge, histogram, sum},
};

/// By which others' names links are told of, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Tempo's `traces_service_graph_*`, which Grafana's Service Graph shows.
    ServiceGraph,
    /// `obi_network_flow_bytes_total`, as OBI and Beyla tell bytes.
    Obi,
    /// `caretta_links_observed`, as Caretta tells bytes.
    Caretta,
}

/// Attributes of a link that the shapes have names of their own for; the others tell links apart in each shape alike.
const RENAMED: [&str; 7] = [
    "client.name",
    "client.namespace",
    "client.kind",
    "server.name",
    "server.namespace",
    "server.kind",
    "server.port",
];

/// Kinds of ends that are none of Kubernetes'.
const PLAIN: [&str; 5] = [kind::PROCESS, kind::UNIT, kind::CONTAINER, kind::EXTERNAL, kind::OTHER];

/// The points of one batch, by metric.
#[derive(Debug, Default)]
pub(crate) struct ShapePoints {
    requests: Vec<NumberDataPoint>,
    failed: Vec<NumberDataPoint>,
    server_seconds: Vec<HistogramDataPoint>,
    client_seconds: Vec<HistogramDataPoint>,
    flow_bytes: Vec<NumberDataPoint>,
    links_observed: Vec<NumberDataPoint>,
}

/// The ends of a link in words, of which those that are not known are empty.
struct Ends<'a> {
    client: End<'a>,
    server: End<'a>,
    port: String,
    others: Vec<KeyValue>,
}

#[derive(Clone, Copy)]
struct End<'a> {
    name: &'a str,
    namespace: &'a str,
    kind: &'a str,
}

impl ShapePoints {
    /// Adds the points of a link in a shape, and returns how many these are.
    pub(crate) fn add(&mut self, shape: Shape, link: &Link, point: &PointMaker, encoder: &Encoder) -> usize {
        let ends = Ends::of(&point.attributes);
        match shape {
            Shape::ServiceGraph => self.add_service_graph(&ends, &link.totals, point, encoder),
            Shape::Obi => {
                for (direction, bytes) in
                    [("request", link.totals.request.bytes), ("response", link.totals.response.bytes)]
                {
                    let point = point.with(obi(&ends, direction));
                    self.flow_bytes.push(point.number(bytes));
                }
                2
            }
            Shape::Caretta => {
                for (role, bytes) in [("1", link.totals.request.bytes), ("2", link.totals.response.bytes)] {
                    let point = point.with(caretta(&ends, role));
                    self.links_observed.push(point.number(bytes));
                }
                2
            }
        }
    }

    fn add_service_graph(
        &mut self,
        ends: &Ends<'_>,
        totals: &Totals,
        point: &PointMaker,
        encoder: &Encoder,
    ) -> usize {
        let Totals { opened, failed, connect_duration, server_handshake_duration, .. } = totals;
        let point = point.with(service_graph(ends));
        let failed: u64 = failed.iter().sum();
        // Those that failed are among all, as in Tempo.
        self.requests.push(point.number(opened.saturating_add(failed)));
        self.failed.push(point.number(failed));
        let mut n_points = 2;
        for (durations, bounds, points) in [
            (connect_duration, &encoder.connect_duration, &mut self.client_seconds),
            (server_handshake_duration, &encoder.server_handshake_duration, &mut self.server_seconds),
        ] {
            if !durations.counts.is_empty() {
                points.push(point.histogram(durations, bounds));
                n_points += 1;
            }
        }
        n_points
    }

    pub(crate) fn into_metrics(self) -> impl Iterator<Item = Metric> {
        let Self { requests, failed, server_seconds, client_seconds, flow_bytes, links_observed } = self;
        [
            sum(
                "traces_service_graph_request_total",
                "",
                "Connections that were established, and attempts that failed.",
                true,
                requests,
            ),
            sum(
                "traces_service_graph_request_failed_total",
                "",
                "Attempts that established no connection.",
                true,
                failed,
            ),
            histogram(
                "traces_service_graph_request_server_seconds",
                "Time of the handshake, as the server measured it.",
                server_seconds,
            ),
            histogram(
                "traces_service_graph_request_client_seconds",
                "Time of the handshake, as the client measured it.",
                client_seconds,
            ),
            sum("obi_network_flow_bytes_total", "By", "Payload bytes, each counted once.", true, flow_bytes),
            gauge(
                "caretta_links_observed",
                "",
                "Payload bytes that the client (role 1) or the server (role 2) sent.",
                links_observed,
            ),
        ]
        .into_iter()
        .flatten()
    }
}

impl<'a> Ends<'a> {
    fn of(attributes: &'a [KeyValue]) -> Self {
        let value = |key: &str| {
            let found = attributes.iter().find(|it| it.key == key)?.value.as_ref()?;
            found.value.as_ref()
        };
        let word = |key: &str| match value(key) {
            Some(Value::StringValue(text)) => text.as_str(),
            _ => "",
        };
        let end =
            |name, namespace, kind| End { name: word(name), namespace: word(namespace), kind: word(kind) };
        Self {
            client: end("client.name", "client.namespace", "client.kind"),
            server: end("server.name", "server.namespace", "server.kind"),
            port: match value("server.port") {
                Some(Value::IntValue(port)) => port.to_string(),
                _ => String::new(),
            },
            others: attributes.iter().filter(|it| !RENAMED.contains(&it.key.as_str())).cloned().collect(),
        }
    }

    /// Returns these labels, without those that are empty, and what else tells links apart.
    fn labels(&self, labels: &[(&str, &str)]) -> Vec<KeyValue> {
        let known = labels.iter().filter(|(_, value)| !value.is_empty());
        known.map(|(name, value)| text(name, value)).chain(self.others.iter().cloned()).collect()
    }
}

impl<'a> End<'a> {
    /// Returns whether nobody observes it: it is known by the other end alone.
    fn is_virtual(self) -> bool {
        [kind::EXTERNAL, kind::OTHER].contains(&self.kind)
    }

    /// Returns name, kind and namespace, if they are Kubernetes'.
    fn owner(self) -> [&'a str; 3] {
        let Self { name, namespace, kind } = self;
        if PLAIN.contains(&kind) { [""; 3] } else { [name, kind, namespace] }
    }

    /// Returns the namespace, if it is none of Kubernetes': the container of a process.
    fn plain_namespace(self) -> &'a str {
        if PLAIN.contains(&self.kind) { self.namespace } else { "" }
    }

    /// Returns the kind in Caretta's words.
    fn caretta_kind(self) -> &'a str {
        match self.kind {
            "Node" => "node",
            "Pod" => "pod",
            other => other,
        }
    }

    fn id(self) -> u64 {
        let Self { name, namespace, kind } = self;
        fnv(&[name, namespace, kind])
    }
}

fn service_graph(ends: &Ends<'_>) -> Vec<KeyValue> {
    let Ends { client, server, port, .. } = ends;
    let is_virtual = client.is_virtual() || server.is_virtual();
    ends.labels(&[
        ("client", client.name),
        ("client_service_namespace", client.namespace),
        ("client_kind", client.kind),
        ("server", server.name),
        ("server_service_namespace", server.namespace),
        ("server_kind", server.kind),
        ("server_port", port),
        ("connection_type", if is_virtual { "virtual_node" } else { "" }),
        ("source", "ridley"),
    ])
}

fn obi(ends: &Ends<'_>, direction: &str) -> Vec<KeyValue> {
    let Ends { client, server, port, .. } = ends;
    let (src, dst) = if direction == "request" { (client, server) } else { (server, client) };
    let [src_owner, src_type, src_namespace] = src.owner();
    let [dst_owner, dst_type, dst_namespace] = dst.owner();
    ends.labels(&[
        ("src_name", src.name),
        ("k8s_src_owner_name", src_owner),
        ("k8s_src_owner_type", src_type),
        ("k8s_src_namespace", src_namespace),
        ("dst_name", dst.name),
        ("k8s_dst_owner_name", dst_owner),
        ("k8s_dst_owner_type", dst_type),
        ("k8s_dst_namespace", dst_namespace),
        ("direction", direction),
        // What is not of Kubernetes has no more than a name, which something else may have, too.
        ("client_kind", client.kind),
        ("client_namespace", client.plain_namespace()),
        ("server_kind", server.kind),
        ("server_namespace", server.plain_namespace()),
        ("server_port", port),
    ])
}

fn caretta(ends: &Ends<'_>, role: &str) -> Vec<KeyValue> {
    let Ends { client, server, port, .. } = ends;
    let [client_id, server_id] = [client, server].map(|it| it.id().to_string());
    let link_id = fnv(&[&client_id, &server_id, port]).to_string();
    ends.labels(&[
        ("link_id", &link_id),
        ("client_id", &client_id),
        ("client_name", client.name),
        ("client_namespace", client.namespace),
        ("client_kind", client.caretta_kind()),
        ("server_id", &server_id),
        ("server_name", server.name),
        ("server_namespace", server.namespace),
        ("server_kind", server.caretta_kind()),
        ("server_port", port),
        ("role", role),
    ])
}

/// Returns a number that is the same in every agent and after every start: FNV-1a.
fn fnv(texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|it| it.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, it| (hash ^ u64::from(it)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        num::NonZeroU32,
        time::{Duration, Instant},
    };

    use component_test::{FlowBuilder, flow};
    use model::{Entity, FailureReason, Observer, UnixNanos};
    use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};

    use super::*;
    use crate::{Aggregate, Buckets, Limits};

    const ALL: [Shape; 3] = [Shape::ServiceGraph, Shape::Obi, Shape::Caretta];

    /// Names and labels are those that dashboards ask for.
    #[test]
    fn links_are_told_of_as_documented() {
        let handshake = Duration::from_micros(80);
        let series = series(&[
            between("web", "db").id(1).opened(1).request(200).response(1_000).connect(handshake),
            between("web", "db").id(2).failed(FailureReason::Refused),
            flow().id(3).server_entity(workload("web")).observer(Observer::Server).opened(1).request(7),
        ]);
        assert_eq!(series.join("\n") + "\n", include_str!("../testdata/shapes.txt"));
    }

    /// Two links are never one series, whatever it is that tells them apart: their sums would go down when one expires.
    #[test]
    fn links_are_kept_apart() {
        let mut contained = Entity::new("db", kind::PROCESS);
        contained.namespace = Some("container".into());
        let links = [
            between("web", "db"),
            between("web", "db").server("10.0.0.2:81"),
            between("web", "db").observer(Observer::Server),
            between("web", "db").server_entity(Entity::new("db", kind::PROCESS)),
            between("web", "db").server_entity(contained),
            between("web", "mail"),
        ];
        let series = series(&links);
        let unique: BTreeSet<_> = series.iter().map(|it| it.rsplit_once(' ').unwrap().0).collect();
        assert_eq!((series.len(), unique.len()), (6 * 6, 6 * 6), "{series:#?}");
    }

    fn between(client: &str, server: &str) -> FlowBuilder {
        flow().client_entity(workload(client)).server_entity(workload(server))
    }

    fn workload(name: &str) -> Entity {
        let mut entity = Entity::new(name, "Deployment");
        entity.namespace = Some("shop".into());
        entity
    }

    /// Returns the series of the shapes with their values, a histogram's being its count.
    fn series(flows: &[FlowBuilder]) -> Vec<String> {
        let limits = Limits {
            links: NonZeroU32::new(10).unwrap(),
            connections: NonZeroU32::new(10).unwrap(),
            expire_after: Duration::from_secs(60),
        };
        let mut aggregate = Aggregate::new(limits, &[], &Buckets::default(), &ALL, UnixNanos(1));
        for flow in flows {
            aggregate.push(&flow.clone().build(), Instant::now());
        }
        let (metrics, _next) = aggregate.encode(0, UnixNanos(2)).unwrap();
        let data = metrics.decode().unwrap();
        let mut series = Vec::new();
        for metric in &data.resource_metrics[0].scope_metrics[0].metrics {
            let points: Vec<_> = match metric.data.as_ref().unwrap() {
                metric::Data::Sum(sum) => {
                    sum.data_points.iter().map(|it| (&it.attributes, number(it))).collect()
                }
                metric::Data::Gauge(data) => {
                    data.data_points.iter().map(|it| (&it.attributes, number(it))).collect()
                }
                metric::Data::Histogram(data) => {
                    data.data_points.iter().map(|it| (&it.attributes, it.count.cast_signed())).collect()
                }
                other => panic!("{other:?}"),
            };
            for (attributes, value) in points.into_iter().filter(|_| !metric.name.starts_with("ridley.")) {
                let label = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
                    Some(Value::StringValue(text)) => format!("{}={text:?}", it.key),
                    other => panic!("{other:?}"),
                };
                let labels: Vec<_> = attributes.iter().map(label).collect();
                series.push(format!("{}{{{}}} {value}", metric.name, labels.join(",")));
            }
        }
        series
    }

    fn number(point: &NumberDataPoint) -> i64 {
        match point.value {
            Some(number_data_point::Value::AsInt(value)) => value,
            // Of the own metrics, which are left out.
            _ => 0,
        }
    }
}
