use std::time::Duration;

use humantime_serde::Serde;
use serde::Deserialize;

/// Most bounds of one histogram: each costs a series per link in Prometheus.
const MAX_BOUNDS: usize = 64;

/// Upper bounds of the histograms' buckets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Buckets {
    /// Bounds for `ridley.link.rtt`: 1 to 64, ascending; by default from 50 us to 2.5 s.
    pub rtt: Bounds,

    /// Bounds for `ridley.link.connect.duration`; by default from 50 us to 10 s.
    pub connect_duration: Bounds,

    /// Bounds for `ridley.link.server_handshake.duration`; by default those of `connect_duration`.
    pub server_handshake_duration: Bounds,

    /// Bounds for `ridley.link.connection.duration`; by default from 1 ms to a day.
    pub connection_duration: Bounds,
}

impl Default for Buckets {
    fn default() -> Self {
        let micros = |bounds: &[u64]| Bounds(bounds.iter().map(|it| Duration::from_micros(*it)).collect());
        // The second and third SYN leave after 1 and 3 seconds, so handshakes above a second are retried ones.
        let handshake = || {
            micros(&[
                50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
                1_000_000, 2_500_000, 5_000_000, 10_000_000,
            ])
        };
        Self {
            // From 50 us on: a round trip inside a cluster is well under a millisecond.
            rtt: micros(&[
                50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
                1_000_000, 2_500_000,
            ]),
            connect_duration: handshake(),
            server_handshake_duration: handshake(),
            connection_duration: micros(&[
                1_000,
                5_000,
                25_000,
                100_000,
                500_000,
                1_000_000,
                5_000_000,
                30_000_000,
                60_000_000,
                300_000_000,
                1_800_000_000,
                3_600_000_000,
                21_600_000_000,
                86_400_000_000,
            ]),
        }
    }
}

/// Upper bounds of a histogram's buckets, ascending; what is above the last has a bucket of its own.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Serde<Duration>>")]
pub struct Bounds(Vec<Duration>);

/// The durations are not bounds of buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBounds {
    /// No bound, or too many.
    #[error("{n} bounds; expected 1 to {MAX_BOUNDS}")]
    Number {
        /// How many there are.
        n: usize,
    },
    /// A bound that is not above the one before it.
    #[error("{after:?} comes after {before:?}; expected ascending bounds above zero")]
    NotAscending {
        /// The bound before it; zero for the first.
        before: Duration,
        /// The bound that is too small.
        after: Duration,
    },
    /// A bound that cannot be told in nanoseconds.
    #[error("{bound:?} is too long; expected bounds below 500 years")]
    TooLong {
        /// The bound.
        bound: Duration,
    },
}

impl Bounds {
    /// Checks bounds.
    ///
    /// # Errors
    ///
    /// Fails if there are none or too many, or if they do not ascend from above zero.
    pub fn try_new(bounds: Vec<Duration>) -> Result<Self, InvalidBounds> {
        if bounds.is_empty() || bounds.len() > MAX_BOUNDS {
            return Err(InvalidBounds::Number { n: bounds.len() });
        }
        let mut before = Duration::ZERO;
        for bound in &bounds {
            if *bound <= before {
                return Err(InvalidBounds::NotAscending { before, after: *bound });
            }
            if u64::try_from(bound.as_nanos()).is_err() {
                return Err(InvalidBounds::TooLong { bound: *bound });
            }
            before = *bound;
        }
        Ok(Self(bounds))
    }

    /// Returns the bounds in nanoseconds.
    pub(crate) fn nanos(&self) -> Box<[u64]> {
        let nanos = |it: &Duration| u64::try_from(it.as_nanos()).unwrap_or(u64::MAX);
        self.0.iter().map(nanos).collect()
    }

    /// Returns the bounds in seconds, as OTLP carries them.
    pub(crate) fn seconds(&self) -> Vec<f64> {
        self.0.iter().map(Duration::as_secs_f64).collect()
    }
}

impl TryFrom<Vec<Serde<Duration>>> for Bounds {
    type Error = InvalidBounds;

    fn try_from(bounds: Vec<Serde<Duration>>) -> Result<Self, Self::Error> {
        Self::try_new(bounds.into_iter().map(Serde::into_inner).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_ascend() {
        check(&[1, 2, 3], Ok(()));
    }

    #[test]
    fn equal_bounds_are_refused() {
        let [before, after] = [Duration::from_secs(2); 2];
        check(&[1, 2, 2], Err(InvalidBounds::NotAscending { before, after }));
    }

    #[test]
    fn a_bound_of_zero_is_refused() {
        let [before, after] = [Duration::ZERO; 2];
        check(&[0, 1], Err(InvalidBounds::NotAscending { before, after }));
    }

    #[test]
    fn the_number_of_bounds_is_limited() {
        check(&[], Err(InvalidBounds::Number { n: 0 }));
        check(&(1..=64).collect::<Vec<_>>(), Ok(()));
        check(&(1..=65).collect::<Vec<_>>(), Err(InvalidBounds::Number { n: 65 }));
    }

    #[test]
    fn bounds_fit_into_nanoseconds() {
        let bound = Duration::from_secs(u64::MAX);
        check(&[1, u64::MAX], Err(InvalidBounds::TooLong { bound }));
    }

    /// The defaults are not checked when they are made.
    #[test]
    fn the_default_bounds_are_valid() {
        let Buckets { rtt, connect_duration, server_handshake_duration, connection_duration } =
            Buckets::default();
        for bounds in [rtt, connect_duration, server_handshake_duration, connection_duration] {
            assert_eq!(Bounds::try_new(bounds.0.clone()), Ok(bounds));
        }
    }

    #[track_caller]
    fn check(secs: &[u64], expected: Result<(), InvalidBounds>) {
        let bounds = secs.iter().map(|it| Duration::from_secs(*it)).collect();
        assert_eq!(Bounds::try_new(bounds).map(|_| ()), expected);
    }
}
