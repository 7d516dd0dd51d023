use std::time::Duration;

use model::{
    Before, Begin, End, Endpoint, Entity, Flow, Flows, Interval, Listener, Listeners, Local, Logs, Process,
    Rtt, TraceId, Traffic,
};
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};

use crate::names::{self, DirectionNames, EndNames};

/// Attributes of most records.
const USUAL: usize = 24;

/// Writes flow records, of whoever sends them.
pub fn encode_flows(flows: &Flows) -> Logs {
    logs(flows.records.iter().map(flow).collect())
}

/// Writes reports on listening sockets, of whoever sends them.
pub fn encode_listeners(listeners: &Listeners) -> Logs {
    logs(listeners.records.iter().map(listener).collect())
}

fn logs(log_records: Vec<LogRecord>) -> Logs {
    let scope = InstrumentationScope {
        name: "ridley".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
    Logs::new(vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }])
}

fn flow(flow: &Flow) -> LogRecord {
    let Flow {
        id,
        observer,
        transport,
        client,
        server,
        started,
        interval,
        other_is_observed,
        is_joined,
        begin,
        end,
        before,
        request,
        response,
        rtt,
        connect,
        server_handshake,
        local,
    } = flow;
    let mut attributes = Attributes(Vec::with_capacity(USUAL));
    attributes.text(names::OBSERVER, observer.as_str());
    attributes.text(names::TRANSPORT, transport.as_str());
    attributes.end(&names::CLIENT, client);
    attributes.end(&names::SERVER, server);
    if let Some(started) = started {
        attributes.number(names::STARTED, started.0);
    }
    for (key, value) in [(names::OTHER_IS_OBSERVED, other_is_observed), (names::IS_JOINED, is_joined)] {
        if *value {
            attributes.add(key, Value::BoolValue(true));
        }
    }
    match begin {
        None => {}
        Some(Begin::Opened) => attributes.text(names::BEGIN, names::OPENED),
        Some(Begin::Found) => attributes.text(names::BEGIN, names::FOUND),
    }
    match end {
        None => {}
        Some(End::Closed(reason)) => {
            attributes.text(names::END, names::CLOSED);
            attributes.text(names::CLOSE_REASON, reason.as_str());
        }
        Some(End::Failed(reason)) => {
            attributes.text(names::END, names::FAILED);
            attributes.text(names::ERROR_TYPE, reason.as_str());
        }
        Some(End::Again) => attributes.text(names::END, names::AGAIN),
    }
    if let Some(Before { request, response }) = before {
        attributes.number(names::BEFORE_REQUEST, *request);
        attributes.number(names::BEFORE_RESPONSE, *response);
    }
    attributes.direction(&names::REQUEST, request);
    attributes.direction(&names::RESPONSE, response);
    if let Some(Rtt { smoothed, min }) = rtt {
        attributes.nanos(names::RTT, *smoothed);
        attributes.nanos(names::MIN_RTT, *min);
    }
    for (key, value) in [(names::CONNECT, connect), (names::SERVER_HANDSHAKE, server_handshake)] {
        if let Some(duration) = value {
            attributes.nanos(key, *duration);
        }
    }
    attributes.local(local);
    let trace_id = id.map(|it| TraceId::of_connection(it).bytes().to_vec()).unwrap_or_default();
    LogRecord { trace_id, ..attributes.into_record(names::FLOW, *interval) }
}

fn listener(listener: &Listener) -> LogRecord {
    let Listener { transport, server, interval, dropped, cookies, queued, queue_limit, local } = listener;
    let mut attributes = Attributes(Vec::with_capacity(USUAL));
    attributes.text(names::TRANSPORT, transport.as_str());
    attributes.end(&names::SERVER, server);
    attributes.number(names::DROPPED, *dropped);
    attributes.nanos(names::COOKIES, *cookies);
    attributes.number(names::QUEUED, (*queued).into());
    attributes.number(names::QUEUE_LIMIT, (*queue_limit).into());
    attributes.local(local);
    attributes.into_record(names::LISTENER, *interval)
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn into_record(mut self, event: &str, interval: Interval) -> LogRecord {
        self.number(names::START, interval.start.0);
        LogRecord {
            event_name: event.to_owned(),
            time_unix_nano: interval.end.0,
            observed_time_unix_nano: interval.end.0,
            attributes: self.0,
            ..LogRecord::default()
        }
    }

    fn end(&mut self, names: &EndNames, end: &Endpoint) {
        let Endpoint { address, port, entity } = end;
        self.text(names.address, &address.to_string());
        self.number(names.port, (*port).into());
        let Some(Entity { name, namespace, kind, attributes }) = entity.as_deref() else { return };
        self.text(names.name, name);
        self.text(names.kind, kind);
        if let Some(namespace) = namespace {
            self.text(names.namespace, namespace);
        }
        for (attribute, value) in attributes {
            self.text(&[names.prefix, attribute.as_str()].concat(), value);
        }
    }

    fn direction(&mut self, names: &DirectionNames, traffic: &Traffic) {
        let Traffic {
            bytes,
            segments,
            retransmitted_segments,
            retransmitted_bytes,
            out_of_order_segments,
            receive_window_limited,
        } = traffic;
        self.number(names.bytes, *bytes);
        for (key, value) in [
            (names.segments, *segments),
            (names.retransmitted_segments, *retransmitted_segments),
            (names.retransmitted_bytes, *retransmitted_bytes),
            (names.out_of_order_segments, *out_of_order_segments),
        ] {
            if value > 0 {
                self.number(key, value);
            }
        }
        if !receive_window_limited.is_zero() {
            self.nanos(names.receive_window_limited, *receive_window_limited);
        }
    }

    fn local(&mut self, local: &Local) {
        let Local { cgroup, netns, process } = local;
        if let Some(cgroup) = cgroup {
            self.text(names::CGROUP, cgroup);
        }
        if *netns > 0 {
            self.number(names::NETNS, (*netns).into());
        }
        if let Some(Process { pid, command }) = process {
            self.number(names::PID, (*pid).into());
            self.text(names::COMMAND, command);
        }
    }

    fn text(&mut self, key: &str, value: &str) {
        self.add(key, Value::StringValue(value.to_owned()));
    }

    /// Numbers of 64 bits without a sign are those of OTLP, which have one, with the same bits.
    fn number(&mut self, key: &str, value: u64) {
        self.add(key, Value::IntValue(value.cast_signed()));
    }

    fn nanos(&mut self, key: &str, value: Duration) {
        self.number(key, u64::try_from(value.as_nanos()).unwrap_or(u64::MAX));
    }

    fn add(&mut self, key: &str, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        self.0.push(KeyValue { key: key.to_owned(), value, ..KeyValue::default() });
    }
}
