//! What is true of the agent's counts when it starts late, ends early, or both: of one that root starts, and of one that
//! anybody starts with two capabilities. `tests/under_load.rs` has what comes and goes meanwhile.

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, Play, World,
    agent::{LIVE, Rights, with_all_and_two},
    case::{Home, Outcome, side_by_side},
    cases,
    edges::{Edge, Edges, Name},
    plan::{Side, Step},
    world::{Family, Path},
};
use rustix::process::Signal;

/// A server is named although it began to listen before the agent could see it.
#[test]
fn listeners_older_than_the_agent_are_named() -> anyhow::Result<()> {
    with_all_and_two(|rights| {
        let world = World::new()?;
        let homes = match rights {
            Rights::All => [Home::Host, Home::Unit, Home::Container],
            _ => [rights.home_of_older(); 3],
        };
        let names = ["a_service_is_one_edge", "over_ipv6", "over_loopback"];
        let cases: Vec<_> =
            names.into_iter().zip(homes).map(|(name, home)| Case { home, ..cases::named(name) }).collect();
        let mut plays = cases.iter().map(|case| case.listen(&world)).collect::<Result<Vec<_>, _>>()?;
        let agent = Agent::start_as(rights, LIVE, &[])?;
        for play in &mut plays {
            play.connect()?;
            agent.expect(&play.holding()?)?;
            play.go()?;
            agent.expect(&play.done()?)?;
        }
        agent.stop().map(drop)
    })
}

/// Which process listens at a socket that is older than an agent with two capabilities nobody tells it, and no unit names it.
/// What connects there is counted all the same.
#[test]
fn a_process_that_listened_before_an_agent_with_two_capabilities_is_unknown() -> anyhow::Result<()> {
    let world = World::new()?;
    let cases = ["a_service_is_one_edge", "over_ipv6", "over_loopback"].map(cases::named);
    let mut plays = cases.iter().map(|case| case.listen(&world)).collect::<Result<Vec<_>, _>>()?;
    let agent = Agent::start_as(Rights::TwoCapabilities, LIVE, &[])?;
    for play in &mut plays {
        play.connect()?;
        agent.expect(&with_unknown_server(play.holding()?))?;
        play.go()?;
        agent.expect(&with_unknown_server(play.done()?))?;
    }
    agent.stop().map(drop)
}

/// Of a connection that the agent finds, it counts what passes from then on; it does not claim to have seen it open.
#[test]
fn connections_older_than_the_agent_count_from_its_start() -> anyhow::Result<()> {
    with_all_and_two(|rights| {
        let world = World::new()?;
        let cases = older_and_younger(rights.home_of_older());
        let (plays, before) = hold(&world, &cases)?;
        let agent = Agent::start_as(rights, LIVE, &[])?;
        side_by_side(plays.into_iter().zip(&before).collect(), |(mut play, before)| {
            agent.expect(&before.since(before)).context("once it is found")?;
            let followed = play.go_on(&mut |now| agent.expect(&now.since(before)));
            followed.with_context(|| format!("{:?}", play.case()))
        })?;
        agent.stop().map(drop)
    })
}

/// What one agent counted and what the next one counts is the truth together, nothing twice.
#[test]
fn a_restart_counts_nothing_twice() -> anyhow::Result<()> {
    let stop = |agent: Agent, before: &[Moment]| {
        let last = agent.stop()?;
        for moment in before {
            moment.compare(&Edges::of(&last, &moment.interest)?).context("in the first agent's last word")?;
        }
        Ok(())
    };
    with_all_and_two(|rights| check_restart(rights, stop))
}

/// An agent that had no time to say goodbye leaves nothing that its successor would count again.
#[test]
fn a_killed_agent_leaves_nothing_behind() -> anyhow::Result<()> {
    with_all_and_two(|rights| check_restart(rights, |agent, _| kill(agent)))
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

fn with_unknown_server(mut moment: Moment) -> Moment {
    let edges = std::mem::take(&mut moment.edges.0).into_iter();
    let unknown = |(edge, totals)| {
        let server = Name { name: "unknown".to_owned(), kind: "Process".to_owned(), ..Name::default() };
        (Edge { server, ..edge }, totals)
    };
    moment.edges = Edges(edges.map(unknown).collect());
    moment
}

/// Connections over every kind of path and with every kind of end, with traffic before and after the first of two holds.
fn older_and_younger(home: Home) -> Vec<Case> {
    let talk = |end: &[Step]| {
        let begin = [
            Step::Exchange { request: 10_000, response: 2_000_000 },
            Step::Hold,
            Step::Exchange { request: 3_000_000, response: 777 },
            Step::Hold,
        ];
        [&begin, end].concat()
    };
    let ask = Step::Send { by: Side::Client, bytes: 5 };
    let answer = Step::Send { by: Side::Server, bytes: 7 };
    let normal = (vec![ask.clone()], Outcome::Normal);
    // The end that resets need not have acknowledged what it read.
    let server_resets = (vec![ask, Step::Reset { by: Side::Server }], Outcome::ServerReset);
    let client_resets = (vec![answer, Step::Reset { by: Side::Client }], Outcome::ClientReset);
    let case = |path, family, (end, outcome): &(Vec<Step>, Outcome)| {
        let mut case =
            Case { path, family, home, outcome: *outcome, ..Case::new("older_and_younger", talk(end)) };
        case.traffic.connections = Some(3);
        case.traffic.parallel = 3;
        case
    };
    vec![
        case(Path::TwoNodes, Family::Ipv4, &normal),
        case(Path::TwoNodes, Family::Ipv6, &normal),
        case(Path::TwoNodes, Family::Mapped, &normal),
        case(Path::Service, Family::Ipv4, &normal),
        case(Path::Loopback, Family::Ipv4, &normal),
        case(Path::TwoNodes, Family::Ipv4, &server_resets),
        case(Path::Service, Family::Ipv6, &server_resets),
        case(Path::Loopback, Family::Ipv4, &server_resets),
        case(Path::Service, Family::Ipv4, &client_resets),
    ]
}

/// Starts cases and waits until all of them hold.
fn hold<'a>(world: &'a World, cases: &'a [Case]) -> anyhow::Result<(Vec<Play<'a>>, Vec<Moment>)> {
    let mut plays = cases.iter().map(|case| case.start(world)).collect::<Result<Vec<_>, _>>()?;
    let moments = plays.iter_mut().map(Play::holding).collect::<Result<_, _>>()?;
    Ok((plays, moments))
}

fn check_restart(
    rights: Rights,
    end: impl FnOnce(Agent, &[Moment]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let world = World::new()?;
    let cases = older_and_younger(rights.home_of_older());
    let first = Agent::start_as(rights, LIVE, &[])?;
    let (mut plays, before) = hold(&world, &cases)?;
    first.expect_all(&before).context("before the restart")?;
    end(first, &before)?;
    let second = Agent::start_as(rights, LIVE, &[])?;
    let since = |now: Vec<Moment>| -> Vec<_> {
        now.iter().zip(&before).map(|(now, before)| now.since(before)).collect()
    };
    plays.iter_mut().try_for_each(Play::go)?;
    let held = plays.iter_mut().map(Play::holding).collect::<Result<_, _>>()?;
    second.expect_all(&since(held)).context("after the restart")?;
    plays.iter_mut().try_for_each(Play::go)?;
    let over = plays.iter_mut().map(Play::done).collect::<Result<_, _>>()?;
    second.expect_all(&since(over)).context("after the end")?;
    second.stop().map(drop)
}

fn kill(mut agent: Agent) -> anyhow::Result<()> {
    agent.signal(Signal::KILL)?;
    agent.await_end(Duration::from_secs(5)).map(drop)
}
