//! Figures of one quantity without and with the agent, in turn: a machine's mood changes, and then it does for both.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::lab::{agent::Agent, pause};

/// Runs in rounds of four: without the agent, twice with it, without it again. So what changes steadily meanwhile, changes
/// both alike.
pub(super) struct Rounds {
    /// The medians.
    pub(super) off: f64,
    pub(super) on: f64,
    /// The median of the rounds' ratios.
    pub(super) ratio: f64,
    /// Time that the agent was on a processor, of each second of the runs with it.
    pub(super) agent_cpu: f64,
    // Ascending: with to without, and the second run without to the first.
    ratios: Vec<f64>,
    repeats: Vec<f64>,
}

impl Rounds {
    /// Measures so many rounds, after one run that nobody counts. After each run the machine rests.
    pub(super) fn measure(
        binary: &Path,
        rounds: usize,
        rest: Duration,
        mut run: impl FnMut() -> anyhow::Result<f64>,
    ) -> anyhow::Result<Self> {
        let mut run_and_rest = || -> anyhow::Result<f64> {
            let figure = run()?;
            pause(rest);
            Ok(figure)
        };
        run_and_rest()?;
        let mut runs = Vec::with_capacity(rounds);
        let (mut cpu, mut observed) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..rounds {
            let before = run_and_rest()?;
            let agent = Agent::start(binary)?;
            let (began, cpu_before) = (Instant::now(), agent.cpu_time()?);
            let with = [run_and_rest()?, run_and_rest()?];
            cpu += agent.cpu_time()?.saturating_sub(cpu_before);
            observed += began.elapsed().saturating_sub(2 * rest);
            agent.stop()?;
            runs.push(([before, run_and_rest()?], with));
        }
        Ok(Self { agent_cpu: cpu.as_secs_f64() / observed.as_secs_f64(), ..Self::of(&runs) })
    }

    /// Takes what was reached without, and with the agent.
    fn of(runs: &[([f64; 2], [f64; 2])]) -> Self {
        let mean = |it: &[f64; 2]| f64::midpoint(it[0], it[1]);
        let ratios = sorted(runs.iter().map(|(off, on)| mean(on) / mean(off)));
        Self {
            off: median(&sorted(runs.iter().map(|(off, _)| mean(off)))),
            on: median(&sorted(runs.iter().map(|(_, on)| mean(on)))),
            ratio: median(&ratios),
            agent_cpu: 0.0,
            ratios,
            repeats: sorted(runs.iter().map(|(off, _)| off[1] / off[0])),
        }
    }

    /// Returns between what the median ratio of very many rounds is, with 95 % certainty; of too few, anything.
    pub(super) fn interval(&self) -> (f64, f64) {
        match n_outside(self.ratios.len()) {
            Some(n) => (self.ratios[n], self.ratios[self.ratios.len() - 1 - n]),
            None => (f64::NEG_INFINITY, f64::INFINITY),
        }
    }

    /// Says how far the rounds lie apart, and what the machine does without any agent.
    pub(super) fn spread(&self) -> String {
        let ends =
            |it: &[f64]| (it.first().copied().unwrap_or(f64::NAN), it.last().copied().unwrap_or(f64::NAN));
        let ((least, most), (less, more)) = (ends(&self.ratios), ends(&self.repeats));
        let certain = match self.interval() {
            (low, high) if low.is_finite() => {
                format!("with 95 % certainty the median of very many is between {low:.3} and {high:.3}")
            }
            _ => "too few to tell where the median of very many is".to_owned(),
        };
        format!(
            "A round is one run without the agent, two with it and one without. Its ratio was between {least:.3} and \
             {most:.3}; {certain}. Of the two runs without the agent, the second reached between {less:.3} and {more:.3} \
             times what the first did: that is the machine's doing."
        )
    }
}

/// Returns how many of `n` values on either side may be left out so that those between still enclose the true median
/// with a probability of 95 %; `None` if not even all of them do.
///
/// Each value is as likely above as below it, so that how many are below is binomially distributed.
fn n_outside(n: usize) -> Option<usize> {
    let (mut choices, mut outside) = (1.0, 0.0);
    let mut fits = None;
    for idx in 0..n / 2 {
        outside += 2.0 * choices / 2_f64.powi(i32::try_from(n).unwrap_or(i32::MAX));
        if outside > 0.05 {
            break;
        }
        fits = Some(idx);
        choices *= (n - idx) as f64 / (idx + 1) as f64;
    }
    fits
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Returns what is in the middle of values that ascend.
fn median(values: &[f64]) -> f64 {
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
        assert_eq!(median(&[1.0, 2.0, 3.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 3.0, 4.0]), 2.5);
    }

    /// The ratio of the medians would compare runs that were not made one after the other.
    #[test]
    fn the_ratio_is_that_of_rounds() {
        let round = |off, on| ([off, off], [on, on]);
        let rounds = Rounds::of(&[round(10.0, 9.0), round(100.0, 50.0), round(1000.0, 990.0)]);
        assert_eq!((rounds.off, rounds.on, rounds.ratio), (100.0, 50.0, 0.9));
    }

    /// A machine that slows down does so for both.
    #[test]
    fn what_changes_steadily_changes_both() {
        let rounds = Rounds::of(&[([100.0, 70.0], [90.0, 80.0])]);
        assert_eq!(rounds.ratio, 1.0);
        assert!(rounds.spread().contains("between 0.700 and 0.700 times"), "{}", rounds.spread());
    }

    /// Tables of the sign test have these.
    #[test]
    fn few_values_enclose_little() {
        let expected = [
            (5, None),
            (6, Some(0)),
            (8, Some(0)),
            (9, Some(1)),
            (11, Some(1)),
            (12, Some(2)),
            (15, Some(3)),
            (20, Some(5)),
        ];
        for (n, n_left_out) in expected {
            assert_eq!(n_outside(n), n_left_out, "of {n}");
        }
    }
}
