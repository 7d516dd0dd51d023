//! What records of the ring buffer tell: what begins and ends.

use std::{sync::Arc, time::Duration};

use abi::{ConnectionRecord, ListenerRecord, Record, Role, Socket, state};
use model::{CloseReason, End, Flow, Interval, Local, Process, Traffic, Transport, UnixNanos};

use super::Tracker;
use crate::{
    clock::Moment,
    connection::{Connection, Ends, Key, address, observer, server_handshake},
    listeners::Listener,
    verdict::{close_reason, failure_reason, loses_what_is_in_flight, reset_by},
};

impl Tracker {
    /// Takes a record of the ring buffer.
    pub(crate) fn on_record(&mut self, bytes: &[u8], moment: Moment) {
        match Record::parse(bytes) {
            Some(Record::Opened(record)) => self.on_opened(record, moment),
            Some(Record::Closed(record)) => self.on_closed(record, moment),
            Some(Record::Failed(record)) => self.on_failed(record, moment),
            Some(Record::Listening(record)) => self.on_listening(record),
            Some(Record::Unlistened(record)) => {
                self.listeners.remove(record.netns, record.port, record.inode);
            }
            Some(Record::Cgroup(names)) => self.cgroups.insert(names),
            Some(Record::ResetSent(record)) => self.on_reset_sent(&record.socket),
            None => self.metrics.malformed.add(1),
        }
    }

    fn on_opened(&mut self, record: &ConnectionRecord, moment: Moment) {
        let ConnectionRecord { time, connecting_since, socket, .. } = record;
        let role = if socket.state == state::SYN_SENT || *connecting_since != 0 {
            Role::Client
        } else {
            Role::Server
        };
        let key = Key::new(socket, role);
        // A connection is announced once; who announces it again is not believed.
        if self.is_known(&key) {
            return;
        }
        let process = match role {
            Role::Client => process_of(record.pid, &record.command),
            Role::Server => self.listener_process(socket),
        };
        let connect =
            (*connecting_since != 0).then(|| Duration::from_nanos(time.saturating_sub(*connecting_since)));
        let handshake = if role == Role::Server { server_handshake(socket) } else { None };
        let started = moment.wall_at(*time);
        let connection = Connection::opened(socket, key, Some(started), started)
            .with_opened(*time)
            .with_process(process)
            .with_connect(connect)
            .with_server_handshake(handshake);
        self.walk.suspects.remove(&key);
        self.forget_old(socket);
        self.follow(connection);
    }

    fn on_closed(&mut self, record: &ConnectionRecord, moment: Moment) {
        let socket = &record.socket;
        let at = moment.wall_at(record.time);
        let loses_in_flight = loses_what_is_in_flight(socket);
        if let Some(idx) = self.find(socket) {
            let connection = self.connections.at(idx);
            let key = connection.key();
            let at = connection.end_at(record.time, moment);
            let known_reason = close_reason(socket, key.role);
            if connection.has_ended() && !connection.has_vanished() {
                // Told again.
                return;
            }
            let reason = known_reason.unwrap_or(CloseReason::Aborted);
            connection.close(socket, reason, loses_in_flight, at);
            if known_reason.is_none() && self.sees_resets {
                // Unless a record to come says otherwise.
                connection.set_close_reason(reset_by(key.role.other()));
                self.reports.hold(idx, connection);
            }
            self.reports.enqueue(idx, connection);
            self.ended.close(key);
            self.forget_old(socket);
            return;
        }
        let keys = self.keys(socket);
        if keys.iter().any(|key| self.ended.has_closed(key)) {
            return;
        }
        // Its begin was not observed, or there was no room to follow it: it is reported as a whole, here and now.
        let (key, mut connection) = self.begun_unfollowed(socket, keys, at);
        let reason = close_reason(socket, key.role).unwrap_or(CloseReason::Aborted);
        self.ended.close(key);
        connection.close(socket, reason, loses_in_flight, at);
        if self.own.is_agent(connection.process()) {
            self.own.add_end(key.id, observer(key.role));
        }
        let flow = connection.report(self.tick, |id| self.cgroups.path(id));
        self.finish(flow);
    }

    /// Returns a connection that is not followed as it was when it began, or when it was reported last.
    fn begun_unfollowed(&mut self, socket: &Socket, keys: [Key; 2], at: UnixNanos) -> (Key, Connection) {
        if let Some(connection) = keys.iter().find_map(|key| self.ended.take_vanished(key)) {
            self.metrics.resumed.add(1);
            return (connection.key(), connection);
        }
        let beyond = keys.iter().find_map(|key| Some((*key, self.beyond.take(key)?)));
        let (key, (is_old, cgroup)) = beyond.unwrap_or_else(|| match self.take_old(socket) {
            Some(cgroup) => (keys[0], (true, cgroup)),
            None => (keys[0], (false, 0)),
        });
        // The record of an end does not tell it.
        let socket = &Socket { cgroup, ..*socket };
        self.walk.suspects.remove(&key);
        // One that there was not even room to remember was announced, for all that is known.
        if beyond.is_none() && !is_old && !self.beyond.has_overflowed() {
            self.metrics.repaired_begins.add(1);
        }
        let connection = if is_old {
            Connection::found(socket, key, at)
        } else {
            Connection::opened(socket, key, None, at)
        };
        (key, connection.with_process(self.process_of_socket(socket, key.role)))
    }

    /// Takes a reset that an end sent after it had closed. One that was not followed was reported already.
    fn on_reset_sent(&mut self, socket: &Socket) {
        for role in [Role::Client, Role::Server] {
            if let Some(idx) = self.connections.find(&Key::new(socket, role)) {
                self.connections.at(idx).set_close_reason(reset_by(role));
            }
        }
    }

    fn on_failed(&mut self, record: &ConnectionRecord, moment: Moment) {
        let socket = &record.socket;
        // Nothing was sent: this host has no port or no way, and the application was told so at once.
        if socket.segments_out == 0 || !self.ended.fail(record) {
            return;
        }
        let role = Role::Client;
        let (client, server) = Ends::new(socket).client_and_server(role);
        let end = moment.wall_at(record.time);
        let since = if record.connecting_since == 0 { record.time } else { record.connecting_since };
        let flow = Flow {
            id: None,
            observer: observer(role),
            transport: Transport::Tcp,
            client,
            server,
            started: None,
            interval: Interval { start: moment.wall_at(since), end },
            other_is_observed: false,
            is_joined: false,
            begin: None,
            end: Some(End::Failed(failure_reason(socket))),
            before: None,
            request: Traffic::default(),
            response: Traffic::default(),
            rtt: None,
            connect: None,
            server_handshake: None,
            local: Local {
                cgroup: self.cgroups.path(socket.cgroup),
                netns: socket.netns,
                process: process_of(record.pid, &record.command),
            },
        };
        self.finish(flow);
    }

    fn on_listening(&mut self, record: &ListenerRecord) {
        let Some(process) = process_of(record.pid, &record.command) else { return };
        if self.own.is_agent(Some(&process)) {
            self.own.add_port(record.port);
        }
        self.listeners.insert(Listener {
            netns: record.netns,
            address: address(record.address),
            port: record.port,
            inode: record.inode,
            process,
        });
    }
}

fn process_of(pid: u32, command: &[u8; 16]) -> Option<Process> {
    let len = command.iter().position(|&byte| byte == 0).unwrap_or(command.len());
    let command: Arc<str> = String::from_utf8_lossy(&command[..len]).into();
    (pid != 0 && !command.is_empty()).then_some(Process { pid, command })
}
