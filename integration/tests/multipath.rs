//! That a connection of MPTCP counts as many connections as it has subflows.

use anyhow::Context;
use integration::{
    Agent, Case, Moment, World,
    agent::{LIVE, Rights, with_all_and_two},
    case::Home,
    edges::Totals,
    moment::Latitude,
    plan::{Sockets, Step},
};

/// Connections, which have two subflows each.
const N: u64 = 5;

/// The client's kernel opens a second subflow from another address of the client's, with the first data.
#[test]
fn each_subflow_counts() -> anyhow::Result<()> {
    with_all_and_two(check)
}

fn check(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    world.add_subflow_address()?;
    let agent = Agent::start_as(rights, LIVE, &[])?;
    let script = [Step::Exchange { request: 10, response: 10 }, Step::Hold];
    // Further subflows are opened by threads of the kernel, and belong to the unit of the process all the same.
    let mut case = Case { home: Home::Unit, ..Case::new("subflows", script) };
    case.traffic.sockets = Sockets::Multipath;
    case.traffic.connections = Some(N);
    case.traffic.parallel = N;
    let mut play = case.start(&world)?;
    let held = play.holding()?;
    agent.expect(&with_subflows(held)).context("while they are open")?;
    play.go()?;
    agent.expect(&with_subflows(play.done()?)).context("at their end")?;
    agent.stop().map(drop)
}

/// Returns what must be counted if each connection is two. The kernel may send the same bytes on both of them.
fn with_subflows(mut moment: Moment) -> Moment {
    let Totals { request, response, .. } = *moment.truth();
    moment.latitude = Some(Latitude { request, response, reasons: ["normal"; 2] });
    moment.lifetimes = None;
    for totals in moment.edges.0.values_mut() {
        totals.request *= 2;
        totals.response *= 2;
        totals.opened *= 2;
        totals.active *= 2;
        totals.handshakes *= 2;
        totals.accepts *= 2;
        totals.lifetimes *= 2;
        totals.closed.values_mut().for_each(|n| *n *= 2);
    }
    moment
}
