use crate::{Config, memory};

/// Decides what is too much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limiter {
    /// From how many bytes on what comes is refused.
    soft: u64,
}

impl Limiter {
    /// `available` tells how many bytes there are in all, where a limit is a part of that.
    pub(crate) fn try_new(
        config: &Config,
        available: impl FnOnce() -> Result<u64, memory::MemoryError>,
    ) -> Result<Self, memory::MemoryError> {
        let Config {
            check_interval: _,
            limit_mib,
            spike_limit_mib,
            limit_percentage,
            spike_limit_percentage,
        } = config;
        let (limit, spike) = match (limit_mib, limit_percentage) {
            // As in the Collector, what is said in MiB counts.
            (Some(limit), _) => (limit << 20, spike_limit_mib.map(|it| it << 20)),
            (None, percentage) => {
                let hundredth = available()? / 100;
                let part = |percentage: u64| hundredth * percentage;
                (part(percentage.unwrap_or(100)), spike_limit_percentage.map(part))
            }
        };
        Ok(Self { soft: limit.saturating_sub(spike.unwrap_or(limit / 5)) })
    }

    /// Returns from how many bytes on what comes is refused.
    pub(crate) const fn soft(&self) -> u64 {
        self.soft
    }

    pub(crate) const fn is_too_much(&self, used: u64) -> bool {
        used > self.soft
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_limit_is_a_number_or_a_part() {
        let config = |limit_mib, spike_limit_mib, limit_percentage, spike_limit_percentage| Config {
            limit_mib,
            spike_limit_mib,
            limit_percentage,
            spike_limit_percentage,
            ..Config::default()
        };
        for (config, soft) in [
            (config(Some(100), None, None, None), 80 * MIB),
            (config(Some(100), Some(30), None, None), 70 * MIB),
            (config(None, None, Some(50), None), 400 * MIB),
            (config(None, None, Some(50), Some(10)), 400 * MIB),
            (config(Some(100), Some(30), Some(50), Some(10)), 70 * MIB),
        ] {
            let limiter = Limiter::try_new(&config, || Ok(1000 * MIB)).unwrap();
            assert_eq!(limiter.soft(), soft, "{config:?}");
            assert!(limiter.is_too_much(soft + 1) && !limiter.is_too_much(soft));
        }
    }
}
