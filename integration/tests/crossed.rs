//! That two ends which connect to each other at the same time are counted as what they are.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsFd,
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, anyhow, ensure};
use integration::{
    Agent, World,
    agent::{LIVE, Rights, with_all_and_two},
    edges::{Edges, Interest, Totals},
    poll,
    world::{Family, Namespace, Path},
};
use rustix::{
    net::{self, AddressFamily, SocketType, ipproto},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

const PORTS: [u16; 2] = [20_001, 20_002];
/// What each end sends.
const SENT: [u64; 2] = [1_000, 30_000];
/// How long whatever is awaited may take. The kernel repeats what was lost after one second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Neither end listens, so that there is no server: each is the client of a connection of its own.
#[test]
fn a_simultaneous_open_is_a_connection_of_each_end() -> anyhow::Result<()> {
    with_all_and_two(check)
}

fn check(rights: Rights) -> anyhow::Result<()> {
    let world = World::new()?;
    let agent = Agent::start_as(rights, LIVE, &[])?;
    let route = world.route(Path::OneNode, Family::Ipv4, PORTS[1]);
    let addresses: [IpAddr; 2] = [route.source, route.listen.ip()];
    let ends: [SocketAddr; 2] = [0, 1].map(|it| SocketAddr::new(addresses[it], PORTS[it]));
    let namespaces = [route.client, route.server];

    // What each sends first is lost, until both have begun.
    for namespace in namespaces {
        world.run_in(namespace, "nft", &["add", "table", "inet", "crossed"])?;
        let chain = "add chain inet crossed arrivals { type filter hook input priority 0; }";
        world.run_in(namespace, "nft", &[chain])?;
        world.run_in(namespace, "nft", &["add rule inet crossed arrivals tcp flags syn drop"])?;
    }
    let connecting: Vec<_> =
        (0..2).map(|it| connect(&world, namespaces[it], ends[it], ends[1 - it])).collect::<Result<_, _>>()?;
    poll::until(PATIENCE, || {
        for namespace in namespaces {
            let sockets = world.run_in(namespace, "ss", &["-Htn", "state", "syn-sent"])?;
            ensure!(sockets.lines().count() == 1, "not one socket connects: {sockets:?}");
        }
        Ok(())
    })?;
    for namespace in namespaces {
        world.run_in(namespace, "nft", &["delete", "table", "inet", "crossed"])?;
    }
    let streams = connecting.into_iter().map(joined).collect::<anyhow::Result<Vec<_>>>()?;
    for (stream, n) in streams.iter().zip(SENT) {
        (&mut &*stream).write_all(&vec![b'x'; usize::try_from(n)?])?;
    }
    for (stream, n) in streams.iter().zip([SENT[1], SENT[0]]) {
        (&mut &*stream).read_exact(&mut vec![0; usize::try_from(n)?])?;
    }
    let totals = |it: usize| Totals {
        request: SENT[it],
        response: SENT[1 - it],
        opened: 1,
        active: 1,
        handshakes: 1,
        ..Totals::default()
    };
    let open = [totals(0), totals(1)];
    expect(&agent, &open).context("while it is open")?;
    drop(streams);
    let over = open.map(|it| Totals {
        active: 0,
        lifetimes: 1,
        closed: BTreeMap::from([("normal".to_owned(), 1)]),
        ..it
    });
    expect(&agent, &over).context("at its end")?;
    agent.stop().map(drop)
}

/// Connects in a thread that is in a network namespace.
fn connect(
    world: &World,
    namespace: Namespace,
    own: SocketAddr,
    other: SocketAddr,
) -> anyhow::Result<JoinHandle<anyhow::Result<TcpStream>>> {
    let namespace = world.open(namespace)?;
    Ok(thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, Some(ipproto::TCP))?;
        net::bind(&socket, &own)?;
        net::connect(&socket, &other)?;
        Ok(TcpStream::from(socket))
    }))
}

fn joined<T>(thread: JoinHandle<anyhow::Result<T>>) -> anyhow::Result<T> {
    thread.join().map_err(|_panic| anyhow!("a thread panicked"))?
}

/// Waits until what the agent says of each end's connection is what it is. The one that connects to the other's port is its client.
fn expect(agent: &Agent, totals: &[Totals; 2]) -> anyhow::Result<()> {
    let interest = Interest { names: Vec::new(), ports: PORTS.to_vec(), ..Interest::default() };
    poll::until(PATIENCE, || {
        let edges = Edges::of(&agent.scrape()?, &interest)?;
        let found: BTreeMap<_, _> = edges.0.iter().map(|(edge, totals)| (edge.port, totals)).collect();
        let expected = BTreeMap::from([(PORTS[1], &totals[0]), (PORTS[0], &totals[1])]);
        ensure!(edges.0.len() == 2 && found == expected, "{edges:#?}, expected {expected:#?}");
        ensure!(edges.0.keys().all(|it| it.observer == "client"), "{edges:#?}");
        Ok(())
    })
}
