use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::KeyValue,
    metrics::v1::{HistogramDataPoint, NumberDataPoint, SummaryDataPoint, number_data_point},
};

use crate::{DropReason, float, names::Type};

/// The value of one series, in the form in which it will be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// Another one.
    Float(f64),
    /// Counts of what lies between bounds.
    Histogram(Box<Histogram>),
    /// Quantiles that the sender computed.
    Summary(Box<Summary>),
}

/// A histogram with buckets of fixed bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The bounds.
    pub bounds: Arc<Bounds>,
    /// Counts per bucket, one more than there are bounds. Their sum fits.
    pub counts: Box<[u64]>,
    /// Absent if negative values make it meaningless as a counter.
    pub sum: Option<f64>,
}

/// Bounds of buckets, with the labels that name them. Shared by the series of a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Bounds {
    values: Box<[f64]>,
    /// Value of `le` of each bucket, the last being `+Inf`.
    pub labels: Box<[Box<str>]>,
}

/// Quantiles that were computed by the sender.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Value of the label `quantile`, and the quantile.
    pub quantiles: Box<[(Box<str>, f64)]>,
    /// Sum of what was seen.
    pub sum: f64,
    /// How much was seen.
    pub count: u64,
}

/// What the kinds of data points have in common.
pub(crate) trait Point {
    fn attributes(&self) -> &[KeyValue];
    fn time(&self) -> u64;
    fn flags(&self) -> u32;

    /// Converts the value for a family of type `kind`, whose series share `bounds`.
    fn value(&self, kind: Type, bounds: &mut SharedBounds) -> Result<Value, DropReason>;
}

/// Reads what is a field of the same name in each of the generated types.
macro_rules! common_fields {
    () => {
        fn attributes(&self) -> &[KeyValue] {
            &self.attributes
        }

        fn time(&self) -> u64 {
            self.time_unix_nano
        }

        fn flags(&self) -> u32 {
            self.flags
        }
    };
}

impl Point for NumberDataPoint {
    common_fields!();

    fn value(&self, kind: Type, _bounds: &mut SharedBounds) -> Result<Value, DropReason> {
        // A counter that is negative or no number would make a scraper refuse everything else with it.
        let is_counter = kind == Type::Counter;
        match self.value {
            Some(number_data_point::Value::AsInt(value)) if !(is_counter && value < 0) => {
                Ok(Value::Int(value))
            }
            Some(number_data_point::Value::AsDouble(value)) if !is_counter || value >= 0.0 => {
                Ok(Value::Float(value))
            }
            _ => Err(DropReason::Malformed),
        }
    }
}

impl Point for HistogramDataPoint {
    common_fields!();

    fn value(&self, _kind: Type, bounds: &mut SharedBounds) -> Result<Value, DropReason> {
        let Self { count, sum, bucket_counts, explicit_bounds, .. } = self;
        // A point may leave its buckets out: all it has is the count.
        let counts: Box<[u64]> = match bucket_counts.as_slice() {
            [] => [*count].into(),
            counts => counts.into(),
        };
        let total = counts.iter().try_fold(0_u64, |sum, it| sum.checked_add(*it));
        if counts.len() != explicit_bounds.len() + 1 || total != Some(*count) {
            return Err(DropReason::Malformed);
        }
        let bounds = bounds.share(explicit_bounds).ok_or(DropReason::Malformed)?;
        let sum = sum.filter(|it| *it >= 0.0);
        Ok(Value::Histogram(Box::new(Histogram { bounds, counts, sum })))
    }
}

impl Point for SummaryDataPoint {
    common_fields!();

    fn value(&self, _kind: Type, _bounds: &mut SharedBounds) -> Result<Value, DropReason> {
        let mut quantiles: Vec<(f64, f64)> =
            self.quantile_values.iter().map(|it| (it.quantile, it.value)).collect();
        if self.sum.is_nan() || !quantiles.iter().all(|(quantile, _)| (0.0..=1.0).contains(quantile)) {
            return Err(DropReason::Malformed);
        }
        quantiles.sort_unstable_by(|(left, _), (right, _)| left.total_cmp(right));
        // Two values of one quantile would be one series twice.
        quantiles.dedup_by(|(left, _), (right, _)| left == right);
        let quantiles = quantiles.into_iter().map(|(quantile, value)| (label(quantile), value)).collect();
        Ok(Value::Summary(Box::new(Summary { quantiles, sum: self.sum, count: self.count })))
    }
}

/// Hands out one set of bounds to all series that have the same.
#[derive(Debug, Default)]
pub(crate) struct SharedBounds(Option<Arc<Bounds>>);

impl SharedBounds {
    /// Returns the bounds with their labels, or `None` if they do not ascend.
    fn share(&mut self, values: &[f64]) -> Option<Arc<Bounds>> {
        // The series of a metric almost always have the same bounds, so the last ones are enough to remember.
        if let Self(Some(bounds)) = self
            && *bounds.values == *values
        {
            return Some(Arc::clone(bounds));
        }
        let ascend = values.windows(2).all(|it| it[0] < it[1]);
        if !ascend || !values.iter().all(|it| it.is_finite()) {
            return None;
        }
        let labels = values.iter().map(|it| label(*it)).chain([label(f64::INFINITY)]).collect();
        let bounds = Arc::new(Bounds { values: values.into(), labels });
        self.0 = Some(Arc::clone(&bounds));
        Some(bounds)
    }
}

fn label(value: f64) -> Box<str> {
    let mut out = String::new();
    float::write_label(value, &mut out);
    out.into()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;

    use super::*;

    #[test]
    fn bounds_become_labels() {
        check(&point(&[0.00005, 1.0], &[1, 2, 3], 6), Ok((&["5e-05", "1.0", "+Inf"], &[1, 2, 3])));
    }

    #[test]
    fn a_histogram_without_buckets_has_the_last_one() {
        check(&point(&[], &[], 7), Ok((&["+Inf"], &[7])));
        check(&point(&[], &[7], 7), Ok((&["+Inf"], &[7])));
    }

    #[test]
    fn a_histogram_that_contradicts_itself_is_malformed() {
        let malformed = Err(DropReason::Malformed);
        check(&point(&[1.0], &[1, 2, 3], 6), malformed);
        check(&point(&[1.0, 2.0], &[], 6), malformed);
        check(&point(&[1.0], &[1, 2], 4), malformed);
        check(&point(&[1.0], &[u64::MAX, 2], 1), malformed);
        check(&point(&[2.0, 1.0], &[1, 2, 3], 6), malformed);
        check(&point(&[1.0, 1.0], &[1, 2, 3], 6), malformed);
        check(&point(&[f64::NAN], &[1, 2], 3), malformed);
        check(&point(&[1.0, f64::INFINITY], &[1, 2, 3], 6), malformed);
    }

    #[test]
    fn series_with_the_same_bounds_share_them() {
        let mut shared = SharedBounds::default();
        let first = shared.share(&[1.0, 2.0]).unwrap();
        assert!(Arc::ptr_eq(&first, &shared.share(&[1.0, 2.0]).unwrap()));
        assert_eq!(&*shared.share(&[1.0, 3.0]).unwrap().labels[1], "3.0");
    }

    #[test]
    fn a_counter_is_a_number_that_is_not_negative() {
        use number_data_point::Value::{AsDouble, AsInt};
        for (value, counter, gauge) in [
            (AsInt(1), true, true),
            (AsInt(-1), false, true),
            (AsDouble(0.5), true, true),
            (AsDouble(-0.5), false, true),
            (AsDouble(f64::NAN), false, true),
        ] {
            let point = NumberDataPoint { value: Some(value), ..Default::default() };
            let mut bounds = SharedBounds::default();
            assert_eq!(point.value(Type::Counter, &mut bounds).is_ok(), counter, "{value:?}");
            assert_eq!(point.value(Type::Gauge, &mut bounds).is_ok(), gauge, "{value:?}");
        }
        let empty = NumberDataPoint::default();
        assert_eq!(empty.value(Type::Gauge, &mut SharedBounds::default()), Err(DropReason::Malformed));
    }

    #[test]
    fn quantiles_are_sorted_and_once() {
        let quantile_values =
            [(0.9, 2.0), (0.5, 1.0), (0.9, 3.0)].map(|(quantile, value)| ValueAtQuantile { quantile, value });
        let point = SummaryDataPoint {
            quantile_values: quantile_values.to_vec(),
            count: 4,
            sum: 5.0,
            ..Default::default()
        };
        let Ok(Value::Summary(summary)) = point.value(Type::Summary, &mut SharedBounds::default()) else {
            panic!("{point:?}")
        };
        assert_eq!(summary.quantiles.iter().map(|it| &*it.0).collect::<Vec<_>>(), ["0.5", "0.9"]);
    }

    fn point(bounds: &[f64], counts: &[u64], count: u64) -> HistogramDataPoint {
        HistogramDataPoint {
            count,
            bucket_counts: counts.to_vec(),
            explicit_bounds: bounds.to_vec(),
            ..Default::default()
        }
    }

    #[track_caller]
    fn check(point: &HistogramDataPoint, expected: Result<(&[&str], &[u64]), DropReason>) {
        match (point.value(Type::Histogram, &mut SharedBounds::default()), expected) {
            (Ok(Value::Histogram(histogram)), Ok((labels, counts))) => {
                assert_eq!(histogram.bounds.labels.iter().map(|it| &**it).collect::<Vec<_>>(), labels);
                assert_eq!(&*histogram.counts, counts);
            }
            (result, expected) => assert_eq!(result.map(|_| ()), expected.map(|_| ())),
        }
    }
}
