//! The cases. To add one, add a few lines here; everything about it is data.

use crate::{
    case::{Case, Fault, Home, Outcome},
    plan::{
        Side::{Client, Server},
        Sockets, Step, Traffic,
    },
    world::{Family, Path},
};

const MIB: u64 = 1 << 20;

/// Returns every case.
pub fn all() -> Vec<Case> {
    [caretta(), payload(), paths(), endings(), failures(), crowds(), names(), sockets()].concat()
}

/// Returns the case of a name.
///
/// # Panics
///
/// There is none of that name.
pub fn named(name: &str) -> Case {
    all().into_iter().find(|it| it.name == name).expect("the caller names an existing case")
}

/// What Caretta gets wrong, in words that its users know it by. The README lists the rest, and `tests/harness.rs` shows for
/// each that an agent with the same defect is found out.
fn caretta() -> Vec<Case> {
    let talk = || repeat(50, [send(Client, 200), send(Server, 1000)]);
    let mut loopback = Case {
        path: Path::Loopback,
        ..Case::new(
            "listeners_and_loopback_are_no_phantom_edges",
            [exchange(300, 700), Step::Hold, exchange(20, 30)],
        )
    };
    loopback.traffic.connections = Some(3);
    loopback.traffic.parallel = 3;
    vec![
        // Its hook is off the path that the kernel takes once a connection runs smoothly.
        Case::new("keep_alive_bytes_do_not_freeze", [talk(), Step::Hold, talk(), Step::Hold]),
        Case {
            family: Family::Ipv6,
            path: Path::OneNode,
            ..Case::new("ipv6_is_not_garbage", [talk(), Step::Hold, talk()])
        },
        // The server's name is its address.
        Case {
            family: Family::Ipv6,
            path: Path::OneNode,
            fault: Fault::NobodyListens,
            outcome: Outcome::Fails("refused"),
            ..Case::new("ipv6_is_not_garbage_where_nobody_listens", [])
        },
        Case { path: Path::Service, ..Case::new("a_service_is_one_edge", held()) },
        Case::new("downloads_are_counted", [send(Server, 64 * MIB), Step::Hold]),
        loopback,
    ]
}

/// What travels.
fn payload() -> Vec<Case> {
    vec![
        Case::new("short_connection", short()),
        Case::new("connection_without_payload", []),
        Case::new("one_byte_each_way", [send(Client, 1), send(Server, 1)]),
        Case::new("bulk_request", [send(Client, 64 * MIB), Step::Hold]),
        Case::new("bulk_both_ways_at_once", [exchange(64 * MIB, 64 * MIB), Step::Hold]),
        Case {
            path: Path::Loopback,
            ..Case::new("more_bytes_than_32_bits_can_count", [exchange(4608 * MIB, MIB), Step::Hold])
        },
        Case { fault: Fault::Loss, ..Case::new("lossy_network", [exchange(4 * MIB, 3 * MIB), Step::Hold]) },
        Case::new("server_reads_slowly", [send_to_slow(Client, 16 * MIB), Step::Hold]),
        Case {
            path: Path::Service,
            family: Family::Ipv6,
            ..Case::new("client_reads_slowly", [send_to_slow(Server, 16 * MIB), Step::Hold, send(Client, 10)])
        },
        Case {
            fault: Fault::Loss,
            path: Path::Service,
            family: Family::Ipv6,
            ..Case::new("lossy_network_behind_a_service", [exchange(3 * MIB, 4 * MIB), Step::Hold])
        },
        Case::new(
            "server_speaks_first",
            [send(Server, 37), Step::Hold, send(Client, 64), send(Server, 1200)],
        ),
        Case::new("client_only_sends", [send(Client, 5000)]),
        Case::new("server_only_sends", [send(Server, 5000), close(Server)]),
    ]
}

/// Which way it travels.
fn paths() -> Vec<Case> {
    let case = |name, path, family| Case { path, family, ..Case::new(name, held()) };
    vec![
        case("over_ipv6", Path::TwoNodes, Family::Ipv6),
        case("over_mapped_addresses", Path::TwoNodes, Family::Mapped),
        case("through_a_service_over_ipv6", Path::Service, Family::Ipv6),
        case("through_a_service_over_mapped_addresses", Path::Service, Family::Mapped),
        case("on_one_node", Path::OneNode, Family::Ipv4),
        case("on_one_node_over_ipv6", Path::OneNode, Family::Ipv6),
        case("over_loopback", Path::Loopback, Family::Ipv4),
        case("over_loopback_ipv6", Path::Loopback, Family::Ipv6),
        case("over_loopback_mapped", Path::Loopback, Family::Mapped),
        case("to_its_own_address", Path::OwnAddress, Family::Ipv4),
        case("through_a_proxy_with_a_unix_socket", Path::Proxy, Family::Ipv4),
        case("through_a_proxy_with_a_unix_socket_over_ipv6", Path::Proxy, Family::Ipv6),
        Case {
            path: Path::Proxy,
            ..crowd("hundred_connections_through_a_proxy_with_a_unix_socket", 100, 100, &held())
        },
        Case {
            path: Path::Loopback,
            ..Case::new("bulk_over_loopback", [exchange(64 * MIB, 64 * MIB), Step::Hold])
        },
        Case {
            path: Path::Service,
            ..Case::new("bulk_through_a_service", [exchange(8 * MIB, 8 * MIB), Step::Hold])
        },
    ]
}

/// How established connections end.
fn endings() -> Vec<Case> {
    let reset = |name, script: &[Step], outcome| Case { outcome, ..Case::new(name, script) };
    let silence = |name, path, family, n, asks| Case {
        path,
        family,
        fault: Fault::Silence,
        outcome: Outcome::Timeout,
        ..crowd(name, n, n, &[exchange(500, 600), Step::Hold, Step::SendInVain { bytes: 3000, asks }])
    };
    let aborted = |name, path, family, of| Case {
        path,
        family,
        outcome: Outcome::Aborted(of),
        ..crowd(name, 5, 5, &[exchange(12_345, 54_321), Step::Hold, Step::Abort { of }])
    };
    let waiting = |name, path| {
        let mut case = crowd(name, 30, 30, &[Step::Hold, close(Server)]);
        case.traffic.sockets = Sockets::NeverAccepted;
        Case { path, outcome: Outcome::ServerReset, ..case }
    };
    vec![
        Case::new("server_closes_first", [send(Client, 200), send(Server, 1000), close(Server)]),
        Case::new(
            "client_half_closes",
            [send(Client, 3000), finish(Client), Step::Hold, send(Server, 70_000), close(Server)],
        ),
        Case::new(
            "server_half_closes",
            [send(Server, 3000), finish(Server), Step::Hold, send(Client, 70_000)],
        ),
        crowd("both_close_at_once", 200, 200, &[exchange(500, 600), Step::Hold, Step::CloseAtOnce]),
        Case::new("both_half_close", [exchange(500, 600), finish(Client), finish(Server)]),
        reset(
            "client_resets",
            &[send(Client, 100), send(Server, 200), Step::Reset { by: Client }],
            Outcome::ClientReset,
        ),
        reset(
            "server_resets",
            &[send(Server, 100), send(Client, 200), Step::Reset { by: Server }],
            Outcome::ServerReset,
        ),
        reset(
            "client_resets_without_payload",
            &[Step::Hold, Step::Reset { by: Client }],
            Outcome::ClientReset,
        ),
        reset(
            "server_closes_with_unread_data",
            &[send(Server, 100), unread(Client, 1000), close(Server)],
            Outcome::ServerReset,
        ),
        reset(
            "client_closes_with_unread_data",
            &[send(Client, 100), unread(Server, 1000), close(Client)],
            Outcome::ClientReset,
        ),
        silence("server_falls_silent", Path::TwoNodes, Family::Ipv4, 5, false),
        silence("server_falls_silent_behind_a_service_over_ipv6", Path::Service, Family::Ipv6, 5, false),
        silence(
            "server_falls_silent_and_the_client_asks_for_its_error",
            Path::TwoNodes,
            Family::Ipv4,
            30,
            true,
        ),
        aborted("client_aborted_by_its_kernel", Path::TwoNodes, Family::Ipv4, Client),
        aborted("client_aborted_by_its_kernel_over_loopback", Path::Loopback, Family::Ipv6, Client),
        aborted(
            "client_aborted_by_its_kernel_behind_a_service_over_ipv6",
            Path::Service,
            Family::Ipv6,
            Client,
        ),
        aborted("server_aborted_by_its_kernel", Path::TwoNodes, Family::Ipv4, Server),
        waiting("server_ends_without_accepting", Path::TwoNodes),
        waiting("server_ends_without_accepting_over_loopback", Path::Loopback),
        Case {
            victim: Some(Client),
            ..reset("client_killed_in_a_transfer", &broken(), Outcome::ClientReset)
        },
        Case {
            victim: Some(Server),
            ..reset("server_killed_in_a_transfer", &broken(), Outcome::ServerReset)
        },
        Case {
            path: Path::Loopback,
            ..reset(
                "client_resets_over_loopback",
                &[exchange(900, 800), send(Server, 7), Step::Reset { by: Client }],
                Outcome::ClientReset,
            )
        },
        Case {
            path: Path::Service,
            ..reset(
                "server_resets_through_a_service",
                &[exchange(900, 800), send(Client, 7), Step::Reset { by: Server }],
                Outcome::ServerReset,
            )
        },
    ]
}

/// Attempts that never become connections.
fn failures() -> Vec<Case> {
    let attempts = |name, path, family, fault, reason| Case {
        path,
        family,
        fault,
        outcome: Outcome::Fails(reason),
        traffic: Traffic { connections: Some(10), parallel: 5, ..Traffic::default() },
        ..Case::new(name, [])
    };
    let timeout = |name, family| {
        let mut case = attempts(name, Path::TwoNodes, family, Fault::ArrivalsDropped, "timeout");
        case.traffic.parallel = 10;
        case.traffic.unanswered_ms = Some(2000);
        case
    };
    let refused = |name, path, family| attempts(name, path, family, Fault::NobodyListens, "refused");
    let canceled = |name, family| {
        let mut case = attempts(name, Path::TwoNodes, family, Fault::ArrivalsDropped, "canceled");
        case.traffic.cancel_after_ms = Some(300);
        case
    };
    vec![
        refused("refused", Path::TwoNodes, Family::Ipv4),
        refused("refused_over_ipv6", Path::TwoNodes, Family::Ipv6),
        refused("refused_over_mapped_addresses", Path::TwoNodes, Family::Mapped),
        refused("refused_over_loopback", Path::Loopback, Family::Ipv4),
        refused("refused_through_a_service", Path::Service, Family::Ipv4),
        timeout("timeout", Family::Ipv4),
        timeout("timeout_over_ipv6", Family::Ipv6),
        attempts("unreachable", Path::Nowhere, Family::Ipv4, Fault::None, "unreachable"),
        attempts("unreachable_over_ipv6", Path::Nowhere, Family::Ipv6, Fault::None, "unreachable"),
        attempts("service_without_pods", Path::EmptyService, Family::Ipv4, Fault::None, "refused"),
        attempts("service_without_pods_over_ipv6", Path::EmptyService, Family::Ipv6, Fault::None, "refused"),
        attempts("reset", Path::TwoNodes, Family::Ipv4, Fault::RefusalsCrossed, "reset"),
        attempts("reset_over_ipv6", Path::OneNode, Family::Ipv6, Fault::RefusalsCrossed, "reset"),
        canceled("canceled", Family::Ipv4),
        canceled("canceled_over_ipv6", Family::Ipv6),
    ]
}

/// Many connections.
fn crowds() -> Vec<Case> {
    // Each byte and connection of it is a matter of the oracle, how many a second of the bench.
    let churn = |name, path| {
        let mut case = Case { path, ..crowd(name, 5000, 50, &short()) };
        case.traffic.per_second = Some(2000);
        case
    };
    vec![
        crowd(
            "thousand_parallel_connections",
            1000,
            1000,
            &[exchange(300, 700), Step::Hold, exchange(30, 70)],
        ),
        crowd("many_connections_one_after_the_other", 500, 1, &short()),
        churn("churn", Path::TwoNodes),
        churn("churn_over_loopback", Path::Loopback),
        Case { path: Path::Service, ..crowd("hundred_connections_through_a_service", 100, 100, &held()) },
        Case {
            outcome: Outcome::ServerReset,
            ..crowd("many_resets", 300, 20, &[send(Server, 50), send(Client, 40), Step::Reset { by: Server }])
        },
    ]
}

/// Whom it belongs to.
fn names() -> Vec<Case> {
    let mut worker = Case::new("worker_threads_have_their_process_name", held());
    worker.traffic.on_worker_thread = true;
    vec![
        worker,
        Case { home: Home::Unit, ..Case::new("service_units_are_named", held()) },
        Case { home: Home::Container, ..Case::new("containers_are_named", held()) },
        Case { home: Home::Pod, ..Case::new("containers_of_pods_are_named", held()) },
    ]
}

/// What else a socket can be.
fn sockets() -> Vec<Case> {
    let case = |name, sockets, path, family| {
        let mut case = Case { path, family, ..Case::new(name, held()) };
        case.traffic.sockets = sockets;
        case.traffic.connections = Some(20);
        case.traffic.parallel = 20;
        case
    };
    let again = |name, path, family, end: Option<Step>| {
        let mut case = Case { path, family, ..Case::new(name, [exchange(12_345, 54_321)]) };
        case.traffic.script.extend(end);
        case.traffic.sockets = Sockets::SamePort;
        case.traffic.connections = Some(3);
        case
    };
    // Who speaks MPTCP may send the same bytes in two segments that are not told apart by TCP.
    let silent = |mut case: Case| {
        case.traffic.script = vec![Step::Hold];
        case
    };
    vec![
        case("fast_open", Sockets::FastOpen, Path::TwoNodes, Family::Ipv4),
        case("fast_open_over_ipv6", Sockets::FastOpen, Path::TwoNodes, Family::Ipv6),
        case("fast_open_over_loopback", Sockets::FastOpen, Path::Loopback, Family::Ipv4),
        silent(case("multipath", Sockets::Multipath, Path::TwoNodes, Family::Ipv4)),
        silent(case(
            "multipath_through_a_service_over_ipv6",
            Sockets::Multipath,
            Path::Service,
            Family::Ipv6,
        )),
        case("two_listeners_at_one_port", Sockets::SharedPort, Path::TwoNodes, Family::Ipv4),
        case("two_listeners_at_one_port_over_loopback", Sockets::SharedPort, Path::Loopback, Family::Ipv6),
        again("one_port_again_and_again", Path::TwoNodes, Family::Ipv4, None),
        again("one_port_again_and_again_through_a_service_over_ipv6", Path::Service, Family::Ipv6, None),
        again("one_port_again_and_again_over_loopback", Path::Loopback, Family::Ipv4, None),
        again("one_port_again_after_the_server_closed", Path::TwoNodes, Family::Ipv4, Some(close(Server))),
        again(
            "one_port_again_after_the_server_closed_over_loopback",
            Path::Loopback,
            Family::Ipv6,
            Some(close(Server)),
        ),
    ]
}

fn crowd(name: &'static str, connections: u64, parallel: u64, script: &[Step]) -> Case {
    let mut case = Case::new(name, script);
    case.traffic.connections = Some(connections);
    case.traffic.parallel = parallel;
    case
}

fn short() -> [Step; 2] {
    [send(Client, 200), send(Server, 1000)]
}

fn broken() -> [Step; 3] {
    [exchange(12_345, 54_321), Step::Hold, Step::UntilBroken]
}

fn held() -> [Step; 3] {
    [exchange(12_345, 54_321), Step::Hold, exchange(100, 10)]
}

const fn send(by: crate::plan::Side, bytes: u64) -> Step {
    Step::Send { by, bytes }
}

const fn send_to_slow(by: crate::plan::Side, bytes: u64) -> Step {
    Step::SendToSlow { by, bytes, pause_ms: 400 }
}

const fn exchange(request: u64, response: u64) -> Step {
    Step::Exchange { request, response }
}

const fn unread(by: crate::plan::Side, bytes: u64) -> Step {
    Step::LeaveUnread { by, bytes }
}

const fn finish(by: crate::plan::Side) -> Step {
    Step::FinishSending { by }
}

const fn close(by: crate::plan::Side) -> Step {
    Step::Close { by }
}

fn repeat(times: u32, steps: impl Into<Vec<Step>>) -> Step {
    Step::Repeat { times, steps: steps.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique() {
        let cases = all();
        assert_eq!(cases.iter().map(|it| it.name).collect::<BTreeSet<_>>().len(), cases.len());
    }
}
