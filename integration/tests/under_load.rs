//! What is true of the agent's counts when it starts or ends in the midst of traffic: of one that root starts, and of one that
//! anybody starts with two capabilities.

use std::{array, time::Duration};

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Play, World,
    agent::{LIVE, Rights, with_all_and_two},
    case::Home,
    cases,
    edges::{Edges, Interest, Totals},
    exposition::Exposition,
    plan::{Report, Step, Traffic},
    poll,
};
use rustix::process::Signal;

/// How often an agent is killed: connections are in another state each time.
const N_KILLS: usize = 3;
/// What a short connection exchanges, and a long one again and again: request and response.
const SHORT: (u64, u64) = (300, 900);
const LONG: (u64, u64) = (20_000, 30_000);
/// Bytes that servers send while an agent lives: those of some hundred short connections.
const LIFE: u64 = 500_000;
/// How an end is called of which nothing is known.
const UNKNOWN: &str = "unknown";
/// How long it may take until something has happened, or is counted.
const PATIENCE: Duration = Duration::from_secs(10);
/// As long as a record may wait for its other end, and some intervals more.
const CALM: Duration = Duration::from_millis(2500);

/// What connections did, or were counted to have done: how many were opened and closed, and bytes of both directions.
type Sums = [u64; 4];
/// Their names, in that order.
const NAMES: [&str; 4] = ["opened", "closed", "request", "response"];

/// An agent that starts in the midst of traffic knows who listens before it tells of the first connection. Only root's may look
/// that up: another one cannot name the ends of connections that are over before it has found them.
#[test]
fn no_server_is_unknown_in_the_first_second() -> anyhow::Result<()> {
    let world = World::new()?;
    let load = short_connections(500);
    let mut load = load.start(&world)?;
    for _ in 0..3 {
        let agent = Agent::start(LIVE)?;
        let edges = Edges::of(&agent.stop()?, &load.interest())?;
        let server = &load.interest().names[1];
        ensure!(!edges.0.is_empty(), "the agent saw nothing of the traffic");
        for edge in edges.0.keys() {
            ensure!(edge.server.name == *server, "a link of the first second: {edge}");
        }
    }
    load.stop().map(drop)
}

/// At its end the agent delivers what happened up to the signal, however busy the host is and however far away the next
/// interval, and ends in time with exit code 0.
#[test]
fn final_totals_are_scraped_when_the_agent_ends_under_load() -> anyhow::Result<()> {
    with_all_and_two(check_end_under_load)
}

fn check_end_under_load(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    // Without the drain, what happened since the last of these long intervals would be missing.
    let config = LIVE.replace("200ms", "30s");
    let load = short_connections(1000);
    let agent = Agent::launch(&config, rights, &[])?;
    let mut load = load.start(&world)?;
    let finished = cases::named("churn").play(&world, &mut |_| Ok(()))?;
    let open = cases::named("thousand_parallel_connections");
    let mut open = open.start(&world)?;
    let holding = open.holding()?;
    let before = load.report()?;
    let last = agent.stop()?;
    let after = load.stop()?;
    for moment in [&finished, &holding] {
        moment.compare(&Edges::of(&last, &moment.interest)?)?;
    }
    check_range(counted(&last, &after.interest)?, done(&before), sums(after.truth()))?;
    open.go()?;
    open.done().map(drop)
}

/// Agents that are killed in the midst of traffic count together nothing twice, and miss no more than what passes from the last
/// scrape of one until the next one observes.
#[test]
fn an_agent_that_is_killed_under_load_costs_what_passes_until_the_next_one() -> anyhow::Result<()> {
    with_all_and_two(check_kills)
}

fn check_kills(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    // Not even root can look up who held a socket that was closed before it came to that.
    let [short, long] = [short_connections(500), transfers()].map(|case| Case { home: Home::Unit, ..case });
    let mut agent = Agent::start_as(rights, LIVE, &[])?;
    let mut loads = [Load::start(&short, &world, SHORT)?, Load::start(&long, &world, LONG)?];
    for nth in 1..=N_KILLS {
        loads.iter_mut().try_for_each(Load::proceed)?;
        let last = poll::until(PATIENCE, || {
            let scrape = agent.scrape()?;
            let is_delivered = |it: &Load<'_>| check_range(it.counted(&scrape)?, it.least(), [u64::MAX; 4]);
            loads.iter().try_for_each(is_delivered)?;
            Ok(scrape)
        });
        let last = last.with_context(|| format!("agent {nth} of {N_KILLS} does not count what it sees"))?;
        agent.signal(Signal::KILL)?;
        agent.await_end(PATIENCE)?;
        for load in &mut loads {
            let killed = load.killed(&last);
            killed
                .with_context(|| format!("in the last scrape before agent {nth} of {N_KILLS} is killed"))?;
        }
        agent = Agent::start_as(rights, LIVE, &[])?;
        loads.iter_mut().try_for_each(Load::observed)?;
    }
    loads.iter_mut().try_for_each(Load::proceed)?;
    loads.iter_mut().try_for_each(|load| load.finish(&agent))?;
    agent.stop().map(drop)
}

/// Connections that are opened and closed at a rate.
fn short_connections(per_second: u32) -> Case {
    let traffic = Traffic {
        connections: None,
        parallel: 8,
        per_second: Some(per_second),
        script: vec![Step::Exchange { request: SHORT.0, response: SHORT.1 }],
        ..Traffic::default()
    };
    Case { traffic, ..Case::new("short_connections", []) }
}

/// Connections that transfer for some seconds, which is longer than it takes to start an agent.
fn transfers() -> Case {
    let exchange = Step::Exchange { request: LONG.0, response: LONG.1 };
    let step = Step::Repeat { times: 1000, steps: vec![exchange, Step::Pause { ms: 5 }] };
    let traffic = Traffic { connections: None, parallel: 4, script: vec![step], ..Traffic::default() };
    Case { traffic, ..Case::new("transfers", []) }
}

/// Traffic that goes on while agents come and go, and what is known of it.
struct Load<'a> {
    play: Play<'a>,
    interest: Interest,
    /// How far what a peer reports may be from what its kernel has done.
    under_way: Sums,
    /// What had passed before the agent was started.
    at_start: Sums,
    /// What had passed when it observed.
    observed: Sums,
    /// What had passed when it was asked for its last scrape.
    asked: Sums,
    /// What agents that were killed have counted.
    counted: Sums,
    /// What passed while no agent observed.
    missed: Sums,
}

impl<'a> Load<'a> {
    fn start(case: &'a Case, world: &'a World, exchange: (u64, u64)) -> anyhow::Result<Self> {
        let play = case.start(world)?;
        let interest = play.interest();
        // Of each open connection: whatever it did last, and bytes of the exchange that it is at and of the one before,
        // whose acknowledgement comes with an answer.
        let n = case.traffic.parallel;
        let under_way = [n, n, 2 * n * exchange.0, 2 * n * exchange.1];
        let none = Sums::default();
        Ok(Self {
            play,
            interest,
            under_way,
            at_start: none,
            observed: none,
            asked: none,
            counted: none,
            missed: none,
        })
    }

    /// Waits until something has happened since the agent observes.
    fn proceed(&mut self) -> anyhow::Result<()> {
        self.asked = poll::until(PATIENCE, || {
            let sums = done(&self.play.report()?);
            ensure!(sums[3] > self.observed[3] + LIFE, "the traffic stands still: {sums:?}");
            Ok(sums)
        })?;
        Ok(())
    }

    /// Returns the least that the agent must have counted.
    fn least(&self) -> Sums {
        minus(minus(self.asked, self.observed), self.under_way)
    }

    /// Takes note of what an agent had counted that has been killed.
    fn killed(&mut self, last: &Exposition) -> anyhow::Result<()> {
        let now = done(&self.play.report()?);
        let counted = self.counted(last)?;
        check_range(counted, self.least(), plus(minus(now, self.at_start), self.under_way))?;
        self.counted = plus(self.counted, counted);
        self.at_start = now;
        Ok(())
    }

    /// Takes note that the next agent observes.
    fn observed(&mut self) -> anyhow::Result<()> {
        self.observed = done(&self.play.report()?);
        self.missed = plus(self.missed, minus(self.observed, self.asked));
        Ok(())
    }

    /// Ends the traffic, and compares what all agents have counted with the truth.
    fn finish(&mut self, agent: &Agent) -> anyhow::Result<()> {
        let truth = self.play.stop()?;
        let all = sums(truth.truth());
        self.asked = all;
        let most = plus(minus(all, self.at_start), self.under_way);
        let mut last = Sums::default();
        poll::until_lasting(PATIENCE, CALM, || {
            let scrape = agent.scrape()?;
            last = self.counted(&scrape)?;
            check_range(last, self.least(), most)
        })
        .context("of the last agent")?;
        let apart = self.under_way.map(|it| it * 2 * N_KILLS as u64);
        let least = minus(minus(all, self.missed), apart);
        check_range(plus(self.counted, last), least, all).context("of all agents together")
    }

    fn counted(&self, scrape: &Exposition) -> anyhow::Result<Sums> {
        counted(scrape, &self.interest)
    }
}

/// Returns what a client has done.
fn done(report: &Report) -> Sums {
    [report.opened, report.ended.values().sum(), report.wrote, report.read]
}

/// Returns what an agent has counted on the one link that there is. Of connections that end before it has found them it knows
/// at most the command that listens, which is the beginning of its unit's name.
fn counted(scrape: &Exposition, interest: &Interest) -> anyhow::Result<Sums> {
    let edges = Edges::of(scrape, interest)?;
    for (edge, totals) in &edges.0 {
        let is_end = totals.opened == 0 && totals.active == 0;
        let is_right = |(found, name): (&String, &String)| {
            found == name || is_end && (found == UNKNOWN || name.starts_with(found.as_str()))
        };
        let mut names = [&edge.client.name, &edge.server.name].into_iter().zip(&interest.names);
        ensure!(edge.observer == "client" && names.all(is_right), "a link that is none: {edge}: {totals}");
    }
    Ok(edges.0.values().map(sums).fold(Sums::default(), plus))
}

fn sums(totals: &Totals) -> Sums {
    [totals.opened, totals.closed.values().sum(), totals.request, totals.response]
}

fn check_range(found: Sums, least: Sums, most: Sums) -> anyhow::Result<()> {
    for (nth, name) in NAMES.into_iter().enumerate() {
        let (found, least, most) = (found[nth], least[nth], most[nth]);
        ensure!((least..=most).contains(&found), "{name} is {found}, expected {least} to {most}");
    }
    Ok(())
}

fn plus(a: Sums, b: Sums) -> Sums {
    array::from_fn(|nth| a[nth] + b[nth])
}

/// Subtracts; less than nothing is nothing.
fn minus(a: Sums, b: Sums) -> Sums {
    array::from_fn(|nth| a[nth].saturating_sub(b[nth]))
}
