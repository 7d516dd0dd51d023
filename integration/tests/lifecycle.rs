//! What is true of the agent's counts when it starts late, ends early, or both.

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, Play, World,
    agent::{LIVE, Rights},
    case::Home,
    cases,
    edges::Edges,
    plan::{Side, Step, Traffic},
    world::{Family, Path},
};
use rustix::process::Signal;

/// A server is named although it began to listen before the agent could see it.
#[test]
fn listeners_older_than_the_agent_are_named() -> anyhow::Result<()> {
    let world = World::new()?;
    let cases = [
        ("a_service_is_one_edge", Home::Host),
        ("over_ipv6", Home::Unit),
        ("over_loopback", Home::Container),
    ]
    .map(|(name, home)| Case { home, ..cases::named(name) });
    let mut plays = cases.iter().map(|case| case.listen(&world)).collect::<Result<Vec<_>, _>>()?;
    let agent = Agent::start(LIVE)?;
    for play in &mut plays {
        play.connect()?;
        agent.expect(&play.holding()?)?;
        play.go()?;
        agent.expect(&play.done()?)?;
    }
    agent.stop().map(drop)
}

/// An agent that starts in the midst of traffic knows who listens before it tells of the first connection.
#[test]
fn no_server_is_unknown_in_the_first_second() -> anyhow::Result<()> {
    let world = World::new()?;
    let load = Case {
        traffic: Traffic {
            connections: None,
            parallel: 8,
            per_second: Some(500),
            script: vec![Step::Exchange { request: 300, response: 900 }],
            ..Traffic::default()
        },
        ..Case::new("load", [])
    };
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

/// Of a connection that the agent finds, it counts what passes from then on; it does not claim to have seen it open.
#[test]
fn connections_older_than_the_agent_count_from_its_start() -> anyhow::Result<()> {
    let world = World::new()?;
    let cases = older_and_younger();
    let (mut plays, before) = hold(&world, &cases)?;
    let agent = Agent::start(LIVE)?;
    for (play, before) in plays.iter_mut().zip(&before) {
        agent.expect(&before.since(before)).context("once it is found")?;
        play.go()?;
        let now = play.holding()?;
        agent.expect(&now.since(before)).context("while it stays open")?;
        play.go()?;
        let now = play.done()?;
        agent.expect(&now.since(before)).context("after its end")?;
    }
    agent.stop().map(drop)
}

/// What one agent counted and what the next one counts is the truth together, nothing twice.
#[test]
fn a_restart_counts_nothing_twice() -> anyhow::Result<()> {
    check_restart(|agent, before| {
        let last = agent.stop()?;
        for moment in before {
            moment.compare(&Edges::of(&last, &moment.interest)?).context("in the first agent's last word")?;
        }
        Ok(())
    })
}

/// An agent that had no time to say goodbye leaves nothing that its successor would count again.
#[test]
fn a_killed_agent_leaves_nothing_behind() -> anyhow::Result<()> {
    check_restart(|mut agent, _| {
        agent.signal(Signal::KILL)?;
        agent.await_end(Duration::from_secs(5)).map(drop)
    })
}

/// At its end the agent delivers what happened up to the signal, however busy the host is and however far away the next
/// interval, and ends in time with exit code 0.
#[test]
fn final_totals_are_scraped_when_the_agent_ends_under_load() -> anyhow::Result<()> {
    let world = World::new()?;
    // Without the drain, what happened since the last of these long intervals would be missing.
    let config = LIVE.replace("200ms", "30s");
    let load = Case {
        traffic: Traffic {
            connections: None,
            parallel: 8,
            per_second: Some(1000),
            script: vec![Step::Exchange { request: 300, response: 900 }],
            ..Traffic::default()
        },
        ..Case::new("load", [])
    };
    let agent = Agent::launch(&config, Rights::All, &[])?;
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
    let found = Edges::of(&last, &after.interest)?;
    let found = found.0.into_values().next().context("the load is missing")?;
    let truth = after.truth();
    let closed: u64 = before.ended.values().sum();
    for (what, least, found, most) in [
        ("opened", before.opened, found.opened, truth.opened),
        ("closed", closed, found.closed.values().sum(), truth.opened),
        ("request", before.wrote, found.request, truth.request),
        ("response", before.read, found.response, truth.response),
    ] {
        ensure!((least..=most).contains(&found), "{what} is {found}, expected {least} to {most}");
    }
    open.go()?;
    open.done().map(drop)
}

/// Nobody has to scrape for the agent to end.
#[test]
fn the_agent_ends_in_time_when_nobody_scrapes() -> anyhow::Result<()> {
    let mut agent = Agent::start(LIVE)?;
    agent.signal(Signal::TERM)?;
    let status = agent.await_end(Duration::from_secs(11))?;
    ensure!(status.success(), "the agent ended with {status}");
    Ok(())
}

/// Connections over every kind of path, with traffic before and after the first of two holds.
fn older_and_younger() -> Vec<Case> {
    let script = [
        Step::Exchange { request: 10_000, response: 2_000_000 },
        Step::Hold,
        Step::Exchange { request: 3_000_000, response: 777 },
        Step::Hold,
        Step::Send { by: Side::Client, bytes: 5 },
    ];
    let paths = [
        (Path::TwoNodes, Family::Ipv4),
        (Path::TwoNodes, Family::Ipv6),
        (Path::TwoNodes, Family::Mapped),
        (Path::Service, Family::Ipv4),
        (Path::Loopback, Family::Ipv4),
    ];
    let case = |(path, family)| {
        let mut case = Case { path, family, ..Case::new("older_and_younger", script.clone()) };
        case.traffic.connections = Some(3);
        case.traffic.parallel = 3;
        case
    };
    paths.map(case).into()
}

/// Starts cases and waits until all of them hold.
fn hold<'a>(world: &'a World, cases: &'a [Case]) -> anyhow::Result<(Vec<Play<'a>>, Vec<Moment>)> {
    let mut plays = cases.iter().map(|case| case.start(world)).collect::<Result<Vec<_>, _>>()?;
    let moments = plays.iter_mut().map(Play::holding).collect::<Result<_, _>>()?;
    Ok((plays, moments))
}

fn check_restart(end: impl FnOnce(Agent, &[Moment]) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let world = World::new()?;
    let cases = older_and_younger();
    let first = Agent::start(LIVE)?;
    let (mut plays, before) = hold(&world, &cases)?;
    before.iter().try_for_each(|moment| first.expect(moment)).context("before the restart")?;
    end(first, &before)?;
    let second = Agent::start(LIVE)?;
    plays.iter_mut().try_for_each(Play::go)?;
    let held = plays.iter_mut().map(Play::holding).collect::<Result<Vec<_>, _>>()?;
    for (now, before) in held.iter().zip(&before) {
        second.expect(&now.since(before)).context("after the restart")?;
    }
    plays.iter_mut().try_for_each(Play::go)?;
    let over = plays.iter_mut().map(Play::done).collect::<Result<Vec<_>, _>>()?;
    for (now, before) in over.iter().zip(&before) {
        second.expect(&now.since(before)).context("after the end")?;
    }
    second.stop().map(drop)
}
