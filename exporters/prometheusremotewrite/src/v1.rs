//! Requests of remote write 1.0.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{DecodeError, Message};

use crate::v2::{self, Metadata, Request, TimeSeries};

/// Numbers of fields, by <https://github.com/prometheus/prometheus/blob/v3.5.0/prompb/remote.proto> and `types.proto`.
mod field {
    pub(super) const SERIES: u8 = 1;
    pub(super) const METADATA: u8 = 3;
    pub(super) const LABEL: u8 = 1;
    pub(super) const SAMPLE: u8 = 2;
    pub(super) const LABEL_NAME: u8 = 1;
    pub(super) const LABEL_VALUE: u8 = 2;
    pub(super) const SAMPLE_VALUE: u8 = 1;
    pub(super) const SAMPLE_TIME: u8 = 2;
    pub(super) const METADATA_TYPE: u8 = 1;
    pub(super) const METADATA_NAME: u8 = 2;
    pub(super) const METADATA_HELP: u8 = 4;
    pub(super) const METADATA_UNIT: u8 = 5;
}

/// Makes a request of version 1.0 of one of version 2.0.
pub(crate) fn from_v2(request: Bytes) -> Result<Vec<u8>, DecodeError> {
    let len = request.len();
    let Request { symbols, timeseries } = Request::decode(request)?;
    let symbol = |at: u32| symbols.get(at as usize).map_or(&b""[..], |it| it);
    let mut out = Vec::with_capacity(8 * len);
    let (mut series, mut inner) = (Vec::new(), Vec::new());
    let mut families = BTreeMap::new();
    for TimeSeries { labels_refs, samples, metadata } in &timeseries {
        series.clear();
        let mut name = &b""[..];
        let mut is_quantile = false;
        for pair in labels_refs.chunks_exact(2) {
            let [label, value] = [symbol(pair[0]), symbol(pair[1])];
            match label {
                b"__name__" => name = value,
                b"quantile" => is_quantile = true,
                _ => {}
            }
            inner.clear();
            bytes(field::LABEL_NAME, label, &mut inner);
            bytes(field::LABEL_VALUE, value, &mut inner);
            bytes(field::LABEL, &inner, &mut series);
        }
        for v2::Sample { value, timestamp } in samples {
            inner.clear();
            double(field::SAMPLE_VALUE, *value, &mut inner);
            varint(field::SAMPLE_TIME, timestamp.cast_unsigned(), &mut inner);
            bytes(field::SAMPLE, &inner, &mut series);
        }
        bytes(field::SERIES, &series, &mut out);
        if let Some(metadata) = metadata {
            families.entry(family(name, *metadata, is_quantile)).or_insert(*metadata);
        }
    }
    for (name, Metadata { kind, help_ref, unit_ref }) in families {
        inner.clear();
        varint(field::METADATA_TYPE, u64::from(kind.cast_unsigned()), &mut inner);
        bytes(field::METADATA_NAME, name, &mut inner);
        bytes(field::METADATA_HELP, symbol(help_ref), &mut inner);
        bytes(field::METADATA_UNIT, symbol(unit_ref), &mut inner);
        bytes(field::METADATA, &inner, &mut out);
    }
    Ok(out)
}

/// Returns the name that the series of a metric have in common.
fn family(name: &[u8], metadata: Metadata, is_quantile: bool) -> &[u8] {
    let suffixes: &[&[u8]] = match metadata.kind {
        v2::HISTOGRAM => &[b"_bucket", b"_sum", b"_count"],
        v2::SUMMARY if !is_quantile => &[b"_sum", b"_count"],
        _ => &[],
    };
    suffixes.iter().find_map(|it| name.strip_suffix(*it)).unwrap_or(name)
}

/// Appends a text or a message.
fn bytes(field: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    prost::encoding::encode_varint(content.len() as u64, out);
    out.extend_from_slice(content);
}

fn double(field: u8, value: f64, out: &mut Vec<u8>) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn varint(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3);
    prost::encoding::encode_varint(value, out);
}
