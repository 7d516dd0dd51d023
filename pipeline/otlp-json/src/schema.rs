//! The messages of OTLP 1.9: what their fields are called in JSON, and how they are encoded.

use prost::encoding::WireType;

/// A message.
#[derive(Debug)]
pub struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A field of a message.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// In lowerCamelCase.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) rule: Rule,
}

/// How a value is encoded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Message(&'static Message),
    Text,
    /// Base64 in JSON.
    Bytes,
    /// Bytes that are hexadecimal in JSON.
    Id,
    Bool,
    Double,
    /// A number in JSON, too.
    Enum,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Fixed32,
    Fixed64,
    Sfixed64,
}

impl Kind {
    /// Returns how it begins on the wire.
    pub(crate) const fn wire_type(self) -> WireType {
        match self {
            Self::Message(_) | Self::Text | Self::Bytes | Self::Id => WireType::LengthDelimited,
            Self::Bool | Self::Enum | Self::Int64 | Self::Uint32 | Self::Uint64 | Self::Sint32 => {
                WireType::Varint
            }
            Self::Double | Self::Fixed64 | Self::Sfixed64 => WireType::SixtyFourBit,
            Self::Fixed32 => WireType::ThirtyTwoBit,
        }
    }

    /// Returns whether several of it are encoded as one list.
    pub(crate) fn is_packed(self) -> bool {
        self.wire_type() != WireType::LengthDelimited
    }
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Not at all if it has the default value.
    Implicit,
    /// It says something even with the default value: one of several, or optional.
    Explicit,
    /// Any number of times.
    Repeated,
}

const fn implicit(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, rule: Rule::Implicit }
}

const fn explicit(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, rule: Rule::Explicit }
}

const fn repeated(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, rule: Rule::Repeated }
}

use Kind::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int64, Message as Of, Sfixed64, Sint32, Text, Uint32,
    Uint64,
};

/// A request of spans.
pub static TRACES: Message = Message {
    name: "ExportTraceServiceRequest",
    fields: &[repeated(1, "resourceSpans", Of(&RESOURCE_SPANS))],
};

/// A request of metrics.
pub static METRICS: Message = Message {
    name: "ExportMetricsServiceRequest",
    fields: &[repeated(1, "resourceMetrics", Of(&RESOURCE_METRICS))],
};

/// A request of log records.
pub static LOGS: Message =
    Message { name: "ExportLogsServiceRequest", fields: &[repeated(1, "resourceLogs", Of(&RESOURCE_LOGS))] };

/// An answer to a request that was taken, to be read: those of the signals are alike but for the name of a field.
pub static RESPONSE: Message =
    Message { name: "ExportServiceResponse", fields: &[explicit(1, "partialSuccess", Of(&PARTIAL_SUCCESS))] };

/// An answer to a request that was not taken: `google.rpc.Status` without its details.
pub static ERROR: Message =
    Message { name: "Status", fields: &[implicit(1, "code", Enum), implicit(2, "message", Text)] };

static PARTIAL_SUCCESS: Message = Message {
    name: "ExportPartialSuccess",
    fields: &[
        implicit(1, "rejectedSpans", Int64),
        implicit(1, "rejectedDataPoints", Int64),
        implicit(1, "rejectedLogRecords", Int64),
        implicit(2, "errorMessage", Text),
    ],
};

static ANY_VALUE: Message = Message {
    name: "AnyValue",
    fields: &[
        explicit(1, "stringValue", Text),
        explicit(2, "boolValue", Bool),
        explicit(3, "intValue", Int64),
        explicit(4, "doubleValue", Double),
        explicit(5, "arrayValue", Of(&ARRAY_VALUE)),
        explicit(6, "kvlistValue", Of(&KEY_VALUE_LIST)),
        explicit(7, "bytesValue", Bytes),
    ],
};

static ARRAY_VALUE: Message =
    Message { name: "ArrayValue", fields: &[repeated(1, "values", Of(&ANY_VALUE))] };

static KEY_VALUE_LIST: Message =
    Message { name: "KeyValueList", fields: &[repeated(1, "values", Of(&KEY_VALUE))] };

static KEY_VALUE: Message =
    Message { name: "KeyValue", fields: &[implicit(1, "key", Text), explicit(2, "value", Of(&ANY_VALUE))] };

static SCOPE: Message = Message {
    name: "InstrumentationScope",
    fields: &[
        implicit(1, "name", Text),
        implicit(2, "version", Text),
        repeated(3, "attributes", Of(&KEY_VALUE)),
        implicit(4, "droppedAttributesCount", Uint32),
    ],
};

static ENTITY_REF: Message = Message {
    name: "EntityRef",
    fields: &[
        implicit(1, "schemaUrl", Text),
        implicit(2, "type", Text),
        repeated(3, "idKeys", Text),
        repeated(4, "descriptionKeys", Text),
    ],
};

static RESOURCE: Message = Message {
    name: "Resource",
    fields: &[
        repeated(1, "attributes", Of(&KEY_VALUE)),
        implicit(2, "droppedAttributesCount", Uint32),
        repeated(3, "entityRefs", Of(&ENTITY_REF)),
    ],
};

static RESOURCE_SPANS: Message = Message {
    name: "ResourceSpans",
    fields: &[
        explicit(1, "resource", Of(&RESOURCE)),
        repeated(2, "scopeSpans", Of(&SCOPE_SPANS)),
        implicit(3, "schemaUrl", Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    name: "ScopeSpans",
    fields: &[
        explicit(1, "scope", Of(&SCOPE)),
        repeated(2, "spans", Of(&SPAN)),
        implicit(3, "schemaUrl", Text),
    ],
};

static SPAN: Message = Message {
    name: "Span",
    fields: &[
        implicit(1, "traceId", Id),
        implicit(2, "spanId", Id),
        implicit(3, "traceState", Text),
        implicit(4, "parentSpanId", Id),
        implicit(5, "name", Text),
        implicit(6, "kind", Enum),
        implicit(7, "startTimeUnixNano", Fixed64),
        implicit(8, "endTimeUnixNano", Fixed64),
        repeated(9, "attributes", Of(&KEY_VALUE)),
        implicit(10, "droppedAttributesCount", Uint32),
        repeated(11, "events", Of(&EVENT)),
        implicit(12, "droppedEventsCount", Uint32),
        repeated(13, "links", Of(&LINK)),
        implicit(14, "droppedLinksCount", Uint32),
        explicit(15, "status", Of(&STATUS)),
        implicit(16, "flags", Fixed32),
    ],
};

static EVENT: Message = Message {
    name: "Event",
    fields: &[
        implicit(1, "timeUnixNano", Fixed64),
        implicit(2, "name", Text),
        repeated(3, "attributes", Of(&KEY_VALUE)),
        implicit(4, "droppedAttributesCount", Uint32),
    ],
};

static LINK: Message = Message {
    name: "Link",
    fields: &[
        implicit(1, "traceId", Id),
        implicit(2, "spanId", Id),
        implicit(3, "traceState", Text),
        repeated(4, "attributes", Of(&KEY_VALUE)),
        implicit(5, "droppedAttributesCount", Uint32),
        implicit(6, "flags", Fixed32),
    ],
};

static STATUS: Message =
    Message { name: "Status", fields: &[implicit(2, "message", Text), implicit(3, "code", Enum)] };

static RESOURCE_LOGS: Message = Message {
    name: "ResourceLogs",
    fields: &[
        explicit(1, "resource", Of(&RESOURCE)),
        repeated(2, "scopeLogs", Of(&SCOPE_LOGS)),
        implicit(3, "schemaUrl", Text),
    ],
};

static SCOPE_LOGS: Message = Message {
    name: "ScopeLogs",
    fields: &[
        explicit(1, "scope", Of(&SCOPE)),
        repeated(2, "logRecords", Of(&LOG_RECORD)),
        implicit(3, "schemaUrl", Text),
    ],
};

static LOG_RECORD: Message = Message {
    name: "LogRecord",
    fields: &[
        implicit(1, "timeUnixNano", Fixed64),
        implicit(2, "severityNumber", Enum),
        implicit(3, "severityText", Text),
        explicit(5, "body", Of(&ANY_VALUE)),
        repeated(6, "attributes", Of(&KEY_VALUE)),
        implicit(7, "droppedAttributesCount", Uint32),
        implicit(8, "flags", Fixed32),
        implicit(9, "traceId", Id),
        implicit(10, "spanId", Id),
        implicit(11, "observedTimeUnixNano", Fixed64),
        implicit(12, "eventName", Text),
    ],
};

static RESOURCE_METRICS: Message = Message {
    name: "ResourceMetrics",
    fields: &[
        explicit(1, "resource", Of(&RESOURCE)),
        repeated(2, "scopeMetrics", Of(&SCOPE_METRICS)),
        implicit(3, "schemaUrl", Text),
    ],
};

static SCOPE_METRICS: Message = Message {
    name: "ScopeMetrics",
    fields: &[
        explicit(1, "scope", Of(&SCOPE)),
        repeated(2, "metrics", Of(&METRIC)),
        implicit(3, "schemaUrl", Text),
    ],
};

static METRIC: Message = Message {
    name: "Metric",
    fields: &[
        implicit(1, "name", Text),
        implicit(2, "description", Text),
        implicit(3, "unit", Text),
        explicit(5, "gauge", Of(&GAUGE)),
        explicit(7, "sum", Of(&SUM)),
        explicit(9, "histogram", Of(&HISTOGRAM)),
        explicit(10, "exponentialHistogram", Of(&EXPONENTIAL_HISTOGRAM)),
        explicit(11, "summary", Of(&SUMMARY)),
        repeated(12, "metadata", Of(&KEY_VALUE)),
    ],
};

static GAUGE: Message = Message { name: "Gauge", fields: &[repeated(1, "dataPoints", Of(&NUMBER_POINT))] };

static SUM: Message = Message {
    name: "Sum",
    fields: &[
        repeated(1, "dataPoints", Of(&NUMBER_POINT)),
        implicit(2, "aggregationTemporality", Enum),
        implicit(3, "isMonotonic", Bool),
    ],
};

static HISTOGRAM: Message = Message {
    name: "Histogram",
    fields: &[repeated(1, "dataPoints", Of(&HISTOGRAM_POINT)), implicit(2, "aggregationTemporality", Enum)],
};

static EXPONENTIAL_HISTOGRAM: Message = Message {
    name: "ExponentialHistogram",
    fields: &[
        repeated(1, "dataPoints", Of(&EXPONENTIAL_HISTOGRAM_POINT)),
        implicit(2, "aggregationTemporality", Enum),
    ],
};

static SUMMARY: Message =
    Message { name: "Summary", fields: &[repeated(1, "dataPoints", Of(&SUMMARY_POINT))] };

static NUMBER_POINT: Message = Message {
    name: "NumberDataPoint",
    fields: &[
        implicit(2, "startTimeUnixNano", Fixed64),
        implicit(3, "timeUnixNano", Fixed64),
        explicit(4, "asDouble", Double),
        repeated(5, "exemplars", Of(&EXEMPLAR)),
        explicit(6, "asInt", Sfixed64),
        repeated(7, "attributes", Of(&KEY_VALUE)),
        implicit(8, "flags", Uint32),
    ],
};

static HISTOGRAM_POINT: Message = Message {
    name: "HistogramDataPoint",
    fields: &[
        implicit(2, "startTimeUnixNano", Fixed64),
        implicit(3, "timeUnixNano", Fixed64),
        implicit(4, "count", Fixed64),
        explicit(5, "sum", Double),
        repeated(6, "bucketCounts", Fixed64),
        repeated(7, "explicitBounds", Double),
        repeated(8, "exemplars", Of(&EXEMPLAR)),
        repeated(9, "attributes", Of(&KEY_VALUE)),
        implicit(10, "flags", Uint32),
        explicit(11, "min", Double),
        explicit(12, "max", Double),
    ],
};

static EXPONENTIAL_HISTOGRAM_POINT: Message = Message {
    name: "ExponentialHistogramDataPoint",
    fields: &[
        repeated(1, "attributes", Of(&KEY_VALUE)),
        implicit(2, "startTimeUnixNano", Fixed64),
        implicit(3, "timeUnixNano", Fixed64),
        implicit(4, "count", Fixed64),
        explicit(5, "sum", Double),
        implicit(6, "scale", Sint32),
        implicit(7, "zeroCount", Fixed64),
        explicit(8, "positive", Of(&BUCKETS)),
        explicit(9, "negative", Of(&BUCKETS)),
        implicit(10, "flags", Uint32),
        repeated(11, "exemplars", Of(&EXEMPLAR)),
        explicit(12, "min", Double),
        explicit(13, "max", Double),
        implicit(14, "zeroThreshold", Double),
    ],
};

static BUCKETS: Message = Message {
    name: "Buckets",
    fields: &[implicit(1, "offset", Sint32), repeated(2, "bucketCounts", Uint64)],
};

static SUMMARY_POINT: Message = Message {
    name: "SummaryDataPoint",
    fields: &[
        implicit(2, "startTimeUnixNano", Fixed64),
        implicit(3, "timeUnixNano", Fixed64),
        implicit(4, "count", Fixed64),
        implicit(5, "sum", Double),
        repeated(6, "quantileValues", Of(&QUANTILE)),
        repeated(7, "attributes", Of(&KEY_VALUE)),
        implicit(8, "flags", Uint32),
    ],
};

static QUANTILE: Message = Message {
    name: "ValueAtQuantile",
    fields: &[implicit(1, "quantile", Double), implicit(2, "value", Double)],
};

static EXEMPLAR: Message = Message {
    name: "Exemplar",
    fields: &[
        implicit(2, "timeUnixNano", Fixed64),
        explicit(3, "asDouble", Double),
        implicit(4, "spanId", Id),
        implicit(5, "traceId", Id),
        explicit(6, "asInt", Sfixed64),
        repeated(7, "filteredAttributes", Of(&KEY_VALUE)),
    ],
};
