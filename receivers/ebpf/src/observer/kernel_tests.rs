//! Every variant of the programs sees the same sockets, on a kernel that accepts all of them.
//!
//! Each test has a table of connections of its own: that of a network namespace inside another that says how large the
//! tables of its children are (Linux 6.1).

#![expect(unsafe_code, reason = "leaving a namespace, which no safe interface of the standard library can")]

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use abi::state;
use anyhow::{Context, bail, ensure};
use component::{Kind, Registry};
use model::{CloseReason, End, Flow};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt::socket_error},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::*;
use crate::{
    clock::Moment,
    config::OwnTraffic,
    metrics::Metrics,
    own::Own,
    scope::Scope,
    seed::Seed,
    tracker::{Surroundings, Tracker},
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// As little as possible.
const RING_BYTES: u32 = 1 << 16;

/// As much as a test's connections need, and those of everybody else on this machine.
const LARGE_RING_BYTES: u32 = 1 << 24;

#[tokio::test]
async fn every_variant_finds_every_socket_and_copies_the_same() -> anyhow::Result<()> {
    check(1 << 11, 1_500)
}

/// More in one chunk than one run of any variant has room or steps for: the next one goes on inside of the chunk.
#[tokio::test]
async fn every_variant_goes_on_where_it_had_to_stop() -> anyhow::Result<()> {
    check(16, 3_000)
}

fn check(n_buckets: u32, n_connections: usize) -> anyhow::Result<()> {
    enter_namespace_with_buckets(n_buckets)?;
    let sockets = Sockets::open(n_connections)?;
    let mut first: Option<Vec<Socket>> = None;
    for variant in &VARIANTS {
        let mut observer = load(&[*variant], &[])?;
        let (found, is_complete) = sockets.walk(&mut observer, true)?;
        ensure!(is_complete, "{variant:?} did not see everything");
        ensure!(found.len() == sockets.len(), "{variant:?} found {} of {}", found.len(), sockets.len());
        let expected = first.get_or_insert_with(|| found.clone());
        for (found, expected) in found.iter().zip(expected.iter()) {
            ensure!(found == expected, "{variant:?} found {found:?}, expected {expected:?}");
        }
        ensure!(observer.process == std::process::id(), "{variant:?} ran in {}", observer.process);
    }
    Ok(())
}

/// Each record that is read makes others.
#[tokio::test]
async fn a_drain_ends_however_fast_records_come() -> anyhow::Result<()> {
    let (mut observer, _) = Observer::load(RING_BYTES)?;
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let connect = || -> anyhow::Result<()> {
        drop((TcpStream::connect(address)?, listener.accept()?));
        Ok(())
    };
    connect()?;
    let (mut n_records, mut connected) = (0, Ok(()));
    observer.drain(|_record| {
        n_records += 1;
        assert!(n_records < RING_BYTES as usize / RECORD_HEADER, "more records than the buffer can hold");
        if connected.is_ok() {
            connected = connect();
        }
    });
    connected?;
    ensure!(n_records > 0, "nothing was recorded");
    Ok(())
}

/// A machine that was booted five minutes ago tells it by its rate alone, any other at once, and both agree.
#[tokio::test]
async fn the_length_of_a_tick_is_known() -> anyhow::Result<()> {
    let (mut observer, _) = Observer::load(RING_BYTES)?;
    let at_once = observer.tick.take();
    let degraded = observer.measure_tick().await;
    ensure!(degraded.is_none(), "{degraded:?}");
    ensure!(
        at_once.is_none() || at_once == observer.tick,
        "it is {at_once:?}, and by its rate {:?}",
        observer.tick
    );
    Ok(())
}

/// As `/proc` tells it to who has not a namespace of cgroups of its own.
#[tokio::test]
async fn the_cgroup_of_this_process_is_known() -> anyhow::Result<()> {
    let (mut observer, _) = Observer::load(RING_BYTES)?;
    let found = observer.own_cgroup(&TcpListener::bind(("127.0.0.1", 0))?)?;
    let text = fs::read_to_string("/proc/self/cgroup")?;
    let expected = text.lines().find_map(|it| it.strip_prefix("0::")).context("no cgroups of version 2")?;
    ensure!(found.as_deref() == Some(expected), "it is {found:?} instead of {expected}");
    Ok(())
}

/// Without ends there is less to copy, and nothing else.
#[tokio::test]
async fn every_variant_leaves_out_the_ends_when_asked_to() -> anyhow::Result<()> {
    enter_namespace_with_buckets(1 << 11)?;
    let sockets = Sockets::open(100)?;
    for variant in &VARIANTS {
        let mut observer = load(&[*variant], &[])?;
        let identity = |it: &Socket| (it.snd_una, it.rcv_nxt, it.bytes_acked, it.bytes_received);
        let (with_ends, _) = sockets.walk(&mut observer, true)?;
        let mut expected: Vec<_> = with_ends.iter().map(identity).collect();
        let mut found: Vec<_> = observer.sockets_of_this_namespace(false)?.0;
        found.retain(|it| it.local_port == 0);
        let mut found: Vec<_> = found.iter().map(identity).collect();
        expected.sort_unstable();
        found.sort_unstable();
        ensure!(found == expected, "{variant:?} found others without ends");
    }
    Ok(())
}

/// An end that its application has closed waits for the other. Whether it then sends a reset, for it is sent more data, or
/// receives one leaves the same socket.
#[tokio::test]
async fn a_reset_of_a_closed_end_is_its_senders() -> anyhow::Result<()> {
    enter_namespace()?;
    set_up_loopback()?;
    // Longer than a minute, or the kernel keeps a lesser thing than a socket.
    fs::write("/proc/sys/net/ipv4/tcp_fin_timeout", "120").context("cannot set a timeout")?;
    let mut observer = load(&VARIANTS, &[])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    for expected in [CloseReason::ClientReset, CloseReason::ServerReset] {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        drop(client);
        ensure!(server.read(&mut [0])? == 0, "the client closed");
        if expected == CloseReason::ClientReset {
            server.write_all(b"too late")?;
        } else {
            rustix::net::sockopt::set_socket_linger(&server, Some(Duration::ZERO))?;
        }
        drop(server);
        await_ends().await?;
        let found = client_reasons(&mut observer)?;
        ensure!(found == [End::Closed(expected)], "{found:?}, expected {expected:?}");
    }
    Ok(())
}

/// On a CPU that is in the middle of some programs the kernel gives a change to the others alone. Here they are taken away,
/// the last one first: notes that nobody takes away must not be mistaken for those of connections to come, which are in the
/// same memory.
#[tokio::test]
async fn what_some_programs_do_not_see_the_next_records_once() -> anyhow::Result<()> {
    enter_namespace()?;
    set_up_loopback()?;
    let mut observer = load(&VARIANTS, &STATE_CHANGE_AGAIN)?;
    let [second, third] = STATE_CHANGE_AGAIN;
    let without: [(&[Attachment], Option<Program>); 5] = [
        (&[], None),
        (&[STATE_CHANGE_LAST], None),
        (&[STATE_CHANGE], Some(Program::Second)),
        (&[second], Some(Program::Third)),
        (&[third], None),
    ];
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let netns = this_namespace()?;
    for (taken_away, acts) in without {
        for attachment in taken_away {
            raw_tracepoint(&mut observer.programs, attachment.program).unload()?;
        }
        let n_before = acts.and_then(|it| observer.taken_over(it));
        for _ in 0..20 {
            let client = TcpStream::connect(listener.local_addr()?)?;
            let (mut server, _) = listener.accept()?;
            drop(client);
            ensure!(server.read(&mut [0])? == 0, "the client closed");
            drop(server);
            ensure!(TcpStream::connect(nobody).is_err(), "nobody listens");
        }
        await_ends().await?;
        let mut counts = [0; 3];
        let count = |bytes: &[u8]| {
            let (idx, record) = match abi::Record::parse(bytes) {
                Some(abi::Record::Opened(record)) => (0, record),
                Some(abi::Record::Closed(record)) => (1, record),
                Some(abi::Record::Failed(record)) => (2, record),
                _ => return,
            };
            if record.socket.netns == netns && record.is_taken_over == u16::from(acts.is_some()) {
                counts[idx] += 1;
            }
        };
        // Where none is left that is attached nothing can be recorded.
        let expected = if taken_away.iter().any(|it| it.name == Program::Third) {
            observer.drain(count);
            [0; 3]
        } else {
            observer.drain_all(count)?;
            [40, 40, 20]
        };
        ensure!(counts == expected, "without {taken_away:?}: {counts:?} opened, closed and failed");
        if let Some(program) = acts {
            // Each connection changes its state ten times and more, an attempt twice.
            let n = observer.taken_over(program).zip(n_before).map(|(now, before)| now - before);
            ensure!(n.is_some_and(|it| it >= 20 * 12), "{program:?} took over {n:?} changes");
        }
    }
    Ok(())
}

/// Answers that come in one batch, many times: all attempts that wait for a neighbour are told at once that nobody is it.
/// Their memory is used again, also by connections that are accepted.
#[tokio::test]
async fn attempts_that_fail_together_are_all_recorded() -> anyhow::Result<()> {
    const ROUNDS: usize = 12;
    const ATTEMPTS: usize = 48;
    enter_namespace()?;
    set_up_loopback()?;
    set_up_silent_network()?;
    let mut observer = load(&VARIANTS, &[])?;
    let (mut n_failed, mut n_opened, mut roles) = (0, 0, 0);
    let netns = this_namespace()?;
    for round in 0..ROUNDS {
        let neighbour = Ipv4Addr::new(10, 1, 1, u8::try_from(2 + round)?);
        let attempts: Vec<_> =
            (0..ATTEMPTS).map(|_| begin_to_connect(neighbour)).collect::<Result<_, _>>()?;
        give_up_on(neighbour)?;
        for attempt in &attempts {
            await_failure(attempt)?;
        }
        drop(attempts);
        let sockets = Sockets::open(ATTEMPTS)?;
        observer.drain_all(|bytes| match abi::Record::parse(bytes) {
            Some(abi::Record::Failed(record)) if record.socket.netns == netns => n_failed += 1,
            Some(abi::Record::Opened(record)) if record.socket.netns == netns => {
                n_opened += 1;
                roles += usize::from(record.connecting_since != 0);
            }
            _ => {}
        })?;
        drop(sockets);
    }
    let n = ROUNDS * ATTEMPTS;
    let words = counters(&observer);
    ensure!(n_failed == n, "{n_failed} attempts failed instead of {n}; {words}");
    ensure!((n_opened, roles) == (2 * n, n), "{n_opened} ends opened, {roles} of them clients; {words}");
    Ok(())
}

/// Handshakes share places in the kernel's memory, and none is taken for another.
#[tokio::test]
async fn many_attempts_at_once_have_each_their_process() -> anyhow::Result<()> {
    const N: usize = 100;

    enter_namespace()?;
    set_up_loopback()?;
    set_up_silent_network()?;
    let mut observer = load(&VARIANTS, &[])?;
    let neighbour = Ipv4Addr::new(10, 1, 1, 2);
    let attempts: Vec<_> = (0..N).map(|_| begin_to_connect(neighbour)).collect::<Result<_, _>>()?;
    give_up_on(neighbour)?;
    for attempt in &attempts {
        await_failure(attempt)?;
    }
    let mut flows = flows_of_this_namespace(&mut observer)?;
    flows.retain(|it| matches!(it.end, Some(End::Failed(_))));
    ensure!(flows.len() == N, "{} attempts failed", flows.len());
    for flow in flows {
        let pid = flow.local.process.as_ref().map(|it| it.pid);
        ensure!(pid == Some(std::process::id()), "an attempt of {pid:?}");
        ensure!(flow.interval.end > flow.interval.start, "it is not known when it began");
    }
    ensure!(observer.skipped(SkipReason::HandshakesFull) == Some(0), "there was not room for {N}");
    Ok(())
}

/// Waits until connections are over whose ends this process has closed. A process that another test starts has the same
/// sockets for a moment, and a socket is closed when nobody has it.
async fn await_ends() -> anyhow::Result<()> {
    const TIME_WAIT: u8 = 6;

    eventually("connections are over", || {
        Ok(states()?.into_iter().all(|it| matches!(it, state::LISTEN | TIME_WAIT)))
    })
    .await
}

/// Returns the states of this namespace's sockets.
fn states() -> anyhow::Result<Vec<u8>> {
    let mut states = Vec::new();
    for name in ["tcp", "tcp6"] {
        let table =
            fs::read_to_string(format!("/proc/thread-self/net/{name}")).context("cannot read the sockets")?;
        for line in table.lines().skip(1) {
            let word = line.split_whitespace().nth(3).context("a socket has no state")?;
            states.push(u8::from_str_radix(word, 16).context("a state is no number")?);
        }
    }
    Ok(states)
}

/// Waits until something is true.
async fn eventually(what: &str, mut is_true: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let begin = Instant::now();
    while !is_true()? {
        ensure!(begin.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// More of them than one run has room for, so that others go on where it had to stop.
#[tokio::test]
async fn every_listening_socket_is_found() -> anyhow::Result<()> {
    enter_namespace()?;
    set_up_loopback()?;
    let mut observer = load(&VARIANTS, &[])?;
    let addresses: [SocketAddr; 3] = ["127.0.0.1:0".parse()?, "[::1]:0".parse()?, "[::]:0".parse()?];
    let listeners: Vec<_> =
        addresses.iter().cycle().take(3_000).map(TcpListener::bind).collect::<Result<_, _>>()?;
    let mut expected: Vec<_> = listeners.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    let (found, is_complete) = observer.listening_sockets_of_this_namespace()?;
    ensure!(is_complete, "the walk did not see everything");
    let mut found: Vec<_> =
        found.iter().map(|it| SocketAddr::new(crate::connection::address(it.address), it.port)).collect();
    expected.sort_unstable();
    found.sort_unstable();
    ensure!(found == expected, "found {} of {} sockets", found.len(), expected.len());
    drop(listeners);
    eventually("nothing listens", || Ok(states()?.is_empty())).await?;
    let (found, _) = observer.listening_sockets_of_this_namespace()?;
    ensure!(found.is_empty(), "{} sockets are found that no longer listen", found.len());
    Ok(())
}

/// The kernel's own counters are the witness: in this namespace there is one socket that can drop anything.
#[tokio::test]
async fn what_a_listening_socket_drops_is_told() -> anyhow::Result<()> {
    enter_namespace()?;
    set_up_loopback()?;
    let mut observer = load(&VARIANTS, &[])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    rustix::net::listen(&listener, 1)?;
    let address = listener.local_addr()?;
    // One more than may wait, as the kernel compares.
    let _waiting = [TcpStream::connect(address)?, TcpStream::connect(address)?];
    for _ in 0..3 {
        let refused = TcpStream::connect_timeout(&address, Duration::from_millis(50));
        ensure!(refused.is_err(), "there was room for another connection");
    }
    let (found, _) = observer.listening_sockets_of_this_namespace()?;
    let [ListeningSocket { drops, queued, queue_limit, .. }] = found[..] else {
        bail!("{} sockets listen", found.len());
    };
    let expected = network_statistic("ListenDrops")?;
    ensure!((queued, queue_limit) == (2, 1), "{queued} of {queue_limit} wait");
    ensure!(expected >= 3 && u64::from(drops) == expected, "{drops} drops, the kernel counts {expected}");
    Ok(())
}

/// A server that answers by cookies remembers nothing of a handshake, and its connections count like all others.
#[tokio::test]
async fn connections_made_by_cookies_are_counted() -> anyhow::Result<()> {
    enter_namespace()?;
    set_up_loopback()?;
    fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").context("cannot ask for cookies")?;
    let mut observer = load(&VARIANTS, &[])?;
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = TcpListener::bind(address)?;
        for _ in 0..10 {
            let mut client = TcpStream::connect(listener.local_addr()?)?;
            client.write_all(b"hello")?;
            let (mut server, _) = listener.accept()?;
            server.read_exact(&mut [0; 5])?;
            drop(client);
            ensure!(server.read(&mut [0])? == 0, "the client closed");
        }
    }
    let n_cookies = network_statistic("SyncookiesRecv")?;
    ensure!(n_cookies == 20, "{n_cookies} connections were made by cookies");
    await_ends().await?;
    let mut flows = flows_of_this_namespace(&mut observer)?;
    flows.retain(|it| it.end == Some(End::Closed(CloseReason::Normal)) && it.request.bytes == 5);
    let mut ends: std::collections::HashMap<_, Vec<_>> = std::collections::HashMap::new();
    for flow in flows {
        ends.entry(flow.id).or_default().push(flow.observer);
    }
    ensure!(ends.len() == 20, "{} connections instead of 20", ends.len());
    ensure!(ends.values().all(|it| it.len() == 2 && it[0] != it[1]), "both ends of each: {ends:?}");
    Ok(())
}

/// A minute of the fastest clock that kernels are built for.
const MANY_TICKS: u32 = 60_000;

/// The kernel notes it in the socket, or for all sockets that share its port.
#[tokio::test]
async fn sockets_tell_that_they_answer_by_cookies() -> anyhow::Result<()> {
    enter_namespace()?;
    set_up_loopback()?;
    let mut observer = load(&VARIANTS, &[])?;
    let silent = listen_with_others(0)?;
    let alone = TcpListener::bind("127.0.0.1:0")?;
    let shared = listen_with_others(0)?;
    let sharing = listen_with_others(shared.local_addr()?.port())?;
    let mut cookies_age = |of: &TcpListener| -> anyhow::Result<Vec<u32>> {
        let port = of.local_addr()?.port();
        let (found, _) = observer.listening_sockets_of_this_namespace()?;
        Ok(found.iter().filter(|it| it.port == port).map(|it| it.cookies_age).collect())
    };
    const NONE: u32 = ListeningSocket::NO_COOKIES;
    ensure!(
        (cookies_age(&alone)?, cookies_age(&shared)?) == (vec![NONE], vec![NONE; 2]),
        "nobody has connected"
    );
    fs::write("/proc/sys/net/ipv4/tcp_syncookies", "2").context("cannot ask for cookies")?;
    for listener in [&alone, &sharing] {
        TcpStream::connect(listener.local_addr()?)?;
    }
    let is_recent = |ages: &[u32], n: usize| ages.len() == n && ages.iter().all(|age| *age < MANY_TICKS);
    ensure!(cookies_age(&silent)? == [NONE], "nobody has connected to it");
    ensure!(is_recent(&cookies_age(&alone)?, 1), "it has answered by a cookie");
    ensure!(is_recent(&cookies_age(&shared)?, 2), "one of them has answered by a cookie");
    // From now on each notes it in a place of its own.
    for listener in [&sharing, &shared] {
        rustix::net::sockopt::set_socket_reuseport(listener, false)?;
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    let before = cookies_age(&shared)?;
    TcpStream::connect(sharing.local_addr()?)?;
    let mut after = cookies_age(&shared)?;
    after.retain(|it| *it < before[0]);
    ensure!(after.len() == 1, "{after:?} after {before:?}");
    Ok(())
}

/// Listens at a port, or at any if it is zero, that others may listen at too.
fn listen_with_others(port: u16) -> anyhow::Result<TcpListener> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::empty(), None)?;
    rustix::net::sockopt::set_socket_reuseport(&socket, true)?;
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], port)))?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket.into())
}

/// Returns a number of those that the kernel counts per namespace.
fn network_statistic(name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").context("cannot read the statistics")?;
    let mut lines = text.lines().filter(|it| it.starts_with("TcpExt:"));
    let (names, values) = lines.next().zip(lines.next()).context("no statistics of TCP")?;
    let found = names.split(' ').zip(values.split(' ')).find(|(it, _)| *it == name);
    found.context("no such statistic")?.1.parse().context("a statistic is no number")
}

/// Returns how connections of this namespace ended for their clients.
fn client_reasons(observer: &mut Observer) -> anyhow::Result<Vec<End>> {
    let flows = flows_of_this_namespace(observer)?;
    let of_clients = flows.into_iter().filter(|it| it.observer == model::Observer::Client);
    Ok(of_clients.filter_map(|it| it.end).collect())
}

/// Returns what is reported of this namespace's connections.
fn flows_of_this_namespace(observer: &mut Observer) -> anyhow::Result<Vec<Flow>> {
    let telemetry = Arc::new(Registry::default()).telemetry(Kind::Receiver, &"ebpf".parse().expect("an id"));
    let own = Own::new(0, OwnTraffic::Include);
    let most = NonZeroUsize::new(100_000).expect("100,000 is not zero");
    let surroundings =
        Surroundings { scope: Scope::Machine, sees_resets: observer.sees_resets(), tick: None };
    let mut tracker = Tracker::new(most, own, Seed::default(), surroundings, Metrics::new(&telemetry));
    let netns = this_namespace()?;
    observer.drain_all(|record| tracker.on_record(record, Moment::now()))?;
    tracker.release();
    let mut flows = tracker.take_reports(usize::MAX);
    flows.retain(|it| it.local.netns == netns);
    Ok(flows)
}

/// Connections of this process to itself, in various states.
struct Sockets {
    ports: Vec<u16>,
    n: usize,
    _streams: Vec<TcpStream>,
}

impl Sockets {
    /// Opens `n` connections over both families.
    fn open(n: usize) -> anyhow::Result<Self> {
        let addresses: [SocketAddr; 2] = ["127.0.0.1:0".parse()?, "[::1]:0".parse()?];
        let listeners: Vec<_> = addresses.iter().map(TcpListener::bind).collect::<Result<_, _>>()?;
        let mut sockets = Self { ports: Vec::new(), n: 0, _streams: Vec::new() };
        for (idx, listener) in listeners.iter().cycle().take(n).enumerate() {
            let address = listener.local_addr()?;
            let mut client = TcpStream::connect(address)?;
            let (mut server, _) = listener.accept()?;
            client.write_all(&vec![1; idx])?;
            server.read_exact(&mut vec![0; idx])?;
            match idx % 10 {
                // Half closed: the one waits for the end of the other.
                0 => client.shutdown(Shutdown::Write)?,
                // Over: what is left of it in the table is no socket.
                1 => {
                    drop(client);
                    drop(server);
                    continue;
                }
                _ => {}
            }
            sockets.n += 2;
            sockets._streams.extend([client, server]);
        }
        for listener in listeners {
            sockets.ports.push(listener.local_addr()?.port());
        }
        Ok(sockets)
    }

    fn len(&self) -> usize {
        self.n
    }

    /// Walks all tables, and returns the sockets in an order of their own and whether the walk was complete.
    fn walk(&self, observer: &mut Observer, with_ends: bool) -> anyhow::Result<(Vec<Socket>, bool)> {
        let (mut found, is_complete) = observer.sockets_of_this_namespace(with_ends)?;
        found.retain(|it| self.ports.contains(&it.local_port) || self.ports.contains(&it.remote_port));
        found.sort_unstable_by_key(|it| (it.local_port, it.remote_port, it.local_address));
        for it in &found {
            ensure!(state::is_connected(it.state) && it.torn == 0, "no connection: {it:?}");
        }
        Ok((found, is_complete))
    }
}

impl Observer {
    /// Reads all records that were begun before. The buffer has them in that order, and one that a CPU is still writing
    /// holds up those behind it.
    fn drain_all(&mut self, mut each: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mark = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let netns = this_namespace()?;
        let (begin, mut is_found) = (Instant::now(), false);
        while !is_found {
            ensure!(begin.elapsed() < PATIENCE, "a record is not found; {}", counters(self));
            self.drain(|bytes| match abi::Record::parse(bytes) {
                Some(abi::Record::Listening(record)) if (record.netns, record.port) == (netns, mark) => {
                    is_found = true
                }
                _ => each(bytes),
            });
        }
        Ok(())
    }

    fn listening_sockets_of_this_namespace(&mut self) -> anyhow::Result<(Vec<ListeningSocket>, bool)> {
        let (mut sockets, mut is_complete, mut next) = (Vec::new(), true, Some(0));
        while let Some(first) = next {
            let step = self.walk_listening(first, &mut sockets).context("they cannot be walked")??;
            is_complete &= step.complete;
            next = step.next;
        }
        let netns = this_namespace()?;
        sockets.retain(|it| it.netns == netns);
        Ok((sockets, is_complete))
    }

    fn sockets_of_this_namespace(&mut self, with_ends: bool) -> anyhow::Result<(Vec<Socket>, bool)> {
        let mut is_complete = self.begin_walk()?;
        let mut sockets = Vec::new();
        while let Step::Sockets { complete } = self.walk_step(with_ends, &mut sockets)? {
            is_complete &= complete;
        }
        let netns = this_namespace()?;
        sockets.retain(|it| it.netns == netns);
        Ok((sockets, is_complete))
    }
}

fn enter_namespace_with_buckets(n: u32) -> anyhow::Result<()> {
    enter_namespace()?;
    fs::write("/proc/sys/net/ipv4/tcp_child_ehash_entries", n.to_string())
        .context("cannot set the size of a table, which needs Linux 6.1")?;
    enter_namespace()?;
    set_up_loopback()
}

fn set_up_loopback() -> anyhow::Result<()> {
    ip("link set lo up")
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let status = Command::new("ip").args(arguments.split(' ')).status().context("cannot run `ip`")?;
    ensure!(status.success(), "`ip {arguments}` ended with {status}");
    Ok(())
}

fn load(variants: &[Variant], again: &[Attachment]) -> anyhow::Result<Observer> {
    let btf = Btf::of_running_kernel()?;
    Ok(Observer::try_load(&btf, LARGE_RING_BYTES, variants, again)?.0)
}

/// Returns what the programs and the kernel have counted.
fn counters(observer: &Observer) -> String {
    let skipped = SkipReason::ALL.map(|it| (it.as_str(), observer.skipped(it)));
    let programs = Program::ALL.map(|it| (it.as_str(), observer.missed(it), observer.taken_over(it)));
    format!("skipped {skipped:?}, missed and taken over {programs:?}")
}

/// Makes a network in which nobody answers the question who a neighbour is, the kernel asks on, and says without limit
/// whom it did not find.
fn set_up_silent_network() -> anyhow::Result<()> {
    for command in [
        "link add near type veth peer name far",
        "addr add 10.1.1.1/24 dev near",
        "link set near up",
        "link set far up",
    ] {
        ip(command)?;
    }
    for (name, value) in [("neigh/near/retrans_time_ms", "20000"), ("icmp_ratemask", "0")] {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value)
            .with_context(|| format!("cannot set {name}"))?;
    }
    Ok(())
}

/// Has the kernel take a neighbour for unreachable and tell all who wait for it.
///
/// It would by itself in a timer, which interrupts whatever its processor runs. In some virtual machines, those of
/// Firecracker kind among them, a kernel runs no eBPF program while it interrupts the first process, and counts no miss.
fn give_up_on(neighbour: Ipv4Addr) -> anyhow::Result<()> {
    ip(&format!("neigh replace {neighbour} dev near nud failed"))
}

/// Begins to connect to a neighbour, and does not wait.
fn begin_to_connect(neighbour: Ipv4Addr) -> anyhow::Result<OwnedFd> {
    let target = SocketAddr::from((neighbour, 80));
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None)
        .context("no socket")?;
    match connect(&socket, &target) {
        Err(Errno::INPROGRESS) => Ok(socket),
        other => bail!("connecting to {target}: {other:?}"),
    }
}

/// Waits until an attempt is over, and checks that there was no way.
fn await_failure(socket: &OwnedFd) -> anyhow::Result<()> {
    let mut fds = [PollFd::new(socket, PollFlags::OUT)];
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    ensure!(poll(&mut fds, Some(&limit))? == 1, "an attempt does not fail");
    match socket_error(socket)? {
        Err(Errno::HOSTUNREACH) => Ok(()),
        other => bail!("an attempt ended with {other:?}"),
    }
}

/// Returns the network namespace that this thread is in, by its inode number.
fn this_namespace() -> anyhow::Result<u32> {
    let namespace = fs::metadata("/proc/thread-self/ns/net").context("cannot tell the namespace")?;
    u32::try_from(namespace.ino()).context("a namespace with a long number")
}

fn enter_namespace() -> anyhow::Result<()> {
    // SAFETY: of the thread only what sockets it makes from here on changes; no descriptor is closed or shared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
        .context("cannot make a network namespace: that needs root")
}
