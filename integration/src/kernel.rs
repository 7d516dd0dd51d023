//! What the kernel says, without the agent: the witness that keeps the oracle itself honest.

use std::time::Duration;

use anyhow::{Context, ensure};

use crate::{
    case::Moment,
    edges::Totals,
    poll,
    world::{Namespace, World},
};

/// Bytes of the sockets that are open, on either side or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// How many.
    pub n: i64,
    /// Bytes that the other end acknowledged.
    pub acknowledged: i64,
    /// Bytes that arrived.
    pub received: i64,
}

/// Segments that the sockets of a case sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retransmits {
    /// By the client's sockets.
    pub request: u64,
    /// By the server's sockets.
    pub response: u64,
}

/// Counters of a namespace since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections begun by `connect`.
    pub active_opens: u64,
    /// Connections begun by a listener.
    pub passive_opens: u64,
    /// Attempts that failed.
    pub attempt_fails: u64,
    /// Connections reset from established, or from waiting for the application's close.
    pub estab_resets: u64,
}

/// Compares the sockets that are open with the truth, byte for byte at both ends, and returns how much they had to send
/// again.
///
/// # Errors
///
/// Says what differs; or `ss` cannot be run.
pub fn check_open_sockets(world: &World, moment: &Moment) -> anyhow::Result<Retransmits> {
    // The last acknowledgement may be a delayed one.
    poll::until(Duration::from_secs(1), || compare_open_sockets(world, moment))
}

fn compare_open_sockets(world: &World, moment: &Moment) -> anyhow::Result<Retransmits> {
    let Moment { route, .. } = moment;
    let Totals { request, response, active, .. } = moment.truth();
    let [request, response, active] = [request, response, active].map(|it| it.cast_signed());
    let (client, request_again) = sockets(world, route.client, "dport", route.dial.port())?;
    // The kernel counts the client's SYN among the acknowledged bytes.
    let expected = Sockets { n: active, acknowledged: request + active, received: response };
    ensure!(client == expected, "the client's sockets are {client:?}, expected {expected:?}");
    let (server, response_again) = sockets(world, route.server, "sport", route.listen.port())?;
    let expected = Sockets { n: active, acknowledged: response, received: request };
    ensure!(server == expected, "the server's sockets are {server:?}, expected {expected:?}");
    Ok(Retransmits { request: request_again, response: response_again })
}

/// Reads the counters of a namespace.
///
/// # Errors
///
/// They cannot be read.
pub fn counters(world: &World, namespace: Namespace) -> anyhow::Result<Counters> {
    let text = world.run_in(namespace, "cat", &["/proc/self/net/snmp"])?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names: Vec<_> = lines.next().context("no names of TCP's counters")?.split(' ').collect();
    let values: Vec<_> = lines.next().context("no TCP counters")?.split(' ').collect();
    let get = |name: &str| {
        let idx = names.iter().position(|it| *it == name).with_context(|| format!("no counter {name}"))?;
        values.get(idx).context("too few counters")?.parse::<u64>().context("a counter is no number")
    };
    Ok(Counters {
        active_opens: get("ActiveOpens")?,
        passive_opens: get("PassiveOpens")?,
        attempt_fails: get("AttemptFails")?,
        estab_resets: get("EstabResets")?,
    })
}

/// Adds up what `ss` says, and how many segments were sent again.
fn sockets(world: &World, namespace: Namespace, end: &str, port: u16) -> anyhow::Result<(Sockets, u64)> {
    let filter = format!("( {end} = :{port} )");
    let text =
        world.run_in(namespace, "ss", &["-HtinO", "state", "connected", "exclude", "time-wait", &filter])?;
    let mut sockets = Sockets::default();
    let mut again = 0;
    for line in text.lines() {
        // The kernel counts the end of a direction as one byte more than was sent in it.
        let (ended_here, ended_there) = match line.split_whitespace().next() {
            Some("FIN-WAIT-2") => (1, 0),
            Some("CLOSE-WAIT") => (0, 1),
            _ => (0, 0),
        };
        // A field that is zero is left out.
        let get = |field: &str| line.split_whitespace().find_map(|it| it.strip_prefix(field)).unwrap_or("0");
        let number =
            |field| get(field).parse::<i64>().with_context(|| format!("{field} is no number in: {line}"));
        sockets.n += 1;
        sockets.acknowledged += number("bytes_acked:")? - ended_here;
        sockets.received += number("bytes_received:")? - ended_there;
        // Those under way, and those in all.
        let all = get("retrans:").rsplit('/').next().unwrap_or_default();
        again += all.parse::<u64>().with_context(|| format!("no retransmissions in: {line}"))?;
    }
    Ok((sockets, again))
}
