//! How connections begin and end.

use std::{net::Ipv4Addr, time::Duration};

use abi::{RecordKind, Role, Socket, state};
use model::{Begin, CloseReason, End, FailureReason, Flow, Observer, Rtt};

use super::world::{Conn, ECONNREFUSED, ECONNRESET, SECOND, World};

/// The shortest life: the begin, a sample, the end.
#[test]
fn a_connection_is_followed_from_begin_to_end() {
    let mut world = World::new();
    world.walk(&[]);
    let client = Conn::client(1);
    world.open(client);
    let flow = world.one();
    assert_eq!((flow.begin, flow.end, flow.observer), (Some(Begin::Opened), None, Observer::Client));
    assert_eq!(flow.connect, Some(Duration::from_micros(50)));
    assert_eq!(flow.started, Some(world.wall()));
    assert_eq!(flow.client.address, Ipv4Addr::new(10, 0, 0, 1));
    assert_eq!(flow.local.process.map(|it| it.command), Some("curl".into()));

    world.walk(&[client.transferred(200, 1_000)]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.end), (None, None));
    assert_eq!((flow.request.bytes, flow.response.bytes), (200, 1_000));

    world.close(client.transferred(200, 1_500).finished());
    let flow = world.one();
    assert_eq!(flow.end, Some(End::Closed(CloseReason::Normal)));
    assert_eq!((flow.request.bytes, flow.response.bytes), (0, 500));
    assert_eq!(world.tracker.connections.len(), 0);
}

/// A server's socket sends responses.
#[test]
fn directions_are_those_of_the_connection() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::server(1));
    world.close(Conn::server(1).transferred(1_000, 200).finished());
    let flow = world.one();
    assert_eq!((flow.observer, flow.begin), (Observer::Server, Some(Begin::Opened)));
    assert_eq!((flow.request.bytes, flow.response.bytes), (200, 1_000));
    assert_eq!((flow.client.port, flow.server.port), (40_000, 80));
}

/// The one round trip that an accepted socket has measured when it opens is the handshake's; a client's is not its server's.
#[test]
fn a_server_tells_how_long_its_client_took_to_answer() {
    let mut world = World::new();
    for (conn, srtt, expected) in [
        (Conn::server(1), 8 * 1_500, Some(Duration::from_micros(1_500))),
        // Answered by a cookie, which keeps no time, without timestamps.
        (Conn::server(2), 0, None),
        (Conn::client(3), 8 * 1_500, None),
    ] {
        world.open_socket(Socket { srtt, ..conn.socket() }, conn.role);
        assert_eq!(world.one().server_handshake, expected);
        world.walk_sockets(&[Socket { srtt: 8 * 2_000, ..conn.transferred(10, 10).socket() }]);
        assert_eq!(world.one().server_handshake, None, "it is told once");
        world.close(conn.transferred(10, 10).finished());
        world.one();
    }
}

/// What arrived in disorder was sent by the other end; who waits for room is the one that sends.
#[test]
fn quality_is_told_by_direction() {
    for conn in [Conn::client(1), Conn::server(2)] {
        let mut world = World::new();
        world.open(conn);
        world.one();
        let mut seen = Vec::new();
        for (segments_out_of_order, window_limited) in [(3, 5), (3, 15)] {
            let socket =
                Socket { segments_out_of_order, window_limited, ..conn.transferred(10, 10).socket() };
            world.walk_sockets(&[socket]);
            let Flow { request, response, .. } = world.one();
            let (sent, received) = match conn.role {
                Role::Client => (request, response),
                Role::Server => (response, request),
            };
            assert_eq!((sent.out_of_order_segments, received.receive_window_limited), (0, Duration::ZERO));
            seen.push((received.out_of_order_segments, sent.receive_window_limited.as_millis()));
        }
        assert_eq!(seen, [(3, 20), (0, 40)]);
    }
}

/// Both ends of a connection on one host are two connections here, and have one id.
#[test]
fn both_ends_have_one_id() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.open(Conn::server(1));
    let flows = world.take();
    assert_eq!(flows.len(), 2);
    assert!(flows[0].id.is_some());
    assert_eq!(flows[0].id, flows[1].id);
}

/// The record of the begin was lost and that of the end was not: nothing is missing but when it began.
#[test]
fn an_end_without_a_begin_is_a_whole_connection() {
    let mut world = World::new();
    world.walk(&[]);
    world.close(Conn::client(1).transferred(300, 500).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.started), (Some(Begin::Opened), None));
    assert_eq!((flow.request.bytes, flow.response.bytes), (300, 500));
}

/// The walk copied the socket, then it closed, and the record was read before the copy.
#[test]
fn a_sample_older_than_the_end_does_not_revive() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    let conn = Conn::client(1).transferred(10, 20);
    world.begin_walk();
    world.close(conn.finished());
    let closed_at = world.wall();
    world.now += SECOND;
    world.find(conn.socket());
    world.tracker.end_walk(world.moment());
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.end), (10, Some(End::Closed(CloseReason::Normal))));
    assert_eq!(flow.interval.end, closed_at);
    world.walk(&[]);
    assert_eq!(world.take(), []);
}

/// Whatever is read, a total that was reported cannot be taken back.
#[test]
fn totals_never_go_down() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    let conn = Conn::client(1).transferred(1_000, 2_000);
    world.walk(&[conn]);
    world.take();
    // The counters of another moment, with sequence numbers that name the same connection.
    let before = Conn::client(1).transferred(900, 1_900);
    world.walk_sockets(&[Socket { srtt: 8, ..before.socket() }]);
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.response.bytes), (0, 0));
    world.close(conn.finished());
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.response.bytes), (0, 0));
}

/// The application had closed its end. What happened then shows in what comes next, if not at once.
#[test]
fn a_reset_of_a_closed_end_is_whose_record_says_so() {
    const ORPHAN: u64 = 1;
    let mut world = World::new();
    world.walk(&[]);
    let reset =
        Socket { error: ECONNRESET, flags: ORPHAN, state: state::FIN_WAIT2, ..Conn::client(1).socket() };
    for sends in [true, false] {
        world.open(Conn::client(1));
        world.close_socket(reset);
        world.tracker.end_drain();
        assert_eq!(world.take(), [], "more may come");
        if sends {
            let record = world.record(RecordKind::ResetSent, reset);
            world.tracker.on_record(bytemuck::bytes_of(&record), world.moment());
        }
        world.tracker.end_drain();
        let reason = if sends { CloseReason::ClientReset } else { CloseReason::ServerReset };
        assert_eq!(world.one().end, Some(End::Closed(reason)));
        assert_eq!(world.tracker.connections.len(), 0);
    }
}

/// Data under way when the other end reset the connection did not arrive: both ends tell the same number.
#[test]
fn what_a_reset_swallowed_is_not_counted() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    let conn = Conn { in_flight: 400, ..Conn::client(1).transferred(100, 0) };
    world.close_socket(Socket { error: ECONNRESET, ..conn.socket() });
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.end), (100, Some(End::Closed(CloseReason::ServerReset))));
}

/// This end gave up without waiting for the answer: what it sent was sent.
#[test]
fn what_is_under_way_at_a_local_reset_is_counted() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    let conn = Conn { in_flight: 400, ..Conn::client(1).transferred(100, 0) };
    world.close(conn);
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.end), (500, Some(End::Closed(CloseReason::ClientReset))));
}

#[test]
fn a_failed_attempt_is_one_record() {
    let mut world = World::new();
    world.fail(Socket { error: ECONNREFUSED, segments_out: 1, ..Conn::client(1).socket() });
    let flow = world.one();
    assert_eq!((flow.id, flow.begin), (None, None));
    assert_eq!(flow.end, Some(End::Failed(FailureReason::Refused)));
    assert_eq!(flow.local.process.map(|it| it.pid), Some(42));
    assert_eq!(flow.server.port, 80);
}

/// The application knew before a packet was sent.
#[test]
fn an_attempt_without_a_packet_is_none() {
    let mut world = World::new();
    world.fail(Socket { segments_out: 0, ..Conn::client(1).socket() });
    assert_eq!(world.take(), []);
}

/// Live connections give a round-trip time per sample; without one, and without bytes, there is nothing to say.
#[test]
fn a_silent_connection_tells_its_round_trip_time() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    world.open(Conn::client(2));
    world.take();
    let measured = Socket { srtt: 8_000, rtt_min: 900, ..Conn::client(1).socket() };
    world.walk_sockets(&[measured, Conn::client(2).socket()]);
    let flow = world.one();
    let expected = Rtt { smoothed: Duration::from_millis(1), min: Duration::from_micros(900) };
    assert_eq!(flow.rtt, Some(expected));
}

/// While the pipeline takes nothing, samples of one connection become one record.
#[test]
fn what_cannot_be_sent_is_merged() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    for n in 1..=100 {
        world.walk(&[Conn::client(1).transferred(n, 2 * n)]);
    }
    world.close(Conn::client(1).transferred(101, 202).finished());
    let flow = world.one();
    assert_eq!((flow.begin, flow.request.bytes, flow.response.bytes), (Some(Begin::Opened), 101, 202));
    assert!(flow.end.is_some());
}

#[test]
fn bytes_that_are_no_record_are_counted() {
    let mut world = World::new();
    world.tracker.on_record(&[1, 2, 3], world.moment());
    assert_eq!(world.tracker.metrics.malformed.value(), 1);
}

/// The wall clock is set while the connection lives, back or forth.
#[test]
fn how_long_a_connection_lived_does_not_depend_on_the_wall_clock() {
    for wall_ahead in [0, 7_200 * SECOND] {
        let mut world = World::new();
        world.walk(&[]);
        world.open(Conn::client(1));
        let started = world.one().started.unwrap();
        world.walk(&[Conn::client(1).transferred(1, 1)]);
        world.wall_ahead = wall_ahead;
        world.walk(&[Conn::client(1).transferred(2, 2)]);
        world.now += 5 * SECOND;
        world.close(Conn::client(1).transferred(3, 3).finished());
        let flow = world.one();
        assert_eq!(flow.started, Some(started));
        assert_eq!(flow.interval.end.saturating_since(started), Duration::from_secs(7));
        assert!(flow.interval.start <= flow.interval.end);
    }
}

/// Two copies of the program may tell of one event.
#[test]
fn what_is_told_twice_is_counted_once() {
    let mut world = World::new();
    world.walk(&[]);
    for is_taken in [false, true] {
        let mut flows = Vec::new();
        for tell in [World::open, World::open, World::close] {
            tell(&mut world, Conn::client(1).transferred(5, 6).finished());
            if is_taken {
                flows.extend(world.take());
            }
        }
        if is_taken {
            world.tracker.end_drain();
        }
        world.close(Conn::client(1).transferred(5, 6).finished());
        world.open(Conn::client(1));
        flows.extend(world.take());
        assert_eq!(flows.iter().filter(|it| it.begin.is_some()).count(), 1, "{flows:#?}");
        assert_eq!(flows.iter().filter(|it| it.end.is_some()).count(), 1, "{flows:#?}");
        assert_eq!(flows.iter().map(|it| it.request.bytes).sum::<u64>(), 5);
        world.tracker.end_drain();
        world.tracker.end_drain();
    }
    assert_eq!(world.tracker.metrics.repaired_begins.value(), 0);
}

/// What a record said of who reset a connection is not lost by hearing of its end again.
#[test]
fn an_end_that_is_told_again_keeps_its_reason() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::client(1));
    let orphan = 1;
    let reset =
        Socket { error: ECONNRESET, flags: orphan, state: state::FIN_WAIT2, ..Conn::client(1).socket() };
    world.close_socket(reset);
    let record = world.record(RecordKind::ResetSent, reset);
    world.tracker.on_record(bytemuck::bytes_of(&record), world.moment());
    world.close_socket(reset);
    world.tracker.end_drain();
    world.tracker.end_drain();
    assert_eq!(world.one().end, Some(End::Closed(CloseReason::ClientReset)));
}

#[test]
fn an_attempt_that_is_told_twice_is_one() {
    let mut world = World::new();
    let refused = Socket { error: ECONNREFUSED, segments_out: 1, ..Conn::client(1).socket() };
    world.fail(refused);
    world.now += SECOND;
    let mut again = world.record(RecordKind::Failed, refused);
    again.is_taken_over = 1;
    world.tracker.on_record(bytemuck::bytes_of(&again), world.moment());
    assert_eq!(world.take().len(), 1);
    world.now += SECOND;
    world.fail(refused);
    assert_eq!(world.take().len(), 1, "another attempt from the same port");
}
