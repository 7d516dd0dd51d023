//! A shop's objects in an API server, as their controllers write them.

use std::collections::BTreeMap;

use integration::api_server::ApiServer;
use serde_json::{Value, json};

/// Creates what the cases are about. Returns the uid of each pod as its cgroups have it.
pub(crate) fn create_shop(server: &ApiServer) -> anyhow::Result<BTreeMap<String, String>> {
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

/// A pod as its controller and its kubelet write it.
#[derive(Debug)]
pub(crate) struct Pod(pub(crate) Value);

impl Pod {
    pub(crate) fn new(name: &str, node: &str, address: &str) -> Self {
        Self(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name, "namespace": "shop" },
            "spec": { "nodeName": node, "containers": [{ "name": "c", "image": "i", "ports": [] }] },
            "status": { "phase": "Running", "podIP": address, "podIPs": [{ "ip": address }], "startTime": "2026-01-01T00:00:00Z" },
        }))
    }

    pub(crate) fn with(mut self, address: &str) -> Self {
        self.0["status"]["podIPs"].as_array_mut().expect("a list").push(json!({ "ip": address }));
        self
    }

    pub(crate) fn of(mut self, (api_version, kind, name, uid): (&str, &str, &str, Option<&str>)) -> Self {
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

pub(crate) fn replica_set(name: &str, owner: Option<(&str, &str, &str)>) -> Value {
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

pub(crate) fn service(name: &str, spec: Value) -> Value {
    let mut service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": name, "namespace": "shop" }, "spec": spec });
    if service["spec"]["type"] == "LoadBalancer" {
        service["status"] = json!({ "loadBalancer": { "ingress": [{ "ip": "203.0.113.50" }] } });
    }
    service
}

pub(crate) fn slice(namespace: &str, service: &str, port: u16, endpoints: Value) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": format!("{service}-1"), "namespace": namespace, "labels": { "kubernetes.io/service-name": service } },
        "endpoints": endpoints, "ports": [{ "port": port, "protocol": "TCP" }],
    })
}
