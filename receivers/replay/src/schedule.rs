use std::time::Duration;

use model::{Flow, UnixNanos};

use crate::Times;

/// A pause longer than this is a mistake in the file, and no clock counts much further.
const MAX_PAUSE: Duration = Duration::from_hours(24 * 365);

/// Says when each record is due and what its times become.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    speed: f64,
    /// When the first record was made.
    first: UnixNanos,
    /// When it is replayed; equal to `first` if times are kept.
    now: UnixNanos,
}

impl Schedule {
    /// Begins with the first record, at the time `now`.
    pub(crate) fn new(first: &Flow, now: UnixNanos, speed: f64, times: Times) -> Self {
        let first = first.interval.end;
        let now = match times {
            Times::Shift => now,
            Times::Keep => first,
        };
        Self { speed, first, now }
    }

    /// Returns how long after the first record another one is due.
    pub(crate) fn due(&self, flow: &Flow) -> Duration {
        if self.speed == 0.0 {
            return Duration::ZERO;
        }
        let recorded = flow.interval.end.saturating_since(self.first);
        let replayed = Duration::try_from_secs_f64(recorded.as_secs_f64() / self.speed);
        replayed.unwrap_or(MAX_PAUSE).min(MAX_PAUSE)
    }

    /// Moves a record's times. All records of a replay are moved by the same span, so that what is between them stays.
    pub(crate) fn shift(&self, flow: &mut Flow) {
        let Self { speed: _, first, now } = self;
        let shift = |time: UnixNanos| {
            let forward = now.0.saturating_sub(first.0);
            let backward = first.0.saturating_sub(now.0);
            UnixNanos(time.0.saturating_add(forward).saturating_sub(backward))
        };
        flow.started = flow.started.map(shift);
        flow.interval.start = shift(flow.interval.start);
        flow.interval.end = shift(flow.interval.end);
    }
}

#[cfg(test)]
mod tests {
    use component_test::{FlowBuilder, flow};

    use super::*;

    #[test]
    fn records_are_due_as_far_apart_as_they_were_made() {
        for (speed, end_secs, due) in [
            (1.0, 105, Duration::from_secs(5)),
            (10.0, 105, Duration::from_millis(500)),
            (0.5, 105, Duration::from_secs(10)),
            (0.0, 105, Duration::ZERO),
            (1.0, 100, Duration::ZERO),
            // Records of two observers need not be in order.
            (1.0, 99, Duration::ZERO),
        ] {
            let schedule = schedule(speed, Times::Shift, 1_000);
            assert_eq!(schedule.due(&record(end_secs).build()), due, "{speed} {end_secs}");
        }
    }

    /// A damaged time must not be a time that no clock can wait for.
    #[test]
    fn a_pause_is_bounded() {
        let mut late = record(100).build();
        late.interval.end = UnixNanos(u64::MAX);
        for speed in [1.0, 1e-300] {
            assert_eq!(schedule(speed, Times::Shift, 1_000).due(&late), MAX_PAUSE, "speed {speed}");
        }
    }

    #[test]
    fn all_times_move_by_the_same_span() {
        for (now_secs, moved) in [(1_000, 900), (50, -50)] {
            let mut found = record(105).started(95).build();
            schedule(3.0, Times::Shift, now_secs).shift(&mut found);
            let at = |secs: i64| secs.checked_add(moved).unwrap().unsigned_abs();
            assert_eq!(found, flow().interval(at(100), at(105)).started(at(95)).build(), "{now_secs}");
        }
    }

    #[test]
    fn kept_times_stay() {
        let mut found = record(105).started(95).build();
        schedule(3.0, Times::Keep, 1_000).shift(&mut found);
        assert_eq!(found, record(105).started(95).build());
    }

    #[test]
    fn an_unknown_beginning_stays_unknown() {
        let mut found = record(105).build();
        schedule(1.0, Times::Shift, 1_000).shift(&mut found);
        assert_eq!(found.started, None);
    }

    /// Begins with a record that was made at second 100.
    fn schedule(speed: f64, times: Times, now_secs: u64) -> Schedule {
        Schedule::new(&record(100).build(), UnixNanos(now_secs * 1_000_000_000), speed, times)
    }

    fn record(end_secs: u64) -> FlowBuilder {
        flow().interval(end_secs.min(100), end_secs)
    }
}
