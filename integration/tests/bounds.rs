//! What is true of the agent's counts when what is bounded is full: the buffer in which the kernel leaves begins and ends, and
//! the connections that are followed.

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, World,
    agent::{LIVE, Rights, with_all_and_two},
    case::Home,
    edges::{Edges, Totals},
    exposition::{Exposition, Labels},
    plan::Step,
    poll,
};
use rustix::process::Signal;

/// Both ends of all connections of a test.
const N_ENDS: u32 = 2000;
/// Most ends of connections that others may have meanwhile.
const MAX_OTHERS: f64 = 50.0;
/// How long the agent may take to say what is true.
const PATIENCE: Duration = Duration::from_secs(10);
/// As long as a record may wait for its other end, and some intervals more.
const CALM: Duration = Duration::from_millis(2500);

/// Begins and ends that found no room in the kernel's buffer, because nobody fetched them, are made up for by samples of the
/// connections: each is counted once, with every byte. How long handshakes took and connections lived, and how some of them ended, is lost.
#[test]
fn a_full_buffer_costs_no_connection_that_lives_on() -> anyhow::Result<()> {
    with_all_and_two(check_full_buffer)
}

fn check_full_buffer(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    // It holds some hundred records.
    let agent = Agent::start_as(rights, &with_receiver_setting("ring_bytes: 65536"), &[])?;
    let script = [exchange(300, 700), Step::Hold, exchange(30, 70), Step::Hold];
    let case = crowd(&script);
    agent.signal(Signal::STOP)?;
    let mut play = case.start(&world)?;
    let opened = play.holding()?;
    agent.signal(Signal::CONT)?;
    expect(&agent, &opened, |scrape| more_than_none(scrape, "begin"))
        .context("after begins that were not fetched")?;
    play.go()?;
    let held = play.holding()?;
    expect(&agent, &held, |_| Ok(())).context("of connections that go on")?;
    agent.signal(Signal::STOP)?;
    play.go()?;
    let over = play.done()?;
    agent.signal(Signal::CONT)?;
    expect(&agent, &over, |scrape| more_than_none(scrape, "end"))
        .context("after ends that were not fetched")?;
    agent.stop().map(drop)
}

/// Connections beyond the limit are counted as such while they live, and as a whole, once, when they end, also if there are so many
/// that they cannot even be remembered. Of most only the end is told, which does not name the client, and of some one end alone.
#[test]
fn connections_beyond_the_limit_are_counted_when_they_end() -> anyhow::Result<()> {
    with_all_and_two(|rights| {
        // Of as many ends as may be followed the receiver remembers that they are not.
        [N_ENDS / 2 + 100, N_ENDS / 4].into_iter().try_for_each(|most| {
            check_limit(rights, most)
                .with_context(|| format!("of {N_ENDS} ends of connections {most} are followed"))
        })
    })
}

fn check_limit(rights: Rights, most: u32) -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::start_as(rights, &with_receiver_setting(&format!("max_connections: {most}")), &[])?;
    // A connection of each scrape would take one of the places, and leave it again.
    let client = ureq::Agent::new_with_defaults();
    // Before it has found everything that is older, it cannot tell what is younger of so much. Others need room, too.
    poll::until(PATIENCE, || {
        let scrape = agent.scrape_over(&client)?;
        let complete = sum(&scrape, "ridley_ebpf_walks_total", Some(("outcome", "complete")));
        let others = sum(&scrape, "ridley_ebpf_connections", None);
        ensure!(complete >= 2.0, "{complete} walks were complete");
        ensure!(others < MAX_OTHERS, "this machine has {others} ends of other connections");
        Ok(())
    })
    .with_context(|| agent.log())?;
    let case = crowd(&[exchange(300, 700), Step::Hold, exchange(30, 70)]);
    let mut play = case.start(&world)?;
    play.holding()?;
    poll::until_lasting(PATIENCE, CALM, || {
        let scrape = agent.scrape_over(&client)?;
        let followed = sum(&scrape, "ridley_ebpf_connections", None);
        let untracked = sum(&scrape, "ridley_ebpf_untracked_total", None);
        ensure!(
            followed == f64::from(most) && untracked >= f64::from(N_ENDS - most),
            "{followed} ends are followed and {untracked} are not"
        );
        Ok(())
    })
    .with_context(|| agent.log())?;
    play.go()?;
    let over = play.done()?;
    let truth = over.truth();
    poll::until_lasting(PATIENCE, CALM, || {
        let scrape = agent.scrape_over(&client)?;
        let mut found = Totals::default();
        for totals in Edges::of(&scrape, &over.interest)?.0.into_values() {
            found.request += totals.request;
            found.response += totals.response;
            found.opened += totals.opened;
            found.active += totals.active;
            for (reason, n) in totals.closed {
                *found.closed.entry(reason).or_default() += n;
            }
        }
        let lost = Totals { handshakes: 0, accepts: 0, lifetimes: 0, ..truth.clone() };
        ensure!(found == lost, "all links together: {found}, expected {lost}");
        let repaired = sum(&scrape, "ridley_ebpf_repaired_total", None);
        ensure!(repaired == 0.0, "{repaired} begins and ends were repaired, of which none was lost");
        Ok(())
    })
    .with_context(|| format!("the agent logged:\n{}", agent.log()))?;
    agent.stop().map(drop)
}

fn with_receiver_setting(setting: &str) -> String {
    LIVE.replace("sample_interval: 200ms", &format!("sample_interval: 200ms\n    {setting}"))
}

/// Returns many connections at a time. Nobody but the kernel tells whose they are of which no begin was recorded.
fn crowd(script: &[Step]) -> Case {
    let mut case = Case { home: Home::Unit, ..Case::new("crowd", script) };
    case.traffic.connections = Some(u64::from(N_ENDS / 2));
    case.traffic.parallel = u64::from(N_ENDS / 2);
    case
}

fn exchange(request: u64, response: u64) -> Step {
    Step::Exchange { request, response }
}

/// Expects that some records found no room, and that begins or ends were made up for.
fn more_than_none(scrape: &Exposition, event: &str) -> anyhow::Result<()> {
    let skipped = sum(scrape, "ridley_ebpf_skipped_total", Some(("reason", "ring_full")));
    let repaired = sum(scrape, "ridley_ebpf_repaired_total", Some(("event", event)));
    ensure!(
        skipped > 0.0 && repaired > 0.0,
        "{skipped} records found no room, and {repaired} of `{event}` were repaired"
    );
    Ok(())
}

fn sum(scrape: &Exposition, metric: &str, label: Option<(&str, &str)>) -> f64 {
    let is_meant =
        |labels: &Labels| label.is_none_or(|(name, value)| labels.get(name).is_some_and(|it| it == value));
    scrape.series(metric).filter(|(labels, _)| is_meant(labels)).map(|(_, value)| value).sum()
}

/// Expects the truth, but for times and reasons that may be lost with the records that had them.
fn expect(
    agent: &Agent,
    moment: &Moment,
    also: impl Fn(&Exposition) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    poll::until_lasting(PATIENCE, CALM, || {
        let scrape = agent.scrape()?;
        let found = Edges::of(&scrape, &moment.interest)?;
        let mut nearest = moment.edges.clone();
        for (edge, totals) in &mut nearest.0 {
            let Some(found) = found.0.get(edge) else { continue };
            totals.handshakes = found.handshakes.min(totals.handshakes);
            totals.accepts = found.accepts.min(totals.accepts);
            totals.lifetimes = found.lifetimes.min(totals.lifetimes);
            if found.closed.keys().all(|it| it == "normal" || it == "unknown")
                && found.closed.values().sum::<u64>() == totals.closed.values().sum::<u64>()
            {
                totals.closed.clone_from(&found.closed);
            }
        }
        nearest.compare(&found)?;
        also(&scrape)
    })
    .with_context(|| format!("the agent logged:\n{}", agent.log()))
}
