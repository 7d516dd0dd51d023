//! Figures of one quantity without and with the agent, in turn: a machine's mood changes, and then it does for both.

use std::path::Path;

use crate::lab::agent::Agent;

/// Medians of runs in pairs.
pub(super) struct Pairs {
    pub(super) off: f64,
    pub(super) on: f64,
    /// The median of the pairs' ratios.
    pub(super) ratio: f64,
    least: f64,
    most: f64,
}

impl Pairs {
    /// Measures without and with the agent in turn, after one run that nobody counts.
    pub(super) fn measure(
        binary: &Path,
        rounds: usize,
        mut run: impl FnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        run()?;
        let mut runs = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let off = run()?;
            let agent = Agent::start(binary)?;
            runs.push((off, run()?));
            agent.stop()?;
        }
        Ok(Self::of(&runs))
    }

    fn of(runs: &[(f64, f64)]) -> Self {
        let mut ratios: Vec<f64> = runs.iter().map(|(off, on)| on / off).collect();
        let mut off: Vec<f64> = runs.iter().map(|(off, _)| *off).collect();
        let mut on: Vec<f64> = runs.iter().map(|(_, on)| *on).collect();
        let ratio = median(&mut ratios);
        let least = ratios.first().copied().unwrap_or(ratio);
        let most = ratios.last().copied().unwrap_or(ratio);
        Self { off: median(&mut off), on: median(&mut on), ratio, least, most }
    }

    /// Says how far the pairs lie apart.
    pub(super) fn spread(&self) -> String {
        format!("The ratio of a pair was between {:.3} and {:.3}.", self.least, self.most)
    }
}

/// Sorts, and returns what is in the middle.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    /// The ratio of the medians would compare runs that were not made one after the other.
    #[test]
    fn the_ratio_is_that_of_pairs() {
        let pairs = Pairs::of(&[(10.0, 9.0), (100.0, 50.0), (1000.0, 990.0)]);
        assert_eq!((pairs.off, pairs.on, pairs.ratio), (100.0, 50.0, 0.9));
        assert_eq!(pairs.spread(), "The ratio of a pair was between 0.500 and 0.990.");
    }
}
