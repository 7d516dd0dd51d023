use std::time::Duration;

use model::UnixNanos;
use rustix::time::{ClockId, clock_gettime};

/// One instant on two clocks: the kernel programs' and the wall's.
///
/// The only place where the one is turned into the other. Each reading of the clocks follows what happened to the wall
/// clock since, so that a step of it moves later times and leaves earlier ones as they were reported. How long a connection
/// lived is told by the programs' clock alone: its end is as far from its begin as it was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// Frequencies of the tick that kernels are built for, in hertz.
/// <https://github.com/torvalds/linux/blob/v6.12/kernel/Kconfig.hz>
const FREQUENCIES: [u32; 4] = [100, 250, 300, 1000];

/// The kernel's tick and its time at about the same moment, from which follows how long a tick takes: the kernel does not
/// tell it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TickCount {
    /// Ticks since some moment: `jiffies`.
    pub(crate) ticks: u64,
    /// Time since boot: `CLOCK_MONOTONIC`.
    pub(crate) monotonic: Duration,
}

impl TickCount {
    /// Returns how long a tick takes, as far as one reading tells.
    ///
    /// The count begins such that it exceeds 32 bits five minutes after boot, so that of the frequencies that a kernel can be
    /// built for one makes both clocks agree. Within seconds of that moment all do: then it is unknown.
    /// <https://github.com/torvalds/linux/blob/v6.12/include/linux/jiffies.h>
    pub(crate) fn tick(self) -> Option<Duration> {
        /// Milliseconds that the clocks may lie apart, for they do not begin at once.
        const TOLERANCE: u64 = 60_000;
        /// Milliseconds by which any other frequency must be worse.
        const MARGIN: u64 = 1_000;
        let ticks = i64::try_from(self.ticks).ok()?;
        let monotonic = i64::try_from(self.monotonic.as_millis()).ok()?;
        let distances = FREQUENCIES.map(|frequency| {
            let at_boot = (1 << 32) - 300 * i64::from(frequency);
            let since_boot = (ticks - at_boot).saturating_mul(1_000) / i64::from(frequency);
            (since_boot.abs_diff(monotonic), frequency)
        });
        let (distance, frequency) = distances.into_iter().min()?;
        let is_only = |(other, of): (u64, u32)| of == frequency || other >= distance + MARGIN;
        let is_clear = distance < TOLERANCE && distances.into_iter().all(is_only);
        is_clear.then(|| Duration::from_secs(1) / frequency)
    }

    /// Returns how long a tick takes, by how many there were since an earlier reading. If that is less than a quarter of a
    /// second ago, or the processor was late to count them, it may stay unknown.
    pub(crate) fn tick_since(self, earlier: Self) -> Option<Duration> {
        /// By what part of it the frequency may be missed; the closest two are a fifth apart.
        const TOLERANCE: f64 = 0.07;
        let secs = self.monotonic.saturating_sub(earlier.monotonic).as_secs_f64();
        let found = self.ticks.wrapping_sub(earlier.ticks) as f64 / secs;
        let frequency =
            FREQUENCIES.into_iter().find(|it| (found / f64::from(*it) - 1.0).abs() < TOLERANCE)?;
        Some(Duration::from_secs(1) / frequency)
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

    /// Just after boot and after years, whatever the kernel was built for.
    #[test]
    fn the_length_of_a_tick_is_found() {
        for frequency in [100, 250, 300, 1000_u64] {
            let count_after = |millis: u64| {
                let ticks = (1 << 32) - 300 * frequency + millis * frequency / 1_000;
                TickCount { ticks, monotonic: Duration::from_millis(millis + 200) }
            };
            let expected = Some(Duration::from_secs(1) / u32::try_from(frequency).unwrap());
            for secs in [0, 1, 280, 320, 3_600, 86_400, 100_000_000] {
                assert_eq!(count_after(1_000 * secs).tick(), expected, "{frequency} after {secs} s");
            }
            // All counts go through the same number five minutes after boot.
            let first = count_after(300_000);
            assert_eq!(first.tick(), None, "{frequency}");
            assert_eq!(count_after(300_300).tick_since(first), expected, "{frequency}");
            let late = TickCount { monotonic: Duration::from_millis(300_533), ..count_after(300_300) };
            assert_eq!(late.tick_since(first), None, "{frequency}: a tenth of the ticks is missing");
            assert_eq!(first.tick_since(first), None, "no time has passed");
        }
        let stopped = TickCount { ticks: 0, monotonic: Duration::from_secs(500) };
        assert_eq!((stopped.tick(), stopped.tick_since(stopped)), (None, None), "no such clock");
    }

    #[test]
    fn events_before_and_after_the_reading_keep_their_distance() {
        assert_eq!(MOMENT.wall_at(400), UnixNanos(49_400));
        assert_eq!(MOMENT.wall_at(1_000), UnixNanos(50_000));
        assert_eq!(MOMENT.wall_at(1_007), UnixNanos(50_007));
    }
}
