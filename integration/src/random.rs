//! Cases that nobody thought of: made from a number, so that each can be played again.

use crate::{
    case::{Case, Fault, Home, Outcome},
    plan::{Side, Step, Traffic},
    world::{Family, Path},
};

/// Makes the case of a number.
pub fn case(seed: u64) -> Case {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (end, outcome) = ending(&mut dice);
    let n_holds = dice.below(3);
    let mut script = Vec::new();
    for _ in 0..n_holds {
        script.extend(talk(&mut dice));
        script.push(Step::Hold);
    }
    script.extend(talk(&mut dice));
    script.extend(end);
    let connections = [1, 1, 2, 7, 40][dice.below(5)];
    // All must hold at a time; and a lost reset would leave the other end open for ever.
    let parallel = if n_holds > 0 { connections } else { 1 + dice.below(8) as u64 };
    let fault = match (dice.below(4), outcome) {
        (0, Outcome::Normal) => Fault::Loss,
        _ => Fault::None,
    };
    let paths = [Path::Loopback, Path::OwnAddress, Path::OneNode, Path::TwoNodes, Path::Service];
    Case {
        name: "random",
        path: paths[dice.below(paths.len())],
        family: [Family::Ipv4, Family::Ipv6, Family::Mapped][dice.below(3)],
        fault,
        home: [Home::Host, Home::Unit, Home::Container][dice.below(3)],
        traffic: Traffic {
            connections: Some(connections),
            parallel,
            on_worker_thread: dice.below(2) == 0,
            script,
            ..Traffic::default()
        },
        outcome,
    }
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
    let reset = match by {
        Side::Client => Outcome::ClientReset,
        Side::Server => Outcome::ServerReset,
    };
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

fn send(by: Side, bytes: u64) -> Step {
    Step::Send { by, bytes }
}

/// Xorshift: chance that repeats itself.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll()).unwrap_or_default() % n
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
        }
    }
}
