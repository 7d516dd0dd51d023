use std::{net::IpAddr, sync::Arc, time::Duration};

use abi::{Role, Sent, Socket};
use model::{
    Before, Begin, CloseReason, ConnectionId, End, Endpoint, Flow, Interval, Local, Observer, Process, Rtt,
    Traffic, Transport, UnixNanos,
};

use crate::clock::Moment;

/// Names a connection's end among all that this machine holds.
///
/// Never the socket's address: the kernel uses a socket's memory again for another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) netns: u32,
    pub(crate) role: Role,
    pub(crate) id: ConnectionId,
}

impl Key {
    /// Returns the key of a socket, if it has the role.
    pub(crate) fn new(socket: &Socket, role: Role) -> Self {
        let numbers = socket.sequence_numbers(role);
        let id = ConnectionId::from_sequence_numbers(numbers.client, numbers.server);
        Self { netns: socket.netns, role, id }
    }
}

/// Both ends of a connection as a socket has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
}

impl Ends {
    pub(crate) fn new(socket: &Socket) -> Self {
        Self {
            local: (address(socket.local_address), socket.local_port),
            remote: (address(socket.remote_address), socket.remote_port),
        }
    }

    pub(crate) fn client_and_server(self, role: Role) -> (Endpoint, Endpoint) {
        let [local, remote] = [self.local, self.remote].map(|(address, port)| Endpoint::new(address, port));
        match role {
            Role::Client => (local, remote),
            Role::Server => (remote, local),
        }
    }
}

/// Turns an address as the programs write it into what it stands for.
pub(crate) fn address(bytes: [u8; 16]) -> IpAddr {
    IpAddr::from(bytes).to_canonical()
}

/// Turns the end that the programs speak of into the model's word for it.
pub(crate) const fn observer(role: Role) -> Observer {
    match role {
        Role::Client => Observer::Client,
        Role::Server => Observer::Server,
    }
}

/// What a connection's end has transferred since it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) segments_sent: u64,
    pub(crate) segments_received: u64,
    pub(crate) segments_retransmitted: u64,
    pub(crate) bytes_retransmitted: u64,
    pub(crate) segments_out_of_order: u64,
    // In ticks of the kernel's clock.
    pub(crate) window_limited: u64,
}

/// A connection's end that is followed.
#[derive(Debug)]
pub(crate) struct Connection {
    key: Key,
    ends: Ends,
    cgroup_id: u64,
    cgroup: Option<Arc<str>>,
    process: Option<Process>,
    started: Option<UnixNanos>,
    // The same on the programs' clock, which no one sets; if a record told it.
    opened: Option<u64>,
    connect: Option<Duration>,
    server_handshake: Option<Duration>,
    begin: Option<Begin>,
    end: Option<CloseReason>,
    // Whether it was reported as ended before.
    is_resumed: bool,
    rtt: Option<Rtt>,
    // As of `observed_at`, and as of `reported_at`.
    seen: Totals,
    reported: Totals,
    observed_at: UnixNanos,
    reported_at: UnixNanos,
    /// The last walk that proved that it lives.
    pub(crate) last_walk: u64,
    /// Whether it waits to be reported.
    pub(crate) is_queued: bool,
    /// Whether it is not to be reported yet, for something about it may come with the next records.
    pub(crate) is_held: bool,
    /// Whether one of its ends is the agent's, which is settled with its first report.
    pub(crate) is_own: bool,
}

impl Connection {
    /// Begins to follow a connection that opened at `started`; if that is not known it opened after the last walk.
    pub(crate) fn opened(socket: &Socket, key: Key, started: Option<UnixNanos>, now: UnixNanos) -> Self {
        Self::new(socket, key, Begin::Opened, started, now)
    }

    /// Returns the id of its cgroup, 0 if unknown.
    pub(crate) const fn cgroup_id(&self) -> u64 {
        self.cgroup_id
    }

    /// Begins to follow a connection that is older than the observer: what it has transferred so far is not counted.
    pub(crate) fn found(socket: &Socket, key: Key, now: UnixNanos) -> Self {
        let mut connection = Self::new(socket, key, Begin::Found, None, now);
        connection.advance(socket, socket.sent(key.role).acknowledged);
        connection.reported = connection.seen;
        connection
    }

    fn new(socket: &Socket, key: Key, begin: Begin, started: Option<UnixNanos>, now: UnixNanos) -> Self {
        let since = started.unwrap_or(now);
        Self {
            key,
            ends: Ends::new(socket),
            cgroup_id: socket.cgroup,
            cgroup: None,
            process: None,
            started,
            opened: None,
            connect: None,
            server_handshake: None,
            begin: Some(begin),
            end: None,
            is_resumed: false,
            rtt: None,
            seen: Totals::default(),
            reported: Totals::default(),
            observed_at: since,
            reported_at: since,
            last_walk: 0,
            is_queued: false,
            is_held: false,
            is_own: false,
        }
    }

    pub(crate) fn with_process(mut self, process: Option<Process>) -> Self {
        self.process = process;
        self
    }

    /// Tells when it opened, on the programs' clock.
    pub(crate) fn with_opened(mut self, boot: u64) -> Self {
        self.opened = Some(boot);
        self
    }

    pub(crate) fn with_connect(mut self, connect: Option<Duration>) -> Self {
        self.connect = connect;
        self
    }

    pub(crate) fn with_server_handshake(mut self, server_handshake: Option<Duration>) -> Self {
        self.server_handshake = server_handshake;
        self
    }

    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    pub(crate) const fn ends(&self) -> Ends {
        self.ends
    }

    /// Returns whether nothing was reported yet.
    pub(crate) const fn is_new(&self) -> bool {
        self.begin.is_some()
    }

    /// Returns whose the local end is, if that is known.
    pub(crate) const fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// Takes a sample of the living socket. Returns whether there is something to report.
    pub(crate) fn sample(&mut self, socket: &Socket, now: UnixNanos) -> bool {
        // What is under way may yet be lost; it is counted when it has arrived, so that no total goes down.
        self.advance(socket, socket.sent(self.key.role).acknowledged);
        self.rtt = rtt(socket).or(self.rtt);
        self.observed_at = now;
        self.begin.is_some() || self.rtt.is_some() || self.seen != self.reported
    }

    /// Takes the final totals of the socket.
    pub(crate) fn close(
        &mut self,
        socket: &Socket,
        reason: CloseReason,
        loses_in_flight: bool,
        at: UnixNanos,
    ) {
        let Sent { bytes, acknowledged } = socket.sent(self.key.role);
        self.advance(socket, if loses_in_flight { acknowledged } else { bytes });
        self.rtt = rtt(socket).or(self.rtt);
        self.end = Some(reason);
        self.observed_at = at;
    }

    /// Returns when it ended, so that how long it lived is right whatever happened to the wall clock meanwhile.
    pub(crate) fn end_at(&self, boot: u64, moment: Moment) -> UnixNanos {
        match (self.started, self.opened) {
            (Some(started), Some(opened)) => UnixNanos(started.0.wrapping_add(boot.saturating_sub(opened))),
            _ => moment.wall_at(boot),
        }
    }

    /// Tells better than [`close`](Self::close) could why the connection ended.
    pub(crate) fn set_close_reason(&mut self, reason: CloseReason) {
        if self.has_ended() {
            self.end = Some(reason);
        }
    }

    /// Ends a connection whose end was not observed; its last sample stands.
    pub(crate) fn vanish(&mut self, now: UnixNanos) {
        self.end = Some(CloseReason::Unknown);
        self.observed_at = now;
    }

    /// Returns whether it ended without that its end was observed.
    pub(crate) fn has_vanished(&self) -> bool {
        self.end == Some(CloseReason::Unknown)
    }

    /// Takes back that it vanished, as long as that was not reported.
    pub(crate) fn reappear(&mut self) {
        if self.has_vanished() {
            self.end = None;
        }
    }

    /// Goes on after it was reported that it vanished: it has been counted as opened and as closed, and what it transferred,
    /// too.
    pub(crate) fn resume(&mut self) {
        self.reappear();
        self.is_resumed = true;
        self.begin = Some(Begin::Found);
        self.started = None;
        self.opened = None;
    }

    /// Returns whether it is older than the observer.
    pub(crate) fn is_found(&self) -> bool {
        self.begin == Some(Begin::Found)
    }

    /// Makes the record of what has not been reported yet. `tick` is how long a tick of the kernel's clock takes, `path`
    /// tells the path of a cgroup.
    pub(crate) fn report(&mut self, tick: Duration, path: impl FnOnce(u64) -> Option<Arc<str>>) -> Flow {
        if self.cgroup.is_none() && self.cgroup_id != 0 {
            self.cgroup = path(self.cgroup_id);
        }
        let Self { key, ends, cgroup_id: _, cgroup, process, started, seen, reported, .. } = self;
        let (sent, received) = deltas(*seen, *reported, tick);
        let (request, response) = match key.role {
            Role::Client => (sent, received),
            Role::Server => (received, sent),
        };
        let before = match key.role {
            Role::Client => Before { request: reported.sent, response: reported.received },
            Role::Server => Before { request: reported.received, response: reported.sent },
        };
        let is_found_now = self.begin == Some(Begin::Found) && !self.is_resumed;
        let end = self.end.map(|reason| if self.is_resumed { End::Again } else { End::Closed(reason) });
        let (client, server) = ends.client_and_server(key.role);
        let local = Local { cgroup: cgroup.clone(), netns: key.netns, process: process.clone() };
        let flow = Flow {
            id: Some(key.id),
            observer: observer(key.role),
            transport: Transport::Tcp,
            client,
            server,
            started: *started,
            interval: Interval { start: self.reported_at.min(self.observed_at), end: self.observed_at },
            other_is_observed: false,
            is_joined: false,
            begin: self.begin.take(),
            end,
            before: is_found_now.then_some(before),
            request,
            response,
            rtt: self.rtt.take(),
            connect: self.connect.take(),
            server_handshake: self.server_handshake.take(),
            local,
        };
        self.reported = self.seen;
        self.reported_at = self.observed_at;
        flow
    }

    /// Brings the totals forward; none goes down, whatever was read.
    fn advance(&mut self, socket: &Socket, sent: u64) {
        let Totals {
            sent: seen_sent,
            received,
            segments_sent,
            segments_received,
            segments_retransmitted,
            bytes_retransmitted,
            segments_out_of_order,
            window_limited,
        } = &mut self.seen;
        *seen_sent = sent.max(*seen_sent);
        *received = socket.received().max(*received);
        *bytes_retransmitted = socket.bytes_retransmitted.max(*bytes_retransmitted);
        advance_wrapping(segments_sent, socket.segments_out);
        advance_wrapping(segments_received, socket.segments_in);
        advance_wrapping(segments_retransmitted, socket.segments_retransmitted);
        advance_wrapping(segments_out_of_order, socket.segments_out_of_order);
        advance_wrapping(window_limited, socket.window_limited);
    }
}

/// Brings a total up to what its lowest 32 bits are now, unless that is a step back.
fn advance_wrapping(total: &mut u64, low: u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is what the kernel keeps")]
    let step = low.wrapping_sub(*total as u32);
    if step < 1 << 31 {
        *total += u64::from(step);
    }
}

/// Returns what was sent and what was received between two totals.
fn deltas(new: Totals, old: Totals, tick: Duration) -> (Traffic, Traffic) {
    let ticks = new.window_limited - old.window_limited;
    let sent = Traffic {
        bytes: new.sent - old.sent,
        segments: new.segments_sent - old.segments_sent,
        retransmitted_segments: new.segments_retransmitted - old.segments_retransmitted,
        retransmitted_bytes: new.bytes_retransmitted - old.bytes_retransmitted,
        out_of_order_segments: 0,
        receive_window_limited: tick.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)),
    };
    let received = Traffic {
        bytes: new.received - old.received,
        segments: new.segments_received - old.segments_received,
        out_of_order_segments: new.segments_out_of_order - old.segments_out_of_order,
        ..Traffic::default()
    };
    (sent, received)
}

/// Returns the round-trip time, if the socket has measured one.
fn rtt(socket: &Socket) -> Option<Rtt> {
    if socket.srtt == 0 {
        return None;
    }
    let smoothed = Duration::from_nanos(u64::from(socket.srtt) * 1_000 / 8);
    let min = Duration::from_micros(u64::from(socket.rtt_min));
    Some(Rtt { smoothed, min: if socket.rtt_min == u32::MAX { smoothed } else { min } })
}

/// Returns how long the client took to answer the server's part of the handshake: of a socket that was accepted just now
/// that is the one round trip it has measured. If its SYN was answered by a cookie, that comes from the timestamps, in whole
/// milliseconds; without them there is none.
pub(crate) fn server_handshake(socket: &Socket) -> Option<Duration> {
    rtt(socket).map(|it| it.smoothed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel counts segments in 32 bits.
    #[test]
    fn a_wrapped_counter_goes_on() {
        let mut total = u64::from(u32::MAX) - 1;
        advance_wrapping(&mut total, 3);
        assert_eq!(total, (1 << 32) + 3);
        advance_wrapping(&mut total, 2);
        assert_eq!(total, (1 << 32) + 3, "a step back is not a step");
    }

    #[test]
    fn round_trip_times_are_in_the_units_of_the_kernel() {
        let socket = Socket { srtt: 8 * 1_500, rtt_min: 1_200, ..bytemuck::Zeroable::zeroed() };
        let expected = Rtt { smoothed: Duration::from_micros(1_500), min: Duration::from_micros(1_200) };
        assert_eq!(rtt(&socket), Some(expected));
        let unknown_min = Socket { rtt_min: u32::MAX, ..socket };
        assert_eq!(rtt(&unknown_min).map(|it| it.min), Some(Duration::from_micros(1_500)));
        assert_eq!(rtt(&Socket { srtt: 0, ..socket }), None);
    }
}
