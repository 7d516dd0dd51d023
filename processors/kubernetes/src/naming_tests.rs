//! The rule of names, with objects as the API server writes them.

use component_test::{FlowBuilder, flow};
use model::CloseReason;
use serde_json::json;

use super::*;
use crate::{
    config::{Extract, Rule},
    told::{Cluster, LATER, controller, seconds, shop, target, time, uid},
    view::{EndpointSliceView, NamespaceView, NodeView, OwnerView, PodView, ServiceView},
};

#[test]
fn both_ends_are_named_by_their_workloads() {
    let mut cluster = shop();
    let seen =
        unseen().client("10.244.1.5:40000").server("10.244.2.7:8080").cgroup(&cgroup(1)).process(7, "curl");
    check(&mut cluster, seen, "Deployment shop/web", "StatefulSet shop/db");
    let seen = unseen()
        .observer(Observer::Server)
        .client("10.244.1.5:40000")
        .server("10.244.2.7:8080")
        .cgroup(&cgroup(2));
    check(&mut cluster, seen, "Deployment shop/web", "StatefulSet shop/db");
}

#[test]
fn what_is_known_of_an_end_are_its_attributes() {
    let mut cluster = shop();
    let mut seen =
        unseen().client("10.244.1.5:1").server("10.96.0.9:80").cgroup(&cgroup(1)).process(7, "curl").build();
    cluster.name(&mut seen, Patience::Wait).unwrap();
    assert_eq!(
        attributes(seen.client.entity.as_deref()),
        "process=curl pod=web-6f-1 node=kn1 zone=a region=eu service_name=web service_namespace=shop"
    );
    // Which of its pods answered is not known.
    assert_eq!(
        attributes(seen.server.entity.as_deref()),
        "service=db service_name=db service_namespace=shop"
    );
}

/// A Service is its workload, also by the ports of nodes; one of several workloads is itself.
#[test]
fn a_service_is_named_by_what_is_behind_it() {
    let mut cluster = shop();
    for (server, expected) in [
        ("10.96.0.9:80", "StatefulSet shop/db"),
        ("192.0.2.1:30080", "StatefulSet shop/db"),
        ("203.0.113.5:80", "StatefulSet shop/db"),
        ("203.0.113.5:81", "external"),
        ("192.0.2.2:30081", "Node kn2"),
    ] {
        check(&mut cluster, from_web(server), "Deployment shop/web", expected);
    }
    cluster.slice(json!([{ "addresses": ["10.244.2.7"], "targetRef": target(2) }, { "addresses": ["10.244.1.5"], "targetRef": target(1) }]));
    check(&mut cluster, from_web("10.96.0.9:80"), "Deployment shop/web", "Service shop/db");
}

/// Who answers for `kubernetes` is no pod, and often on no node.
#[test]
fn the_api_server_is_its_service() {
    let mut cluster = shop();
    cluster.service(
        "kubernetes",
        "default",
        json!({ "clusterIPs": ["10.96.0.1"], "ports": [{ "port": 443 }] }),
    );
    cluster.told::<EndpointSliceView>(json!({
        "metadata": { "name": "kubernetes", "namespace": "default", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "endpoints": [{ "addresses": ["198.51.100.1"] }],
        "ports": [{ "port": 6443, "protocol": "TCP" }],
    }));
    for server in ["10.96.0.1:443", "198.51.100.1:6443"] {
        check(&mut cluster, from_web(server), "Deployment shop/web", "Service default/kubernetes");
    }
    // It calls webhooks.
    let seen = unseen()
        .observer(Observer::Server)
        .client("198.51.100.1:5")
        .server("10.244.1.5:8443")
        .cgroup(&cgroup(1));
    check(&mut cluster, seen, "Service default/kubernetes", "Deployment shop/web");
}

/// With the node's addresses a pod is known by its cgroup, or by a port that it says it has.
#[test]
fn a_pod_of_the_nodes_network_is_named() {
    let mut cluster = shop();
    cluster.told::<PodView>(json!({
        "metadata": { "uid": uid(3).to_string(), "namespace": "sys", "name": "agent-x", "creationTimestamp": time(1),
            "ownerReferences": [controller("apps/v1", "DaemonSet", "agent", 30)] },
        "spec": { "nodeName": "kn2", "hostNetwork": true, "containers": [{ "ports": [{ "containerPort": 9100 }, { "containerPort": 53, "protocol": "UDP" }] }] },
        "status": { "phase": "Running", "podIPs": [{ "ip": "192.0.2.2" }] },
    }));
    check(&mut cluster, from_web("192.0.2.2:9100"), "Deployment shop/web", "DaemonSet sys/agent");
    check(&mut cluster, from_web("192.0.2.2:53"), "Deployment shop/web", "Node kn2");
    let seen = unseen().client("192.0.2.2:5").server("10.244.1.5:80").cgroup(&cgroup(3));
    check(&mut cluster, seen, "DaemonSet sys/agent", "Deployment shop/web");
    let seen =
        unseen().observer(Observer::Server).client("192.0.2.2:5").server("10.244.1.5:80").cgroup(&cgroup(1));
    check(&mut cluster, seen, "Node kn2", "Deployment shop/web");
}

/// The kubelet calls a static pod's cgroup otherwise than the API server calls the pod.
#[test]
fn a_static_pod_is_known_by_its_hash() {
    let mut cluster = shop();
    cluster.told::<PodView>(json!({
        "metadata": { "uid": uid(4).to_string(), "namespace": "kube-system", "name": "etcd-kn1", "creationTimestamp": time(1),
            "annotations": { "kubernetes.io/config.hash": uid(40).to_string().replace('-', "") },
            "ownerReferences": [controller("v1", "Node", "kn1", 41)] },
        "spec": { "nodeName": "kn1", "hostNetwork": true, "containers": [{}] },
        "status": { "phase": "Running", "podIPs": [{ "ip": "192.0.2.1" }] },
    }));
    let seen = unseen().client("192.0.2.1:5").server("192.0.2.2:2380").cgroup(&cgroup(40));
    check(&mut cluster, seen, "Pod kube-system/etcd-kn1", "Node kn2");
}

#[test]
fn processes_of_the_node_are_the_node() {
    let mut cluster = shop();
    check(&mut cluster, from_web("192.0.2.2:22"), "Deployment shop/web", "Node kn2");
    let seen = unseen().client("192.0.2.1:5").server("10.244.1.5:80").cgroup("/system.slice/kubelet.service");
    check(&mut cluster, seen, "Node kn1", "Deployment shop/web");
    // The bridge through which the kubelet probes, by its address at the pods' side.
    let seen =
        unseen().observer(Observer::Server).client("10.244.2.1:5").server("10.244.1.5:80").cgroup(&cgroup(1));
    check(&mut cluster, seen, "Node kn2", "Deployment shop/web");
}

/// Where there are no cgroups of version 2 a pod's connections name its network namespace, or its address does.
#[test]
fn without_cgroups_the_network_namespace_tells() {
    let mut cluster = shop();
    let unnamed = || unseen().client("10.244.1.5:5").server("10.96.0.9:80").netns(7);
    check(&mut cluster, unnamed().cgroup("/"), "Deployment shop/web", "StatefulSet shop/db");
    check(&mut cluster, unnamed().client("127.0.0.1:5").cgroup("/"), "Node kn1", "StatefulSet shop/db");
    check(&mut cluster, unnamed().cgroup(&cgroup(1)), "Deployment shop/web", "StatefulSet shop/db");
    check(
        &mut cluster,
        unnamed().client("127.0.0.1:5").cgroup("/"),
        "Deployment shop/web",
        "StatefulSet shop/db",
    );
}

#[test]
fn loopback_is_who_speaks() {
    let mut cluster = shop();
    let seen = unseen().client("127.0.0.1:5").server("127.0.0.1:80").cgroup(&cgroup(1));
    check(&mut cluster, seen, "Deployment shop/web", "Deployment shop/web");
}

#[test]
fn networks_have_the_names_of_the_configuration() {
    let mut cluster = Cluster::new(Config {
        networks: [("corp", vec!["10.0.0.0/8"]), ("vpn", vec!["10.8.0.0/16", "2001:db8::/32"])]
            .map(|(name, networks)| {
                (name.to_owned(), networks.iter().map(|it| it.parse().unwrap()).collect())
            })
            .into(),
        ..Config::default()
    });
    for (server, expected) in [
        ("10.9.0.1:1", "corp"),
        ("10.8.0.1:1", "vpn"),
        ("[2001:db8::1]:1", "vpn"),
        ("11.0.0.1:1", "external"),
    ] {
        check(&mut cluster, unseen().client("192.0.2.9:5").server(server), "Node unknown", expected);
    }
}

/// An address that is used again is not the former's, and records that come late are.
#[test]
fn an_address_used_again_is_decided_by_time() {
    let mut cluster = shop();
    cluster.at(2_000).gone::<PodView>(uid(2));
    cluster.pod(5, "job-x", "10.244.2.7", 2_010, "Running", Some(controller("batch/v1", "Job", "job", 50)));
    cluster.told::<OwnerView>(
        json!({ "metadata": { "uid": uid(50).to_string(), "namespace": "shop", "name": "job" } }),
    );
    for (at, expected) in [(1_500, "StatefulSet shop/db"), (2_010, "Job shop/job"), (2_050, "Job shop/job")] {
        let seen = from_web("10.244.2.7:8080").opened(at);
        check(&mut cluster, seen, "Deployment shop/web", expected);
    }
    cluster.at(2_121).naming.index.expire(seconds(2_121));
    let seen = from_web("10.244.2.7:8080").opened(1_500);
    assert_eq!(
        cluster.names(seen, Patience::Settle),
        ["Deployment shop/web", "Pod unknown"],
        "nobody else's"
    );
}

/// A connection keeps its names whatever becomes of the address.
#[test]
fn names_are_fixed_at_first_sight() {
    let mut cluster = shop();
    let seen = || from_web("10.244.2.7:8080").id(5);
    check(&mut cluster, seen(), "Deployment shop/web", "StatefulSet shop/db");
    cluster.at(2_000).gone::<PodView>(uid(2));
    cluster.pod(5, "other", "10.244.2.7", 500, "Running", None);
    check(&mut cluster, seen().closed(CloseReason::Normal), "Deployment shop/web", "StatefulSet shop/db");
    check(&mut cluster, seen().opened(2_000), "Deployment shop/web", "Pod shop/other");
}

/// Labels of pods, nodes and namespaces change, and a node may be told of after its pods.
#[test]
fn what_changes_is_in_the_names_of_connections_that_begin_after() {
    let labels = ["pod", "namespace", "node"].map(|it| Rule {
        key: Some("team".to_owned()),
        key_regex: None,
        tag_name: Some(format!("{it}.team")),
        from: serde_json::from_value(json!(it)).unwrap(),
    });
    let extract = Extract { labels: labels.into(), ..Extract::default() };
    let mut cluster = Cluster::new(Config { node: Some("kn1".to_owned()), extract, ..Config::default() });
    cluster.fill();
    let team = |name: &str, team: &str| json!({ "name": name, "labels": { "team": team } });
    let pod = |cluster: &mut Cluster, team: &str| {
        cluster.told::<PodView>(json!({
            "metadata": { "uid": uid(3).to_string(), "namespace": "shop", "name": "cart", "labels": { "team": team } },
            "spec": { "nodeName": "kn3", "containers": [{}] },
            "status": { "phase": "Running", "podIPs": [{ "ip": "10.244.3.9" }], "startTime": time(1) },
        }));
    };
    let named = |cluster: &mut Cluster, id: u32| {
        let mut seen = from_web("10.244.3.9:80").id(id).build();
        cluster.name(&mut seen, Patience::Wait).unwrap();
        attributes(seen.server.entity.as_deref())
    };
    let own = "service_name=cart service_namespace=shop";
    pod(&mut cluster, "a");
    let first = format!("pod=cart node=kn3 {own} pod.team=a");
    assert_eq!(named(&mut cluster, 1), first);
    cluster.told::<NodeView>(json!({ "metadata": team("kn3", "b") }));
    assert_eq!(named(&mut cluster, 2), format!("pod=cart node=kn3 {own} node.team=b pod.team=a"));
    pod(&mut cluster, "c");
    cluster.told::<NamespaceView>(json!({ "metadata": team("shop", "d") }));
    let last = format!("pod=cart node=kn3 {own} namespace.team=d node.team=b pod.team=c");
    assert_eq!(named(&mut cluster, 3), last);
    assert_eq!(named(&mut cluster, 1), first, "its names are fixed");
}

/// The address of a pod that is over may be another's at once.
#[test]
fn a_pod_that_is_over_has_no_address() {
    for phase in ["Succeeded", "Failed"] {
        let mut cluster = shop();
        cluster.at(2_000).pod(
            2,
            "db-0",
            "10.244.2.7",
            1,
            phase,
            Some(controller("apps/v1", "StatefulSet", "db", 20)),
        );
        let seen = from_web("10.244.2.7:8080").opened(2_001);
        assert_eq!(cluster.names(seen, Patience::Settle), ["Deployment shop/web", "Pod unknown"], "{phase}");
        let seen = from_web("10.244.2.7:8080").opened(1_999);
        check(&mut cluster, seen, "Deployment shop/web", "StatefulSet shop/db");
        // Its own processes are still it.
        let seen = unseen().client("10.244.2.7:5").server("10.96.0.9:80").cgroup(&cgroup(2)).opened(2_001);
        assert_eq!(cluster.names(seen, Patience::Settle)[0], "StatefulSet shop/db", "{phase}");
    }
}

/// An address in the network of a node's pods may still be told of, as long as a node has that network.
#[test]
fn networks_of_pods_are_those_of_the_nodes_that_are_there() {
    let mut cluster = shop();
    let is_awaited = |cluster: &mut Cluster, server: &str| {
        cluster.name(&mut from_web(server).build(), Patience::Wait).is_err()
    };
    let node = |name: &str, network: &str| json!({ "metadata": { "name": name }, "spec": { "podCIDRs": [network] } });
    assert!(is_awaited(&mut cluster, "10.244.2.77:80"));
    assert!(!is_awaited(&mut cluster, "10.244.3.77:80"));
    cluster.told::<NodeView>(node("kn2", "10.244.3.9/24"));
    assert!(!is_awaited(&mut cluster, "10.244.2.77:80"), "the node has another network");
    assert!(is_awaited(&mut cluster, "10.244.3.77:80"));
    cluster.told::<NodeView>(node("kn3", "10.244.3.0/24"));
    cluster.gone::<NodeView>("kn2".into());
    assert!(is_awaited(&mut cluster, "10.244.3.77:80"), "another node has it, too");
    cluster.gone::<NodeView>("kn3".into());
    assert!(!is_awaited(&mut cluster, "10.244.3.77:80"));
}

/// The agent of the client's node reports a connection, too. Whether there is one is told by the pods of the agents' DaemonSet.
#[test]
fn what_another_agent_observes_is_marked() {
    let mut cluster = Cluster {
        naming: Naming::new(&Config { pod: Some("shop/agent-2".to_owned()), ..Config::default() }),
        ..shop()
    };
    cluster.fill();
    let agents = || Some(controller("apps/v1", "DaemonSet", "agent", 70));
    let marked_at = |cluster: &mut Cluster, client: &str, port: u16| {
        let seen = unseen().observer(Observer::Server).client(client).server(&format!("10.244.2.7:{port}"));
        let mut flow = seen.cgroup(&cgroup(2)).build();
        cluster.name(&mut flow, Patience::Settle).unwrap();
        flow.other_is_observed
    };
    let marked = |cluster: &mut Cluster, client: &str| marked_at(cluster, client, 8080);
    cluster.pod(72, "agent-2", "10.244.2.72", 1, "Running", agents());
    assert!(!marked(&mut cluster, "10.244.1.5:5"), "no agent is there");
    assert!(!marked_at(&mut cluster, "192.0.2.1:5", 9000), "no agent is there");
    cluster.pod(71, "agent-1", "10.244.1.71", 1, "Running", agents());
    assert!(marked(&mut cluster, "10.244.1.5:5"));
    assert!(!marked(&mut cluster, "10.244.2.7:5"), "on this node");
    assert!(!marked(&mut cluster, "192.0.2.1:5"), "perhaps passed on by the node, for there is a node port");
    assert!(
        marked_at(&mut cluster, "192.0.2.1:5", 9000),
        "no Service leads there, so that it is of the node"
    );
    assert!(!marked_at(&mut cluster, "192.0.2.2:5", 9000), "of this node");
    assert!(!marked(&mut cluster, "11.0.0.1:5"), "from outside");
    cluster.service("db", "shop", json!({ "clusterIPs": ["10.96.0.9"], "ports": [{ "port": 80 }] }));
    assert!(
        !marked(&mut cluster, "192.0.2.1:5"),
        "perhaps passed on by the node, for a balancer leads there"
    );
    cluster.told::<ServiceView>(json!({
        "metadata": { "name": "db", "namespace": "shop" },
        "spec": { "clusterIPs": ["10.96.0.9"], "ports": [{ "port": 80 }] },
    }));
    assert!(marked(&mut cluster, "192.0.2.1:5"), "the Service is for the cluster alone");
    cluster.gone::<PodView>(uid(71));
    assert!(!marked(&mut cluster, "10.244.1.5:5"), "the agent is gone");
}

/// A name waits for what it depends on, and is given by what is known when it has waited long enough.
#[test]
fn what_is_not_told_yet_is_waited_for() {
    let mut cluster = shop();
    let new = || unseen().client("10.244.1.9:5").server("10.96.0.9:80").cgroup(&cgroup(6));
    assert!(cluster.name(&mut new().build(), Patience::Wait).is_err(), "the pod is not known");
    assert!(
        cluster.name(&mut from_web("10.244.1.9:80").build(), Patience::Wait).is_err(),
        "nor by its address"
    );
    let uid_6 = uid(6).to_string();
    assert_eq!(
        cluster.names(new(), Patience::Settle),
        [format!("Pod {uid_6}"), "StatefulSet shop/db".to_owned()]
    );

    cluster.pod(
        6,
        "api-5c-x",
        "10.244.1.9",
        1,
        "Running",
        Some(controller("apps/v1", "ReplicaSet", "api-5c", 60)),
    );
    assert!(cluster.name(&mut new().build(), Patience::Wait).is_err(), "its owner is not known");
    assert_eq!(cluster.names(new(), Patience::Settle)[0], "ReplicaSet shop/api-5c");

    cluster.told::<OwnerView>(json!({
        "metadata": { "uid": uid(60).to_string(), "namespace": "shop", "name": "api-5c",
            "ownerReferences": [controller("argoproj.io/v1alpha1", "Rollout", "api", 61)] },
    }));
    check(&mut cluster, new(), "Rollout shop/api", "StatefulSet shop/db");
}

/// How long a name takes in a large cluster: `cargo test --release -p kubernetes-processor -- --ignored --nocapture`.
#[test]
#[ignore = "measures, and checks nothing"]
#[expect(clippy::print_stdout, reason = "what it measures is to be read")]
fn speed() {
    const RECORDS: usize = 100_000;
    let mut cluster = large();
    let address = |n: usize| format!("{}:40000", pod_address(n % PODS));
    let to_pod = |n: usize| address(n * 7 + 1);
    let to_service = |n: usize| format!("{}:80", service_address(n % SERVICES));
    let between = |server: &dyn Fn(usize) -> String, with_id: bool| -> Vec<Flow> {
        let records = (0..RECORDS).map(|n| {
            let path = cgroup(n as u128 % PODS as u128 + 1);
            let flow = unseen().client(&address(n)).server(&server(n)).cgroup(&path);
            if with_id { flow.id(u32::try_from(n).unwrap()) } else { flow }.build()
        });
        records.collect()
    };
    let mut measure = |what: &str, mut records: Vec<Flow>| {
        let began = nanos_on_processor();
        for record in &mut records {
            cluster.naming.name(record, Patience::Wait).expect("everything was told");
        }
        let nanos = (nanos_on_processor() - began) / RECORDS as u64;
        let named =
            records.iter().filter(|it| it.server.entity.as_ref().is_some_and(|it| it.namespace.is_some()));
        println!("{nanos} ns for a record {what}; {} of {RECORDS} are of a workload", named.count());
    };
    measure("of a pod to a pod, names that were not given yet", between(&to_pod, false));
    measure("of a pod to a pod", between(&to_pod, false));
    measure("of a pod to a Service", between(&to_service, false));
    measure("of a connection's first time", between(&to_pod, true));
    measure("of a connection that is known", between(&to_pod, true));

    // In no order, so that what is looked at was in no cache.
    let mut random = 1_u64;
    let addresses: Vec<IpAddr> = (0..RECORDS)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            pod_address(usize::try_from(random >> 33).unwrap() % PODS).parse().unwrap()
        })
        .collect();
    let index = &cluster.naming.index;
    let began = nanos_on_processor();
    let found = addresses.iter().filter_map(|it| index.pod_at(*it, seconds(LATER)));
    // What it is called must be read, too.
    let n_bytes: usize = found.map(|it| it.name.name.len()).sum();
    let nanos = (nanos_on_processor() - began) / RECORDS as u64;
    println!("{nanos} ns for the pod of an address, whose names have {n_bytes} bytes");
}

/// Returns how long this thread has been on a processor, however busy the machine is.
fn nanos_on_processor() -> u64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    times.split_whitespace().next().unwrap().parse().unwrap()
}

const PODS: usize = 10_000;
const NODES: usize = 300;
const SERVICES: usize = 1_000;

fn pod_address(n: usize) -> String {
    format!("10.{}.{}.{}", 128 + n / 25_000, n / 100 % 250, n % 100 + 1)
}

fn service_address(n: usize) -> String {
    format!("10.96.{}.{}", n / 250, n % 250 + 1)
}

/// A cluster of the size that Kubernetes names as a large one's pods and Services for 300 nodes: each Service has the ten pods
/// of a Deployment.
fn large() -> Cluster {
    let mut cluster = Cluster::new(Config { node: Some("n0".to_owned()), ..Config::default() });
    for n in 0..NODES {
        cluster.told::<NodeView>(json!({
            "metadata": { "name": format!("n{n}"), "labels": { "topology.kubernetes.io/zone": "a" } },
            "status": { "addresses": [{ "type": "InternalIP", "address": format!("192.168.{}.{}", n / 200, n % 200 + 1) }] },
        }));
    }
    for n in 0..SERVICES {
        let owner = 1_000_000 + n as u128;
        cluster.told::<OwnerView>(json!({
            "metadata": { "uid": uid(owner).to_string(), "namespace": "shop", "name": format!("app-{n}-6f"),
                "ownerReferences": [controller("apps/v1", "Deployment", &format!("app-{n}"), 2_000_000 + n as u128)] },
        }));
        let ports = json!([{ "port": 80, "protocol": "TCP" }]);
        cluster.service(
            &format!("app-{n}"),
            "shop",
            json!({ "clusterIPs": [service_address(n)], "ports": ports }),
        );
        let of_service = n * PODS / SERVICES..(n + 1) * PODS / SERVICES;
        let endpoints: Vec<_> = of_service
            .clone()
            .map(|pod| json!({ "addresses": [pod_address(pod)], "targetRef": target(pod as u128 + 1) }))
            .collect();
        cluster.told::<EndpointSliceView>(json!({
            "metadata": { "name": format!("app-{n}-1"), "namespace": "shop", "labels": { "kubernetes.io/service-name": format!("app-{n}") } },
            "endpoints": endpoints,
            "ports": [{ "port": 8080, "protocol": "TCP" }],
        }));
        for pod in of_service {
            cluster.told::<PodView>(json!({
                "metadata": { "uid": uid(pod as u128 + 1).to_string(), "namespace": "shop", "name": format!("app-{n}-6f-{pod}"),
                    "ownerReferences": [controller("apps/v1", "ReplicaSet", &format!("app-{n}-6f"), owner)] },
                "spec": { "nodeName": format!("n{}", pod % NODES), "containers": [{}] },
                "status": { "phase": "Running", "podIPs": [{ "ip": pod_address(pod) }], "startTime": time(1) },
            }));
        }
    }
    cluster
}

impl Cluster {
    fn name(&mut self, flow: &mut Flow, patience: Patience) -> Result<(), Untold> {
        self.naming.name(flow, patience)
    }

    fn names(&mut self, flow: impl Into<Flow>, patience: Patience) -> [String; 2] {
        let mut flow = flow.into();
        self.name(&mut flow, patience).unwrap_or_else(|_| panic!("not told: {flow:#?}"));
        [&flow.client, &flow.server].map(|it| text(it.entity.as_deref().unwrap()))
    }
}

/// A connection that nothing is remembered of.
fn unseen() -> FlowBuilder {
    flow().no_id().opened(LATER)
}

/// What the pod `web` sees of a connection to a server.
fn from_web(server: &str) -> FlowBuilder {
    unseen().client("10.244.1.5:40000").server(server).cgroup(&cgroup(1))
}

fn cgroup(n: u128) -> String {
    format!("/kubepods/burstable/pod{}/{:064x}", uid(n), n)
}

fn text(entity: &Entity) -> String {
    let Entity { name, namespace, kind, .. } = entity;
    match namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None if &**kind == kind::EXTERNAL => name.to_string(),
        None => format!("{kind} {name}"),
    }
}

fn attributes(entity: Option<&Entity>) -> String {
    let attributes = entity.map(|it| it.attributes.as_slice()).unwrap_or_default();
    let texts: Vec<_> = attributes.iter().map(|(it, value)| format!("{}={value}", it.as_str())).collect();
    texts.join(" ")
}

/// Names a record when everything has been told.
#[track_caller]
fn check(cluster: &mut Cluster, flow: impl Into<Flow>, client: &str, server: &str) {
    assert_eq!(cluster.names(flow, Patience::Wait), [client, server]);
}
