//! Cases that nobody thought of: made from a number, so that each can be played again.

use crate::{
    case::{Case, Fault, Home, Outcome},
    plan::{Side, Step, Traffic},
    world::{Family, Path},
};

/// Makes the case of a number.
pub fn case(seed: u64) -> Case {
    let mut dice = Dice::new(seed);
    let paths = [Path::Loopback, Path::OwnAddress, Path::OneNode, Path::TwoNodes, Path::Service];
    let case = Case {
        path: paths[dice.below(paths.len())],
        family: [Family::Ipv4, Family::Ipv6, Family::Mapped][dice.below(3)],
        home: [Home::Host, Home::Unit, Home::Container, Home::Pod][dice.below(4)],
        ..Case::new("random", [])
    };
    match dice.below(8) {
        0 => failing(case, &mut dice),
        1 => killed(case, &mut dice),
        _ => ended(case, &mut dice),
    }
}

/// Makes attempts that never become connections.
fn failing(case: Case, dice: &mut Dice) -> Case {
    let n = 1 + dice.below(20) as u64;
    let traffic = Traffic { connections: Some(n), parallel: n, ..Traffic::default() };
    let case = Case { traffic, ..case };
    match dice.below(5) {
        0 | 1 => Case { fault: Fault::NobodyListens, outcome: Outcome::Fails("refused"), ..case },
        2 => Case { path: Path::EmptyService, outcome: Outcome::Fails("refused"), ..case },
        3 => Case { path: Path::Nowhere, outcome: Outcome::Fails("unreachable"), ..case },
        _ => {
            let traffic = Traffic { cancel_after_ms: Some(50 + dice.below(400) as u64), ..case.traffic };
            let (fault, outcome) = (Fault::ArrivalsDropped, Outcome::Fails("canceled"));
            Case { path: Path::TwoNodes, fault, outcome, traffic, ..case }
        }
    }
}

/// Makes a connection that breaks because one of its peers is killed.
fn killed(case: Case, dice: &mut Dice) -> Case {
    let victim = dice.side();
    let mut script = talks(dice, 1);
    script.push(Step::UntilBroken);
    let traffic = Traffic { script, on_worker_thread: dice.below(2) == 0, ..Traffic::default() };
    Case { victim: Some(victim), outcome: reset(victim), traffic, ..case }
}

/// Makes connections that come to an end that their peers know.
fn ended(case: Case, dice: &mut Dice) -> Case {
    let (end, outcome) = ending(dice);
    let n_holds = dice.below(3);
    let mut script = talks(dice, n_holds);
    script.extend(talk(dice));
    script.extend(end);
    let connections = [1, 1, 2, 7, 40][dice.below(5)];
    // All must hold at a time.
    let parallel = if n_holds > 0 { connections } else { 1 + dice.below(8) as u64 };
    let fault = match (dice.below(4), outcome) {
        (0, Outcome::Normal) => Fault::Loss,
        _ => Fault::None,
    };
    let traffic = Traffic {
        connections: Some(connections),
        parallel,
        on_worker_thread: dice.below(2) == 0,
        script,
        ..Traffic::default()
    };
    Case { fault, traffic, outcome, ..case }
}

/// What is said before each of some holds.
fn talks(dice: &mut Dice, n_holds: usize) -> Vec<Step> {
    let mut script = Vec::new();
    for _ in 0..n_holds {
        script.extend(talk(dice));
        script.push(Step::Hold);
    }
    script
}

/// What is said between two holds.
fn talk(dice: &mut Dice) -> Vec<Step> {
    let n_steps = dice.below(4);
    let step = |dice: &mut Dice| match dice.below(3) {
        0 => send(dice.side(), dice.size()),
        1 => Step::Exchange { request: dice.size(), response: dice.size() },
        _ => {
            let first = dice.side();
            let steps =
                vec![send(first, 1 + dice.size() % 5000), send(first.other(), 1 + dice.size() % 5000)];
            Step::Repeat { times: 1 + u32::try_from(dice.below(20)).unwrap_or_default(), steps }
        }
    };
    (0..n_steps).map(|_| step(dice)).collect()
}

/// How it ends. A reset throws away what is under way, so the end that resets is the one that was served last.
fn ending(dice: &mut Dice) -> (Vec<Step>, Outcome) {
    let by = dice.side();
    let reset = reset(by);
    let close = Step::Close { by };
    match dice.below(6) {
        0 | 1 => (vec![close], Outcome::Normal),
        2 => {
            let other = by.other();
            let rest = send(other, dice.size());
            (vec![Step::FinishSending { by }, rest, Step::Close { by: other }], Outcome::Normal)
        }
        3 => {
            let other = by.other();
            let steps =
                vec![Step::FinishSending { by }, send(other, dice.size()), Step::FinishSending { by: other }];
            (steps, Outcome::Normal)
        }
        4 => (vec![send(by.other(), 1 + dice.size() % 5000), Step::Reset { by }], reset),
        _ => (vec![Step::LeaveUnread { by: by.other(), bytes: 1 + dice.size() % 5000 }, close], reset),
    }
}

fn reset(by: Side) -> Outcome {
    match by {
        Side::Client => Outcome::ClientReset,
        Side::Server => Outcome::ServerReset,
    }
}

fn send(by: Side, bytes: u64) -> Step {
    Step::Send { by, bytes }
}

/// Xorshift: chance that repeats itself.
#[derive(Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes dice that always fall the same for the same number.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Returns a number below another.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll()).unwrap_or_default() % n
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn side(&mut self) -> Side {
        if self.below(2) == 0 { Side::Client } else { Side::Server }
    }

    /// Anything up to half a megabyte; small and large are equally likely.
    fn size(&mut self) -> u64 {
        let n_bits = self.below(20);
        self.roll() & ((1 << n_bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What failed once can be played again.
    #[test]
    fn a_number_is_always_the_same_case() {
        assert_eq!(format!("{:?}", case(7)), format!("{:?}", case(7)));
    }

    #[test]
    fn numbers_reach_every_kind_of_case() {
        let cases: Vec<_> = (0..300).map(case).collect();
        for outcome in [Outcome::Normal, Outcome::ClientReset, Outcome::ServerReset] {
            assert!(cases.iter().any(|it| it.outcome == outcome && it.traffic.n_holds() > 0), "{outcome:?}");
        }
        for path in [Path::Loopback, Path::OwnAddress, Path::OneNode, Path::TwoNodes, Path::Service] {
            assert!(cases.iter().any(|it| it.path == path && it.fault == Fault::Loss), "{path:?}");
            assert!(cases.iter().any(|it| it.path == path && it.victim.is_some()), "{path:?}");
        }
        for reason in ["refused", "unreachable", "canceled"] {
            assert!(cases.iter().any(|it| it.outcome == Outcome::Fails(reason)), "{reason}");
        }
    }
}
