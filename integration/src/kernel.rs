//! What the kernel says, without the agent: the witness that keeps the oracle itself honest.

use std::{fs, time::Duration};

use anyhow::{Context, bail, ensure};

use crate::{
    edges::Totals,
    moment::Moment,
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

/// What the sockets of a case tell about how well they fared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// What travelled from client to server.
    pub request: DirectionQuality,
    /// What travelled from server to client.
    pub response: DirectionQuality,
    /// The least and the greatest smoothed round-trip time of a client's socket, in seconds.
    pub rtt: (f64, f64),
    /// The least round-trip time that a client's socket has measured, in seconds.
    pub min_rtt: f64,
    /// The least and the greatest smoothed round-trip time of a server's socket, in seconds.
    pub server_rtt: (f64, f64),
}

/// How well one direction fared.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DirectionQuality {
    /// Segments that were sent again.
    pub retransmits: u64,
    /// Payload bytes that were sent again.
    pub retransmitted_bytes: u64,
    /// Segments that arrived before one that precedes them.
    pub out_of_order: u64,
    /// Milliseconds in which there was data to send that the other end had no room for.
    pub limited_ms: u64,
}

/// Returns the first two numbers of the kernel's release.
///
/// # Errors
///
/// It cannot be read, or does not begin with two numbers.
pub fn release() -> anyhow::Result<(u32, u32)> {
    let release =
        fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot read the kernel's release")?;
    let mut numbers = release.split(|it: char| !it.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => bail!("the kernel's release is {release:?}"),
    }
}

/// What `ss` says of the sockets at one end.
struct End {
    sockets: Sockets,
    // All that they know, of either direction.
    quality: DirectionQuality,
    rtt: (f64, f64),
    min_rtt: f64,
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

/// What a socket that listens says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Segments of handshakes that it has dropped.
    pub drops: u64,
    /// Connections that wait to be accepted.
    pub queued: u64,
    /// Connections that may wait.
    pub limit: u64,
}

/// Compares the sockets that are open with the truth, byte for byte at both ends, and returns how well they fared.
///
/// # Errors
///
/// Says what differs; or `ss` cannot be run.
pub fn check_open_sockets(world: &World, moment: &Moment) -> anyhow::Result<Quality> {
    // The last acknowledgement may be a delayed one.
    poll::until(Duration::from_secs(1), || compare_open_sockets(world, moment))
}

fn compare_open_sockets(world: &World, moment: &Moment) -> anyhow::Result<Quality> {
    let Moment { route, .. } = moment;
    let Totals { request, response, active, .. } = moment.truth();
    let [request, response, active] = [request, response, active].map(|it| it.cast_signed());
    // The kernel counts the client's SYN among the acknowledged bytes.
    let sockets_of_clients = Sockets { n: active, acknowledged: request + active, received: response };
    let sockets_of_servers = Sockets { n: active, acknowledged: response, received: request };
    let check = |name: &str, namespace, end, port, expected| {
        let found = sockets(world, namespace, end, port)?;
        ensure!(
            found.sockets == expected,
            "the {name}'s sockets are {:?}, expected {expected:?}",
            found.sockets
        );
        anyhow::Ok(found)
    };
    let client = check("client", route.client, "dport", route.dial.port(), sockets_of_clients)?;
    let mut server = check("server", route.server, "sport", route.listen.port(), sockets_of_servers)?;
    if let Some(proxy) = route.proxy {
        check("proxy", proxy, "dport", route.listen.port(), sockets_of_clients)?;
        // The other end of the client's connections.
        server = check("proxy", proxy, "sport", route.dial.port(), sockets_of_servers)?;
    }
    // What arrived out of order is counted where it arrived.
    let direction = |sender: DirectionQuality, receiver: DirectionQuality| DirectionQuality {
        out_of_order: receiver.out_of_order,
        ..sender
    };
    Ok(Quality {
        request: direction(client.quality, server.quality),
        response: direction(server.quality, client.quality),
        rtt: client.rtt,
        min_rtt: client.min_rtt,
        server_rtt: server.rtt,
    })
}

/// Asks the one socket that listens at a port of a namespace.
///
/// # Errors
///
/// There is none, or more than one; or `ss` cannot be run.
pub fn listening(world: &World, namespace: Namespace, port: u16) -> anyhow::Result<Listening> {
    let text = world.run_in(namespace, "ss", &["-HlntmO", &format!("( sport = :{port} )")])?;
    let lines: Vec<_> = text.lines().collect();
    let [line] = lines[..] else { bail!("{} sockets listen at port {port}: {text}", lines.len()) };
    let fields: Vec<_> = line.split_whitespace().collect();
    // Behind the state come two queues, and at the end the socket's memory, such as `skmem:(r0,rb131072,...,d3)`.
    let drops =
        fields.iter().find_map(|it| it.strip_prefix("skmem:(")?.strip_suffix(')')?.rsplit(",d").next());
    let number = |text: Option<&str>| -> anyhow::Result<u64> {
        text.and_then(|it| it.parse().ok()).with_context(|| format!("`ss` says something else: {line}"))
    };
    Ok(Listening {
        drops: number(drops)?,
        queued: number(fields.get(1).copied())?,
        limit: number(fields.get(2).copied())?,
    })
}

/// Reads one of the further counters of TCP that a namespace has, such as `ListenDrops`.
///
/// # Errors
///
/// There is none of that name, or they cannot be read.
pub fn further_counter(world: &World, namespace: Namespace, name: &str) -> anyhow::Result<u64> {
    counters_of(world, namespace, "netstat", "TcpExt: ")?(name)
}

/// Reads the counters of a namespace.
///
/// # Errors
///
/// They cannot be read.
pub fn counters(world: &World, namespace: Namespace) -> anyhow::Result<Counters> {
    let get = counters_of(world, namespace, "snmp", "Tcp: ")?;
    Ok(Counters {
        active_opens: get("ActiveOpens")?,
        passive_opens: get("PassiveOpens")?,
        attempt_fails: get("AttemptFails")?,
        estab_resets: get("EstabResets")?,
    })
}

/// Returns how many segments a namespace has sent again since it was made.
///
/// # Errors
///
/// The counter cannot be read.
pub fn retransmits(world: &World, namespace: Namespace) -> anyhow::Result<u64> {
    counters_of(world, namespace, "snmp", "Tcp: ")?("RetransSegs")
}

/// Reads a line of names and one of values, and returns what finds a value by its name.
fn counters_of(
    world: &World,
    namespace: Namespace,
    file: &str,
    prefix: &str,
) -> anyhow::Result<impl Fn(&str) -> anyhow::Result<u64>> {
    let text = world.run_in(namespace, "cat", &[&format!("/proc/self/net/{file}")])?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(prefix));
    let mut words = || {
        let line = lines.next().with_context(|| format!("too few lines of {prefix}in {file}"))?;
        anyhow::Ok(line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    };
    let (names, values) = (words()?, words()?);
    Ok(move |name: &str| {
        let idx = names.iter().position(|it| it == name).with_context(|| format!("no counter {name}"))?;
        values.get(idx).context("too few counters")?.parse::<u64>().context("a counter is no number")
    })
}

/// Adds up what `ss` says.
fn sockets(world: &World, namespace: Namespace, end: &str, port: u16) -> anyhow::Result<End> {
    let filter = format!("( {end} = :{port} )");
    let text =
        world.run_in(namespace, "ss", &["-HtinO", "state", "connected", "exclude", "time-wait", &filter])?;
    let mut sockets = Sockets::default();
    let mut quality = DirectionQuality::default();
    let mut rtt = (f64::INFINITY, 0.0_f64);
    let mut min_rtt = f64::INFINITY;
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
        quality.retransmits +=
            all.parse::<u64>().with_context(|| format!("no retransmissions in: {line}"))?;
        quality.retransmitted_bytes += number("bytes_retrans:")?.cast_unsigned();
        quality.out_of_order += number("rcv_ooopack:")?.cast_unsigned();
        // With its share of the time in which there was something to send, such as `300ms(97.1%)`.
        let limited = get("rwnd_limited:").split("ms").next().unwrap_or_default();
        quality.limited_ms +=
            limited.parse::<u64>().with_context(|| format!("no time limited by the window in: {line}"))?;
        // With its deviation, in milliseconds.
        let smoothed = get("rtt:").split('/').next().unwrap_or_default();
        let smoothed: f64 = smoothed.parse().with_context(|| format!("no round-trip time in: {line}"))?;
        rtt = (rtt.0.min(smoothed / 1e3), rtt.1.max(smoothed / 1e3));
        let least = get("minrtt:");
        let least: f64 = least.parse().with_context(|| format!("no least round-trip time in: {line}"))?;
        min_rtt = min_rtt.min(least / 1e3);
    }
    Ok(End { sockets, quality, rtt, min_rtt })
}
