use std::{net::IpAddr, time::Duration};

use model::{
    Attribute, Before, Begin, CloseReason, ConnectionId, End, Endpoint, Entity, FailureReason, Flow,
    Interval, Listener, Local, Observer, Process, Rtt, Traffic, Transport, UnixNanos,
};
use proptest::prelude::*;

/// Makes flow records in which anything may stand.
pub fn any_flow() -> impl Strategy<Value = Flow> {
    let who = (
        prop::option::of(any::<(u32, u32)>()),
        any::<[bool; 3]>(),
        any_endpoint(),
        any_endpoint(),
        any_local(),
    );
    let when = (
        prop::option::of(any::<u64>()),
        any::<(u64, u64)>(),
        prop::option::of(prop::sample::select(vec![Begin::Opened, Begin::Found])),
        prop::option::of(any_end()),
        prop::option::of(any::<(u64, u64)>()),
    );
    let what = (
        any_traffic(),
        any_traffic(),
        prop::option::of(any::<(u64, u64)>()),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u64>()),
    );
    (who, when, what).prop_map(|(who, when, what)| {
        let (id, [is_client, other_is_observed, is_joined], client, server, local) = who;
        let (started, (interval_start, interval_end), begin, end, before) = when;
        let (request, response, rtt, connect, server_handshake) = what;
        let rtt = rtt.map(|(smoothed, min)| Rtt {
            smoothed: Duration::from_nanos(smoothed),
            min: Duration::from_nanos(min),
        });
        Flow {
            id: id.map(|(client, server)| ConnectionId::from_sequence_numbers(client, server)),
            observer: if is_client { Observer::Client } else { Observer::Server },
            transport: Transport::Tcp,
            client,
            server,
            started: started.map(UnixNanos),
            interval: Interval { start: UnixNanos(interval_start), end: UnixNanos(interval_end) },
            other_is_observed,
            is_joined,
            begin,
            end,
            before: before.map(|(request, response)| Before { request, response }),
            request,
            response,
            rtt,
            connect: connect.map(Duration::from_nanos),
            server_handshake: server_handshake.map(Duration::from_nanos),
            local,
        }
    })
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    (any::<IpAddr>(), any::<u16>(), prop::option::of(any_entity())).prop_map(|(address, port, entity)| {
        Endpoint { entity: entity.map(Into::into), ..Endpoint::new(address, port) }
    })
}

fn any_entity() -> impl Strategy<Value = Entity> {
    let text = || prop::collection::vec(any::<char>(), 1..8).prop_map(String::from_iter);
    let attributes = prop::collection::vec((prop::sample::select(attributes()), text()), 0..4);
    (text(), text(), prop::option::of(text()), attributes).prop_map(|(name, kind, namespace, attributes)| {
        let mut entity = Entity::new(name, kind);
        entity.namespace = namespace.map(Into::into);
        for (attribute, value) in attributes {
            entity.set_attribute(attribute, value);
        }
        entity
    })
}

fn any_local() -> impl Strategy<Value = Local> {
    let text = || prop::collection::vec(any::<char>(), 0..16).prop_map(String::from_iter);
    (prop::option::of(text()), any::<u32>(), prop::option::of((any::<u32>(), text()))).prop_map(
        |(cgroup, netns, process)| Local {
            cgroup: cgroup.map(Into::into),
            netns,
            process: process.map(|(pid, command)| Process { pid, command: command.into() }),
        },
    )
}

fn any_end() -> impl Strategy<Value = End> {
    let closed = CloseReason::ALL.into_iter().map(End::Closed);
    let failed = FailureReason::ALL.into_iter().map(End::Failed);
    prop::sample::select(closed.chain(failed).chain([End::Again]).collect::<Vec<_>>())
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    any::<[u64; 6]>().prop_map(
        |[
            bytes,
            segments,
            retransmitted_segments,
            retransmitted_bytes,
            out_of_order_segments,
            receive_window_limited,
        ]| Traffic {
            bytes,
            segments,
            retransmitted_segments,
            retransmitted_bytes,
            out_of_order_segments,
            receive_window_limited: Duration::from_nanos(receive_window_limited),
        },
    )
}

fn attributes() -> Vec<Attribute> {
    let tags = ["app.kubernetes.io/name", "team.name"].map(|it| Attribute::Tag(it.into()));
    Attribute::NAMED.into_iter().chain(tags).collect()
}

/// Makes reports on listening sockets in which anything may stand.
pub fn any_listener() -> impl Strategy<Value = Listener> {
    (any_endpoint(), any::<[u64; 4]>(), any::<[u32; 2]>(), any_local()).prop_map(
        |(server, [start, end, dropped, cookies], [queued, queue_limit], local)| Listener {
            transport: Transport::Tcp,
            server,
            interval: Interval { start: UnixNanos(start), end: UnixNanos(end) },
            dropped,
            cookies: Duration::from_nanos(cookies),
            queued,
            queue_limit,
            local,
        },
    )
}
