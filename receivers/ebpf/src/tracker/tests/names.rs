//! What is known of the local end.

use std::collections::HashMap;

use abi::{CgroupNames, RecordKind, Role, Socket};
use bytemuck::Zeroable;
use model::{Flow, Observer, Process};

use super::world::{Conn, ECONNREFUSED, World, listening};
use crate::{config::OwnTraffic, scope::Scope, seed::Seed};

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

/// Also by the report of its end, when nobody listens there any more: what it dropped must not become another's.
#[test]
fn a_listening_socket_is_named_to_its_end() {
    let mut world = World::new();
    world.listen(RecordKind::Listening);
    for (sockets, limit) in [(vec![listening()], 128), (vec![], 0)] {
        world.tracker.on_listening_sockets(&sockets, true, world.moment());
        let reports = world.tracker.take_listener_reports(usize::MAX);
        let [report] = &reports[..] else { panic!("{reports:?}") };
        let command = report.local.process.as_ref().map(|it| &*it.command);
        assert_eq!((report.queue_limit, command), (limit, Some("nginx")));
        world.listen(RecordKind::Unlistened);
    }
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

#[test]
fn processes_of_older_connections_come_from_the_seed() {
    let process = Process { pid: 7, command: "old".into() };
    let processes = HashMap::from([(4_711, process.clone())]);
    let mut world = World::after(Seed { processes, ..Seed::default() });
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
    let names = cgroup_names(9, &["web"]);
    world.tracker.on_cgroup(9, Some(&names));
    let paths: Vec<_> = world.take().into_iter().map(|it| it.local.cgroup).collect();
    assert_eq!(paths, [Some("/web".into()), Some("/web".into())]);
    assert!(world.tracker.take_unnamed_cgroups().is_empty());
}

/// The record of an end does not tell the cgroup: that of a begin did, or a walk.
#[test]
fn connections_that_end_before_they_are_followed_have_a_cgroup() {
    let socket = |n| Socket { cgroup: 9, cgroup_node: 0xabc, ..Conn::client(n).socket() };
    let names = cgroup_names(9, &["cron"]);

    let mut world = World::new();
    world.walk_once(&[socket(1)]);
    assert_eq!(world.tracker.take_unnamed_cgroups(), HashMap::from([(9, 0xabc)]));
    world.tracker.on_cgroup(9, Some(&names));
    world.close(Conn::client(1).finished());
    assert_eq!(world.one().local.cgroup.as_deref(), Some("/cron"), "older than the receiver");

    let mut world = World::with_room_for(1);
    world.walk(&[]);
    world.tracker.on_cgroup(9, Some(&names));
    world.open_socket(socket(1), Role::Client);
    world.open_socket(socket(2), Role::Client);
    world.take();
    world.close(Conn::client(2).finished());
    assert_eq!(world.one().local.cgroup.as_deref(), Some("/cron"), "beyond the limit");
}

/// Another agent reports what is of another node, and whose cgroup is not known is nobody's. Each counts once.
#[test]
fn connections_of_other_nodes_are_left_out() {
    let mut world = World::within(Scope::Node("/kn1".into()), 1_000, OwnTraffic::Exclude, Seed::default());
    for (id, path) in [(1, ["sys", "kn1"]), (2, ["sys", "kn2"])] {
        world.tracker.on_cgroup(id, Some(&cgroup_names(id, &path)));
    }
    let conns = [(0, 1), (1, 2), (2, 0)].map(|(n, cgroup)| (Conn::client(n), cgroup));
    for (conn, cgroup) in conns {
        world.open_socket(Socket { cgroup, ..conn.socket() }, Role::Client);
        world.fail(Socket { cgroup, error: ECONNREFUSED, segments_out: 1, ..conn.socket() });
    }
    let told =
        |flows: &[Flow]| flows.iter().filter(|it| it.local.cgroup.as_deref() == Some("/kn1/sys")).count();
    let flows = world.take();
    assert_eq!((flows.len(), told(&flows)), (2, 2), "{flows:#?}");
    for (conn, _) in conns {
        world.close(conn);
    }
    assert_eq!(world.take().len(), 1);
    assert_eq!(world.tracker.metrics.other_nodes.value(), 4);
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

/// What the kernel tells of a cgroup, the innermost name first.
fn cgroup_names(id: u64, leaf_first: &[&str]) -> CgroupNames {
    let mut names = CgroupNames { id, ..CgroupNames::zeroed() };
    for (slot, name) in names.names.iter_mut().zip(leaf_first) {
        slot[..name.len()].copy_from_slice(name.as_bytes());
    }
    names
}
