//! Links as values: what must have been counted, what was, and the difference in words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use anyhow::{Context, bail, ensure};

use crate::exposition::{Exposition, Labels};

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// Who connects.
    pub client: Name,
    /// Who accepts.
    pub server: Name,
    /// The server's port.
    pub port: u16,
    /// Which end's observation was counted.
    pub observer: String,
}

/// The name of one end.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Process, service unit, workload or address.
    pub name: String,
    /// Container, or namespace of the workload.
    pub namespace: Option<String>,
    /// What the name is the name of.
    pub kind: String,
    /// What else is known of it, of what the interest asks for.
    pub attributes: BTreeMap<String, String>,
}

/// What was counted on an edge. A reason that was never counted is not in its map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Payload bytes from client to server.
    pub request: u64,
    /// Payload bytes from server to client.
    pub response: u64,
    /// Connections that opened.
    pub opened: u64,
    /// Connections that closed, by reason.
    pub closed: BTreeMap<String, u64>,
    /// Attempts that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Connections that are open.
    pub active: u64,
    /// Handshakes that were timed by the client.
    pub handshakes: u64,
    /// Handshakes that were timed by the server.
    pub accepts: u64,
    /// Lives of connections that were timed.
    pub lifetimes: u64,
}

/// Edges with their totals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges(pub BTreeMap<Edge, Totals>);

/// Which edges of a scrape belong to a case: those that name one of its peers, and those at one of its ports, which
/// no other case and nobody else uses.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    /// What the peers are called on edges, the client first.
    pub names: Vec<String>,
    /// The ports.
    pub ports: Vec<u16>,
    /// What tells links apart beyond the usual: the setting `attributes` of `links`.
    pub attributes: Vec<String>,
}

impl Interest {
    fn covers(&self, edge: &Edge) -> bool {
        self.names.contains(&edge.client.name)
            || self.names.contains(&edge.server.name)
            || self.ports.contains(&edge.port)
    }
}

/// Labels that every series of a link may have.
const LABELS: [&str; 9] = [
    "client_kind",
    "client_name",
    "client_namespace",
    "network_transport",
    "observer",
    "server_kind",
    "server_name",
    "server_namespace",
    "server_port",
];

impl Edges {
    /// Reads the edges of interest from a scrape, also those of which nothing was counted: who never talked has no edge.
    ///
    /// # Errors
    ///
    /// A series has other labels than links have, or a value that no count can have.
    pub fn of(exposition: &Exposition, interest: &Interest) -> anyhow::Result<Self> {
        let mut edges = Self::default();
        let mut read = |metric: &str, label: Option<&str>, place: &mut dyn FnMut(&mut Totals, &str, u64)| {
            for (labels, value) in exposition.series(metric) {
                let (edge, by) = read_labels(labels, label, &interest.attributes)
                    .with_context(|| format!("in {metric} of {labels:?}"))?;
                if interest.covers(&edge) {
                    let count = as_count(value).with_context(|| format!("in {metric} of {edge}"))?;
                    place(edges.0.entry(edge).or_default(), &by, count);
                }
            }
            anyhow::Ok(())
        };
        read("ridley_link_bytes_total", Some("direction"), &mut |totals, direction, n| match direction {
            "request" => totals.request = n,
            _ => totals.response = n,
        })?;
        read("ridley_link_connections_opened_total", None, &mut |totals, _, n| totals.opened = n)?;
        read("ridley_link_connections_closed_total", Some("reason"), &mut |totals, reason, n| {
            totals.closed.insert(reason.to_owned(), n);
        })?;
        read("ridley_link_connections_failed_total", Some("error_type"), &mut |totals, reason, n| {
            totals.failed.insert(reason.to_owned(), n);
        })?;
        read("ridley_link_connections_active", None, &mut |totals, _, n| totals.active = n)?;
        read("ridley_link_connect_duration_seconds_count", None, &mut |totals, _, n| totals.handshakes = n)?;
        read("ridley_link_server_handshake_duration_seconds_count", None, &mut |totals, _, n| {
            totals.accepts = n
        })?;
        read("ridley_link_connection_duration_seconds_count", None, &mut |totals, _, n| {
            totals.lifetimes = n
        })?;
        for totals in edges.0.values_mut() {
            totals.closed.retain(|_, n| *n > 0);
            totals.failed.retain(|_, n| *n > 0);
        }
        Ok(edges)
    }

    /// Adds what another agent counted.
    pub fn add(&mut self, other: Self) {
        for (edge, totals) in other.0 {
            let Totals { request, response, opened, closed, failed, active, handshakes, accepts, lifetimes } =
                totals;
            let sum = self.0.entry(edge).or_default();
            sum.request += request;
            sum.response += response;
            sum.opened += opened;
            sum.active += active;
            sum.handshakes += handshakes;
            sum.accepts += accepts;
            sum.lifetimes += lifetimes;
            for (sum, more) in [(&mut sum.closed, closed), (&mut sum.failed, failed)] {
                more.into_iter().for_each(|(reason, n)| *sum.entry(reason).or_default() += n);
            }
        }
    }

    /// Returns how much was added to what `earlier` says, if whoever counts began then: connections that were open
    /// are not seen to open, and neither their handshakes nor their lives can be timed.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut edges = self.clone();
        for (edge, totals) in &mut edges.0 {
            let Some(before) = earlier.0.get(edge) else { continue };
            totals.request -= before.request;
            totals.response -= before.response;
            totals.opened -= before.opened;
            totals.handshakes -= before.handshakes;
            totals.accepts -= before.accepts;
            totals.lifetimes = totals.lifetimes.saturating_sub(before.lifetimes + before.active);
            for (now, then) in [(&mut totals.closed, &before.closed), (&mut totals.failed, &before.failed)] {
                for (reason, n) in now.iter_mut() {
                    *n -= then.get(reason).copied().unwrap_or_default();
                }
                now.retain(|_, n| *n > 0);
            }
        }
        edges.0.retain(|_, totals| *totals != Totals::default());
        edges
    }

    /// Compares what was found with what must be.
    ///
    /// # Errors
    ///
    /// Says for each edge what is missing, unexpected, or different.
    pub fn compare(&self, found: &Self) -> anyhow::Result<()> {
        let mut lines = Vec::new();
        for edge in self.0.keys().chain(found.0.keys()).collect::<BTreeSet<_>>() {
            match (self.0.get(edge), found.0.get(edge)) {
                (Some(expected), None) => lines.push(format!("missing     {edge}: {expected}")),
                (None, Some(found)) => lines.push(format!("unexpected  {edge}: {found}")),
                (Some(expected), Some(found)) if expected != found => {
                    lines.push(format!("different   {edge}: {}", expected.difference(found)));
                }
                _ => {}
            }
        }
        ensure!(lines.is_empty(), "the links differ from the truth:\n  {}", lines.join("\n  "));
        Ok(())
    }
}

impl Totals {
    fn fields(&self) -> BTreeMap<String, u64> {
        let Self { request, response, opened, closed, failed, active, handshakes, accepts, lifetimes } = self;
        let plain = [
            ("request", request),
            ("response", response),
            ("opened", opened),
            ("active", active),
            ("handshakes", handshakes),
            ("accepts", accepts),
            ("lifetimes", lifetimes),
        ];
        let plain = plain.into_iter().map(|(name, n)| (name.to_owned(), *n));
        let closed = closed.iter().map(|(reason, n)| (format!("closed {reason}"), *n));
        let failed = failed.iter().map(|(reason, n)| (format!("failed {reason}"), *n));
        plain.chain(closed).chain(failed).collect()
    }

    fn difference(&self, found: &Self) -> String {
        let (expected, found) = (self.fields(), found.fields());
        let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        let differences = names.into_iter().filter_map(|name| {
            let expected = expected.get(name).copied().unwrap_or_default();
            let found = found.get(name).copied().unwrap_or_default();
            (expected != found).then(|| format!("{name} {found} instead of {expected}"))
        });
        differences.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields().into_iter().filter(|(_, n)| *n > 0);
        let words: Vec<_> = fields.map(|(name, n)| format!("{name} {n}")).collect();
        f.write_str(&words.join(", "))
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, server, port, observer } = self;
        write!(f, "{client} -> {server} port {port}, seen by the {observer}")
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, namespace, kind, attributes } = self;
        match namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name}")?,
            None => write!(f, "{kind} {name}")?,
        }
        attributes.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

/// Returns the edge that labels describe, and the value of the one label that the metric has beyond.
fn read_labels(
    labels: &Labels,
    extra: Option<&str>,
    attributes: &[String],
) -> anyhow::Result<(Edge, String)> {
    let get =
        |label: &str| labels.get(label).cloned().with_context(|| format!("the label `{label}` is missing"));
    let is_asked_for = |label: &str| {
        let of_end = ["client_", "server_"].into_iter().find_map(|side| label.strip_prefix(side));
        of_end.is_some_and(|it| attributes.iter().any(|attribute| attribute == it))
    };
    for label in labels.keys() {
        ensure!(
            LABELS.contains(&label.as_str()) || Some(label.as_str()) == extra || is_asked_for(label),
            "an unknown label `{label}`"
        );
    }
    let transport = get("network_transport")?;
    ensure!(transport == "tcp", "the transport is `{transport}`");
    let end = |side: &str| {
        anyhow::Ok(Name {
            name: get(&format!("{side}_name"))?,
            namespace: labels.get(&format!("{side}_namespace")).cloned(),
            kind: get(&format!("{side}_kind"))?,
            attributes: attributes
                .iter()
                .filter_map(|it| Some((it.clone(), labels.get(&format!("{side}_{it}"))?.clone())))
                .collect(),
        })
    };
    let edge = Edge {
        client: end("client")?,
        server: end("server")?,
        // The edge that collects what exceeds the budget of series has none.
        port: labels.get("server_port").map_or(Ok(0), |port| port.parse()).context("the port is no port")?,
        observer: get("observer")?,
    };
    Ok((edge, extra.map(get).transpose()?.unwrap_or_default()))
}

/// Returns a value as the count that it is.
///
/// # Errors
///
/// It is none, or so great that it may not be exact.
pub fn as_count(value: f64) -> anyhow::Result<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() != 0.0 || !(0.0..EXACT).contains(&value) {
        bail!("{value} is no count");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(value as u64)
}
