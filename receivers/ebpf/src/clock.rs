use std::time::Duration;

use model::UnixNanos;
use rustix::time::{ClockId, clock_gettime};

/// One instant on two clocks: the kernel programs' and the wall's.
///
/// The only place where the one is turned into the other. Each reading of the clocks follows what happened to the wall
/// clock since, so that a step of it moves later times and leaves earlier ones as they were reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Nanoseconds since boot, `CLOCK_BOOTTIME`, which the programs read.
    pub(crate) boot: u64,
    /// The wall clock.
    pub(crate) wall: UnixNanos,
}

impl Moment {
    /// Reads both clocks.
    pub(crate) fn now() -> Self {
        Self { boot: nanoseconds(ClockId::Boottime), wall: UnixNanos(nanoseconds(ClockId::Realtime)) }
    }

    /// Returns the time that passed since an earlier moment.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.boot.saturating_sub(earlier.boot))
    }

    /// Returns the wall clock's time of an instant on the programs' clock.
    pub(crate) const fn wall_at(self, boot: u64) -> UnixNanos {
        // Wrapping: the instant may be a little after this moment.
        UnixNanos(self.wall.0.wrapping_add(boot.wrapping_sub(self.boot)))
    }
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let secs = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u64::try_from(time.tv_nsec).unwrap_or_default();
    secs.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Moment = Moment { boot: 1_000, wall: UnixNanos(50_000) };

    #[test]
    fn events_before_and_after_the_reading_keep_their_distance() {
        assert_eq!(MOMENT.wall_at(400), UnixNanos(49_400));
        assert_eq!(MOMENT.wall_at(1_000), UnixNanos(50_000));
        assert_eq!(MOMENT.wall_at(1_007), UnixNanos(50_007));
    }
}
