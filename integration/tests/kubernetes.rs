//! Names of ends in a cluster: objects in a real API server, and records of connections between them.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{self, File},
    path::Path,
    process::{Child, Command},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, ensure};
use integration::{
    api_server::{ApiServer, User},
    poll,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than a run of the agent takes.
const LIMIT: Duration = Duration::from_secs(60);

/// How long the API server is away.
const OUTAGE: Duration = Duration::from_secs(60);
/// How soon after it is back new pods have names.
const AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// What is named: who observes which ends, and what both are called.
struct Case {
    name: &'static str,
    observer: &'static str,
    client: &'static str,
    server: &'static str,
    /// The pod in whose cgroup the observer's end is, a path, or nothing.
    within: &'static str,
    expected: [&'static str; 2],
}

/// A case of the client's side.
const fn client(
    name: &'static str,
    within: &'static str,
    client: &'static str,
    server: &'static str,
    expected: [&'static str; 2],
) -> Case {
    Case { name, observer: "client", client, server, within, expected }
}

/// A case of the server's side.
const fn server(
    name: &'static str,
    within: &'static str,
    client: &'static str,
    server: &'static str,
    expected: [&'static str; 2],
) -> Case {
    Case { name, observer: "server", client, server, within, expected }
}

const WEB: &str = "10.244.1.5:40000";
const WEB_NAME: &str = "Deployment shop/web pod=web-1 node=kn1 zone=a";
const DB_NAME: &str = "StatefulSet shop/db pod=db-0 node=kn2 zone=b service=db";
const DB_BEHIND: &str = "StatefulSet shop/db service=db";

const CASES: &[Case] = &[
    // Owners.
    client("deployment_by_its_replicaset", "web-1", WEB, "192.0.2.77:1", [WEB_NAME, "external"]),
    client(
        "statefulset",
        "db-0",
        "10.244.2.7:5",
        "192.0.2.77:1",
        ["StatefulSet shop/db pod=db-0 node=kn2 zone=b", "external"],
    ),
    client(
        "daemonset",
        "log-1",
        "10.244.1.9:5",
        "192.0.2.77:1",
        ["DaemonSet shop/log pod=log-1 node=kn1 zone=a", "external"],
    ),
    client(
        "cronjob_by_its_job",
        "report-1-x",
        "10.244.1.20:5",
        "192.0.2.77:1",
        ["CronJob shop/report pod=report-1-x node=kn1 zone=a", "external"],
    ),
    client(
        "job",
        "migrate-x",
        "10.244.1.22:5",
        "192.0.2.77:1",
        ["Job shop/migrate pod=migrate-x node=kn1 zone=a", "external"],
    ),
    client(
        "replicaset_alone",
        "legacy-x",
        "10.244.1.23:5",
        "192.0.2.77:1",
        ["ReplicaSet shop/legacy pod=legacy-x node=kn1 zone=a", "external"],
    ),
    client(
        "replication_controller",
        "old-x",
        "10.244.1.24:5",
        "192.0.2.77:1",
        ["ReplicationController shop/old pod=old-x node=kn1 zone=a", "external"],
    ),
    client(
        "pod_alone",
        "toolbox",
        "10.244.2.30:5",
        "192.0.2.77:1",
        ["Pod shop/toolbox pod=toolbox node=kn2 zone=b", "external"],
    ),
    client(
        "custom_owner_of_a_replicaset",
        "api-1",
        "10.244.2.6:5",
        "192.0.2.77:1",
        ["Rollout shop/api pod=api-1 node=kn2 zone=b", "external"],
    ),
    client(
        "custom_owner_of_a_pod",
        "kafka-0",
        "10.244.2.31:5",
        "192.0.2.77:1",
        ["StrimziPodSet shop/kafka pod=kafka-0 node=kn2 zone=b", "external"],
    ),
    // The observer's own end.
    client("systemd_and_cri_o", "systemd:web-1", WEB, "192.0.2.77:1", [WEB_NAME, "external"]),
    client(
        "nested_in_a_node_that_is_a_container",
        "nested:web-1",
        WEB,
        "192.0.2.77:1",
        [WEB_NAME, "external"],
    ),
    client(
        "host_network_by_cgroup",
        "agent-1",
        "192.0.2.1:5",
        "10.244.2.7:8080",
        ["DaemonSet sys/agent pod=agent-1 node=kn1 zone=a", DB_NAME],
    ),
    client(
        "static_pod_by_its_hash",
        "static",
        "192.0.2.1:5",
        "192.0.2.77:1",
        ["Pod sys/etcd-kn1 pod=etcd-kn1 node=kn1 zone=a", "external"],
    ),
    client(
        "process_of_the_node",
        "/system.slice/kubelet.service",
        "192.0.2.1:5",
        "10.244.2.7:8080",
        ["Node kn1 node=kn1 zone=a", DB_NAME],
    ),
    client(
        "without_cgroup_by_address",
        "",
        "10.244.2.7:5",
        WEB,
        ["StatefulSet shop/db pod=db-0 node=kn2 zone=b", WEB_NAME],
    ),
    client(
        "root_cgroup_by_address",
        "/",
        "10.244.2.7:5",
        WEB,
        ["StatefulSet shop/db pod=db-0 node=kn2 zone=b", WEB_NAME],
    ),
    // The other end: pods.
    client("pod_by_address", "web-1", WEB, "10.244.2.7:8080", [WEB_NAME, DB_NAME]),
    server("client_pod_by_address", "db-0", WEB, "10.244.2.7:8080", [WEB_NAME, DB_NAME]),
    client(
        "pod_by_its_ipv6_address",
        "web-1",
        "[fd00:1::5]:5",
        "[fd00:2::7]:8080",
        [WEB_NAME, "StatefulSet shop/db pod=db-0 node=kn2 zone=b"],
    ),
    client(
        "pod_at_a_port_of_no_service",
        "web-1",
        WEB,
        "10.244.2.7:9",
        [WEB_NAME, "StatefulSet shop/db pod=db-0 node=kn2 zone=b"],
    ),
    client("loopback_is_the_same_pod", "web-1", "127.0.0.1:5", "127.0.0.1:80", [WEB_NAME, WEB_NAME]),
    // Services.
    client("cluster_ip", "web-1", WEB, "10.96.0.9:80", [WEB_NAME, DB_BEHIND]),
    client("cluster_ip_of_ipv6", "web-1", "[fd00:1::5]:5", "[fd00:96::9]:80", [WEB_NAME, DB_BEHIND]),
    client("external_ip", "web-1", WEB, "198.51.100.7:80", [WEB_NAME, DB_BEHIND]),
    client("load_balancer", "web-1", WEB, "203.0.113.50:80", [WEB_NAME, DB_BEHIND]),
    client(
        "another_port_of_a_load_balancer",
        "web-1",
        WEB,
        "203.0.113.50:81",
        [WEB_NAME, "Deployment shop/web service=edge"],
    ),
    client("node_port", "web-1", WEB, "192.0.2.2:30080", [WEB_NAME, DB_BEHIND]),
    client("node_port_at_the_external_address", "web-1", WEB, "203.0.113.1:30080", [WEB_NAME, DB_BEHIND]),
    client(
        "udp_node_port_is_no_service",
        "web-1",
        WEB,
        "192.0.2.2:30081",
        [WEB_NAME, "Node kn2 node=kn2 zone=b"],
    ),
    client(
        "service_of_several_workloads",
        "web-1",
        WEB,
        "10.96.0.10:80",
        [WEB_NAME, "Service shop/mixed service=mixed"],
    ),
    client(
        "service_without_endpoints",
        "web-1",
        WEB,
        "10.96.0.11:80",
        [WEB_NAME, "Service shop/empty service=empty"],
    ),
    client(
        "service_of_addresses_outside",
        "web-1",
        WEB,
        "10.96.0.12:5432",
        [WEB_NAME, "Service shop/legacy-db service=legacy-db"],
    ),
    client(
        "address_outside_that_a_service_names",
        "web-1",
        WEB,
        "198.51.100.20:5432",
        [WEB_NAME, "Service shop/legacy-db service=legacy-db"],
    ),
    client(
        "headless_service",
        "web-1",
        WEB,
        "10.244.2.31:9092",
        [WEB_NAME, "StrimziPodSet shop/kafka pod=kafka-0 node=kn2 zone=b service=brokers"],
    ),
    // Nodes.
    client(
        "host_network_by_its_port",
        "web-1",
        WEB,
        "192.0.2.2:9100",
        [WEB_NAME, "DaemonSet sys/agent pod=agent-2 node=kn2 zone=b"],
    ),
    client(
        "host_port_of_a_pod",
        "web-1",
        WEB,
        "192.0.2.2:443",
        [WEB_NAME, "DaemonSet sys/ingress pod=ingress-1 node=kn2 zone=b"],
    ),
    client("node_by_address", "web-1", WEB, "192.0.2.2:22", [WEB_NAME, "Node kn2 node=kn2 zone=b"]),
    client(
        "node_by_its_ipv6_address",
        "web-1",
        "[fd00:1::5]:5",
        "[2001:db8::2]:22",
        [WEB_NAME, "Node kn2 node=kn2 zone=b"],
    ),
    server(
        "client_at_a_node_is_the_node",
        "web-1",
        "192.0.2.2:5",
        "10.244.1.5:80",
        ["Node kn2 node=kn2 zone=b", WEB_NAME],
    ),
    server(
        "probe_from_the_bridge",
        "web-1",
        "10.244.1.1:5",
        "10.244.1.5:80",
        ["Node kn1 node=kn1 zone=a", WEB_NAME],
    ),
    // The API server.
    client(
        "api_server_by_its_service",
        "web-1",
        WEB,
        "10.96.0.1:443",
        [WEB_NAME, "Service default/kubernetes service=kubernetes"],
    ),
    client(
        "api_server_by_address",
        "web-1",
        WEB,
        "198.51.100.1:6443",
        [WEB_NAME, "Service default/kubernetes service=kubernetes"],
    ),
    server(
        "api_server_calls_a_webhook",
        "web-1",
        "198.51.100.1:5",
        "10.244.1.5:8443",
        ["Service default/kubernetes service=kubernetes", WEB_NAME],
    ),
    // Outside.
    client("network_of_the_configuration", "web-1", WEB, "10.8.1.1:1", [WEB_NAME, "corp-vpn"]),
    client("smallest_network_counts", "web-1", WEB, "10.9.1.1:1", [WEB_NAME, "corp"]),
    // Failures of others. A pod that is over does not have its address; who got it does.
    client(
        "address_of_a_pod_that_is_over",
        "web-1",
        WEB,
        "10.244.1.21:80",
        [WEB_NAME, "Pod shop/reuse pod=reuse node=kn1 zone=a"],
    ),
    server(
        "client_at_the_address_of_a_pod_that_is_over",
        "web-1",
        "10.244.1.21:5",
        "10.244.1.5:80",
        ["Pod shop/reuse pod=reuse node=kn1 zone=a", WEB_NAME],
    ),
];

#[test]
fn ends_have_the_names_that_their_objects_give_them() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    let uids = create_shop(&server)?;
    let config = "networks: { corp: [10.0.0.0/8], corp-vpn: [10.8.0.0/16] }\n    owners: []";
    let now = nanos()?;
    let flows: Vec<_> = CASES.iter().enumerate().map(|(idx, case)| case.flow(idx, now, &uids)).collect();
    let Run { named, log: _ } = run(&server, User::Admin, config, &flows)?;
    let mut wrong = Vec::new();
    for (idx, case) in CASES.iter().enumerate() {
        let flow = named.get(&id(idx)).with_context(|| format!("{} is missing", case.name))?;
        let found = ["client", "server"].map(|end| text(&flow[end]["entity"]));
        if found != case.expected {
            wrong.push(format!("{}: {found:#?} instead of {:#?}", case.name, case.expected));
        }
    }
    ensure!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
    Ok(())
}

/// What the processor's README tells administrators to allow is enough, and nothing of it is in vain.
#[test]
fn the_rules_of_the_readme_are_enough_and_needed() -> anyhow::Result<()> {
    let server = ApiServer::start()?;
    let uids = create_shop(&server)?;
    server.create(&[json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": { "name": "ridley" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ridley" },
        "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "ridley" }],
    })])?;
    let allow = |rules: &[(String, String)]| -> anyhow::Result<()> {
        let rules = rules.iter().map(|(group, resource)| {
            json!({ "apiGroups": [group], "resources": [resource], "verbs": ["list", "watch"] })
        });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": { "name": "ridley" },
            "rules": rules.collect::<Vec<_>>(),
        });
        server.kubectl(&["apply", "-f", "-"], &role.to_string()).map(drop)
    };
    let idx = CASES.iter().position(|it| it.name == "cluster_ip").context("no such case")?;
    let flows = [CASES[idx].flow(idx, nanos()?, &uids)];
    let rules = documented_rules()?;
    allow(&rules)?;
    let Run { named, log } = run(&server, User::Agent, "sync_timeout: 20s", &flows)?;
    let found = ["client", "server"].map(|end| text(&named[&id(idx)][end]["entity"]));
    ensure!(found == CASES[idx].expected && !log.contains("WARN"), "with all rules: {found:?}\n{log}");
    for left_out in &rules {
        let others: Vec<_> = rules.iter().filter(|it| *it != left_out).cloned().collect();
        allow(&others)?;
        let Run { named: _, log } = run(&server, User::Agent, "sync_timeout: 1s", &flows)?;
        ensure!(log.contains("forbidden") && log.contains(&left_out.1), "without {left_out:?}:\n{log}");
    }
    Ok(())
}

/// Names go on being given while the API server is away for a minute, and a new pod has its own within seconds after it came back
/// with a history that has been compacted.
#[test]
fn an_outage_of_the_api_server_costs_no_names() -> anyhow::Result<()> {
    let mut server = ApiServer::start()?;
    let uids = create_shop(&server)?;
    let known = CASES.iter().find(|it| it.name == "cluster_ip").context("no such case")?;
    let late = server_of_late_pod();
    // A connection of each in every second, told of as it begins.
    let began = nanos()?;
    let mut flows = Vec::new();
    for second in 0..2 * OUTAGE.as_secs() {
        let (idx, at) = (2 * usize::try_from(second)?, began + 1_000_000_000 * second);
        flows.extend([known.flow(idx, at, &uids), late.flow(idx + 1, at, &uids)]);
    }
    let live = Live::start(&server, &flows)?;
    live.await_named(&id(0))?;
    server.stop_server();
    // The next second that is all after a time from now.
    let second_after = |wait: Duration| -> anyhow::Result<usize> {
        let passed = Duration::from_nanos(nanos()? - began) + wait;
        Ok(usize::try_from(passed.as_secs())? + 1)
    };
    live.await_named(&id(2 * second_after(OUTAGE)?))?;
    server.start_server()?;
    server.create(&[Pod::new("late", "kn1", "10.244.1.99").of(("apps/v1", "DaemonSet", "late", None)).0])?;
    let first = 2 * second_after(AFTER_OUTAGE)?;
    live.await_named(&id(first + 1))?;
    let named = read_named(&live.folder.path().join("named.jsonl"))?;
    let log = live.log()?;
    let check = |idx: usize, case: &Case| -> anyhow::Result<()> {
        let found = ["client", "server"].map(|end| text(&named[&id(idx)][end]["entity"]));
        ensure!(found == case.expected, "second {}: {found:?}; the agent said:\n{log}", idx / 2);
        Ok(())
    };
    (0..=first).step_by(2).try_for_each(|idx| check(idx, known))?;
    check(first + 1, &late)?;
    ensure!(log.contains("the API server does not tell of all objects"), "{log}");
    Ok(())
}

/// A pod that is created late connects to one that is there from the beginning.
const fn server_of_late_pod() -> Case {
    server(
        "late",
        "db-0",
        "10.244.1.99:5",
        "10.244.2.7:8080",
        ["DaemonSet shop/late pod=late node=kn1 zone=a", DB_NAME],
    )
}

/// A running agent.
struct Live {
    child: Child,
    folder: TempDir,
}

impl Live {
    /// Starts an agent that is told of connections at the times when they begin.
    fn start(server: &ApiServer, flows: &[Value]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name);
        write_flows(&file("flows.jsonl"), flows)?;
        fs::write(file("ridley.yaml"), configuration(server, User::Admin, "", 1, folder.path()))?;
        let child = Command::new(agent()?)
            .arg("run")
            .arg("--config")
            .arg(file("ridley.yaml"))
            .stderr(File::create(file("log"))?)
            .spawn()
            .context("cannot run the agent")?;
        Ok(Self { child, folder })
    }

    /// Waits until a connection has names.
    fn await_named(&self, id: &str) -> anyhow::Result<()> {
        poll::until(OUTAGE + LIMIT, || {
            let named = read_named(&self.folder.path().join("named.jsonl"))?;
            ensure!(named.contains_key(id), "{id} has no names yet");
            Ok(())
        })
        .with_context(|| format!("the agent said:\n{}", self.log().unwrap_or_default()))
    }

    fn log(&self) -> anyhow::Result<String> {
        fs::read_to_string(self.folder.path().join("log")).context("no log")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Returns API group and resource of every rule in the processor's README; each allows to list and to watch.
fn documented_rules() -> anyhow::Result<Vec<(String, String)>> {
    let readme = include_str!("../../processors/kubernetes/README.md");
    let (_, block) = readme.split_once("```yaml\nrules:\n").context("the README has no rules")?;
    let (block, _) = block.split_once("```").context("the rules have no end")?;
    let mut rules = Vec::new();
    for line in block.lines() {
        let list = |key: &str| -> anyhow::Result<Vec<String>> {
            let (_, rest) =
                line.split_once(&format!("{key}: [")).with_context(|| format!("no {key} in {line}"))?;
            let (inside, _) = rest.split_once(']').with_context(|| format!("no end of {key} in {line}"))?;
            Ok(inside.split(", ").map(|it| it.trim_matches('"').to_owned()).collect())
        };
        ensure!(list("verbs")? == ["list", "watch"], "other verbs: {line}");
        let groups = list("apiGroups")?;
        for resource in list("resources")? {
            rules.extend(groups.iter().map(|group| (group.clone(), resource.clone())));
        }
    }
    Ok(rules)
}

impl Case {
    fn flow(&self, idx: usize, now: u64, uids: &BTreeMap<String, String>) -> Value {
        let uid = |pod: &str| uids.get(pod).unwrap_or_else(|| panic!("no pod {pod}")).as_str();
        let container = "2b1f7c3a9d0e4f5866778899aabbccddeeff00112233445566778899aabbccdd";
        let cgroup = match self.within.split_once(':') {
            _ if self.within.is_empty() || self.within.starts_with('/') => self.within.to_owned(),
            Some(("systemd", pod)) => format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/crio-{container}.scope",
                uid(pod).replace('-', "_")
            ),
            Some((_nested, pod)) => format!(
                "/docker/{container}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{}.slice/cri-containerd-{container}.scope",
                uid(pod).replace('-', "_")
            ),
            None => format!("/kubepods/burstable/pod{}/{container}", uid(self.within)),
        };
        let mut flow = json!({
            "id": id(idx), "observer": self.observer, "transport": "tcp", "begin": "opened",
            "client": endpoint(self.client), "server": endpoint(self.server),
            "started": now, "interval": { "start": now, "end": now },
            "request": { "bytes": 1 }, "response": { "bytes": 1 }, "local": { "netns": 1000 + idx },
        });
        if !cgroup.is_empty() {
            flow["local"]["cgroup"] = cgroup.into();
        }
        flow
    }
}

/// Creates what the cases are about. Returns the uid of each pod as its cgroups have it.
fn create_shop(server: &ApiServer) -> anyhow::Result<BTreeMap<String, String>> {
    let mut first: Vec<_> = ["shop", "sys"]
        .map(|it| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": it } }))
        .into();
    for (n, zone) in [(1, "a"), (2, "b")] {
        first.push(json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": format!("kn{n}"), "labels": { "topology.kubernetes.io/zone": zone } },
            "spec": { "podCIDR": format!("10.244.{n}.0/24"), "podCIDRs": [format!("10.244.{n}.0/24"), format!("fd00:{n}::/64")] },
            "status": { "addresses": [
                { "type": "InternalIP", "address": format!("192.0.2.{n}") },
                { "type": "InternalIP", "address": format!("2001:db8::{n}") },
                { "type": "ExternalIP", "address": format!("203.0.113.{n}") },
                { "type": "Hostname", "address": format!("kn{n}") },
            ] },
        }));
    }
    server.create(&first)?;
    let owners = server.create(&[
        replica_set("web-6f", Some(("apps/v1", "Deployment", "web"))),
        replica_set("api-5c", Some(("argoproj.io/v1alpha1", "Rollout", "api"))),
        replica_set("legacy", None),
        job("report-1", Some(("batch/v1", "CronJob", "report"))),
        job("migrate", None),
    ])?;
    let owner = |name: &str| -> (&str, &str, &str, Option<&str>) {
        let found = owners.iter().find(|it| it["metadata"]["name"] == name).expect("it was created");
        let of = |value: &'_ Value| value.as_str().expect("a text").to_owned().leak() as &str;
        (
            of(&found["apiVersion"]),
            of(&found["kind"]),
            of(&found["metadata"]["name"]),
            found["metadata"]["uid"].as_str(),
        )
    };
    let hash = "5c8d9f0a1b2c3d4e5f60718293a4b5c6";
    let mut pods = vec![
        Pod::new("web-1", "kn1", "10.244.1.5").with("fd00:1::5").of(owner("web-6f")),
        Pod::new("api-1", "kn2", "10.244.2.6").of(owner("api-5c")),
        Pod::new("db-0", "kn2", "10.244.2.7").with("fd00:2::7").of(("apps/v1", "StatefulSet", "db", None)),
        Pod::new("log-1", "kn1", "10.244.1.9").of(("apps/v1", "DaemonSet", "log", None)),
        Pod::new("report-1-x", "kn1", "10.244.1.20").of(owner("report-1")),
        Pod::new("migrate-x", "kn1", "10.244.1.22").of(owner("migrate")),
        Pod::new("legacy-x", "kn1", "10.244.1.23").of(owner("legacy")),
        Pod::new("old-x", "kn1", "10.244.1.24").of(("v1", "ReplicationController", "old", None)),
        Pod::new("toolbox", "kn2", "10.244.2.30"),
        Pod::new("kafka-0", "kn2", "10.244.2.31").of((
            "core.strimzi.io/v1beta2",
            "StrimziPodSet",
            "kafka",
            None,
        )),
        Pod::new("over", "kn1", "10.244.1.21").phase("Succeeded"),
        Pod::new("reuse", "kn1", "10.244.1.21"),
        Pod::new("agent-1", "kn1", "192.0.2.1").on_host(9100).of(("apps/v1", "DaemonSet", "agent", None)),
        Pod::new("agent-2", "kn2", "192.0.2.2").on_host(9100).of(("apps/v1", "DaemonSet", "agent", None)),
        Pod::new("ingress-1", "kn2", "10.244.2.40").host_port(443).of((
            "apps/v1",
            "DaemonSet",
            "ingress",
            None,
        )),
        Pod::new("etcd-kn1", "kn1", "192.0.2.1").on_host(2379),
    ];
    for pod in &mut pods {
        let name = pod.0["metadata"]["name"].as_str().expect("a name").to_owned();
        if ["agent-1", "agent-2", "ingress-1", "etcd-kn1"].contains(&name.as_str()) {
            pod.0["metadata"]["namespace"] = "sys".into();
        }
        if name == "etcd-kn1" {
            pod.0["metadata"]["annotations"] = json!({ "kubernetes.io/config.hash": hash });
        }
    }
    let created = server.create(&pods.into_iter().map(|it| it.0).collect::<Vec<_>>())?;
    let mut uids: BTreeMap<String, String> = created
        .iter()
        .map(|it| {
            [&it["metadata"]["name"], &it["metadata"]["uid"]]
                .map(|it| it.as_str().expect("a text").to_owned())
        })
        .map(|[name, uid]| (name, uid))
        .collect();
    let target = |name: &str| json!({ "kind": "Pod", "namespace": "shop", "name": name, "uid": uids[name] });
    server.create(&[
        service("db", json!({
            "clusterIPs": ["10.96.0.9", "fd00:96::9"], "clusterIP": "10.96.0.9", "ipFamilyPolicy": "RequireDualStack",
            "type": "LoadBalancer", "externalIPs": ["198.51.100.7"],
            "ports": [
                { "name": "sql", "port": 80, "targetPort": 8080, "nodePort": 30080 },
                { "name": "dns", "port": 53, "nodePort": 30081, "protocol": "UDP" },
            ],
        })),
        service("edge", json!({ "type": "LoadBalancer", "ports": [{ "port": 81, "targetPort": 80 }] })),
        service("mixed", json!({ "clusterIP": "10.96.0.10", "ports": [{ "port": 80 }] })),
        service("empty", json!({ "clusterIP": "10.96.0.11", "ports": [{ "port": 80 }] })),
        service("legacy-db", json!({ "clusterIP": "10.96.0.12", "ports": [{ "port": 5432 }] })),
        service("brokers", json!({ "clusterIP": "None", "ports": [{ "port": 9092 }] })),
        slice("shop", "db", 8080, json!([{ "addresses": ["10.244.2.7"], "targetRef": target("db-0") }])),
        slice("shop", "edge", 80, json!([{ "addresses": ["10.244.1.5"], "targetRef": target("web-1") }])),
        slice("shop", "mixed", 80, json!([
            { "addresses": ["10.244.1.5"], "targetRef": target("web-1") },
            { "addresses": ["10.244.2.6"], "targetRef": target("api-1") },
        ])),
        slice("shop", "legacy-db", 5432, json!([{ "addresses": ["198.51.100.20"] }])),
        slice("shop", "brokers", 9092, json!([{ "addresses": ["10.244.2.31"], "targetRef": target("kafka-0") }])),
        slice("default", "kubernetes", 6443, json!([{ "addresses": ["198.51.100.1"] }])),
    ])?;
    uids.insert("static".to_owned(), hash.to_owned());
    Ok(uids)
}

struct Pod(Value);

impl Pod {
    fn new(name: &str, node: &str, address: &str) -> Self {
        Self(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "shop" },
            "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i", "ports": [] }] },
            "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "startTime": "2026-01-01T00:00:00Z" },
        }))
    }

    fn with(mut self, address: &str) -> Self {
        self.0["status"]["podIPs"].as_array_mut().expect("a list").push(json!({ "ip": address }));
        self
    }

    fn of(mut self, (api_version, kind, name, uid): (&str, &str, &str, Option<&str>)) -> Self {
        let uid = uid.unwrap_or("11111111-2222-3333-4444-555555555555");
        self.0["metadata"]["ownerReferences"] = json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true }]);
        self
    }

    fn phase(mut self, phase: &str) -> Self {
        self.0["status"]["phase"] = phase.into();
        self
    }

    fn on_host(mut self, port: u16) -> Self {
        self.0["spec"]["hostNetwork"] = true.into();
        self.0["spec"]["containers"][0]["ports"] = json!([{ "containerPort": port, "hostPort": port }]);
        self
    }

    fn host_port(mut self, port: u16) -> Self {
        self.0["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 8443, "hostPort": port }]);
        self
    }
}

fn replica_set(name: &str, owner: Option<(&str, &str, &str)>) -> Value {
    let labels = json!({ "app": name });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    owned(
        json!({
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": { "name": name, "namespace": "shop" },
            "spec": { "selector": { "matchLabels": labels }, "template": template },
        }),
        owner,
    )
}

fn job(name: &str, owner: Option<(&str, &str, &str)>) -> Value {
    let template =
        json!({ "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } });
    owned(
        json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": name, "namespace": "shop" },
            "spec": { "template": template },
        }),
        owner,
    )
}

fn owned(object: Value, owner: Option<(&str, &str, &str)>) -> Value {
    match owner {
        Some((api_version, kind, name)) => Pod(object).of((api_version, kind, name, None)).0,
        None => object,
    }
}

fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "shop" }, "spec": spec });
    if service["spec"]["type"] == "LoadBalancer" {
        service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.50" }] } });
    }
    service
}

fn slice(namespace: &str, service: &str, port: u16, endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": format!("{service}-1"), "namespace": namespace, "labels": { "kubernetes.io/service-name": service } },
        "endpoints": endpoints, "ports": [{ "port": port, "protocol": "TCP" }],
    })
}

/// What a run of the agent gave.
struct Run {
    /// Records with names, by id.
    named: BTreeMap<String, Value>,
    log: String,
}

/// Has the agent name records.
fn run(server: &ApiServer, user: User, settings: &str, flows: &[Value]) -> anyhow::Result<Run> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    write_flows(&file("flows.jsonl"), flows)?;
    fs::write(file("ridley.yaml"), configuration(server, user, settings, 0, folder.path()))?;
    let ended = Command::new("timeout")
        .arg(LIMIT.as_secs().to_string())
        .arg(agent()?)
        .arg("run")
        .arg("--config")
        .arg(file("ridley.yaml"))
        .output()
        .context("cannot run the agent")?;
    let log = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success(), "the agent said:\n{log}");
    Ok(Run { named: read_named(&file("named.jsonl"))?, log })
}

/// A configuration that names the records of `flows.jsonl` in a folder, and writes them to `named.jsonl`.
fn configuration(server: &ApiServer, user: User, settings: &str, speed: u32, folder: &Path) -> String {
    let (folder, kubeconfig) = (folder.display(), server.kubeconfig(user));
    format!(
        "\
receivers:
  replay: {{ path: {folder}/flows.jsonl, speed: {speed}, times: keep }}
processors:
  kubernetes:
    kubeconfig: {}
    {settings}
exporters:
  file: {{ path: {folder}/named.jsonl }}
service:
  pipelines:
    flows: {{ receivers: [replay], processors: [kubernetes], exporters: [file] }}
",
        kubeconfig.display()
    )
}

fn agent() -> anyhow::Result<OsString> {
    env::var_os("RIDLEY_BIN").context("RIDLEY_BIN does not name the agent")
}

fn write_flows(path: &Path, flows: &[Value]) -> anyhow::Result<()> {
    let lines: Vec<_> = flows.iter().map(Value::to_string).collect();
    fs::write(path, lines.join("\n")).context("cannot write the records")
}

/// Reads what the agent wrote, by id; a line that it has not finished is left out.
fn read_named(path: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let text = fs::read_to_string(path).context("nothing has names yet")?;
    let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
    let mut named = BTreeMap::new();
    for line in complete.lines() {
        let flow: Value = serde_json::from_str(line)?;
        let id = flow["id"].as_str().context("a record has no id")?.to_owned();
        named.insert(id, flow);
    }
    Ok(named)
}

fn endpoint(text: &str) -> Value {
    let address: std::net::SocketAddr = text.parse().expect("an address and a port");
    json!({ "address": address.ip(), "port": address.port() })
}

fn id(idx: usize) -> String {
    format!("{:016x}", 0x1_0000_0000 + idx)
}

fn nanos() -> anyhow::Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

/// Writes an entity with what the cases are about.
fn text(entity: &Value) -> String {
    let of = |key: &str| entity[key].as_str();
    let mut text = match (of("kind"), of("namespace"), of("name")) {
        (Some("external"), None, Some(name)) => name.to_owned(),
        (Some(kind), None, Some(name)) => format!("{kind} {name}"),
        (Some(kind), Some(namespace), Some(name)) => format!("{kind} {namespace}/{name}"),
        _ => entity.to_string(),
    };
    for key in ["pod", "node", "zone", "service"] {
        if let Some(value) = entity["attributes"][key].as_str() {
            text += &format!(" {key}={value}");
        }
    }
    text
}
