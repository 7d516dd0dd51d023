//! Ends of connections, and what the shop's objects call them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What is named: who observes which ends, and what both are called.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) observer: &'static str,
    pub(crate) client: &'static str,
    pub(crate) server: &'static str,
    /// The pod in whose cgroup the observer's end is, a path, or nothing.
    pub(crate) within: &'static str,
    pub(crate) expected: [&'static str; 2],
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
pub(crate) const fn server(
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
pub(crate) const DB_NAME: &str = "StatefulSet shop/db pod=db-0 node=kn2 zone=b service=db";
const DB_BEHIND: &str = "StatefulSet shop/db service=db";

pub(crate) const CASES: &[Case] = &[
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

impl Case {
    /// Makes a record of a connection that begins now.
    pub(crate) fn flow(&self, idx: usize, now: u64, uids: &BTreeMap<String, String>) -> Value {
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

/// Returns the id of a connection by its number.
pub(crate) fn id(idx: usize) -> String {
    format!("{:016x}", 0x1_0000_0000 + idx)
}

/// Writes an entity with what the cases are about.
pub(crate) fn text(entity: &Value) -> String {
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

fn endpoint(text: &str) -> Value {
    let address: std::net::SocketAddr = text.parse().expect("an address and a port");
    json!({ "address": address.ip(), "port": address.port() })
}
