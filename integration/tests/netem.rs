//! How well connections fare over a network that is slow or loses packets, which `tc netem` emulates. The kernel needs a
//! module for it that not every machine has: these tests run in the virtual machines of `cargo xtask kernel-test`.

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, World,
    agent::{LIVE, RECORD, Rights, with_all_and_two},
    kernel,
    plan::Step,
    poll,
    record::{self, Record, Rtt},
    world::Namespace,
};

const MIB: u64 = 1 << 20;
/// As exact as `ss` is, which tells microseconds.
const EXACT: f64 = 1.001e-6;

#[test]
fn times_over_a_network_of_5_ms_are_those_that_the_kernel_measures() -> anyhow::Result<()> {
    with_all_and_two(|rights| check_delay(rights, 5))
}

#[test]
fn times_over_a_network_of_50_ms_are_those_that_the_kernel_measures() -> anyhow::Result<()> {
    with_all_and_two(|rights| check_delay(rights, 50))
}

#[test]
fn segments_that_a_network_with_a_loss_of_1_percent_costs_are_counted() -> anyhow::Result<()> {
    with_all_and_two(|rights| check_loss(rights, 1))
}

#[test]
fn segments_that_a_network_with_a_loss_of_5_percent_costs_are_counted() -> anyhow::Result<()> {
    with_all_and_two(|rights| check_loss(rights, 5))
}

/// What the client sends is late: its segments and the acknowledgements of the server's, so that each end's round trips and
/// both halves of the handshake take at least as long.
fn check_delay(rights: Rights, ms: u32) -> anyhow::Result<()> {
    let world = World::new()?;
    world.emulate(Namespace::Client, &format!("delay {ms}ms"))?;
    let folder = tempfile::tempdir()?;
    rights.own(folder.path())?;
    let flows = folder.path().join("flows.jsonl");
    let agent = Agent::start_as(rights, RECORD, &[("RIDLEY_FLOWS", &flows)])?;
    let script = [Step::Hold, Step::Exchange { request: 20_000, response: 30_000 }, Step::Hold];
    let case = Case::new("late", script);
    let mut play = case.start(&world)?;
    let opened = play.holding()?;
    let most = opened.connecting.as_secs_f64();
    let of_handshake = kernel::check_open_sockets(&world, &opened)?;
    agent.expect(&opened)?;
    play.go()?;
    let moment = play.holding()?;
    agent.expect(&moment)?;
    agent.expect_quality(&moment, || kernel::check_open_sockets(&world, &moment))?;
    let of_transfer = kernel::check_open_sockets(&world, &moment)?;
    agent.stop()?;
    let records = record::read(&flows)?;
    let records: Vec<_> = records.iter().filter(|it| it.server.port == moment.route.listen.port()).collect();

    let delay = f64::from(ms) / 1e3;
    let (first, min) = (of_handshake.rtt.0, of_handshake.min_rtt);
    ensure!(first == min && min >= delay, "the handshake's round trip took {first} s, with {min} s at least");
    let connect = once(&records, |it| it.connect).context("of the client's handshake")?;
    // It begins with the first segment, before the kernel's measurement does, and ends within the application's call.
    ensure!(
        (first - EXACT..=most).contains(&connect),
        "the client's handshake took {connect} s instead of {first} s to {most} s"
    );
    let answered = once(&records, |it| it.server_handshake).context("of the server's handshake")?;
    let first = of_handshake.server_rtt.0;
    ensure!(
        first >= delay && (answered - first).abs() < EXACT,
        "the server's handshake took {answered} s instead of {first} s"
    );
    let last = records.iter().rev().find_map(|it| it.rtt).context("no record has round-trip times")?;
    let Rtt { smoothed, min } = last;
    for (what, found, expected) in
        [("smoothed", smoothed, of_transfer.rtt.0), ("least", min, of_transfer.min_rtt)]
    {
        let found = seconds(found);
        ensure!(
            expected >= delay && (found - expected).abs() < EXACT,
            "the {what} round-trip time is {found} s instead of {expected} s"
        );
    }
    play.go()?;
    play.done().map(drop)
}

/// What was sent again is at the end what the kernel counted in the two namespaces, in which nobody else talks. While the
/// connection is open it is what `ss` tells.
fn check_loss(rights: Rights, percent: u32) -> anyhow::Result<()> {
    const PODS: [Namespace; 2] = [Namespace::Client, Namespace::Server];
    let world = World::new()?;
    for pod in PODS {
        world.keep_segments_apart(pod)?;
    }
    let agent = Agent::start_as(rights, LIVE, &[])?;
    let script = [
        Step::Hold,
        Step::Exchange { request: 3 * MIB, response: 4 * MIB },
        Step::Hold,
        Step::Exchange { request: MIB, response: MIB },
    ];
    let case = Case::new("lost", script);
    let mut play = case.start(&world)?;
    agent.expect(&play.holding()?)?;
    // A handshake whose segments are lost takes seconds, in which other things are tested than here.
    for pod in PODS {
        world.emulate(pod, &format!("loss {percent}%"))?;
    }
    play.go()?;
    let moment = play.holding()?;
    agent.expect(&moment).context("while it is open")?;
    agent.expect_quality(&moment, || kernel::check_open_sockets(&world, &moment))?;
    play.go()?;
    let moment = play.done()?;
    agent.expect(&moment).context("after its end")?;
    poll::until(Duration::from_secs(5), || {
        for (pod, direction) in PODS.into_iter().zip(["request", "response"]) {
            // Of thousands of segments some are lost.
            let expected = kernel::retransmits(&world, pod)?;
            let found = retransmits(&agent, &moment, direction)?;
            ensure!(
                expected > 0 && found == expected as f64,
                "{found} segments of the {direction} were sent again instead of {expected}"
            );
        }
        Ok(())
    })?;
    agent.stop().map(drop)
}

fn retransmits(agent: &Agent, moment: &Moment, direction: &str) -> anyhow::Result<f64> {
    let scrape = agent.scrape()?;
    let of_case = scrape.series("ridley_link_retransmits_total").filter(|(labels, _)| {
        labels.get("client_name") == Some(&moment.interest.names[0])
            && labels.get("direction").is_some_and(|it| it == direction)
    });
    Ok(of_case.map(|(_, value)| value).sum())
}

/// Returns what one record alone says, in seconds.
fn once(records: &[&Record], get: impl Fn(&Record) -> Option<u64>) -> anyhow::Result<f64> {
    let found: Vec<_> = records.iter().filter_map(|it| get(it)).collect();
    let [time] = found[..] else { anyhow::bail!("{found:?} instead of one time") };
    Ok(seconds(time))
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}
