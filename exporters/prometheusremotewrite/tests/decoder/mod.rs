//! What a receiver makes of requests, by the public definitions of both versions. It shares no code with the exporter.

use std::collections::BTreeMap;

use prost::Message;

/// A request of either version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Each sample: the series in the usual notation, its value and its time in milliseconds.
    pub(crate) samples: Vec<(String, f64, i64)>,
    /// Type, help and unit of each metric; of version 2.0 by the names of its series.
    pub(crate) metadata: BTreeMap<String, (i32, String, String)>,
}

/// `prometheus.WriteRequest`
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<V1Series>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<V1Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct V1Series {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<V1Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct V1Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct V1Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(string, tag = "2")]
    metric_family_name: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
}

/// `io.prometheus.write.v2.Request`
#[derive(Clone, PartialEq, Message)]
struct V2Request {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    timeseries: Vec<V2Series>,
}

#[derive(Clone, PartialEq, Message)]
struct V2Series {
    #[prost(uint32, repeated, tag = "1")]
    labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<V2Sample>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<V2Metadata>,
}

#[derive(Clone, PartialEq, Message)]
struct V2Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
    #[prost(int64, tag = "3")]
    start_timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct V2Metadata {
    #[prost(int32, tag = "1")]
    kind: i32,
    #[prost(uint32, tag = "3")]
    help_ref: u32,
    #[prost(uint32, tag = "4")]
    unit_ref: u32,
}

/// Reads a request of version 1.0, and what it must be: labels by name, each once, none empty.
#[track_caller]
pub(crate) fn read_v1(request: &[u8]) -> Seen {
    let WriteRequest { timeseries, metadata } =
        WriteRequest::decode(request).expect("a request of version 1.0");
    let mut seen = Seen::default();
    for V1Series { labels, samples } in timeseries {
        let labels: Vec<_> = labels.into_iter().map(|it| (it.name, it.value)).collect();
        let (series, _) = series(&labels);
        seen.samples.extend(samples.into_iter().map(|it| (series.clone(), it.value, it.timestamp)));
    }
    for V1Metadata { kind, metric_family_name, help, unit } in metadata {
        let former = seen.metadata.insert(metric_family_name, (kind, help, unit));
        assert_eq!(former, None, "metadata of a metric is there once");
    }
    seen
}

/// Reads a request of version 2.0, and what it must be.
#[track_caller]
pub(crate) fn read_v2(request: &[u8]) -> Seen {
    let V2Request { symbols, timeseries } = V2Request::decode(request).expect("a request of version 2.0");
    assert_eq!(symbols.first().map(String::as_str), Some(""), "the first symbol is empty");
    let mut unique = symbols.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), symbols.len(), "symbols are there once");
    let symbol = |at: u32| symbols[at as usize].clone();
    let mut seen = Seen::default();
    for V2Series { labels_refs, samples, metadata } in timeseries {
        assert_eq!(labels_refs.len() % 2, 0);
        let labels: Vec<_> = labels_refs.chunks(2).map(|it| (symbol(it[0]), symbol(it[1]))).collect();
        let (series, name) = series(&labels);
        seen.samples.extend(samples.into_iter().map(|it| (series.clone(), it.value, it.timestamp)));
        if let Some(V2Metadata { kind, help_ref, unit_ref }) = metadata {
            seen.metadata.insert(name, (kind, symbol(help_ref), symbol(unit_ref)));
        }
    }
    seen
}

/// Returns a series in the usual notation, and the name of its metric.
#[track_caller]
fn series(labels: &[(String, String)]) -> (String, String) {
    assert!(labels.is_sorted_by(|left, right| left.0 < right.0), "sorted, each once: {labels:?}");
    assert!(labels.iter().all(|(name, value)| !name.is_empty() && !value.is_empty()), "empty: {labels:?}");
    let name = labels.iter().find(|(name, _)| name == "__name__").map(|(_, value)| value.clone());
    let name = name.unwrap_or_else(|| panic!("without a name: {labels:?}"));
    let others: Vec<_> = labels
        .iter()
        .filter(|(label, _)| label != "__name__")
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    (format!("{name}{{{}}}", others.join(",")), name)
}
