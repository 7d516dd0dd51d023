use std::{collections::BTreeMap, time::Duration};

use model::{End, Endpoint, Observer, TraceId, Traces};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status, span::SpanKind, status::StatusCode},
};

use crate::{observed::Observed, resource::Owner};

/// The trace's first flag of the W3C: it was sampled.
const SAMPLED: u32 = 1;

/// Writes a batch of spans, those of one service together.
pub(crate) fn encode(all: &[Observed]) -> Traces {
    let mut services: BTreeMap<Owner, Vec<Span>> = BTreeMap::new();
    for observed in all {
        for observer in observed.observers() {
            let (own, _) = ends(observed, *observer);
            services.entry(Owner::of(own)).or_default().push(span(observed, *observer));
        }
    }
    let of_service = |(owner, spans): (Owner, Vec<Span>)| {
        let scope = InstrumentationScope {
            name: "ridley".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        ResourceSpans { resource: Some(owner.resource()), scope_spans, ..ResourceSpans::default() }
    };
    Traces::new(services.into_iter().map(of_service).collect())
}

/// Returns the end that a span is of, and the other.
fn ends(observed: &Observed, observer: Observer) -> (&Endpoint, &Endpoint) {
    match observer {
        Observer::Client => (&observed.client, &observed.server),
        Observer::Server => (&observed.server, &observed.client),
    }
}

fn span(observed: &Observed, observer: Observer) -> Span {
    let Observed { trace, period, transport, server, interval, .. } = observed;
    let client_span = trace.span(Observer::Client, *period);
    let (kind, parent, flags) = match observer {
        Observer::Client => (SpanKind::Client, Vec::new(), SpanFlags::ContextHasIsRemoteMask as u32),
        Observer::Server => (
            SpanKind::Server,
            client_span.bytes().to_vec(),
            SpanFlags::ContextHasIsRemoteMask as u32 | SpanFlags::ContextIsRemoteMask as u32,
        ),
    };
    let error = observed.error();
    let status = error.map(|reason| Status { message: reason.to_owned(), code: StatusCode::Error.into() });
    let name = Owner::of(server).service_name();
    Span {
        trace_id: trace.bytes().to_vec(),
        span_id: trace.span(observer, *period).bytes().to_vec(),
        parent_span_id: parent,
        flags: flags | SAMPLED,
        name: format!("{} {name}:{}", transport.as_str(), server.port),
        kind: kind.into(),
        start_time_unix_nano: interval.start.0,
        end_time_unix_nano: interval.end.0,
        attributes: attributes(observed, observer),
        status,
        ..Span::default()
    }
}

fn attributes(observed: &Observed, observer: Observer) -> Vec<KeyValue> {
    let Observed { trace, transport, client, server, end, request, response, rtt, .. } = observed;
    let (own, peer) = ends(observed, observer);
    let peer_service = Owner::of(peer);
    let peer_name = peer_service.service_name();
    let network = if server.address.is_ipv4() { "ipv4" } else { "ipv6" };
    let mut attributes = vec![
        text("network.transport", transport.as_str()),
        text("network.type", network),
        text("client.address", &client.address.to_string()),
        number("client.port", client.port.into()),
        text("server.address", &server.address.to_string()),
        number("server.port", server.port.into()),
        text("network.local.address", &own.address.to_string()),
        number("network.local.port", own.port.into()),
        text("network.peer.address", &peer.address.to_string()),
        number("network.peer.port", peer.port.into()),
        text("service.peer.name", &peer_name),
        // What `service.peer.name` was called; Tempo's service graph looks for this one.
        text("peer.service", &peer_name),
    ];
    attributes.extend(peer_service.service_namespace().map(|it| text("service.peer.namespace", it)));
    attributes
        .extend(TraceId::connection(&trace.bytes()).map(|it| text("ridley.connection.id", &it.to_string())));
    attributes.push(text("ridley.connection.state", state(*end)));
    if let Some(End::Closed(reason)) = end {
        attributes.push(text("ridley.connection.close.reason", reason.as_str()));
    }
    attributes.extend(observed.error().map(|it| text("error.type", it)));
    for (direction, [bytes, retransmits]) in [
        (request, ["ridley.request.bytes", "ridley.request.retransmits"]),
        (response, ["ridley.response.bytes", "ridley.response.retransmits"]),
    ] {
        attributes.push(number(bytes, direction.bytes));
        attributes.push(number(retransmits, direction.retransmits));
    }
    let durations = [
        ("ridley.rtt.smoothed", rtt.map(|it| it.smoothed)),
        ("ridley.rtt.min", rtt.map(|it| it.min)),
        ("ridley.connect.duration", observed.connect),
        ("ridley.server_handshake.duration", observed.server_handshake),
    ];
    attributes.extend(durations.into_iter().filter_map(|(key, it)| Some(seconds(key, it?))));
    attributes
}

const fn state(end: Option<End>) -> &'static str {
    match end {
        None => "open",
        Some(End::Closed(_) | End::Again) => "closed",
        Some(End::Failed(_)) => "failed",
    }
}

/// Returns an attribute that is a text.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

fn number(key: &str, value: u64) -> KeyValue {
    attribute(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn seconds(key: &str, value: Duration) -> KeyValue {
    attribute(key, Value::DoubleValue(value.as_secs_f64()))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
