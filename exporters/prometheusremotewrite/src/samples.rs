//! Which samples a value is in Prometheus.

use std::sync::Arc;

use prometheus::{Bounds, Histogram, Summary, Type, Value};

/// The value that says that a series has ended. No other is of these bits.
///
/// <https://prometheus.io/docs/specs/prw/remote_write_spec/#stale-markers>
pub(crate) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);
/// The value that is no number, as Prometheus writes it.
const NOT_A_NUMBER: f64 = f64::from_bits(0x7ff8_0000_0000_0001);

/// One sample: what its name has behind that of the family, the label that it alone has, and its value.
pub(crate) type Sample<'a> = (&'static str, Option<(&'static str, &'a str)>, f64);

/// Which samples the last value of a series was, to end each of them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// One.
    One,
    /// Those of a histogram.
    Histogram { bounds: Arc<Bounds>, has_sum: bool },
    /// Those of a summary: one for each of these quantiles, and two more.
    Summary { quantiles: Box<[Box<str>]> },
}

impl From<Value> for Shape {
    fn from(value: Value) -> Self {
        match value {
            Value::Int(_) | Value::Float(_) => Self::One,
            Value::Histogram(histogram) => {
                let Histogram { bounds, sum, .. } = *histogram;
                Self::Histogram { bounds, has_sum: sum.is_some() }
            }
            Value::Summary(summary) => {
                Self::Summary { quantiles: summary.quantiles.into_iter().map(|(it, _)| it).collect() }
            }
        }
    }
}

/// Calls `each` with every sample of a value.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
pub(crate) fn of(kind: Type, value: &Value, mut each: impl FnMut(Sample<'_>)) {
    match value {
        Value::Int(value) => each((kind.suffix(), None, *value as f64)),
        Value::Float(value) => each((kind.suffix(), None, number(*value))),
        Value::Histogram(histogram) => {
            let Histogram { bounds, counts, sum } = &**histogram;
            let mut cumulative = 0;
            for (bound, count) in bounds.labels.iter().zip(counts) {
                cumulative += count;
                each(("_bucket", Some(("le", bound)), cumulative as f64));
            }
            if let Some(sum) = sum {
                each(("_sum", None, number(*sum)));
            }
            each(("_count", None, cumulative as f64));
        }
        Value::Summary(summary) => {
            let Summary { quantiles, sum, count } = &**summary;
            for (quantile, value) in quantiles {
                each(("", Some(("quantile", quantile)), number(*value)));
            }
            each(("_sum", None, number(*sum)));
            each(("_count", None, *count as f64));
        }
    }
}

/// Calls `each` with the last sample of every series that the value of a shape was. Of a shape that nobody knows, these are
/// the ones that every value of the type has.
pub(crate) fn ends(kind: Type, shape: Option<&Shape>, mut each: impl FnMut(Sample<'_>)) {
    match (shape, kind) {
        (Some(Shape::Histogram { bounds, has_sum }), _) => {
            bounds.labels.iter().for_each(|it| each(("_bucket", Some(("le", it)), STALE)));
            if *has_sum {
                each(("_sum", None, STALE));
            }
            each(("_count", None, STALE));
        }
        (Some(Shape::Summary { quantiles }), _) => {
            quantiles.iter().for_each(|it| each(("", Some(("quantile", it)), STALE)));
            each(("_sum", None, STALE));
            each(("_count", None, STALE));
        }
        (None, Type::Histogram) => {
            each(("_bucket", Some(("le", "+Inf")), STALE));
            each(("_count", None, STALE));
        }
        (None, Type::Summary) => {
            each(("_sum", None, STALE));
            each(("_count", None, STALE));
        }
        (Some(Shape::One) | None, _) => each((kind.suffix(), None, STALE)),
    }
}

/// Nobody but who ends a series says that one has.
fn number(value: f64) -> f64 {
    if value.is_nan() { NOT_A_NUMBER } else { value }
}
