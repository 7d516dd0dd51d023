//! What happens when there is too much.

use abi::Socket;
use model::Begin;

use super::world::{Conn, ECONNREFUSED, SECOND, World};
use crate::{metrics::Metrics, tracker::reports::MAX_FINISHED};

/// Those beyond the limit are reported as a whole when they end: the totals stay true.
#[test]
fn connections_beyond_the_limit_are_reported_when_they_end() {
    let mut world = World::with_room_for(1);
    world.walk(&[]);
    world.open(Conn::client(1));
    world.open(Conn::client(2));
    assert_eq!(world.take().len(), 1);
    for _ in 0..3 {
        world.walk(&[Conn::client(1), Conn::client(2)]);
    }
    assert_eq!(world.take(), []);
    assert_eq!(world.tracker.metrics.untracked.value(), 1, "counted once, not by every walk");
    world.close(Conn::client(2).transferred(3, 4).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes, flow.response.bytes), (Some(Begin::Opened), 3, 4));
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 0, "its begin was told");
}

/// Of those that walks find, each once, too.
#[test]
fn connections_beyond_the_limit_are_counted_once() {
    let mut world = World::with_room_for(2);
    for _ in 0..5 {
        world.walk(&[1, 2, 3].map(Conn::client));
    }
    for _ in 0..2 {
        world.open(Conn::client(4));
    }
    for _ in 0..5 {
        world.walk(&[1, 2, 3, 4].map(Conn::client));
    }
    let Metrics { untracked, repaired_begins, .. } = &world.tracker.metrics;
    assert_eq!([untracked, repaired_begins].map(|it| it.value()), [2, 0]);
}

/// What is remembered of them is bounded, and goes with them.
#[test]
fn connections_far_beyond_the_limit_are_not_taken_for_repaired() {
    let mut world = World::with_room_for(1);
    world.walk(&[]);
    for n in 1..=3 {
        world.open(Conn::client(n));
    }
    for _ in 0..4 {
        world.walk(&[1, 2, 3].map(Conn::client));
    }
    world.close(Conn::client(3).finished());
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 0);
    // The ends of the others are lost.
    for _ in 0..6 {
        world.walk(&[Conn::client(1)]);
    }
    world.close(Conn::client(4).finished());
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 1);
}

/// The remembered ones may end first. Those that a walk still finds were announced.
#[test]
fn those_that_were_not_even_remembered_are_not_repaired_when_the_others_are_gone() {
    let mut world = World::with_room_for(1);
    world.walk(&[]);
    for n in 1..=3 {
        world.open(Conn::client(n));
    }
    world.close(Conn::client(2).finished());
    world.walk_once(&[1, 3].map(|n| Conn::client(n).socket()));
    world.close(Conn::client(3).finished());
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 0);
}

/// Room is made for one that was not followed, and that is younger than the receiver: all of its bytes count.
#[test]
fn a_connection_beyond_the_limit_is_followed_when_there_is_room() {
    let mut world = World::with_room_for(1);
    world.walk(&[]);
    world.open(Conn::client(1));
    world.open(Conn::client(2));
    world.close(Conn::client(1).finished());
    world.take();
    for _ in 0..2 {
        world.walk(&[Conn::client(2).transferred(5, 6)]);
    }
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes, flow.response.bytes), (Some(Begin::Opened), 5, 6));
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 0, "its begin was told");
    assert_eq!(flow.server.port, 80);
}

/// Nor of those that there was no room for; younger ones of the same ends are counted.
#[test]
fn older_connections_beyond_the_limit_are_not_counted_from_zero() {
    let mut world = World::with_room_for(1);
    let old = Conn::client(2).transferred(10_000, 20_000);
    world.walk(&[Conn::client(1), old]);
    world.take();
    world.close(old.finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Found), 0));
    world.close(Conn::client(3).transferred(3, 5).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Opened), 3));
}

/// What is older is remembered as far as connections are; beyond that nothing is taken for younger.
#[test]
fn nothing_is_guessed_when_there_are_too_many_older_connections() {
    let mut world = World::with_room_for(1);
    world.walk_sockets(&[1, 2, 3].map(|n| {
        let local_port = u16::try_from(n).unwrap();
        Socket { local_port, ..Conn::client(n).socket() }
    }));
    world.take();
    world.close(Conn::client(4).transferred(3, 5).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Found), 0));
}

/// Once all that live are followed, one that is not known is younger.
#[test]
fn that_there_were_too_many_older_connections_is_forgotten() {
    let mut world = World::with_room_for(1);
    let old = [1, 2, 3, 4].map(|n| {
        let local_port = u16::try_from(n).unwrap();
        Socket { local_port, ..Conn::client(n).socket() }
    });
    world.walk_sockets(&old);
    for _ in 0..8 {
        world.walk_sockets(&old[..1]);
    }
    world.take();
    world.close(Conn::client(5).transferred(3, 5).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Opened), 3));
}

#[test]
fn finished_records_that_nobody_takes_are_bounded_and_counted() {
    let mut world = World::new();
    for _ in 0..=MAX_FINISHED {
        world.now += SECOND;
        world.fail(Socket { error: ECONNREFUSED, segments_out: 1, ..Conn::client(1).socket() });
    }
    assert_eq!(world.take().len(), MAX_FINISHED);
    assert_eq!(world.tracker.metrics.dropped_full.value(), 1);
}
