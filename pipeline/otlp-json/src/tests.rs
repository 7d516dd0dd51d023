use std::fmt::Debug;

use opentelemetry_proto::tonic::{
    common::v1::{
        AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, MetricsData, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
        exemplar, exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{
        ResourceSpans, ScopeSpans, Span, Status, TracesData,
        span::{Event, Link},
    },
};
use proptest::prelude::*;
use prost::Message as _;
use serde::{Serialize, de::DeserializeOwned};

use super::{schema::Message, *};

/// Another implementation reads what this one writes, and this one reads what the other writes: every field of every message.
#[test]
fn every_field_has_the_name_and_form_that_others_know() {
    check(&schema::TRACES, &traces());
    check(&schema::LOGS, &logs(any_values()));
    check(&schema::METRICS, &metrics());
}

fn check<D>(message: &'static Message, data: &D)
where
    D: prost::Message + Default + PartialEq + Debug + Serialize + DeserializeOwned,
{
    let theirs = serde_json::to_vec(data).unwrap();
    assert_eq!(&D::decode(&*to_protobuf(message, &theirs).unwrap()).unwrap(), data);
    let ours = to_json(message, &data.encode_to_vec()).unwrap();
    assert_eq!(&serde_json::from_slice::<D>(&ours).unwrap(), data);
}

/// What users may send, which the specification or protobuf's JSON mapping says.
#[test]
fn other_forms_are_read() {
    let request = |span: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    let value = |value: &str| format!(r#"{{"attributes":[{{"key":"k","value":{value}}}]}}"#);
    let of = |value| Span {
        attributes: vec![KeyValue {
            key: "k".to_owned(),
            value: Some(AnyValue { value }),
            ..KeyValue::default()
        }],
        ..Span::default()
    };
    let ids = |trace_id: &[u8]| Span { trace_id: trace_id.to_vec(), ..Span::default() };
    let empty = ArrayValue { values: Vec::new() };
    for (span, expected) in [
        // "OTLP/JSON receivers MUST ignore message fields with unknown names".
        (r#"{"later":{"a":[1,{}]},"name":"n"}"#.to_owned(), Span { name: "n".to_owned(), ..Span::default() }),
        (value(r#"{"later":1}"#), of(None)),
        // "Original field names are not valid to use as keys".
        (r#"{"trace_id":"01"}"#.to_owned(), Span::default()),
        // "Case-insensitive hex-encoded strings".
        (r#"{"traceId":"5B8efF"}"#.to_owned(), ids(&[0x5b, 0x8e, 0xff])),
        (r#"{"traceId":""}"#.to_owned(), Span::default()),
        (
            r#"{"name":null,"traceId":null,"kind":null,"startTimeUnixNano":null,"events":null,"status":null}"#
                .to_owned(),
            Span::default(),
        ),
        (r#"{"status":{}}"#.to_owned(), Span { status: Some(Status::default()), ..Span::default() }),
        // "Either numbers or strings are accepted when decoding".
        (r#"{"startTimeUnixNano":7}"#.to_owned(), Span { start_time_unix_nano: 7, ..Span::default() }),
        (r#"{"startTimeUnixNano":"7"}"#.to_owned(), Span { start_time_unix_nano: 7, ..Span::default() }),
        (
            r#"{"droppedEventsCount":"3","flags":257.0,"kind":99}"#.to_owned(),
            Span { dropped_events_count: 3, flags: 257, kind: 99, ..Span::default() },
        ),
        (value("{}"), of(None)),
        (value(r#"{"stringValue":""}"#), of(Some(Value::StringValue(String::new())))),
        (value(r#"{"intValue":-5}"#), of(Some(Value::IntValue(-5)))),
        (value(r#"{"intValue":"0"}"#), of(Some(Value::IntValue(0)))),
        (value(r#"{"intValue":1e3}"#), of(Some(Value::IntValue(1_000)))),
        (value(r#"{"doubleValue":3}"#), of(Some(Value::DoubleValue(3.0)))),
        (value(r#"{"doubleValue":"1.5"}"#), of(Some(Value::DoubleValue(1.5)))),
        (value(r#"{"doubleValue":"-Infinity"}"#), of(Some(Value::DoubleValue(f64::NEG_INFINITY)))),
        (value(r#"{"bytesValue":"_-8"}"#), of(Some(Value::BytesValue(vec![0xff, 0xef])))),
        (value(r#"{"bytesValue":"/+8="}"#), of(Some(Value::BytesValue(vec![0xff, 0xef])))),
        (value(r#"{"arrayValue":{}}"#), of(Some(Value::ArrayValue(empty)))),
    ] {
        let encoded = to_protobuf(&schema::TRACES, request(&span).as_bytes());
        let decoded = TracesData::decode(&*encoded.unwrap_or_else(|error| panic!("{span}: {error}"))).unwrap();
        assert_eq!(decoded.resource_spans[0].scope_spans[0].spans, [expected], "{span}");
    }
    for nothing in ["{}", r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[]}"#] {
        assert!(to_protobuf(&schema::TRACES, nothing.as_bytes()).unwrap().is_empty(), "{nothing}");
    }
}

#[test]
fn what_is_no_request_is_told() {
    let request = |span: &str| format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    for (span, expected) in [
        // "The enum name strings MUST NOT be used."
        (r#"{"kind":"SPAN_KIND_SERVER"}"#, "expected the number of a value for `kind`"),
        (r#"{"kind":"2"}"#, "expected the number of a value for `kind`"),
        (r#"{"traceId":"5b8"}"#, "expected an id in hexadecimal digits for `traceId`"),
        (r#"{"traceId":"W47/95gDgQPSabYzgT/GDA=="}"#, "expected an id in hexadecimal digits for `traceId`"),
        (r#"{"name":1}"#, "invalid value: integer `1`, expected a text for `name`"),
        (r#"{"name":{}}"#, "invalid type: map, expected a text for `name`"),
        (r#"{"events":{}}"#, "invalid type: map, expected an array for `events`"),
        (r#"{"events":[null]}"#, "expected an object for `events`"),
        (r#"{"events":[[]]}"#, "expected an object for `events`"),
        (r#"{"status":[]}"#, "invalid type: sequence, expected an object for `status`"),
        (r#"{"startTimeUnixNano":-1}"#, "expected an integer from 0 on for `startTimeUnixNano`"),
        (r#"{"startTimeUnixNano":"18446744073709551616"}"#, "expected an integer from 0 on"),
        (r#"{"startTimeUnixNano":1.5}"#, "expected an integer from 0 on"),
        (r#"{"flags":4294967296}"#, "expected an integer from 0 on for `flags`"),
        (r#"{"name":"n""#, "expected `,` or `}`"),
    ] {
        let error = to_protobuf(&schema::TRACES, request(span).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("line 1 column"), "{span}: {error}");
    }
    for (json, expected) in [("[]", "ExportTraceServiceRequest"), ("{} {}", "trailing"), ("", "EOF")] {
        let error = to_protobuf(&schema::TRACES, json.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{json}: {error}");
    }
    let (open, close) = (r#"{"arrayValue":{"values":["#, "]}}");
    let deep = format!("{}{{}}{}", open.repeat(100), close.repeat(100));
    let deep = request(&format!(r#"{{"attributes":[{{"value":{deep}}}]}}"#));
    let error = to_protobuf(&schema::TRACES, deep.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn what_is_no_message_is_told() {
    for (bytes, expected) in [
        ([0x0a].as_slice(), "ends within"),
        (&[0x0a, 5, 0x12], "ends within"),
        (&[0], "valid key"),
        (&[0x08, 1], "another type"),
        (&[0x0b], "another type"),
        (&[0x0a, 3, 0x1a, 1, 0xff], "no UTF-8"),
    ] {
        let error = to_json(&schema::TRACES, bytes).unwrap_err().to_string();
        assert!(error.contains(expected), "{bytes:?}: {error}");
    }
    let mut value = AnyValue::default();
    for _ in 0..200 {
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let error = to_json(&schema::LOGS, &logs(vec![value]).encode_to_vec()).unwrap_err();
    assert!(error.to_string().contains("within each other"), "{error}");
}

/// A message that is encoded in two parts is as good as one, and fields of later versions are left out.
#[test]
fn the_wire_may_have_any_order() {
    // A resource's attribute, a field of number 900, the scopes, and the rest of the resource.
    let resource_spans =
        [[0x0a, 5, 0x0a, 3, 0x0a, 1, b'a'].as_slice(), &[0xa0, 0x38, 1], &[0x12, 0], &[0x0a, 2, 0x10, 4]]
            .concat();
    let request = [&[0x0a, u8::try_from(resource_spans.len()).unwrap()], &*resource_spans].concat();
    let json = String::from_utf8(to_json(&schema::TRACES, &request).unwrap()).unwrap();
    assert_eq!(
        json,
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"a"}],"droppedAttributesCount":4},"scopeSpans":[{}]}]}"#
    );
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<f64>().prop_map(Value::DoubleValue),
        any::<Vec<u8>>().prop_map(Value::BytesValue),
    ];
    let value = leaf.prop_recursive(4, 24, 4, |inner| {
        let values = prop::collection::vec(inner.prop_map(|it| AnyValue { value: Some(it) }), 0..4);
        prop_oneof![
            values.clone().prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            values.prop_map(|values| Value::KvlistValue(KeyValueList {
                values: values.into_iter().map(|it| attribute("k", it)).collect(),
            })),
        ]
    });
    prop::option::of(value).prop_map(|value| AnyValue { value })
}

proptest! {
    /// Nothing is lost on the way through JSON, to the last bit of a number.
    #[test]
    fn values_survive(values in prop::collection::vec(any_value(), 0..4)) {
        let request = logs(values).encode_to_vec();
        let json = to_json(&schema::LOGS, &request).unwrap();
        let found = LogsData::decode(&*to_protobuf(&schema::LOGS, &json).unwrap()).unwrap();
        // No number that is none equals itself, but its encoding does.
        prop_assert_eq!(found.encode_to_vec(), request);
    }

    #[test]
    fn nothing_panics(bytes in any::<Vec<u8>>(), text in any::<String>()) {
        for message in [&schema::TRACES, &schema::METRICS, &schema::LOGS] {
            let _any = (to_json(message, &bytes), to_protobuf(message, &bytes), to_protobuf(message, text.as_bytes()));
        }
    }
}

fn attribute(key: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn any_values() -> Vec<AnyValue> {
    let list = |it: &[Value]| it.iter().map(|it| AnyValue { value: Some(it.clone()) }).collect::<Vec<_>>();
    let simple = [
        Value::StringValue("\"text\"\n\u{1f980}".to_owned()),
        Value::BoolValue(true),
        Value::IntValue(i64::MIN),
        Value::DoubleValue(0.1),
        Value::BytesValue(vec![0, 0xff, 0xef]),
    ];
    let array = Value::ArrayValue(ArrayValue { values: list(&simple) });
    let map = list(&simple).into_iter().map(|it| attribute("inner", it)).collect();
    let map = Value::KvlistValue(KeyValueList { values: map });
    [list(&simple), list(&[array, map])].concat()
}

fn attributes() -> Vec<KeyValue> {
    any_values().into_iter().map(|it| attribute("key", it)).collect()
}

fn resource() -> Option<Resource> {
    let entity = EntityRef {
        schema_url: "https://entity".to_owned(),
        r#type: "host".to_owned(),
        id_keys: vec!["host.id".to_owned(), "host.name".to_owned()],
        description_keys: vec!["host.type".to_owned()],
    };
    Some(Resource { attributes: attributes(), dropped_attributes_count: 1, entity_refs: vec![entity] })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope {
        name: "scope".to_owned(),
        version: "1".to_owned(),
        attributes: attributes(),
        dropped_attributes_count: 2,
    })
}

fn traces() -> TracesData {
    let event = Event {
        time_unix_nano: u64::MAX,
        name: "event".to_owned(),
        attributes: attributes(),
        dropped_attributes_count: 3,
    };
    let link = Link {
        trace_id: vec![0xab; 16],
        span_id: vec![0xcd; 8],
        trace_state: "a=b".to_owned(),
        attributes: attributes(),
        dropped_attributes_count: 4,
        flags: 0x101,
    };
    let span = Span {
        trace_id: vec![0x5b; 16],
        span_id: vec![0xee; 8],
        trace_state: "c=d".to_owned(),
        parent_span_id: vec![0xdd; 8],
        flags: 0x301,
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: 1_544_712_660_000_000_001,
        end_time_unix_nano: 1_544_712_661_000_000_002,
        attributes: attributes(),
        dropped_attributes_count: 5,
        events: vec![event, Event::default()],
        dropped_events_count: 6,
        links: vec![link, Link::default()],
        dropped_links_count: 7,
        status: Some(Status { message: "bad".to_owned(), code: 2 }),
    };
    let scope_spans = ScopeSpans {
        scope: scope(),
        spans: vec![span, Span::default()],
        schema_url: "https://scope".to_owned(),
    };
    let resource_spans = ResourceSpans {
        resource: resource(),
        scope_spans: vec![scope_spans],
        schema_url: "https://resource".to_owned(),
    };
    TracesData { resource_spans: vec![resource_spans, ResourceSpans::default()] }
}

fn logs(bodies: Vec<AnyValue>) -> LogsData {
    let record = |body| LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 9,
        severity_text: "INFO".to_owned(),
        body: Some(body),
        attributes: attributes(),
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        event_name: "event".to_owned(),
    };
    let scope_logs = ScopeLogs {
        scope: scope(),
        log_records: bodies.into_iter().map(record).collect(),
        schema_url: "https://scope".to_owned(),
    };
    let resource_logs = ResourceLogs {
        resource: resource(),
        scope_logs: vec![scope_logs],
        schema_url: "https://resource".to_owned(),
    };
    LogsData { resource_logs: vec![resource_logs] }
}

fn metrics() -> MetricsData {
    let exemplar = |value| Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: 3,
        span_id: vec![2; 8],
        trace_id: vec![1; 16],
        value: Some(value),
    };
    let number = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        exemplars: vec![exemplar(exemplar::Value::AsInt(-3)), exemplar(exemplar::Value::AsDouble(0.5))],
        flags: 1,
        value: Some(value),
    };
    let numbers = vec![
        number(number_data_point::Value::AsInt(i64::MIN)),
        number(number_data_point::Value::AsDouble(0.25)),
        number(number_data_point::Value::AsInt(0)),
    ];
    let histogram_point = HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(0.0),
        bucket_counts: vec![1, 0, 2],
        explicit_bounds: vec![0.1, 1e300],
        exemplars: vec![exemplar(exemplar::Value::AsDouble(0.5))],
        flags: 1,
        min: Some(-0.5),
        max: Some(1.5),
    };
    let buckets = |offset| Some(Buckets { offset, bucket_counts: vec![0, u64::MAX, 7] });
    let exponential_point = ExponentialHistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: Some(1.5),
        scale: -4,
        zero_count: 5,
        positive: buckets(i32::MIN),
        negative: buckets(i32::MAX),
        flags: 1,
        exemplars: vec![exemplar(exemplar::Value::AsInt(1))],
        min: Some(0.1),
        max: Some(0.2),
        zero_threshold: 0.3,
    };
    let summary_point = SummaryDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        count: 3,
        sum: 4.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 7.5 }, ValueAtQuantile::default()],
        flags: 1,
    };
    let metric = |data| Metric {
        name: "name".to_owned(),
        description: "description".to_owned(),
        unit: "By".to_owned(),
        metadata: attributes(),
        data,
    };
    let data = [
        Data::Gauge(Gauge { data_points: numbers.clone() }),
        Data::Sum(Sum { data_points: numbers, aggregation_temporality: 2, is_monotonic: true }),
        Data::Histogram(Histogram {
            data_points: vec![histogram_point, HistogramDataPoint::default()],
            aggregation_temporality: 1,
        }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential_point, ExponentialHistogramDataPoint::default()],
            aggregation_temporality: 2,
        }),
        Data::Summary(Summary { data_points: vec![summary_point, SummaryDataPoint::default()] }),
    ];
    let metrics = data.into_iter().map(Some).chain([None]).map(metric).collect();
    let scope_metrics = ScopeMetrics { scope: scope(), metrics, schema_url: "https://scope".to_owned() };
    let resource_metrics = ResourceMetrics {
        resource: resource(),
        scope_metrics: vec![scope_metrics],
        schema_url: "https://resource".to_owned(),
    };
    MetricsData { resource_metrics: vec![resource_metrics] }
}
