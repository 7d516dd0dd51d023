//! Writes a flow record as a line.

use model::{Begin, End, Endpoint, Flow, Listener, Observer};

use crate::text;

/// Writes a record as one line, without its end.
pub(crate) fn line(flow: &Flow) -> String {
    let Flow {
        id,
        observer,
        transport,
        client,
        server,
        started: _,
        interval,
        other_is_observed: _,
        is_joined,
        begin,
        end,
        before: _,
        request,
        response,
        rtt,
        connect,
        server_handshake,
        local: _,
    } = flow;
    let by = match observer {
        _ if *is_joined => "both ends",
        Observer::Client => "the client",
        Observer::Server => "the server",
    };
    let mut line = format!(
        "{} {} {} -> {} {} seen by {by}",
        text::time_of_day(interval.end),
        transport.as_str(),
        endpoint(client),
        endpoint(server),
        state(*begin, *end),
    );
    let mut add = |name: &str, value: String| line += &format!(", {name} {value}");
    for (name, traffic) in [("request", request), ("response", response)] {
        if traffic.bytes > 0 {
            add(name, text::bytes(traffic.bytes as f64));
        }
    }
    let resent = request.retransmitted_segments.saturating_add(response.retransmitted_segments);
    if resent > 0 {
        add("resent", text::count(resent));
    }
    let disordered = request.out_of_order_segments.saturating_add(response.out_of_order_segments);
    if disordered > 0 {
        add("out of order", text::count(disordered));
    }
    let limited = request.receive_window_limited.saturating_add(response.receive_window_limited);
    if !limited.is_zero() {
        add("waited for room", text::duration(limited));
    }
    if let Some(rtt) = rtt {
        add("rtt", text::duration(rtt.smoothed));
    }
    if let Some(connect) = connect {
        add("connect", text::duration(*connect));
    }
    if let Some(server_handshake) = server_handshake {
        add("server handshake", text::duration(*server_handshake));
    }
    if let Some(id) = id {
        add("id", id.to_string());
    }
    line
}

/// Writes a report on a listening socket as one line, without its end; `None` if nobody waits, nothing was dropped and nothing
/// answered by cookies, which each of them says at every sample.
pub(crate) fn listener_line(listener: &Listener) -> Option<String> {
    let Listener { transport, server, interval, dropped, cookies, queued, queue_limit, local: _ } = listener;
    if *dropped == 0 && *queued == 0 && cookies.is_zero() {
        return None;
    }
    let mut line = format!(
        "{} {} {} listening, {queued} of {queue_limit} waiting",
        text::time_of_day(interval.end),
        transport.as_str(),
        endpoint(server),
    );
    if *dropped > 0 {
        line += &format!(", dropped {}", text::count(*dropped));
    }
    if !cookies.is_zero() {
        line += &format!(", answered by cookies for {}", text::duration(*cookies));
    }
    Some(line)
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { address, port, entity } = endpoint;
    let address = std::net::SocketAddr::new(*address, *port);
    match entity {
        // An end without another name is named by its address.
        Some(entity) if entity.name.parse() != Ok(endpoint.address) => {
            format!("{} ({address})", text::name(&entity.name))
        }
        _ => address.to_string(),
    }
}

fn state(begin: Option<Begin>, end: Option<End>) -> String {
    let begin = begin.map(|it| match it {
        Begin::Opened => "opened",
        Begin::Found => "found open",
    });
    let end = end.map(|it| match it {
        End::Closed(reason) => format!("closed ({})", reason.as_str()),
        End::Failed(reason) => format!("failed ({})", reason.as_str()),
        End::Again => "closed again".to_owned(),
    });
    match (begin, end) {
        (None, None) => "open".to_owned(),
        (Some(begin), None) => begin.to_owned(),
        (None, Some(end)) => end,
        (Some(begin), Some(end)) => format!("{begin} and {end}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use component_test::{FlowBuilder, flow, listener};
    use model::{CloseReason, Entity, FailureReason, Traffic, kind};

    use super::*;

    #[test]
    fn a_record_reads_as_a_sentence() {
        check(
            flow().interval(0, 1),
            "00:00:01 tcp 10.0.0.1:40000 -> 10.0.0.2:80 open seen by the client, id ID",
        );
    }

    #[test]
    fn a_record_of_both_ends_says_so() {
        check(flow().joined(), "00:00:00 tcp 10.0.0.1:40000 -> 10.0.0.2:80 open seen by both ends, id ID");
    }

    #[test]
    fn a_line_says_what_is_known() {
        let curl = Entity::new("curl", kind::PROCESS);
        let response = Traffic {
            bytes: 3_400_000,
            retransmitted_segments: 2,
            out_of_order_segments: 3,
            receive_window_limited: Duration::from_millis(4),
            ..Traffic::default()
        };
        check(
            flow()
                .interval(0, 86_399)
                .client_entity(curl)
                .server("[fd00::2]:443")
                .server_entity(Entity::new("fd00::2", kind::EXTERNAL))
                .opened(0)
                .closed(CloseReason::ServerReset)
                .request(1_200)
                .response_traffic(response)
                .rtt(Duration::from_micros(50))
                .connect(Duration::from_millis(2))
                .server_handshake(Duration::from_millis(1)),
            "23:59:59 tcp curl (10.0.0.1:40000) -> [fd00::2]:443 opened and closed (server_reset) seen by the \
             client, request 1.2 kB, response 3.4 MB, resent 2, out of order 3, waited for room 4.0 ms, rtt 50 us, \
             connect 2.0 ms, server handshake 1.0 ms, id ID",
        );
    }

    #[test]
    fn a_listening_socket_has_a_line_if_there_is_something_to_say() {
        let line = |queued, dropped| listener_line(&Listener { queued, dropped, ..listener() });
        assert_eq!(line(0, 0), None);
        assert_eq!(line(3, 0).unwrap(), "00:00:01 tcp 0.0.0.0:80 listening, 3 of 128 waiting");
        assert_eq!(line(0, 7).unwrap(), "00:00:01 tcp 0.0.0.0:80 listening, 0 of 128 waiting, dropped 7");
    }

    #[test]
    fn an_attempt_that_failed_has_no_id() {
        check(
            flow().failed(FailureReason::Refused),
            "00:00:00 tcp 10.0.0.1:40000 -> 10.0.0.2:80 failed (refused) seen by the client",
        );
    }

    #[test]
    fn a_hostile_name_stays_on_its_line() {
        let name = Entity::new("\u{1b}[2J\nroot", kind::PROCESS);
        check(
            flow().observer(Observer::Server).no_id().found().server_entity(name),
            "00:00:00 tcp 10.0.0.1:40000 -> ?[2J?root (10.0.0.2:80) found open seen by the server",
        );
    }

    #[track_caller]
    fn check(flow: FlowBuilder, expected: &str) {
        let flow = flow.build();
        let id = flow.id.map(|it| it.to_string()).unwrap_or_default();
        assert_eq!(line(&flow), expected.replace("ID", &id));
    }
}
