use std::{net::Ipv4Addr, sync::Arc};

use abi::RecordKind;
use bytemuck::Zeroable;
use component::{Kind, Registry};
use model::{Begin, CloseReason, ConnectionId, FailureReason, Observer, Rtt};
use proptest::prelude::*;

use super::*;
use crate::config::OwnTraffic;

const NETNS: u32 = 4_026_531_840;
const SECOND: u64 = 1_000_000_000;
const AGENT: u32 = 77;
const ECONNREFUSED: u32 = 111;
const ECONNRESET: u32 = 104;

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

/// What was transferred before the receiver ran is nobody's business.
#[test]
fn an_older_connection_is_counted_from_when_it_is_found() {
    let mut world = World::new();
    let conn = Conn::client(1).transferred(10_000, 20_000);
    world.walk(&[conn]);
    let flow = world.one();
    assert_eq!((flow.begin, flow.started), (Some(Begin::Found), None));
    assert_eq!((flow.request.bytes, flow.response.bytes), (0, 0));
    world.walk(&[conn.transferred(10_001, 20_002)]);
    let flow = world.one();
    assert_eq!((flow.request.bytes, flow.response.bytes), (1, 2));
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
    assert_eq!(flow.server.port, 80);
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

/// An accepted socket does not tell its process, the listener did.
#[test]
fn a_server_is_named_by_its_listener() {
    let mut world = World::new();
    world.walk(&[]);
    world.listen(RecordKind::Listening);
    world.open(Conn::server(1));
    assert_eq!(world.one().local.process.map(|it| it.command), Some("nginx".into()));
    world.listen(RecordKind::Unlistened);
    world.open(Conn::server(2));
    assert_eq!(world.one().local.process, None);
}

/// `listen(fd, 0)` leaves no backlog to tell the role by.
#[test]
fn a_server_without_a_backlog_is_known_by_its_listener() {
    let mut world = World::new();
    world.listen(RecordKind::Listening);
    world.walk_sockets(&[Socket { backlog: 0, ..Conn::server(1).socket() }]);
    assert_eq!(world.one().observer, Observer::Server);
}

/// Once known by a record, a role is not judged again.
#[test]
fn a_misleading_backlog_does_not_make_another_connection() {
    let mut world = World::new();
    world.walk(&[]);
    world.open(Conn::server(1));
    world.take();
    for _ in 0..3 {
        world.walk_sockets(&[Socket { backlog: 0, ..Conn::server(1).transferred(5, 6).socket() }]);
    }
    let flow = world.one();
    assert_eq!((flow.observer, flow.response.bytes), (Observer::Server, 5));
}

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

/// From before the receiver ran: it is known by who listens, or who holds the socket.
#[test]
fn the_agents_own_connections_are_known_when_found() {
    let agent = Process { pid: AGENT, command: "ridley".into() };
    let mut world = World::after(Seed {
        listeners: vec![listener("ridley", AGENT)],
        processes: HashMap::from([(4_711, agent)]),
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

#[test]
fn processes_of_older_connections_come_from_the_seed() {
    let process = Process { pid: 7, command: "old".into() };
    let processes = HashMap::from([(4_711, process.clone())]);
    let mut world = World::after(Seed { listeners: Vec::new(), processes });
    world.walk_sockets(&[Socket { inode: 4_711, ..Conn::client(1).socket() }]);
    assert_eq!(world.one().local.process, Some(process));
}

/// A walk finds sockets of cgroups that no record told of; they are asked for once, by whatever answers.
#[test]
fn cgroups_of_older_connections_are_asked_for() {
    let mut world = World::new();
    let socket = |n| Socket { cgroup: 9, cgroup_node: 0xabc, ..Conn::client(n).socket() };
    world.walk_sockets(&[socket(1), socket(2)]);
    assert_eq!(world.tracker.take_unnamed_cgroups(), HashMap::from([(9, 0xabc)]));
    let mut names = CgroupNames { id: 9, ..CgroupNames::zeroed() };
    names.names[0][..3].copy_from_slice(b"web");
    world.tracker.on_cgroup(9, Some(&names));
    let paths: Vec<_> = world.take().into_iter().map(|it| it.local.cgroup).collect();
    assert_eq!(paths, [Some("/web".into()), Some("/web".into())]);
    assert!(world.tracker.take_unnamed_cgroups().is_empty());
}

/// The memory of a cgroup that is gone may hold another one.
#[test]
fn the_names_of_another_cgroup_are_no_answer() {
    let mut world = World::new();
    world.walk_sockets(&[Socket { cgroup: 9, cgroup_node: 0xabc, ..Conn::client(1).socket() }]);
    world.tracker.take_unnamed_cgroups();
    world.tracker.on_cgroup(9, Some(&CgroupNames { id: 8, ..CgroupNames::zeroed() }));
    assert_eq!(world.one().local.cgroup, None);
}

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
}

#[test]
fn finished_records_that_nobody_takes_are_bounded_and_counted() {
    let mut world = World::new();
    for _ in 0..=MAX_FINISHED {
        world.fail(Socket { error: ECONNREFUSED, segments_out: 1, ..Conn::client(1).socket() });
    }
    assert_eq!(world.take().len(), MAX_FINISHED);
    assert_eq!(world.tracker.metrics.dropped_full.value(), 1);
}

#[test]
fn bytes_that_are_no_record_are_counted() {
    let mut world = World::new();
    world.tracker.on_record(&[1, 2, 3], world.moment());
    assert_eq!(world.tracker.metrics.malformed.value(), 1);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Open { loses_record: bool },
    Transfer { idx: usize, sent: u32, received: u32 },
    Close { idx: usize, loses_record: bool },
    Walk,
    Drain,
    Take { max: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let rarely = || prop::bool::weighted(0.1);
    prop_oneof![
        3 => rarely().prop_map(|loses_record| Op::Open { loses_record }),
        6 => (0..8_usize, 0..100_000_u32, 0..100_000_u32)
            .prop_map(|(idx, sent, received)| Op::Transfer { idx, sent, received }),
        3 => (0..8_usize, rarely()).prop_map(|(idx, loses_record)| Op::Close { idx, loses_record }),
        2 => Just(Op::Walk),
        2 => Just(Op::Drain),
        2 => (1..8_usize).prop_map(|max| Op::Take { max }),
    ]
}

proptest! {
    /// Whatever happens in whatever order, each connection begins once, ends at most once, and its records add up:
    /// to every byte if its end was told, to what the last walk saw if it was not. Nothing that did not exist is
    /// reported.
    #[test]
    fn records_add_up(ops in prop::collection::vec(op(), 0..120)) {
        let mut world = World::new();
        world.walk(&[]);
        // All that ever were: the connection, whether each record was lost, whether it lives, what walks saw last,
        // and how many saw it.
        let mut all: Vec<Life> = Vec::new();
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut flows = Vec::new();
        for op in ops {
            match op {
                Op::Open { loses_record } => {
                    let conn = Conn::client(u32::try_from(all.len()).unwrap() + 1);
                    all.push(Life { conn, loses_begin: loses_record, ..Life::default() });
                    if !loses_record {
                        pending.push_back(Pending::Open(conn));
                    }
                }
                Op::Transfer { idx, sent, received } => {
                    if let Some(life) = nth_alive(&mut all, idx) {
                        life.conn.sent += u64::from(sent);
                        life.conn.received += u64::from(received);
                    }
                }
                Op::Close { idx, loses_record } => {
                    if let Some(life) = nth_alive(&mut all, idx) {
                        life.is_over = true;
                        life.loses_end = loses_record;
                        if !loses_record {
                            pending.push_back(Pending::Close(life.conn.finished()));
                        }
                    }
                }
                Op::Walk => {
                    world.begin_walk();
                    let seen: Vec<Conn> = all.iter().filter(|it| !it.is_over).map(|it| it.conn).collect();
                    world.drain(&mut pending);
                    for conn in &seen {
                        world.find(conn.socket());
                    }
                    for life in all.iter_mut().filter(|it| !it.is_over) {
                        life.seen = (life.conn.sent, life.conn.received);
                        life.n_walks += 1;
                    }
                    world.tracker.end_walk(world.moment());
                    world.now += SECOND;
                }
                Op::Drain => world.drain(&mut pending),
                Op::Take { max } => flows.extend(world.tracker.take_reports(max)),
            }
        }
        world.drain(&mut pending);
        // Two more walks find what was lost.
        for _ in 0..2 {
            world.walk(&all.iter().filter(|it| !it.is_over).map(|it| it.conn).collect::<Vec<_>>());
            for life in all.iter_mut().filter(|it| !it.is_over) {
                life.seen = (life.conn.sent, life.conn.received);
                life.n_walks += 1;
            }
        }
        flows.extend(world.take());

        let mut by_id: HashMap<ConnectionId, Vec<&Flow>> = HashMap::new();
        for flow in &flows {
            by_id.entry(flow.id.unwrap()).or_default().push(flow);
        }
        for life in &all {
            let records = by_id.remove(&life.conn.key().id).unwrap_or_default();
            // Neither record came, and no two walks saw it: nobody can know.
            if life.loses_begin && (life.loses_end || !life.is_over) && life.n_walks < 2 {
                prop_assert!(records.is_empty());
                continue;
            }
            prop_assert!(!records.is_empty(), "{:?} was not reported", life);
            for (idx, record) in records.iter().enumerate() {
                prop_assert_eq!(record.begin.is_some(), idx == 0);
                prop_assert_eq!(record.end.is_some(), life.is_over && idx == records.len() - 1);
            }
            let sent: u64 = records.iter().map(|it| it.request.bytes).sum();
            let received: u64 = records.iter().map(|it| it.response.bytes).sum();
            let is_told = !life.is_over || !life.loses_end;
            let expected = if is_told { (life.conn.sent, life.conn.received) } else { life.seen };
            prop_assert_eq!((sent, received), expected, "{:?}", life);
        }
        prop_assert!(by_id.is_empty(), "phantoms: {:?}", by_id);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    conn: Conn,
    loses_begin: bool,
    loses_end: bool,
    is_over: bool,
    seen: (u64, u64),
    n_walks: u32,
}

#[derive(Clone, Copy, Debug)]
enum Pending {
    Open(Conn),
    Close(Conn),
}

fn nth_alive(all: &mut [Life], idx: usize) -> Option<&mut Life> {
    all.iter_mut().filter(|it| !it.is_over).nth(idx)
}

/// A connection's end.
#[derive(Clone, Copy, Debug)]
struct Conn {
    role: Role,
    number: u32,
    sent: u64,
    in_flight: u32,
    received: u64,
    is_finished: bool,
}

impl Default for Conn {
    fn default() -> Self {
        Self::client(0)
    }
}

impl Conn {
    fn client(number: u32) -> Self {
        Self { role: Role::Client, number, sent: 0, in_flight: 0, received: 0, is_finished: false }
    }

    fn server(number: u32) -> Self {
        Self { role: Role::Server, ..Self::client(number) }
    }

    fn transferred(self, sent: u64, received: u64) -> Self {
        Self { sent, received, ..self }
    }

    /// Both ends have said goodbye.
    fn finished(self) -> Self {
        Self { is_finished: true, ..self }
    }

    fn key(self) -> Key {
        Key::new(&self.socket(), self.role)
    }

    fn socket(self) -> Socket {
        let Self { role, number, sent, in_flight, received, is_finished } = self;
        let is_client = role == Role::Client;
        let start = |role| match role {
            Role::Client => number.wrapping_mul(0x9e37_79b9),
            Role::Server => number.wrapping_mul(0x85eb_ca6b),
        };
        let fin = u64::from(is_finished);
        let low = |count: u64| u32::try_from(count & u64::from(u32::MAX)).unwrap();
        let snd_una = start(role).wrapping_add(1).wrapping_add(low(sent + fin));
        let v4 = |last| Ipv4Addr::new(10, 0, 0, last).to_ipv6_mapped().octets();
        let (local, remote) = if is_client { ((1, 40_000), (2, 80)) } else { ((2, 80), (1, 40_000)) };
        Socket {
            bytes_acked: sent + fin + u64::from(is_client),
            bytes_received: received + fin,
            flags: 2 * fin,
            netns: NETNS,
            snd_una,
            snd_nxt: snd_una.wrapping_add(in_flight),
            write_seq: snd_una.wrapping_add(in_flight),
            rcv_nxt: start(role.other()).wrapping_add(1).wrapping_add(low(received + fin)),
            backlog: if is_client { 0 } else { 128 },
            local_address: v4(local.0),
            local_port: local.1,
            remote_address: v4(remote.0),
            remote_port: remote.1,
            state: if is_finished { state::LAST_ACK } else { state::ESTABLISHED },
            ..Socket::zeroed()
        }
    }
}

/// A tracker, and the clock that it is told.
struct World {
    tracker: Tracker,
    now: u64,
    with_ends: bool,
}

impl World {
    fn new() -> Self {
        Self::with_room_for(1_000)
    }

    fn with_room_for(max_connections: usize) -> Self {
        Self::with(max_connections, OwnTraffic::Exclude, Seed::default())
    }

    fn after(seed: Seed) -> Self {
        Self::with(1_000, OwnTraffic::Exclude, seed)
    }

    fn with(max_connections: usize, own_traffic: OwnTraffic, seed: Seed) -> Self {
        let telemetry = Arc::new(Registry::default()).telemetry(Kind::Receiver, &"ebpf".parse().unwrap());
        let max_connections = NonZeroUsize::new(max_connections).unwrap();
        Self {
            tracker: Tracker::new(
                max_connections,
                Own::new(AGENT, own_traffic),
                seed,
                true,
                Metrics::new(&telemetry),
            ),
            now: SECOND,
            with_ends: true,
        }
    }

    /// Boot and wall clock are an hour apart.
    fn moment(&self) -> Moment {
        Moment { boot: self.now, wall: self.wall() }
    }

    fn wall(&self) -> UnixNanos {
        UnixNanos(self.now + 3_600 * SECOND)
    }

    fn open(&mut self, conn: Conn) {
        self.open_as(conn, 42);
    }

    fn open_as(&mut self, conn: Conn, pid: u32) {
        let is_client = conn.role == Role::Client;
        let state = if is_client { state::SYN_SENT } else { state::SYN_RECV };
        let mut record = self.record(RecordKind::Opened, Socket { state, ..conn.socket() });
        if is_client {
            record.pid = pid;
            record.connecting_since = self.now - 50_000;
            record.command[..4].copy_from_slice(b"curl");
        }
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    fn close(&mut self, conn: Conn) {
        self.close_socket(conn.socket());
    }

    fn close_socket(&mut self, socket: Socket) {
        let record = self.record(RecordKind::Closed, socket);
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    fn fail(&mut self, socket: Socket) {
        self.fail_as(socket, 42);
    }

    fn fail_as(&mut self, socket: Socket, pid: u32) {
        let mut record = self.record(RecordKind::Failed, socket);
        record.pid = pid;
        record.command[..4].copy_from_slice(b"curl");
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    fn record(&self, kind: RecordKind, socket: Socket) -> ConnectionRecord {
        ConnectionRecord { kind: kind as u16, time: self.now, socket, ..ConnectionRecord::zeroed() }
    }

    fn listen(&mut self, kind: RecordKind) {
        self.listen_as(kind, 1);
    }

    fn listen_as(&mut self, kind: RecordKind, pid: u32) {
        let mut record = ListenerRecord {
            kind: kind as u16,
            pid,
            inode: 5,
            netns: NETNS,
            port: 80,
            address: Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets(),
            ..ListenerRecord::zeroed()
        };
        record.command[..5].copy_from_slice(b"nginx");
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    fn drain(&mut self, pending: &mut VecDeque<Pending>) {
        for it in pending.drain(..) {
            match it {
                Pending::Open(conn) => self.open(conn),
                Pending::Close(conn) => self.close(conn),
            }
        }
    }

    fn walk(&mut self, connections: &[Conn]) {
        self.walk_sockets(&connections.iter().map(|it| it.socket()).collect::<Vec<_>>());
    }

    fn walk_incompletely(&mut self, connections: &[Conn]) {
        self.begin_walk();
        for conn in connections {
            self.find(conn.socket());
        }
        self.tracker.miss_sockets();
        self.tracker.end_walk(self.moment());
    }

    /// A second passes, and a walk finds the sockets.
    fn walk_sockets(&mut self, sockets: &[Socket]) {
        self.now += SECOND;
        self.begin_walk();
        for socket in sockets {
            self.find(*socket);
        }
        self.tracker.end_walk(self.moment());
    }

    fn begin_walk(&mut self) {
        self.with_ends = self.tracker.wants_ends();
        self.tracker.begin_walk(true, self.with_ends);
    }

    /// The walk comes to a socket, and copies as much of it as the program does.
    fn find(&mut self, socket: Socket) {
        let known = Socket {
            cgroup: 0,
            cgroup_node: 0,
            inode: 0,
            local_address: [0; 16],
            remote_address: [0; 16],
            local_port: 0,
            remote_port: 0,
            ..socket
        };
        let copied = if self.with_ends || socket.torn != 0 { socket } else { known };
        self.tracker.on_socket(&copied, self.moment());
    }

    fn take(&mut self) -> Vec<Flow> {
        self.tracker.take_reports(usize::MAX)
    }

    /// Compares what was counted as the agent's own: connections, failed attempts, bytes of request and response.
    #[track_caller]
    fn check_own(&self, expected: [u64; 4]) {
        let Metrics { own_connections, own_failed, own_request_bytes, own_response_bytes, .. } =
            &self.tracker.metrics;
        let counters = [own_connections, own_failed, own_request_bytes, own_response_bytes];
        assert_eq!(counters.map(|it| it.value()), expected);
    }

    #[track_caller]
    fn one(&mut self) -> Flow {
        let mut flows = self.take();
        assert_eq!(flows.len(), 1, "{flows:#?}");
        flows.remove(0)
    }
}

/// Who listens where servers of [`Conn`] do.
fn listener(command: &str, pid: u32) -> Listener {
    let process = Process { pid, command: command.into() };
    Listener { netns: NETNS, address: Ipv4Addr::UNSPECIFIED.into(), port: 80, inode: 5, process }
}
