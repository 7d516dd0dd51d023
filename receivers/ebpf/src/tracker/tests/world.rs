//! A tracker in a world of few sockets.

use std::{collections::VecDeque, net::Ipv4Addr, num::NonZeroUsize, sync::Arc, time::Duration};

use abi::{ConnectionRecord, ListenerRecord, ListeningSocket, RecordKind, Role, Socket, state};
use bytemuck::Zeroable;
use component::{Kind, Registry};
use model::{Flow, Process, UnixNanos};

use crate::{
    clock::Moment,
    config::OwnTraffic,
    connection::Key,
    listeners::Listener,
    metrics::Metrics,
    own::Own,
    scope::Scope,
    seed::Seed,
    tracker::{Surroundings, Tracker},
};

/// Of the kernel's clock.
const TICK: Duration = Duration::from_millis(4);
const NETNS: u32 = 4_026_531_840;
pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const AGENT: u32 = 77;
pub(super) const ECONNREFUSED: u32 = 111;
pub(super) const ECONNRESET: u32 = 104;

/// A connection's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conn {
    pub(super) role: Role,
    pub(super) number: u32,
    pub(super) sent: u64,
    pub(super) in_flight: u32,
    pub(super) received: u64,
    pub(super) is_finished: bool,
}

impl Default for Conn {
    fn default() -> Self {
        Self::client(0)
    }
}

impl Conn {
    pub(super) fn client(number: u32) -> Self {
        Self { role: Role::Client, number, sent: 0, in_flight: 0, received: 0, is_finished: false }
    }

    pub(super) fn server(number: u32) -> Self {
        Self { role: Role::Server, ..Self::client(number) }
    }

    pub(super) fn transferred(self, sent: u64, received: u64) -> Self {
        Self { sent, received, ..self }
    }

    /// Both ends have said goodbye.
    pub(super) fn finished(self) -> Self {
        Self { is_finished: true, ..self }
    }

    pub(super) fn key(self) -> Key {
        Key::new(&self.socket(), self.role)
    }

    pub(super) fn socket(self) -> Socket {
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

#[derive(Clone, Copy, Debug)]
pub(super) enum Pending {
    Open(Conn),
    Close(Conn),
    Fail { is_repeated: bool },
}

/// A tracker, and the clock that it is told.
pub(super) struct World {
    pub(super) tracker: Tracker,
    pub(super) now: u64,
    pub(super) wall_ahead: u64,
    pub(super) with_ends: bool,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_room_for(1_000)
    }

    pub(super) fn with_room_for(max_connections: usize) -> Self {
        Self::with(max_connections, OwnTraffic::Exclude, Seed::default())
    }

    pub(super) fn after(seed: Seed) -> Self {
        Self::with(1_000, OwnTraffic::Exclude, seed)
    }

    pub(super) fn with(max_connections: usize, own_traffic: OwnTraffic, seed: Seed) -> Self {
        Self::within(Scope::Machine, max_connections, own_traffic, seed)
    }

    pub(super) fn within(scope: Scope, max_connections: usize, own_traffic: OwnTraffic, seed: Seed) -> Self {
        let telemetry = Arc::new(Registry::default()).telemetry(Kind::Receiver, &"ebpf".parse().unwrap());
        let max_connections = NonZeroUsize::new(max_connections).unwrap();
        Self {
            tracker: Tracker::new(
                max_connections,
                Own::new(AGENT, own_traffic),
                seed,
                Surroundings { scope, sees_resets: true, tick: Some(TICK) },
                Metrics::new(&telemetry),
            ),
            now: SECOND,
            wall_ahead: 3_600 * SECOND,
            with_ends: true,
        }
    }

    /// Boot and wall clock are an hour apart, unless the latter is set.
    pub(super) fn moment(&self) -> Moment {
        Moment { boot: self.now, wall: self.wall() }
    }

    pub(super) fn wall(&self) -> UnixNanos {
        UnixNanos(self.now + self.wall_ahead)
    }

    pub(super) fn open(&mut self, conn: Conn) {
        self.open_as(conn, 42);
    }

    pub(super) fn open_as(&mut self, conn: Conn, pid: u32) {
        self.open_socket_as(conn.socket(), conn.role, pid);
    }

    pub(super) fn open_socket(&mut self, socket: Socket, role: Role) {
        self.open_socket_as(socket, role, 42);
    }

    fn open_socket_as(&mut self, socket: Socket, role: Role, pid: u32) {
        let is_client = role == Role::Client;
        let state = if is_client { state::SYN_SENT } else { state::SYN_RECV };
        let mut record = self.record(RecordKind::Opened, Socket { state, ..socket });
        if is_client {
            record.pid = pid;
            record.connecting_since = self.now - 50_000;
            record.command[..4].copy_from_slice(b"curl");
        }
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    pub(super) fn close(&mut self, conn: Conn) {
        self.close_socket(conn.socket());
    }

    pub(super) fn close_socket(&mut self, socket: Socket) {
        let record = self.record(RecordKind::Closed, socket);
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    /// An attempt is refused, and perhaps told of by both programs.
    fn be_refused(&mut self, is_repeated: bool) {
        let socket = Socket { error: ECONNREFUSED, segments_out: 1, ..Conn::client(0).socket() };
        self.fail(socket);
        if is_repeated {
            let record = ConnectionRecord { is_taken_over: 1, ..self.record(RecordKind::Failed, socket) };
            self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
        }
    }

    pub(super) fn fail(&mut self, socket: Socket) {
        self.fail_as(socket, 42);
    }

    pub(super) fn fail_as(&mut self, socket: Socket, pid: u32) {
        let mut record = self.record(RecordKind::Failed, socket);
        record.pid = pid;
        record.command[..4].copy_from_slice(b"curl");
        self.tracker.on_record(bytemuck::bytes_of(&record), self.moment());
    }

    pub(super) fn record(&self, kind: RecordKind, socket: Socket) -> ConnectionRecord {
        ConnectionRecord { kind: kind as u16, time: self.now, socket, ..ConnectionRecord::zeroed() }
    }

    pub(super) fn listen(&mut self, kind: RecordKind) {
        self.listen_as(kind, 1);
    }

    pub(super) fn listen_as(&mut self, kind: RecordKind, pid: u32) {
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

    pub(super) fn drain(&mut self, pending: &mut VecDeque<Pending>) {
        for it in pending.drain(..) {
            match it {
                Pending::Open(conn) => self.open(conn),
                Pending::Close(conn) => self.close(conn),
                Pending::Fail { is_repeated } => self.be_refused(is_repeated),
            }
        }
        self.tracker.end_drain();
    }

    pub(super) fn walk(&mut self, connections: &[Conn]) {
        self.walk_sockets(&connections.iter().map(|it| it.socket()).collect::<Vec<_>>());
    }

    pub(super) fn walk_incompletely(&mut self, connections: &[Conn]) {
        self.begin_walk();
        for conn in connections {
            self.find(conn.socket());
        }
        self.tracker.miss_sockets();
        self.tracker.end_walk(self.moment());
    }

    /// A second passes, and a walk finds the sockets; another one does if it is wanted.
    pub(super) fn walk_sockets(&mut self, sockets: &[Socket]) {
        self.now += SECOND;
        self.walk_once(sockets);
        if self.tracker.wants_walk() {
            self.walk_once(sockets);
        }
    }

    pub(super) fn walk_once(&mut self, sockets: &[Socket]) {
        self.begin_walk();
        for socket in sockets {
            self.find(*socket);
        }
        self.tracker.end_walk(self.moment());
    }

    pub(super) fn begin_walk(&mut self) {
        self.with_ends = self.tracker.wants_ends();
        self.tracker.begin_walk(true, self.with_ends);
    }

    /// The walk comes to a socket, and copies as much of it as the program does.
    pub(super) fn find(&mut self, socket: Socket) {
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

    pub(super) fn take(&mut self) -> Vec<Flow> {
        self.tracker.take_reports(usize::MAX)
    }

    /// Compares what was counted as the agent's own: connections, failed attempts, bytes of request and response.
    #[track_caller]
    pub(super) fn check_own(&self, expected: [u64; 4]) {
        let Metrics { own_connections, own_failed, own_request_bytes, own_response_bytes, .. } =
            &self.tracker.metrics;
        let counters = [own_connections, own_failed, own_request_bytes, own_response_bytes];
        assert_eq!(counters.map(|it| it.value()), expected);
    }

    #[track_caller]
    pub(super) fn one(&mut self) -> Flow {
        let mut flows = self.take();
        assert_eq!(flows.len(), 1, "{flows:#?}");
        flows.remove(0)
    }
}

/// Who listens where servers of [`Conn`] do.
pub(super) fn listener(command: &str, pid: u32) -> Listener {
    let process = Process { pid, command: command.into() };
    Listener { netns: NETNS, address: Ipv4Addr::UNSPECIFIED.into(), port: 80, inode: 5, process }
}

/// The socket of [`World::listen`], as a walk finds it.
pub(super) fn listening() -> ListeningSocket {
    ListeningSocket {
        inode: 5,
        netns: NETNS,
        port: 80,
        queue_limit: 128,
        address: Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets(),
        ..ListeningSocket::zeroed()
    }
}
