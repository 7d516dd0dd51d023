use std::{net::SocketAddr, sync::Arc, time::Duration};

use model::{
    Batch, Before, Begin, CloseReason, ConnectionId, End, Endpoint, Entity, FailureReason, Flow, Flows,
    Interval, Local, Observer, Process, Rtt, Traffic, Transport, UnixNanos,
};

/// Starts a flow record: connection 1 from 10.0.0.1:40000 to 10.0.0.2:80, seen by the client, in the middle of its
/// life, without traffic.
pub fn flow() -> FlowBuilder {
    FlowBuilder(Flow {
        id: Some(ConnectionId::from_sequence_numbers(1, 1)),
        observer: Observer::Client,
        transport: Transport::Tcp,
        client: endpoint("10.0.0.1:40000"),
        server: endpoint("10.0.0.2:80"),
        started: None,
        interval: Interval::default(),
        other_is_observed: false,
        is_joined: false,
        begin: None,
        end: None,
        before: None,
        request: Traffic::default(),
        response: Traffic::default(),
        rtt: None,
        connect: None,
        server_handshake: None,
        local: Local::default(),
    })
}

/// Makes a batch of flow records.
pub fn flows<T: Into<Flow>>(records: impl IntoIterator<Item = T>) -> Batch {
    Batch::Flows(Flows { records: records.into_iter().map(Into::into).collect() })
}

/// Builds a flow record; see [`flow`].
#[derive(Clone, Debug)]
pub struct FlowBuilder(Flow);

impl FlowBuilder {
    /// Another node's observer holds the other end.
    #[must_use]
    pub fn other_is_observed(mut self) -> Self {
        self.0.other_is_observed = true;
        self
    }

    /// Both ends reported it, and this is the one record of the two.
    #[must_use]
    pub fn joined(mut self) -> Self {
        self.0.is_joined = true;
        self
    }

    /// Sets the connection: records with the same number belong together.
    #[must_use]
    pub fn id(mut self, n: u32) -> Self {
        self.0.id = Some(ConnectionId::from_sequence_numbers(n, n));
        self
    }

    /// Removes the connection id.
    #[must_use]
    pub fn no_id(mut self) -> Self {
        self.0.id = None;
        self
    }

    /// Sets which end reports.
    #[must_use]
    pub fn observer(mut self, observer: Observer) -> Self {
        self.0.observer = observer;
        self
    }

    /// Sets the client's address and port, such as `10.0.0.1:40000` or `[fd00::1]:40000`.
    #[must_use]
    #[track_caller]
    pub fn client(mut self, address: &str) -> Self {
        let entity = self.0.client.entity.take();
        self.0.client = Endpoint { entity, ..endpoint(address) };
        self
    }

    /// Sets the server's address and port, such as `10.0.0.2:80` or `[fd00::2]:80`.
    #[must_use]
    #[track_caller]
    pub fn server(mut self, address: &str) -> Self {
        let entity = self.0.server.entity.take();
        self.0.server = Endpoint { entity, ..endpoint(address) };
        self
    }

    /// Gives the client a name.
    #[must_use]
    pub fn client_entity(mut self, entity: impl Into<Arc<Entity>>) -> Self {
        self.0.client.entity = Some(entity.into());
        self
    }

    /// Gives the server a name.
    #[must_use]
    pub fn server_entity(mut self, entity: impl Into<Arc<Entity>>) -> Self {
        self.0.server.entity = Some(entity.into());
        self
    }

    /// Makes it the first record of a connection that opened at `started_secs`.
    #[must_use]
    pub fn opened(mut self, started_secs: u64) -> Self {
        self.0.begin = Some(Begin::Opened);
        self.started(started_secs)
    }

    /// Makes it the first record of a connection that is older than the observer.
    #[must_use]
    pub fn found(mut self) -> Self {
        self.0.begin = Some(Begin::Found);
        self.0.started = None;
        self
    }

    /// Sets the payload bytes that travelled before the observer found the connection.
    #[must_use]
    pub fn before(mut self, request: u64, response: u64) -> Self {
        self.0.before = Some(Before { request, response });
        self
    }

    /// Sets when the connection opened, in seconds since 1970.
    #[must_use]
    pub fn started(mut self, secs: u64) -> Self {
        self.0.started = Some(at(secs));
        self
    }

    /// Makes it the last record of an established connection.
    #[must_use]
    pub fn closed(mut self, reason: CloseReason) -> Self {
        self.0.end = Some(End::Closed(reason));
        self
    }

    /// Makes it the last record of a connection that was counted as closed before.
    #[must_use]
    pub fn closed_again(mut self) -> Self {
        self.0.end = Some(End::Again);
        self
    }

    /// Makes it the only record of an attempt that failed: it has no id and no begin.
    #[must_use]
    pub fn failed(mut self, reason: FailureReason) -> Self {
        self.0.end = Some(End::Failed(reason));
        self.0.begin = None;
        self.no_id()
    }

    /// Sets the span that the deltas cover, in seconds since 1970.
    #[must_use]
    pub fn interval(mut self, start_secs: u64, end_secs: u64) -> Self {
        self.0.interval = Interval { start: at(start_secs), end: at(end_secs) };
        self
    }

    /// Sets the payload bytes from client to server.
    #[must_use]
    pub fn request(mut self, bytes: u64) -> Self {
        self.0.request.bytes = bytes;
        self
    }

    /// Sets the payload bytes from server to client.
    #[must_use]
    pub fn response(mut self, bytes: u64) -> Self {
        self.0.response.bytes = bytes;
        self
    }

    /// Sets everything that travelled from client to server.
    #[must_use]
    pub fn request_traffic(mut self, traffic: Traffic) -> Self {
        self.0.request = traffic;
        self
    }

    /// Sets everything that travelled from server to client.
    #[must_use]
    pub fn response_traffic(mut self, traffic: Traffic) -> Self {
        self.0.response = traffic;
        self
    }

    /// Sets the round-trip time, smoothed and least alike.
    #[must_use]
    pub fn rtt(self, rtt: Duration) -> Self {
        self.rtts(rtt, rtt)
    }

    /// Sets the round-trip time.
    #[must_use]
    pub fn rtts(mut self, smoothed: Duration, min: Duration) -> Self {
        self.0.rtt = Some(Rtt { smoothed, min });
        self
    }

    /// Sets how long the handshake took.
    #[must_use]
    pub fn connect(mut self, duration: Duration) -> Self {
        self.0.connect = Some(duration);
        self
    }

    /// Sets how long the client took to complete the handshake.
    #[must_use]
    pub fn server_handshake(mut self, duration: Duration) -> Self {
        self.0.server_handshake = Some(duration);
        self
    }

    /// Sets the cgroup of the observed end.
    #[must_use]
    pub fn cgroup(mut self, path: &str) -> Self {
        self.0.local.cgroup = Some(path.into());
        self
    }

    /// Sets the network namespace of the observed end.
    #[must_use]
    pub fn netns(mut self, inode: u32) -> Self {
        self.0.local.netns = inode;
        self
    }

    /// Sets the process of the observed end.
    #[must_use]
    pub fn process(mut self, pid: u32, command: &str) -> Self {
        self.0.local.process = Some(Process { pid, command: command.into() });
        self
    }

    /// Returns the record.
    pub fn build(self) -> Flow {
        self.0
    }
}

impl From<FlowBuilder> for Flow {
    fn from(builder: FlowBuilder) -> Self {
        builder.build()
    }
}

#[track_caller]
fn endpoint(address: &str) -> Endpoint {
    let address: SocketAddr = address.parse().expect("an address and port such as 10.0.0.1:80 or [::1]:80");
    Endpoint::new(address.ip(), address.port())
}

const fn at(secs: u64) -> UnixNanos {
    UnixNanos(secs * 1_000_000_000)
}
