//! The oracle's network namespaces as pods of an API server: whose bytes they are, to the byte.

use std::{path::Path as FilePath, time::Duration};

use anyhow::{Context, ensure};
use integration::{
    Agent, Case, Moment, World,
    agent::{CLUSTER_ATTRIBUTES, LIVE_IN_CLUSTER, Rights},
    api_server::{ApiServer, User},
    case::Home,
    edges::{Edge, Edges, Interest, Name},
    plan::Step,
    poll,
    world::{Family, Path},
};
use serde_json::{Value, json};

use crate::shop::{Pod, replica_set, service, slice};

/// How long the agent may take to show a connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pod in a namespace of the world.
#[derive(Clone, Copy, Debug)]
struct Posing {
    pod: &'static str,
    node: &'static str,
    zone: &'static str,
    addresses: [&'static str; 2],
    workload: [&'static str; 2],
}

const WEB: Posing = Posing {
    pod: "web-6f-x",
    node: "kn1",
    zone: "a",
    addresses: ["10.244.1.11", "fd00:1::11"],
    workload: ["Deployment", "web"],
};
const CACHE: Posing = Posing {
    pod: "cache-x",
    node: "kn1",
    zone: "a",
    addresses: ["10.244.1.12", "fd00:1::12"],
    workload: ["DaemonSet", "cache"],
};
const DB: Posing = Posing {
    pod: "db-0",
    node: "kn2",
    zone: "b",
    addresses: ["10.244.2.11", "fd00:2::11"],
    workload: ["StatefulSet", "db"],
};

/// How WEB reaches whom, and by which Service that is known.
const EDGES: [(Path, Family, Posing, &str); 4] = [
    (Path::Service, Family::Ipv4, DB, "db-by-cluster-ip"),
    (Path::TwoNodes, Family::Ipv4, DB, "db-by-pod"),
    (Path::TwoNodes, Family::Ipv6, DB, "db-by-pod-6"),
    (Path::OneNode, Family::Mapped, CACHE, "cache"),
];

/// Each edge has the names of both ends' pods and the bytes that the peers moved, also where the client knows nothing but the
/// address of a Service, while the connections are open and after.
#[test]
fn bytes_are_those_of_the_pods_that_moved_them() -> anyhow::Result<()> {
    let (server, world) = (ApiServer::start()?, World::new()?);
    let uids = create_pods(&server)?;
    let uid = |posing: Posing| uids.iter().find(|(it, _)| *it == posing.pod).expect("it was created").1;
    let script = [
        Step::Exchange { request: 10_001, response: 300_003 },
        Step::Hold,
        Step::Exchange { request: 70_007, response: 5 },
    ];
    let cases = EDGES.map(|(path, family, to, _)| Case {
        path,
        family,
        home: Home::Pods([uid(WEB), uid(to)]),
        ..Case::new("posing", script.clone())
    });
    let mut plays = cases.iter().map(|it| it.listen(&world)).collect::<Result<Vec<_>, _>>()?;
    let mut services = Vec::new();
    for (play, (path, family, to, name)) in plays.iter().zip(EDGES) {
        let [dial, listen] = play.interest().ports[..] else { anyhow::bail!("a route has two ports") };
        let spec = match path {
            Path::Service => {
                json!({ "clusterIP": "10.96.0.10", "ports": [{ "port": dial, "targetPort": listen }] })
            }
            _ => json!({ "clusterIP": "None", "ports": [{ "port": listen }] }),
        };
        let address = to.addresses[usize::from(family == Family::Ipv6)];
        let target = json!({ "kind": "Pod", "namespace": "shop", "name": to.pod, "uid": uid(to) });
        let mut slice = slice("shop", name, listen, json!([{ "addresses": [address], "targetRef": target }]));
        slice["addressType"] = if family == Family::Ipv6 { "IPv6" } else { "IPv4" }.into();
        services.extend([service(name, spec), slice]);
    }
    server.create(&services)?;

    let agent = start(&server, LIVE_IN_CLUSTER)?;
    plays.iter_mut().try_for_each(|play| play.connect())?;
    let expected = |moments: Vec<Moment>| -> Vec<Moment> {
        moments.into_iter().zip(EDGES).map(|(it, (_, _, to, service))| in_cluster(it, to, service)).collect()
    };
    let held = plays.iter_mut().map(|it| it.holding()).collect::<Result<Vec<_>, _>>()?;
    agent.expect_all(&expected(held)).context("with the connections open")?;
    plays.iter_mut().try_for_each(|play| play.go())?;
    let over = plays.iter_mut().map(|it| it.done()).collect::<Result<Vec<_>, _>>()?;
    agent.expect_all(&expected(over)).context("after the end of all connections")?;
    agent.stop().map(drop)
}

/// What the agent asks of the API server is traffic of its own, which is shown to nobody who does not want it.
#[test]
fn what_is_asked_of_the_api_server_is_no_link() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    // Others ask it, too, and are shown.
    let askers = |agent: &Agent| -> anyhow::Result<Vec<String>> {
        let interest =
            Interest { ports: vec![server.port()], attributes: attributes(), ..Interest::default() };
        let edges = Edges::of(&agent.scrape()?, &interest)?;
        Ok(edges.0.keys().filter_map(|it| it.client.attributes.get("process").cloned()).collect())
    };
    let shows = |agent: &Agent, whom: &str| {
        poll::until(PATIENCE, || {
            let found = askers(agent)?;
            ensure!(
                found.iter().any(|it| it == whom),
                "{whom} is not among {found:?}, who ask the API server"
            );
            Ok(())
        })
    };
    let asked = || server.kubectl(&["get", "pods"], "").map(drop);

    let agent = start(&server, LIVE_IN_CLUSTER)?;
    asked()?;
    shows(&agent, "kubectl")?;
    let found = askers(&agent)?;
    ensure!(!found.iter().any(|it| it == "ridley"), "the agent shows what it asks itself: {found:?}");
    agent.stop()?;

    let included =
        LIVE_IN_CLUSTER.replace("sample_interval: 200ms", "sample_interval: 200ms\n    own_traffic: include");
    let agent = start(&server, &included)?;
    shows(&agent, "ridley")?;
    agent.stop().map(drop)
}

fn start(server: &ApiServer, config: &str) -> anyhow::Result<Agent> {
    let kubeconfig = server.kubeconfig(User::Admin);
    let variables: [(&str, &FilePath); 1] = [("RIDLEY_KUBECONFIG", &kubeconfig)];
    let agent = Agent::launch(config, Rights::All, &variables)?;
    agent.await_observation(&attributes())?;
    Ok(agent)
}

fn attributes() -> Vec<String> {
    CLUSTER_ATTRIBUTES.map(str::to_owned).into()
}

/// Creates the nodes of the world and its pods. Returns the uid of each pod.
fn create_pods(server: &ApiServer) -> anyhow::Result<Vec<(&'static str, &'static str)>> {
    let node = |it: &Posing, n: u8| {
        json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": it.node, "labels": { "topology.kubernetes.io/zone": it.zone } },
            "spec": { "podCIDR": format!("10.244.{n}.0/24"), "podCIDRs": [format!("10.244.{n}.0/24"), format!("fd00:{n}::/64")] },
            "status": { "addresses": [{ "type": "InternalIP", "address": format!("192.0.2.{n}") }] },
        })
    };
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } });
    server.create(&[namespace, node(&WEB, 1), node(&DB, 2)])?;
    let owner = &server.create(&[replica_set("web-6f", Some(("apps/v1", "Deployment", "web")))])?[0];
    let owner = owner["metadata"]["uid"].as_str();
    let pods = [WEB, CACHE, DB].map(|it| {
        let Posing { pod, node, addresses: [first, second], workload: [kind, name], .. } = it;
        let owner = match kind {
            "Deployment" => ("apps/v1", "ReplicaSet", "web-6f", owner),
            _ => ("apps/v1", kind, name, None),
        };
        Pod::new(pod, node, first).with(second).of(owner).0
    });
    let created = server.create(&pods)?;
    let uid = |it: &Value| it["metadata"]["uid"].as_str().map(str::to_owned).context("a pod without a uid");
    let uids = created.iter().map(uid).collect::<Result<Vec<_>, _>>()?;
    Ok([WEB, CACHE, DB].iter().zip(uids).map(|(it, uid)| (it.pod, &*uid.leak())).collect())
}

/// Returns what is true of a connection to a pod with the names that the cluster has for its ends.
fn in_cluster(moment: Moment, to: Posing, service: &str) -> Moment {
    let [client, server] = &moment.interest.names[..] else { unreachable!("a case has two peers") };
    let edge = Edge {
        client: name(WEB, client, None),
        server: name(to, server, Some(service)),
        // At a Service that which was asked for.
        port: moment.route.dial.port(),
        observer: "client".to_owned(),
    };
    let Moment { route, interest: Interest { ports, .. }, .. } = &moment;
    let interest = Interest { names: Vec::new(), ports: ports.clone(), attributes: attributes() };
    let edges = Edges([(edge, moment.truth().clone())].into());
    Moment { route: *route, interest, edges, lifetimes: None, ..moment }
}

fn name(posing: Posing, process: &str, service: Option<&str>) -> Name {
    let Posing { pod, node, zone, addresses: _, workload: [kind, name] } = posing;
    let known = [("pod", pod), ("node", node), ("zone", zone), ("process", process)];
    let known = known.into_iter().chain(service.map(|it| ("service", it)));
    Name {
        name: name.to_owned(),
        namespace: Some("shop".to_owned()),
        kind: kind.to_owned(),
        attributes: known.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    }
}
