//! Plays random cases to one agent: `soak <first seed> <rounds>`, as root.
//!
//! A round is a network of its own with random cases side by side, made from its seed. In the midst of it the agent may be
//! stopped or killed and started anew, peers are killed in the midst of transfers, and some are killed together with their
//! network. The first difference ends it. The sum of all, a [`Summary`] as JSON, goes to standard output.

#![forbid(unsafe_code)]

use std::{
    env,
    io::Write,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use integration::{
    Agent, Case, Moment, Play, World,
    agent::{LIVE, Rights},
    case::{play_all, side_by_side},
    edges::{Edges, Totals},
    kernel,
    random::{self, Dice},
    world,
};
use rustix::process::Signal;
use serde::Serialize;

/// Seeds of cases for each seed of a round.
const CASES_PER_ROUND: u64 = 100;

/// What was played, and what was found.
#[derive(Debug, Default, Serialize)]
struct Summary {
    /// How long it took, without the time that others had their turn.
    seconds: u64,
    /// The seed of the round that ended it, and what was wrong there.
    difference: Option<(u64, String)>,
    counts: Counts,
}

#[derive(Debug, Default, Serialize)]
struct Counts {
    rounds: u64,
    cases: u64,
    connections: u64,
    failed_attempts: u64,
    payload_bytes: u64,
    agents: u64,
    agents_stopped_in_the_midst: u64,
    agents_killed_in_the_midst: u64,
    peers_killed_in_a_transfer: u64,
    peers_killed_with_their_network: u64,
}

fn main() -> ExitCode {
    integration::tell(arguments().and_then(|(seed, rounds)| soak(seed, rounds)))
}

fn arguments() -> anyhow::Result<(u64, u64)> {
    let numbers: Result<Vec<u64>, _> = env::args().skip(1).map(|text| text.parse()).collect();
    match numbers.context("expected numbers")?[..] {
        [seed, rounds] => Ok((seed, rounds)),
        _ => bail!("expected `soak <first seed> <rounds>`"),
    }
}

/// Plays rounds until there is a difference, or as many as wanted.
fn soak(first_seed: u64, rounds: u64) -> anyhow::Result<Summary> {
    world::await_turn()?;
    let start = Instant::now();
    let mut counts = Counts::default();
    let rights = [Rights::All, Rights::TwoCapabilities, Rights::Container];
    let rights = rights[Dice::new(first_seed).below(rights.len())];
    let mut observer = Observer { agent: launch(rights, &mut counts)?, rights };
    let mut difference = None;
    for seed in first_seed..first_seed + rounds {
        let played = play(seed, observer, &mut counts);
        counts.rounds += 1;
        let Counts { rounds, cases, connections, .. } = &counts;
        note(&format!(
            "soak: seed {seed}: {} s, {rounds} rounds, {cases} cases, {connections} connections",
            start.elapsed().as_secs()
        ));
        match played {
            Ok(next) => observer = next,
            Err(error) => {
                difference = Some((seed, format!("{error:#}")));
                break;
            }
        }
    }
    Ok(Summary { seconds: start.elapsed().as_secs(), difference, counts })
}

/// The agent under test.
struct Observer {
    agent: Agent,
    rights: Rights,
}

impl Observer {
    /// Ends the agent where connections are open, and starts another one.
    fn restart(self, midst: Midst, moments: &[&Moment], counts: &mut Counts) -> anyhow::Result<Self> {
        let Self { mut agent, rights } = self;
        match midst {
            Midst::Undisturbed => return Ok(Self { agent, rights }),
            Midst::Stopped => {
                counts.agents_stopped_in_the_midst += 1;
                let last = agent.stop()?;
                for moment in moments {
                    let found = Edges::of(&last, &moment.interest)?;
                    moment.compare(&found).context("in the last word of an agent that was stopped")?;
                }
            }
            Midst::Killed => {
                counts.agents_killed_in_the_midst += 1;
                agent.signal(Signal::KILL)?;
                agent.await_end(Duration::from_secs(5))?;
            }
        }
        Ok(Self { agent: launch(rights, counts)?, rights })
    }
}

fn launch(rights: Rights, counts: &mut Counts) -> anyhow::Result<Agent> {
    let agent = Agent::start_as(rights, LIVE, &[])?;
    counts.agents += 1;
    Ok(agent)
}

/// What becomes of the agent when the connections of a round hold for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Midst {
    /// It stays.
    Undisturbed,
    /// It is asked to end, and another one starts.
    Stopped,
    /// It is killed, and another one starts.
    Killed,
}

/// Plays the round of a seed, and returns who observed its end.
fn play(seed: u64, observer: Observer, counts: &mut Counts) -> anyhow::Result<Observer> {
    let mut dice = Dice::new(seed);
    let midst = [Midst::Undisturbed, Midst::Undisturbed, Midst::Stopped, Midst::Killed][dice.below(4)];
    let n_cases = 12 + dice.below(13) as u64;
    let first = seed * CASES_PER_ROUND;
    let cases: Vec<_> = (first..first + n_cases).map(random::case).collect();
    let (mut holding, others): (Vec<_>, Vec<_>) = cases.into_iter().partition(|it| it.traffic.n_holds() > 0);
    if midst != Midst::Undisturbed && observer.rights != Rights::All {
        holding.iter_mut().for_each(|it| it.home = observer.rights.home_of_older());
    }
    // Those that hold may never go on.
    let is_abandoned: Vec<_> = holding.iter().map(|_| dice.below(4) == 0).collect();

    let world = World::new()?;
    let agent = &observer.agent;
    let hold = |case| hold(case, &world, agent).with_context(|| format!("at the first hold of {case:?}"));
    let (held, over) = thread::scope(|scope| {
        let others = scope.spawn(|| play_all(&others, &world, |moment| agent.expect(moment)));
        let held = side_by_side(holding.iter().collect(), hold);
        (held, others.join().expect("a case does not panic"))
    });
    let (held, over) = (held?, over?);
    over.iter().for_each(|moment| counts.count(moment));

    let so_far: Vec<_> = held.iter().map(|(_, moment)| moment).chain(&over).collect();
    let observer =
        observer.restart(midst, &so_far, counts).with_context(|| format!("{midst:?} in the midst"))?;
    // What an agent has seen end is not its successor's.
    let mut over = if midst == Midst::Undisturbed { over } else { Vec::new() };

    let agent = &observer.agent;
    let (leaving, going): (Vec<_>, Vec<_>) =
        held.into_iter().zip(is_abandoned).partition(|(_, is_abandoned)| *is_abandoned);
    let seen = |moment: &Moment, before: &Moment| {
        if midst == Midst::Undisturbed { moment.clone() } else { moment.since(before) }
    };
    let finish = |((mut play, before), _): ((Play<'_>, Moment), bool)| {
        let finished = play.go_on(&mut |moment| agent.expect(&seen(moment, &before)));
        finished.map(|moment| (moment, before)).with_context(|| format!("{:?}, agent {midst:?}", play.case()))
    };
    let mut finished = side_by_side(going, finish)?;
    counts.peers_killed_in_a_transfer +=
        finished.iter().filter(|(it, _)| it.latitude.is_some()).count() as u64;
    for ((play, before), _) in leaving {
        finished.push((play.abandon(&before)?, before));
        counts.peers_killed_with_their_network += 2;
    }
    drop(world);
    for (moment, before) in &finished {
        counts.count(moment);
        over.push(seen(moment, before));
    }
    agent.expect_all(&over).with_context(|| format!("after the network is gone, agent {midst:?}"))?;
    Ok(observer)
}

/// Starts a case and has its connections judged where they hold for the first time.
fn hold<'a>(case: &'a Case, world: &'a World, agent: &Agent) -> anyhow::Result<(Play<'a>, Moment)> {
    let mut play = case.start(world)?;
    let moment = play.holding()?;
    if moment.truth().active > 0 {
        kernel::check_open_sockets(world, &moment)?;
    }
    agent.expect(&moment)?;
    Ok((play, moment))
}

impl Counts {
    fn count(&mut self, moment: &Moment) {
        let Totals { request, response, opened, failed, .. } = moment.truth();
        self.cases += 1;
        self.connections += opened;
        self.failed_attempts += failed.values().sum::<u64>();
        self.payload_bytes += request + response;
    }
}

/// Tells whoever waits.
fn note(text: &str) {
    // Nobody waits when standard error is closed.
    let _told = writeln!(std::io::stderr(), "{text}");
}
