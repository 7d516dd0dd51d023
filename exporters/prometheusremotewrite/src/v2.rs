//! Messages of remote write 2.0, as far as they are used.
//!
//! <https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/#protobuf-message>

use bytes::Bytes;
use prost::Message;

/// What is sent at once.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Request {
    /// Every text that is referred to; the first is empty.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(crate) symbols: Vec<Bytes>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) timeseries: Vec<TimeSeries>,
}

/// A series, and samples of it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TimeSeries {
    /// Name and value of each label in turn, by name.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) labels_refs: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample>,
    #[prost(message, optional, tag = "5")]
    pub(crate) metadata: Option<Metadata>,
}

/// A value at a time.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    /// In milliseconds since 1970.
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
}

/// What a series means. Version 1.0 numbers types alike.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Metadata {
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(uint32, tag = "3")]
    pub(crate) help_ref: u32,
    #[prost(uint32, tag = "4")]
    pub(crate) unit_ref: u32,
}

pub(crate) const COUNTER: i32 = 1;
pub(crate) const GAUGE: i32 = 2;
pub(crate) const HISTOGRAM: i32 = 3;
pub(crate) const SUMMARY: i32 = 5;
pub(crate) const INFO: i32 = 6;
