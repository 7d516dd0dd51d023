//! The agent's own connections.

use std::collections::HashMap;

use abi::{RecordKind, Socket};
use model::{Begin, Process};

use super::world::{AGENT, Conn, ECONNREFUSED, World, listener, listening};
use crate::{config::OwnTraffic, seed::Seed};

/// A scrape, as the agent and as who scrapes it see it.
#[test]
fn the_agents_own_connections_are_left_out_at_both_ends() {
    let mut world = World::new();
    world.walk(&[]);
    world.listen_as(RecordKind::Listening, AGENT);
    // The client's end opens first.
    world.open(Conn::client(1));
    world.tracker.end_drain();
    assert_eq!(world.take(), [], "the other end may be the agent's");
    world.open(Conn::server(1));
    world.tracker.end_drain();
    for conn in [Conn::client(1).transferred(200, 9_000), Conn::server(1).transferred(9_000, 200)] {
        world.walk(&[conn]);
        world.close(conn.finished());
    }
    assert_eq!(world.take(), []);
    assert_eq!(world.tracker.connections.len(), 0);
    world.check_own([1, 0, 200, 9_000]);
}

/// What the agent exports to a process of this host, and what it cannot.
#[test]
fn connections_that_the_agent_opens_are_left_out_at_both_ends() {
    let mut world = World::new();
    world.walk(&[]);
    world.open_as(Conn::client(1), AGENT);
    world.open(Conn::server(1));
    world.fail_as(Socket { error: ECONNREFUSED, segments_out: 1, ..Conn::client(2).socket() }, AGENT);
    world.close(Conn::client(1).transferred(7_000, 2).finished());
    world.close(Conn::server(1).transferred(2, 7_000).finished());
    assert_eq!(world.take(), []);
    world.check_own([1, 1, 7_000, 2]);
}

/// The socket that is scraped at; its own is as little part of the map as its connections are.
#[test]
fn the_agents_own_listening_socket_is_left_out() {
    for (own_traffic, n_reports) in [(OwnTraffic::Exclude, 0), (OwnTraffic::Include, 1)] {
        let mut world = World::with(10, own_traffic, Seed::default());
        world.listen_as(RecordKind::Listening, AGENT);
        world.tracker.on_listening_sockets(&[listening()], true, world.moment());
        assert_eq!(world.tracker.take_listener_reports(usize::MAX).len(), n_reports, "{own_traffic:?}");
        assert!(!world.tracker.has_reports());
    }
}

/// From before the receiver ran: it is known by who listens, or who holds the socket.
#[test]
fn the_agents_own_connections_are_known_when_found() {
    let agent = Process { pid: AGENT, command: "ridley".into() };
    let mut world = World::after(Seed {
        listeners: vec![listener("ridley", AGENT)],
        processes: HashMap::from([(4_711, agent)]),
        ..Seed::default()
    });
    let held = Socket { inode: 4_711, ..Conn::client(2).socket() };
    world.walk_sockets(&[Conn::client(1).socket(), Conn::server(1).socket(), held]);
    world.tracker.end_drain();
    world.tracker.end_drain();
    assert_eq!(world.take(), []);
    world.check_own([2, 0, 0, 0]);
}

/// Somebody else listens at the same port of another host.
#[test]
fn a_connection_to_a_port_like_the_agents_is_reported_a_little_later() {
    let mut world = World::new();
    world.walk(&[]);
    world.listen_as(RecordKind::Listening, AGENT);
    world.open(Conn::client(1));
    world.tracker.end_drain();
    assert_eq!(world.take(), []);
    world.tracker.end_drain();
    assert_eq!(world.one().begin, Some(Begin::Opened));
}

/// Counted all the same, and once if both ends are the agent's.
#[test]
fn the_agents_own_connections_can_be_included() {
    let mut world = World::with(1_000, OwnTraffic::Include, Seed::default());
    world.walk(&[]);
    world.listen_as(RecordKind::Listening, AGENT);
    world.open_as(Conn::client(1), AGENT);
    world.open(Conn::server(1));
    world.close(Conn::client(1).transferred(5, 6).finished());
    world.close(Conn::server(1).transferred(6, 5).finished());
    assert_eq!(world.take().len(), 2);
    world.check_own([1, 0, 5, 6]);
}
