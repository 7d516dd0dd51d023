//! One quantity in the course of a run.

use std::time::Duration;

/// Samples in the order in which they were taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series(Vec<(Duration, f64)>);

impl Series {
    pub(super) fn push(&mut self, at: Duration, value: f64) {
        self.0.push((at, value));
    }

    pub(super) fn first(&self) -> f64 {
        self.0.first().map_or(f64::NAN, |(_, value)| *value)
    }

    pub(super) fn last(&self) -> f64 {
        self.0.last().map_or(f64::NAN, |(_, value)| *value)
    }

    pub(super) fn most(&self) -> f64 {
        self.0.iter().map(|(_, value)| *value).fold(f64::NAN, f64::max)
    }

    /// Returns by how much it grows in an hour, as the straight line says that is nearest to the samples from `since` on.
    ///
    /// No number if there are fewer than two.
    pub(super) fn growth_per_hour(&self, since: Duration) -> f64 {
        let samples = self.0.iter().filter(|(at, _)| *at >= since);
        let samples: Vec<_> = samples.map(|(at, value)| (at.as_secs_f64() / 3_600.0, *value)).collect();
        let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / samples.len() as f64;
        let (mean_at, mean_value) = (mean(|it| it.0), mean(|it| it.1));
        let (mut together, mut alone) = (0.0, 0.0);
        for (at, value) in samples {
            together += (at - mean_at) * (value - mean_value);
            alone += (at - mean_at).powi(2);
        }
        together / alone
    }

    /// Says how it began, how it ended, and what was the most.
    pub(super) fn told(&self, decimals: usize) -> String {
        let (first, last, most) = (self.first(), self.last(), self.most());
        format!("{first:.decimals$}, {last:.decimals$}, {most:.decimals$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_grows_as_it_does() {
        let line = series(&[(0, 5.0), (10, 5.5), (20, 6.0), (30, 6.5)]);
        let growth = line.growth_per_hour(Duration::ZERO);
        assert!((growth - 3.0).abs() < 1e-9, "{growth}");
        assert_eq!(line.told(1), "5.0, 6.5, 6.5");
    }

    /// Buffers and tables grow to the size that the load needs, and then must stay.
    #[test]
    fn what_was_before_does_not_count() {
        let warm = series(&[(0, 1.0), (1, 20.0), (10, 20.0), (20, 20.5), (30, 20.0)]);
        let growth = warm.growth_per_hour(Duration::from_mins(10));
        assert!(growth.abs() < 1e-9, "{growth}");
        assert_eq!(warm.most(), 20.5);
    }

    #[test]
    fn a_single_sample_says_nothing_of_growth() {
        assert!(series(&[(0, 1.0)]).growth_per_hour(Duration::ZERO).is_nan());
    }

    fn series(minutes: &[(u64, f64)]) -> Series {
        let mut series = Series::default();
        for (at, value) in minutes {
            series.push(Duration::from_mins(*at), *value);
        }
        series
    }
}
