use component_test::{any_flow, any_listener, flow, listener};
use model::{Flows, Listeners};
use opentelemetry_proto::tonic::{
    common::v1::AnyValue,
    logs::v1::{LogsData, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use proptest::prelude::*;

use super::*;
use crate::{encode_flows, encode_listeners};

/// Whoever reads them by another program has nothing but this page.
#[test]
fn every_attribute_is_documented() {
    let documented = include_str!("../../../docs/flow-records.md");
    let names = include_str!("names.rs").split('"').skip(1).step_by(2).filter(|it| it.contains('.'));
    for name in names.filter(|it| !it.ends_with('.') && !it.contains(' ')) {
        let by_end = [("client.", "`client."), ("server.", "`client.")];
        let by_direction =
            [("ridley.request.", "`ridley.request."), ("ridley.response.", "`ridley.request.")];
        let shown = by_end
            .iter()
            .chain(&by_direction)
            .find_map(|(prefix, shown)| name.strip_prefix(prefix).map(|rest| format!("{shown}{rest}`")));
        let shown = shown.unwrap_or_else(|| format!("`{name}`"));
        assert!(documented.contains(&shown), "docs/flow-records.md does not have {shown}");
    }
}

#[test]
fn what_is_no_record_is_counted() {
    let mut data = LogsData::clone(&encode_flows(&Flows { records: vec![flow().build()] }).decode().unwrap());
    let records = &mut data.resource_logs[0].scope_logs[0].log_records;
    records.push(LogRecord { event_name: "http.request".to_owned(), ..records[0].clone() });
    records.push(LogRecord::default());
    records.push(LogRecord { event_name: names::LISTENER.to_owned(), ..LogRecord::default() });
    let decoded = Decoder::default().decode(&Logs::new(data.resource_logs)).unwrap();
    let expected = Decoded { flows: vec![flow().build()], n_others: 2, n_malformed: 1, ..Decoded::default() };
    assert_eq!(decoded, expected);
}

/// A later version may add attributes, and words that an end is described by.
#[test]
fn what_is_not_known_is_left_out() {
    check(|record| {
        for key in ["ridley.color", "client.mood", "ridley.request.frames", "", "other"] {
            record.attributes.push(attribute(key, Value::DoubleValue(1.5)));
        }
        record.body = Some(AnyValue { value: Some(Value::BoolValue(true)) });
        Ok(flow().build())
    });
}

#[test]
fn attributes_come_in_any_order() {
    check(|record| {
        record.attributes.reverse();
        Ok(flow().build())
    });
}

#[test]
fn what_must_be_there_is_missed() {
    for name in [
        names::OBSERVER,
        names::TRANSPORT,
        names::CLIENT.address,
        names::CLIENT.port,
        names::SERVER.address,
        names::SERVER.port,
    ] {
        check(|record| {
            record.attributes.retain(|it| it.key != name);
            Err(Malformed(name))
        });
    }
}

#[test]
fn what_cannot_be_is_told() {
    let text = |text: &str| Value::StringValue(text.to_owned());
    for (name, value) in [
        (names::OBSERVER, text("both")),
        (names::TRANSPORT, text("sctp")),
        (names::CLIENT.address, text("10.0.0")),
        (names::SERVER.port, Value::IntValue(65_536)),
        (names::SERVER.port, Value::IntValue(-1)),
        (names::SERVER.port, text("80")),
        (names::SERVER.name, text("")),
        (names::REQUEST.bytes, Value::DoubleValue(1.0)),
        (names::BEGIN, text("closed")),
        (names::END, text("opened")),
        (names::IS_JOINED, text("true")),
        (names::RTT, Value::IntValue(1)),
        (names::BEFORE_REQUEST, Value::IntValue(1)),
        (names::PID, Value::IntValue(1)),
    ] {
        check(|record| {
            record.attributes.retain(|it| it.key != name);
            record.attributes.push(attribute(name, value.clone()));
            Err(Malformed(name))
        });
    }
    for (end, name) in [(names::CLOSED, names::CLOSE_REASON), (names::FAILED, names::ERROR_TYPE)] {
        check(|record| {
            record.attributes.push(attribute(names::END, text(end)));
            Err(Malformed(name))
        });
    }
    check(|record| {
        record.trace_id[15] ^= 1;
        Err(Malformed("trace_id"))
    });
}

/// Records of thousands of connections name few ends.
#[test]
fn entities_are_shared() {
    let entity = Entity::new("cart", "Deployment");
    let record = flow().client_entity(entity.clone()).server_entity(entity).build();
    let logs = encode_flows(&Flows { records: vec![record; 2] });
    let flows = Decoder::default().decode(&logs).unwrap().flows;
    let entities: Vec<_> =
        flows.iter().flat_map(|it| [&it.client, &it.server]).map(|it| it.entity.as_ref()).collect();
    let first = entities[0].expect("it has a name");
    assert!(entities.iter().all(|it| it.is_some_and(|it| Arc::ptr_eq(it, first))));
}

proptest! {
    /// Whatever was observed is read as it was written, also after it was on the wire.
    #[test]
    fn records_round_trip(
        flows in prop::collection::vec(any_flow(), 0..4),
        listeners in prop::collection::vec(any_listener(), 0..4),
    ) {
        let both = [
            encode_flows(&Flows { records: flows.clone() }),
            encode_listeners(&Listeners { records: listeners.clone() }),
        ];
        let wire = both.map(|it| it.encode(&Resource::default())).concat();
        let logs = Logs::from_encoded(wire.into()).unwrap();
        let decoded = Decoder::default().decode(&logs).unwrap();
        prop_assert_eq!(decoded, Decoded { flows, listeners, ..Decoded::default() });
    }

    /// No log record of any sender stops the reader.
    #[test]
    fn any_attributes_are_read(
        is_flow: bool,
        keys in prop::collection::vec(prop::sample::select(keys()), 0..20),
        values in prop::collection::vec(any_value(), 20),
        trace_id in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let attributes = keys.iter().zip(values).map(|(key, value)| attribute(key, value)).collect();
        let event_name = if is_flow { names::FLOW } else { names::LISTENER }.to_owned();
        let record = LogRecord { event_name, attributes, trace_id, ..LogRecord::default() };
        let Decoded { flows, listeners, n_others, n_malformed } = decode(record);
        prop_assert_eq!((flows.len() + listeners.len()) as u64 + n_malformed, 1);
        prop_assert_eq!(n_others, 0);
    }
}

/// Changes a record, and compares what is read.
#[track_caller]
fn check(change: impl FnOnce(&mut LogRecord) -> Result<Flow, Malformed>) {
    let mut flow = flow().build();
    flow.server.entity = None;
    let data = LogsData::clone(&encode_flows(&Flows { records: vec![flow] }).decode().unwrap());
    let mut record = data.resource_logs[0].scope_logs[0].log_records[0].clone();
    let expected = change(&mut record);
    assert_eq!(Decoder::default().flow(&record), expected);
}

fn decode(record: LogRecord) -> Decoded {
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let logs = Logs::new(vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }]);
    Decoder::default().decode(&logs).unwrap()
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// Returns the keys of records that have everything.
fn keys() -> Vec<String> {
    let listeners = encode_listeners(&Listeners { records: vec![listener()] });
    let flows = encode_flows(&Flows { records: vec![flow().build()] });
    let of = |logs: Logs| -> Vec<String> {
        let data = logs.decode().unwrap();
        data.resource_logs[0].scope_logs[0].log_records[0]
            .attributes
            .iter()
            .map(|it| it.key.clone())
            .collect()
    };
    let more =
        [names::END, names::CLOSE_REASON, names::BEGIN, names::RTT, names::CLIENT.name, "server.app.name"];
    [of(listeners), of(flows), more.map(str::to_owned).into()].concat()
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::IntValue),
        any::<bool>().prop_map(Value::BoolValue),
        prop::sample::select(vec!["10.0.0.1", "client", "tcp", "closed", "opened", ""])
            .prop_map(|it| Value::StringValue(it.to_owned())),
    ]
}
