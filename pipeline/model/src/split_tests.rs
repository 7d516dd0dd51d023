use opentelemetry_proto::tonic::{
    common::v1::InstrumentationScope,
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric::Data},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use proptest::prelude::*;
use prost::Message;

use super::*;

#[test]
fn parts_have_the_items_in_their_order() {
    let request = spans(&[&[3, 2], &[], &[4]]);
    let parts = split(Signal::Traces, &request, MaxSize::Items(4)).unwrap();
    assert_eq!(parts.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [4, 4, 1]);
    let expected = ["r0/s0/0 r0/s0/1 r0/s0/2 r0/s1/0", "r0/s1/1 r2/s0/0 r2/s0/1 r2/s0/2", "r2/s0/3"];
    let found: Vec<_> = parts.iter().map(|(part, _)| names(part).join(" ")).collect();
    assert_eq!(found, expected);
}

/// What a scope and a resource say of their items they say of the items of each part.
#[test]
fn what_is_around_an_item_stays_around_it() {
    let request = spans(&[&[2]]);
    for (part, _) in split(Signal::Traces, &request, MaxSize::Items(1)).unwrap() {
        let part = TracesData::decode(part).unwrap();
        let [resource] = part.resource_spans.as_slice() else { panic!("{part:?}") };
        assert_eq!(resource.schema_url, "schema of the resource");
        assert_eq!(resource.resource.as_ref().unwrap().dropped_attributes_count, 0);
        assert_eq!(resource.scope_spans[0].schema_url, "schema of the scope");
    }
}

/// One metric may have more points than a server takes.
#[test]
fn a_metric_is_divided_within() {
    let points = |n| (0..n).map(|it| NumberDataPoint { time_unix_nano: it, ..Default::default() }).collect();
    let sum = Sum { data_points: points(5), aggregation_temporality: 2, is_monotonic: true };
    let metrics = [Data::Gauge(Gauge { data_points: points(2) }), Data::Sum(sum)].map(|data| Metric {
        name: "m".to_owned(),
        unit: "By".to_owned(),
        data: Some(data),
        ..Metric::default()
    });
    let scope_metrics = vec![ScopeMetrics { metrics: metrics.into(), ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    let request = MetricsData { resource_metrics }.encode_to_vec();
    let parts = split(Signal::Metrics, &request, MaxSize::Items(3)).unwrap();
    let mut found = Vec::new();
    for (part, n_items) in parts {
        let part = MetricsData::decode(part).unwrap();
        assert_eq!(part.n_items() as u64, n_items);
        let metrics = &part.resource_metrics[0].scope_metrics[0].metrics;
        found.push(metrics.iter().map(describe).collect::<Vec<_>>().join(" "));
    }
    assert_eq!(found, ["m By gauge 0,1 m By sum 2 true 0", "m By sum 2 true 1,2,3", "m By sum 2 true 4"]);
}

fn describe(metric: &Metric) -> String {
    let times = |it: &[NumberDataPoint]| {
        it.iter().map(|it| it.time_unix_nano.to_string()).collect::<Vec<_>>().join(",")
    };
    let Metric { name, unit, data, .. } = metric;
    match data {
        Some(Data::Gauge(gauge)) => format!("{name} {unit} gauge {}", times(&gauge.data_points)),
        Some(Data::Sum(sum)) => {
            let Sum { data_points, aggregation_temporality, is_monotonic } = sum;
            format!("{name} {unit} sum {aggregation_temporality} {is_monotonic} {}", times(data_points))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_small_enough_stays_whole() {
    let request = spans(&[&[2, 1], &[1]]);
    let parts = split(Signal::Traces, &request, MaxSize::Items(4)).unwrap();
    let [(part, 4)] = parts.as_slice() else { panic!("{parts:?}") };
    assert_eq!(TracesData::decode(part.clone()), TracesData::decode(request.as_slice()));
}

/// Fields that this version of OTLP has no name for are of every part.
#[test]
fn unknown_fields_stay() {
    let mut request = spans(&[&[2]]);
    let unknown = [0xf8, 0x07, 0x2a];
    request.extend(unknown);
    let parts = split(Signal::Traces, &request, MaxSize::Items(1)).unwrap();
    assert!(parts.len() == 2 && parts.iter().all(|(part, _)| part.starts_with(&unknown)), "{parts:?}");
}

#[test]
fn one_item_is_never_divided() {
    let parts = split(Signal::Traces, &spans(&[&[3]]), MaxSize::Bytes(1)).unwrap();
    assert_eq!(parts.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 1, 1]);
}

#[test]
fn what_is_no_request_is_told() {
    assert!(split(Signal::Logs, b"not a message", MaxSize::Items(1)).is_err());
    assert_eq!(split(Signal::Logs, &[], MaxSize::Items(1)), Ok(vec![]));
    assert_eq!(split(Signal::Flows, &[8, 1], MaxSize::Items(1)), Ok(vec![]));
}

proptest! {
    /// However a request is divided: the same items in the same places, and no part larger than it may be.
    #[test]
    fn nothing_is_lost_or_moved(
        shape in prop::collection::vec(prop::collection::vec(0..9_usize, 0..4), 0..4),
        max in prop_oneof![(1..12_u64).prop_map(MaxSize::Items), (150..900_u64).prop_map(MaxSize::Bytes)],
    ) {
        let shape: Vec<&[usize]> = shape.iter().map(Vec::as_slice).collect();
        let request = spans(&shape);
        let parts = split(Signal::Traces, &request, max).unwrap();
        let mut found = Vec::new();
        for (part, n_items) in &parts {
            let names = names(part);
            prop_assert_eq!(names.len() as u64, *n_items);
            prop_assert!(*n_items > 0);
            match max {
                MaxSize::Items(max) => prop_assert!(*n_items <= max),
                MaxSize::Bytes(max) => prop_assert!(*n_items == 1 || part.len() as u64 <= max, "{}", part.len()),
            }
            found.extend(names);
        }
        prop_assert_eq!(found, names(&request));
        let encoded = Bytes::from(parts.iter().flat_map(|(part, _)| part.clone()).collect::<Vec<_>>());
        prop_assert_eq!(crate::Traces::from_encoded(encoded).unwrap().n_items(), names(&request).len() as u64);
    }

    /// Whatever comes, nothing breaks.
    #[test]
    fn anything_can_be_divided(bytes in prop::collection::vec(any::<u8>(), 0..300), max in 0..20_u64) {
        for signal in [Signal::Metrics, Signal::Traces, Signal::Logs] {
            drop(split(signal, &bytes, MaxSize::Bytes(max)));
            drop(split(signal, &bytes, MaxSize::Items(max)));
        }
    }
}

/// Makes spans that are named after their place: so many for each scope of each resource.
fn spans(shape: &[&[usize]]) -> Vec<u8> {
    let scope = |s: usize, n: usize| ScopeSpans {
        scope: Some(InstrumentationScope { name: format!("s{s}"), ..InstrumentationScope::default() }),
        spans: (0..n).map(|it| Span { name: it.to_string(), ..Span::default() }).collect(),
        schema_url: "schema of the scope".to_owned(),
    };
    let resource = |(r, scopes): (usize, &&[usize])| ResourceSpans {
        resource: Some(Resource {
            dropped_attributes_count: u32::try_from(r).unwrap(),
            ..Resource::default()
        }),
        scope_spans: scopes.iter().enumerate().map(|(s, n)| scope(s, *n)).collect(),
        schema_url: "schema of the resource".to_owned(),
    };
    TracesData { resource_spans: shape.iter().enumerate().map(resource).collect() }.encode_to_vec()
}

/// The name of each span with those of whom it is of.
fn names(request: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    for resource in TracesData::decode(request).unwrap().resource_spans {
        let r = resource.resource.unwrap().dropped_attributes_count;
        for scope in resource.scope_spans {
            let s = scope.scope.unwrap().name;
            names.extend(scope.spans.iter().map(|it| format!("r{r}/{s}/{}", it.name)));
        }
    }
    names
}

/// Log records are two messages deep as spans are.
#[test]
fn log_records_are_divided() {
    let scope_logs = vec![ScopeLogs { log_records: vec![LogRecord::default(); 5], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    let request = LogsData { resource_logs }.encode_to_vec();
    let parts = split(Signal::Logs, &request, MaxSize::Items(2)).unwrap();
    assert_eq!(parts.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [2, 2, 1]);
}
