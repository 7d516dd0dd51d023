//! Judges the judge: without any agent, the peers and the network do what the cases say, by the kernel's own word, and
//! each mistake that an agent could make is noticed and named.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use integration::{
    Case, Moment, Outcome, World,
    case::Fault,
    cases,
    edges::{Edge, Edges, Name, Totals},
    exposition::Exposition,
    kernel::{self, Counters},
    peer::Peer,
    plan::{Plan, Side, Step, Traffic},
    world::{Family, Namespace, Path, remove_stale},
};

/// While connections are open, the kernel's sockets hold exactly the bytes that the peers report.
#[test]
fn the_kernel_agrees_while_connections_are_open() {
    let world = world();
    for case in cases::all().into_iter().filter(|it| it.traffic.n_holds() > 0) {
        let mut n_checks = 0;
        let played = case.play(&world, &mut |moment| {
            if moment.truth().active > 0 {
                n_checks += 1;
                let kernel::Quality { request, response, .. } = kernel::check_open_sockets(&world, moment)?;
                let loses = case.fault == Fault::Loss;
                let is_lost = request.retransmits + response.retransmits > 0;
                ensure!(!loses || is_lost, "nothing was lost on the way");
                let limited = [("server_reads_slowly", request), ("client_reads_slowly", response)];
                if let Some((_, direction)) = limited.iter().find(|(name, _)| *name == case.name) {
                    ensure!(direction.limited_ms > 0, "the window was never closed");
                }
            }
            Ok(())
        });
        played.unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        assert_eq!(n_checks, case.traffic.n_holds(), "{} has holds without open connections", case.name);
    }
}

/// The kernel's counters tell how many connections were opened, failed and were reset. They belong to a namespace, so
/// this test has a network of its own.
#[test]
fn the_kernel_agrees_on_how_connections_begin_and_end() {
    let world = world();
    for name in [
        "many_connections_one_after_the_other",
        "client_resets",
        "server_resets",
        "server_closes_with_unread_data",
        "client_half_closes",
        "refused",
        "timeout",
        "unreachable",
        "canceled",
    ] {
        let case = cases::named(name);
        let before = [Namespace::Client, Namespace::Server].map(|it| kernel::counters(&world, it).unwrap());
        let moment = case.play(&world, &mut |_| Ok(())).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        let after = [Namespace::Client, Namespace::Server].map(|it| kernel::counters(&world, it).unwrap());
        let truth = moment.truth();
        let failed: u64 = truth.failed.values().sum();
        let by = |reason| truth.closed.get(reason).copied().unwrap_or_default();
        let client = Counters {
            active_opens: truth.opened + failed,
            // To give an attempt up is no failure in the kernel's eyes.
            attempt_fails: failed - truth.failed.get("canceled").copied().unwrap_or_default(),
            passive_opens: 0,
            // Whoever receives a reset counts it, and so does whoever sends one by closing.
            estab_resets: by("server_reset") + by("client_reset"),
        };
        let server = Counters { passive_opens: truth.opened, active_opens: 0, attempt_fails: 0, ..client };
        assert_eq!(difference(before[0], after[0]), client, "{name}: the client's namespace");
        assert_eq!(difference(before[1], after[1]), server, "{name}: the server's namespace");
    }
}

/// Peers that do not follow the same script say so: none of these differences passes for agreement.
#[test]
fn peers_notice_what_the_other_does_wrong() {
    let world = world();
    let wrong: [(&str, &[Step], &[Step]); 5] = [
        ("a byte too few", &[send(Side::Client, 199)], &[send(Side::Client, 200)]),
        ("a byte too many", &[send(Side::Client, 201)], &[send(Side::Client, 200)]),
        ("an answer that nobody waits for", &[Step::Close { by: Side::Server }], &[send(Side::Server, 1)]),
        (
            "a reset instead of an end",
            &[Step::Reset { by: Side::Client }],
            &[Step::FinishSending { by: Side::Client }],
        ),
        ("an end instead of data", &[Step::Close { by: Side::Client }], &[send(Side::Client, 1)]),
    ];
    for (idx, (what, client, server)) in wrong.into_iter().enumerate() {
        let port = 19_000 + u16::try_from(idx).unwrap();
        let error = converse(&world, port, client, server).expect_err(what);
        assert!(format!("{error:#}").contains("peer"), "{what}: {error:#}");
    }
    converse(&world, 18_999, &[send(Side::Client, 200)], &[send(Side::Client, 200)])
        .expect("the same script is agreement");
}

/// A case that ends in another way than it says fails.
#[test]
fn another_end_than_the_case_says_is_noticed() {
    let world = world();
    for (name, outcome, expected) in [
        ("short_connection", Outcome::ServerReset, "0 resets, expected 1"),
        ("server_resets", Outcome::Normal, "1 resets, expected 0"),
        ("client_resets", Outcome::ServerReset, "0 resets, expected 1"),
        ("refused", Outcome::Fails("timeout"), "the attempts failed with {\"refused\": 10}"),
    ] {
        let case = Case { outcome, ..cases::named(name) };
        let error = case.play(&world, &mut |_| Ok(())).expect_err(name);
        assert!(format!("{error:#}").contains(expected), "{name}: {error:#}");
    }
}

/// What the judge of the open sockets compares is not the same on both sides by construction.
#[test]
fn another_sum_than_the_kernels_is_noticed() {
    let world = world();
    let case = Case::new("probe", [send(Side::Client, 10), Step::Hold]);
    let mut play = case.start(&world).unwrap();
    let moment = play.holding().unwrap();
    kernel::check_open_sockets(&world, &moment).expect("the truth passes");
    let changes: [fn(&mut Totals); 3] = [|it| it.request += 1, |it| it.response += 1, |it| it.active += 1];
    for change in changes {
        let mut wrong = moment.clone();
        wrong.edges.0.values_mut().for_each(change);
        kernel::check_open_sockets(&world, &wrong).expect_err("a wrong sum must be noticed");
    }
    play.go().unwrap();
    play.done().unwrap();
}

/// Each is a mistake that an agent could make, with the words that name it.
#[test]
fn every_mistake_of_an_agent_is_named() {
    let world = world();
    let moment = cases::named("a_service_is_one_edge").play(&world, &mut |_| Ok(())).unwrap();
    check(&moment, |_| {}, None);
    check(&moment, |it| totals(it).request += 1, Some("request 12446 instead of 12445"));
    check(&moment, |it| totals(it).response -= 1, Some("response 54330 instead of 54331"));
    check(&moment, |it| totals(it).opened = 2, Some("opened 2 instead of 1"));
    check(&moment, |it| totals(it).active = 1, Some("active 1 instead of 0"));
    check(&moment, |it| totals(it).closed.clear(), Some("closed normal 0 instead of 1"));
    check(
        &moment,
        |it| totals(it).failed = [("reset".into(), 1)].into(),
        Some("failed reset 1 instead of 0"),
    );
    check(&moment, |it| totals(it).handshakes = 0, Some("handshakes 0 instead of 1"));
    check(&moment, |it| totals(it).accepts = 0, Some("accepts 0 instead of 1"));
    check(&moment, |it| totals(it).lifetimes = 2, Some("lifetimes 2 instead of 1"));
    check(&moment, |it| it.0.clear(), Some("missing     Process c"));
    // The server's observation, counted beside the client's.
    check(&moment, |it| copy(it, |edge| edge.observer = "server".into()), Some("unexpected  Process c"));
    check(
        &moment,
        |it| copy(it, |edge| edge.server = address("10.96.0.10")),
        Some("-> external 10.96.0.10 port"),
    );
    check(
        &moment,
        |it| copy(it, |edge| edge.client = address("10.244.1.11")),
        Some("unexpected  external 10.244.1.11"),
    );
    // Found by its port alone.
    check(
        &moment,
        |it| {
            copy(it, |edge| {
                edge.client = address("10.244.1.11");
                edge.server = address("10.244.2.11");
            });
        },
        Some("unexpected  external 10.244.1.11 -> external 10.244.2.11"),
    );
}

/// Of a connection whose peer was killed the oracle knows bounds; a byte beyond them is noticed as everywhere else.
#[test]
fn what_a_killed_peer_leaves_open_has_bounds() {
    let world = world();
    for (name, reset) in
        [("client_killed_in_a_transfer", "client_reset"), ("server_killed_in_a_transfer", "server_reset")]
    {
        let moment = cases::named(name).play(&world, &mut |_| Ok(())).unwrap();
        let (most, least) = (moment.truth().clone(), moment.latitude.unwrap());
        assert!(least.request > 12_345 && least.response > 54_321, "killed before anything moved: {least:?}");
        check(&moment, |_| {}, None);
        check(
            &moment,
            |it| (totals(it).request, totals(it).response) = (least.request, least.response),
            None,
        );
        check(&moment, |it| totals(it).request = least.request - 1, Some("request "));
        check(&moment, |it| totals(it).request = most.request + 1, Some("request "));
        check(&moment, |it| totals(it).response = least.response - 1, Some("response "));
        check(&moment, |it| totals(it).response = most.response + 1, Some("response "));
        check(&moment, |it| totals(it).closed = [("normal".into(), 1)].into(), None);
        check(&moment, |it| totals(it).closed = [(reset.into(), 2)].into(), Some("2 instead of 1"));
        check(
            &moment,
            |it| totals(it).closed = [("timeout".into(), 1)].into(),
            Some("closed timeout 1 instead of 0"),
        );
        check(&moment, |it| totals(it).closed.clear(), Some("0 instead of 1"));
    }
}

/// What Caretta's users know as its failures: an agent with one of them does not pass the case that is named for it.
#[test]
fn an_agent_that_fails_as_caretta_does_is_found_out() {
    let world = world();
    let moments = |name| {
        let mut moments = Vec::new();
        let record = &mut |moment: &Moment| {
            moments.push(moment.clone());
            Ok(())
        };
        cases::named(name).play(&world, record).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        moments
    };

    let held = moments("keep_alive_bytes_do_not_freeze");
    let frozen = |it: &mut Edges| *totals(it) = held[0].truth().clone();
    check(&held[1], frozen, Some("request 10000 instead of 20000, response 50000 instead of 100000"));

    // The first four bytes of the address, read as an address of IPv4.
    let garbage = |it: &mut Edges| rename(it, |edge| edge.server = address("253.0.0.1"));
    for name in ["ipv6_is_not_garbage", "ipv6_is_not_garbage_where_nobody_listens"] {
        check(&moments(name)[0], garbage, Some("unexpected  Process c"));
    }

    let one = moments("a_service_is_one_edge");
    let two = |it: &mut Edges| {
        copy(it, |edge| edge.client = address("10.244.1.11"));
        rename(it, |edge| edge.server = address("10.96.0.10"));
    };
    check(&one[0], two, Some("-> external 10.96.0.10 port"));

    let sent_only = |it: &mut Edges| totals(it).response = 0;
    check(&moments("downloads_are_counted")[0], sent_only, Some("response 0 instead of 67108864"));

    let loopback = moments("listeners_and_loopback_are_no_phantom_edges");
    let listener = |it: &mut Edges| {
        copy(it, |edge| {
            edge.client = edge.server.clone();
            edge.server = address("0.0.0.0");
        });
        *totals_of(it, "0.0.0.0") = Totals::default();
    };
    check(&loopback[0], listener, Some("-> external 0.0.0.0 port"));
    let both_ends = |it: &mut Edges| copy(it, |edge| edge.observer = "server".into());
    check(&loopback[0], both_ends, Some("seen by the server: "));

    // Of connections that are open when the agent is started again, their lives so far are counted once more.
    let before = &held[0];
    let now = held[1].since(before);
    let whole_life = |it: &mut Edges| *it = held[1].edges.clone();
    check(&now, whole_life, Some("opened 1 instead of 0, request 20000 instead of 10000"));
}

/// A network of a run that was killed does not stay: the next one removes it.
#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let _world = world();
    let mut dead = std::process::Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let name = format!("ridley-test-{}-0-client", dead.id());
    integration::command::run("ip", &["netns", "add", &name]).unwrap();
    remove_stale().unwrap();
    assert!(!std::path::Path::new("/run/netns").join(&name).exists(), "{name} is still there");
}

/// Renders what an agent would expose after a change, and compares it with the truth.
#[track_caller]
fn check(moment: &Moment, change: impl FnOnce(&mut Edges), expected: Option<&str>) {
    let mut edges = moment.edges.clone();
    change(&mut edges);
    let exposition = Exposition::parse(&render(&edges)).expect("the rendered scrape is well-formed");
    let found =
        Edges::of(&exposition, &moment.interest).expect("the rendered scrape has the labels of links");
    match (moment.compare(&found), expected) {
        (Ok(()), None) => {}
        (Err(error), Some(expected)) => {
            assert!(error.to_string().contains(expected), "{expected} is not in: {error}")
        }
        (Ok(()), Some(expected)) => panic!("nothing was noticed, expected {expected}"),
        (Err(error), None) => panic!("the truth differs from itself: {error}"),
    }
}

/// Writes edges as an agent that counted them would expose them.
fn render(edges: &Edges) -> String {
    let mut families: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    let mut add = |name, kind, sample: String| families.entry((name, kind)).or_default().push(sample);
    for (edge, totals) in &edges.0 {
        let Edge { client, server, port, observer } = edge;
        let labels = format!(
            "client_name=\"{}\",client_kind=\"{}\",server_name=\"{}\",server_kind=\"{}\",server_port=\"{port}\",\
             network_transport=\"tcp\",observer=\"{observer}\"",
            client.name, client.kind, server.name, server.kind
        );
        let Totals { request, response, opened, closed, failed, active, handshakes, accepts, lifetimes } =
            totals;
        for (direction, n) in [("request", request), ("response", response)] {
            let name = "ridley_link_bytes_total";
            add(name, "counter", format!("{name}{{{labels},direction=\"{direction}\"}} {n}"));
        }
        for (reason, n) in closed {
            let name = "ridley_link_connections_closed_total";
            add(name, "counter", format!("{name}{{{labels},reason=\"{reason}\"}} {n}"));
        }
        for (reason, n) in failed {
            let name = "ridley_link_connections_failed_total";
            add(name, "counter", format!("{name}{{{labels},error_type=\"{reason}\"}} {n}"));
        }
        for (name, kind, suffix, n) in [
            ("ridley_link_connections_opened_total", "counter", "", opened),
            ("ridley_link_connections_active", "gauge", "", active),
            ("ridley_link_connect_duration_seconds", "histogram", "_count", handshakes),
            ("ridley_link_server_handshake_duration_seconds", "histogram", "_count", accepts),
            ("ridley_link_connection_duration_seconds", "histogram", "_count", lifetimes),
        ] {
            add(name, kind, format!("{name}{suffix}{{{labels}}} {n}"));
        }
    }
    let families = families.into_iter();
    families
        .map(|((name, kind), samples)| format!("# TYPE {name} {kind}\n{}\n", samples.join("\n")))
        .collect()
}

fn world() -> World {
    World::new().expect("the tests need a network")
}

fn totals(edges: &mut Edges) -> &mut Totals {
    edges.0.values_mut().next().expect("a case has an edge")
}

fn totals_of<'a>(edges: &'a mut Edges, server: &str) -> &'a mut Totals {
    let mut of_server = edges.0.iter_mut().filter(|(edge, _)| edge.server.name == server);
    of_server.next().expect("there is an edge to this server").1
}

/// Gives the edge of a case another identity.
fn rename(edges: &mut Edges, change: impl FnOnce(&mut Edge)) {
    let (mut edge, totals) = edges.0.pop_first().expect("a case has an edge");
    change(&mut edge);
    edges.0.insert(edge, totals);
}

/// Adds a copy of the edge that differs in something.
fn copy(edges: &mut Edges, change: impl FnOnce(&mut Edge)) {
    let (mut edge, totals) = edges
        .0
        .iter()
        .next()
        .map(|(edge, totals)| (edge.clone(), totals.clone()))
        .expect("a case has an edge");
    change(&mut edge);
    edges.0.insert(edge, totals);
}

fn address(address: &str) -> Name {
    Name { name: address.to_owned(), kind: "external".to_owned(), ..Name::default() }
}

fn send(by: Side, bytes: u64) -> Step {
    Step::Send { by, bytes }
}

/// Has two peers talk that follow different scripts.
fn converse(world: &World, port: u16, client: &[Step], server: &[Step]) -> anyhow::Result<()> {
    let route = world.route(Path::OneNode, Family::Ipv4, port);
    let plan = |side, address, script: &[Step]| {
        anyhow::Ok(Plan {
            name: format!("{side:?}"),
            control_group: Some(world.control_group("plain")?),
            side,
            address,
            onward: None,
            traffic: Traffic { script: script.to_vec(), ..Traffic::default() },
        })
    };
    let mut server = Peer::start(world, route.server, &plan(Side::Server, route.listen, server)?)?;
    server.ready()?;
    let mut client = Peer::start(world, route.client, &plan(Side::Client, route.dial, client)?)?;
    client.ready()?;
    let reports = (client.done(), server.done());
    reports.0.context("the client failed")?;
    reports.1.context("the server failed")?;
    Ok(())
}

fn difference(before: Counters, after: Counters) -> Counters {
    Counters {
        active_opens: after.active_opens - before.active_opens,
        passive_opens: after.passive_opens - before.passive_opens,
        attempt_fails: after.attempt_fails - before.attempt_fails,
        estab_resets: after.estab_resets - before.estab_resets,
    }
}
