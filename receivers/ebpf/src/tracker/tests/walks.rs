//! What walks find, and what they miss.

use abi::Socket;
use model::{Before, Begin, CloseReason, End, Observer};

use super::world::{Conn, World};
use crate::metrics::Metrics;

/// What was transferred before the receiver ran is nobody's business.
#[test]
fn an_older_connection_is_counted_from_when_it_is_found() {
    let mut world = World::new();
    let conn = Conn::client(1).transferred(10_000, 20_000);
    world.walk(&[conn]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.started), (Some(Begin::Found), None));
    assert_eq!((flow.request.bytes, flow.response.bytes), (0, 0));
    assert_eq!(flow.before, Some(Before { request: 10_000, response: 20_000 }));
    world.walk(&[conn.transferred(10_001, 20_002)]);
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.response.bytes, flow.before), (1, 2, None));
}

/// What is under way is found at one end and not at the other: only what came before tells that both count from one byte.
#[test]
fn what_came_before_an_end_was_found_is_told_by_direction() {
    let mut world = World::new();
    world.walk(&[Conn::client(1).transferred(10_000, 20_000), Conn::server(1).transferred(20_000, 10_070)]);
    let before: Vec<_> = world.take().into_iter().map(|it| (it.observer, it.before)).collect();
    let [client, server] = [10_000, 10_070].map(|request| Some(Before { request, response: 20_000 }));
    assert_eq!(before, [(Observer::Client, client), (Observer::Server, server)]);
    world.open(Conn::client(2));
    assert_eq!(world.one().before, None);
}

/// Something may keep walks from being complete for good: what is younger is known as such all the same, some walks later.
#[test]
fn after_many_incomplete_walks_an_unannounced_connection_is_younger() {
    let mut world = World::new();
    let conn = Conn::client(1).transferred(300, 500).finished();
    for _ in 0..16 {
        world.walk_incompletely(&[]);
    }
    world.close(conn);
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Opened), 300));
    assert!(!world.tracker.wants_ends(), "there is nobody to look for");
}

/// It closed between the attachment of the programs and the first walk.
#[test]
fn an_older_connection_that_ends_before_it_is_found_is_counted_without_bytes() {
    let mut world = World::new();
    world.close(Conn::client(1).transferred(10_000, 20_000).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.end), (Some(Begin::Found), Some(End::Closed(CloseReason::Normal))));
    assert_eq!((flow.request.bytes, flow.response.bytes), (0, 0));
}

/// Its record was lost: it is younger than the first walk, so that all of its bytes count.
#[test]
fn an_unannounced_connection_is_counted_from_zero_when_two_walks_agree() {
    let mut world = World::new();
    world.walk(&[]);
    let conn = Conn::client(1).transferred(300, 500);
    world.walk(&[conn]);
    assert_eq!(world.take(), [], "one walk may have read nonsense");
    world.walk(&[conn]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.started), (Some(Begin::Opened), Some(world.wall())));
    assert_eq!((flow.request.bytes, flow.response.bytes), (300, 500));
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 1);
}

#[test]
fn a_connection_that_only_one_walk_saw_never_was() {
    let mut world = World::new();
    world.walk(&[]);
    world.walk(&[Conn::client(1)]);
    world.walk(&[]);
    world.walk(&[Conn::client(1)]);
    // The next walk comes with ends, on account of the one before.
    world.walk(&[Conn::client(2)]);
    assert_eq!(world.take(), []);
}

/// The record of the end was lost.
#[test]
fn a_connection_that_two_walks_miss_is_over() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.walk(&[Conn::client(1).transferred(7, 8)]);
    world.take();
    world.walk(&[]);
    assert_eq!(world.take(), [], "it may have been in a bucket that moved");
    world.walk(&[]);
    assert_eq!(world.one().end, Some(End::Closed(CloseReason::Unknown)));
    assert_eq!(world.tracker.metrics.repaired_ends.value(), 1);
}

/// A walk that did not see everything proves nothing.
#[test]
fn an_incomplete_walk_ends_nothing() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.take();
    for _ in 0..3 {
        world.walk_incompletely(&[]);
    }
    assert_eq!(world.take(), []);
}

/// Something may keep walks from being complete for good: an end whose record was lost is found all the same.
#[test]
fn a_connection_that_many_incomplete_walks_miss_is_over() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.take();
    for _ in 0..15 {
        world.walk_incompletely(&[]);
    }
    assert_eq!(world.take(), []);
    world.walk_incompletely(&[]);
    assert_eq!(world.one().end, Some(End::Closed(CloseReason::Unknown)));
}

/// One that did not come to every table does not count either, nor those before it.
#[test]
fn walks_that_were_broken_off_end_nothing() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.take();
    for _ in 0..40 {
        world.begin_walk();
        world.tracker.break_off();
        world.tracker.end_walk(world.moment());
    }
    for _ in 0..15 {
        world.walk_incompletely(&[]);
    }
    assert_eq!(world.take(), []);
}

/// Two complete walks must miss it, whatever was between them.
#[test]
fn an_incomplete_walk_is_none_of_two_that_miss() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.take();
    world.walk_incompletely(&[]);
    world.walk(&[]);
    assert_eq!(world.take(), []);
    world.walk_incompletely(&[]);
    world.walk(&[]);
    assert_eq!(world.one().end, Some(End::Closed(CloseReason::Unknown)));
}

/// If the first walk was incomplete, what a later one finds may be older than the receiver: nothing is guessed.
#[test]
fn after_an_incomplete_first_walk_an_unannounced_connection_is_not_counted_from_zero() {
    let mut world = World::new();
    world.walk_incompletely(&[]);
    let conn = Conn::client(1).transferred(300, 500);
    world.walk(&[conn]);
    world.walk(&[conn]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Found), 0));
}

/// It is known when two walks in a row saw everything: what nobody announced from then on is younger.
#[test]
fn an_incomplete_first_walk_is_made_up_for() {
    let mut world = World::new();
    world.walk_incompletely(&[]);
    let old = Conn::client(1).transferred(300, 500);
    world.walk(&[old]);
    world.walk_incompletely(&[old]);
    assert!(world.tracker.wants_ends());
    world.walk(&[old]);
    world.walk(&[old]);
    assert!(!world.tracker.wants_ends());
    assert_eq!(world.one().begin, Some(Begin::Found));
    world.close(Conn::client(2).transferred(3, 5).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Opened), 3));
}

/// The busiest connections are those that a walk reads torn: what they transferred before is still not counted.
#[test]
fn an_older_connection_that_the_first_walk_read_torn_is_not_counted_from_zero() {
    let conn = Conn::client(1).transferred(10_000, 20_000);
    let torn = || {
        let mut world = World::new();
        world.walk_sockets(&[Socket { torn: 1, snd_una: 77, ..conn.socket() }]);
        world
    };
    let mut world = torn();
    world.walk(&[conn]);
    world.walk(&[conn]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Found), 0));
    let mut world = torn();
    world.close(conn.finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Found), 0));
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 0);
}

/// A torn sample proves life, and nothing else.
#[test]
fn a_torn_sample_is_left_out() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.take();
    let torn = Socket { torn: 1, snd_una: 77, ..Conn::client(1).transferred(5, 5).socket() };
    for _ in 0..3 {
        world.walk_sockets(&[torn]);
    }
    assert_eq!(world.take(), []);
    assert_eq!(world.tracker.metrics.torn.value(), 3);
}

/// Walks may miss a socket that moves; what was counted of the connection is not counted again.
#[test]
fn a_connection_that_was_taken_for_ended_goes_on_where_it_was() {
    let mut world = World::new();
    world.walk(&[]);
    let conn = Conn::client(1);
    world.open(conn);
    world.walk(&[conn.transferred(7, 8)]);
    world.walk(&[]);
    world.walk(&[]);
    assert_eq!(world.take().last().and_then(|it| it.end), Some(End::Closed(CloseReason::Unknown)));
    world.walk(&[conn.transferred(9, 11)]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.end, flow.started), (Some(Begin::Found), None, None));
    assert_eq!(flow.before, None, "what came before is counted");
    assert_eq!((flow.request.bytes, flow.response.bytes), (2, 3));
    assert_eq!(flow.local.process.map(|it| it.pid), Some(42), "what is known of it stays");
    world.close(conn.transferred(10, 12).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.end), (None, Some(End::Again)));
    assert_eq!((flow.request.bytes, flow.response.bytes), (1, 1));
    let Metrics { resumed, repaired_begins, repaired_ends, .. } = &world.tracker.metrics;
    assert_eq!([resumed, repaired_begins, repaired_ends].map(|it| it.value()), [1, 0, 1]);
}

/// Its end was counted the first time, however often it vanishes.
#[test]
fn a_connection_that_vanishes_twice_is_counted_as_closed_once() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    let mut ends = Vec::new();
    for _ in 0..2 {
        world.walk(&[Conn::client(1)]);
        world.walk(&[]);
        world.walk(&[]);
        ends.extend(world.take().into_iter().filter_map(|it| it.end));
    }
    assert_eq!(ends, [End::Closed(CloseReason::Unknown), End::Again]);
    assert_eq!(world.tracker.metrics.resumed.value(), 1);
}

/// Its record tells the end after all.
#[test]
fn the_end_of_a_connection_that_was_taken_for_ended_is_counted_from_where_it_was() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.walk(&[Conn::client(1).transferred(7, 8)]);
    world.walk(&[]);
    world.walk(&[]);
    world.take();
    for _ in 0..2 {
        world.close(Conn::client(1).transferred(10, 12).finished());
    }
    let flow = world.one();
    assert_eq!((flow.begin, flow.end), (Some(Begin::Found), Some(End::Again)));
    assert_eq!((flow.request.bytes, flow.response.bytes), (3, 4));
}

/// The pipeline was busy.
#[test]
fn that_a_connection_ended_is_taken_back_if_it_was_not_reported() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.take();
    world.walk(&[]);
    world.walk(&[]);
    world.walk(&[Conn::client(1).transferred(9, 11)]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.end, flow.request.bytes), (None, None, 9));
    let Metrics { resumed, repaired_ends, .. } = &world.tracker.metrics;
    assert_eq!([resumed, repaired_ends].map(|it| it.value()), [0, 0]);
}

/// Of one that moved while it was read, the numbers may belong to no connection. The first walk is not believed either.
#[test]
fn what_the_first_walk_finds_is_confirmed_before_it_is_reported() {
    let mut world = World::new();
    let conn = Conn::client(1).transferred(300, 500);
    world.walk_once(&[Socket { snd_una: 77, ..conn.socket() }, Conn::server(2).socket()]);
    assert_eq!(world.take(), []);
    assert!(world.tracker.wants_walk());
    world.walk_once(&[conn.socket(), Conn::server(2).socket()]);
    assert!(!world.tracker.wants_walk());
    assert_eq!(world.one().observer, Observer::Server);
    world.walk_once(&[conn.socket(), Conn::server(2).socket()]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes), (Some(Begin::Found), 0), "it is still older");
}

/// The walk copied the socket, then it closed, and its record is the first that is heard of it.
#[test]
fn a_sample_older_than_the_end_does_not_find_a_connection() {
    let mut world = World::new();
    for _ in 0..2 {
        world.begin_walk();
        if world.take().is_empty() {
            world.close(Conn::client(1).finished());
        }
        world.find(Conn::client(1).socket());
        world.tracker.end_walk(world.moment());
    }
    assert_eq!(world.take(), []);
    assert_eq!(world.tracker.connections.len(), 0);
}
