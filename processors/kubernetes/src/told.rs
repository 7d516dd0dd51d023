//! A cluster that tests tell of, with objects as the API server writes them.

use std::sync::Arc;

use model::{UnixNanos, cgroup::Uid};
use serde_json::{Value, json};

use crate::{
    Config,
    extract::{Extraction, Tags},
    index::Index,
    naming::Naming,
    object::{Node, ObjectName, Pod},
    store::Change,
    view::{EndpointSliceView, NamespaceView, NodeView, OwnerView, PodView, Reading, ServiceView, View},
};

/// Seconds at which everything is there.
pub(crate) const LATER: u64 = 1_000;

/// A cluster that is told of by hand.
pub(crate) struct Cluster {
    pub(crate) naming: Naming,
    pub(crate) reading: Reading,
    pub(crate) now: u64,
}

impl Cluster {
    pub(crate) fn new(config: Config) -> Self {
        let reading = Reading::new(&config, Extraction::new(&config.extract).unwrap());
        Self { naming: Naming::new(&config), reading, now: LATER }
    }

    pub(crate) fn at(&mut self, now: u64) -> &mut Self {
        self.now = now;
        self
    }

    pub(crate) fn told<V: Told>(&mut self, object: Value) {
        let view: V = serde_json::from_value(object).unwrap();
        let key = view.key().unwrap();
        let object = view.object(&self.reading).unwrap();
        V::tell(&mut self.naming.index, Change::Is(key, object), seconds(self.now));
    }

    pub(crate) fn gone<V: Told>(&mut self, key: V::Key) {
        V::tell(&mut self.naming.index, Change::Gone(key), seconds(self.now));
    }

    pub(crate) fn pod(
        &mut self,
        n: u128,
        name: &str,
        address: &str,
        since: u64,
        phase: &str,
        owner: Option<Value>,
    ) {
        self.told::<PodView>(json!({
            "metadata": { "uid": uid(n).to_string(), "namespace": "shop", "name": name,
                "ownerReferences": owner.into_iter().collect::<Vec<_>>() },
            "spec": { "nodeName": if address.starts_with("10.244.1.") { "kn1" } else { "kn2" }, "containers": [{}] },
            "status": { "phase": phase, "podIPs": [{ "ip": address }], "startTime": time(since) },
        }));
    }

    pub(crate) fn service(&mut self, name: &str, namespace: &str, spec: Value) {
        self.told::<ServiceView>(json!({
            "metadata": { "name": name, "namespace": namespace, "creationTimestamp": time(1) },
            "spec": spec,
            "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.5" }] } },
        }));
    }

    /// Endpoints of the Service `db`.
    pub(crate) fn slice(&mut self, endpoints: Value) {
        self.told::<EndpointSliceView>(json!({
            "metadata": { "name": "db-1", "namespace": "shop", "labels": { "kubernetes.io/service-name": "db" } },
            "endpoints": endpoints,
            "ports": [{ "port": 8080, "protocol": "TCP" }],
        }));
    }
}

/// How a kind of objects is told to the index.
pub(crate) trait Told: View {
    fn tell(index: &mut Index, change: Change<Self::Key, Self::Object>, now: UnixNanos);
}

impl Told for PodView {
    fn tell(index: &mut Index, change: Change<Uid, Arc<Pod>>, now: UnixNanos) {
        index.on_pod(change, now);
    }
}

impl Told for OwnerView {
    fn tell(index: &mut Index, change: Change<Uid, Self::Object>, _now: UnixNanos) {
        index.on_owner(0, change);
    }
}

impl Told for ServiceView {
    fn tell(index: &mut Index, change: Change<ObjectName, Self::Object>, now: UnixNanos) {
        index.on_service(change, now);
    }
}

impl Told for EndpointSliceView {
    fn tell(index: &mut Index, change: Change<ObjectName, Self::Object>, _now: UnixNanos) {
        index.on_slice(change);
    }
}

impl Told for NodeView {
    fn tell(index: &mut Index, change: Change<Arc<str>, Arc<Node>>, now: UnixNanos) {
        index.on_node(change, now);
    }
}

/// Two nodes, a Deployment `web` on the one, a StatefulSet `db` behind a Service on the other.
impl Told for NamespaceView {
    fn tell(index: &mut Index, change: Change<Arc<str>, Tags>, _now: UnixNanos) {
        index.on_namespace(change);
    }
}

pub(crate) fn shop() -> Cluster {
    let mut cluster = Cluster::new(Config { node: Some("kn1".to_owned()), ..Config::default() });
    cluster.fill();
    cluster
}

impl Cluster {
    pub(crate) fn fill(&mut self) {
        for (name, address, network, zone) in
            [("kn1", "192.0.2.1", "10.244.1.0/24", "a"), ("kn2", "192.0.2.2", "10.244.2.0/24", "b")]
        {
            self.told::<NodeView>(json!({
            "metadata": { "name": name, "labels": { "topology.kubernetes.io/zone": zone, "topology.kubernetes.io/region": "eu" } },
            "spec": { "podCIDRs": [network] },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }, { "type": "Hostname", "address": name }] },
        }));
        }
        self.told::<OwnerView>(json!({
            "metadata": { "uid": uid(10).to_string(), "namespace": "shop", "name": "web-6f",
                "ownerReferences": [controller("apps/v1", "Deployment", "web", 11)] },
        }));
        self.pod(
            1,
            "web-6f-1",
            "10.244.1.5",
            1,
            "Running",
            Some(controller("apps/v1", "ReplicaSet", "web-6f", 10)),
        );
        self.pod(2, "db-0", "10.244.2.7", 1, "Running", Some(controller("apps/v1", "StatefulSet", "db", 20)));
        let ports = json!([{ "port": 80, "nodePort": 30080, "protocol": "TCP" }, { "port": 53, "nodePort": 30081, "protocol": "UDP" }]);
        self.service("db", "shop", json!({ "clusterIPs": ["10.96.0.9"], "ports": ports }));
        self.slice(json!([{ "addresses": ["10.244.2.7"], "targetRef": target(2) }]));
    }
}

pub(crate) fn controller(api_version: &str, kind: &str, name: &str, n: u128) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid(n).to_string(), "controller": true })
}

pub(crate) fn target(n: u128) -> Value {
    json!({ "kind": "Pod", "uid": uid(n).to_string() })
}

pub(crate) fn uid(n: u128) -> Uid {
    Uid::parse(&format!("{n:032x}")).unwrap()
}

pub(crate) fn time(secs: u64) -> String {
    let (hours, minutes, seconds) = (secs / 3_600, secs / 60 % 60, secs % 60);
    format!("1970-01-01T{hours:02}:{minutes:02}:{seconds:02}Z")
}

pub(crate) const fn seconds(secs: u64) -> UnixNanos {
    UnixNanos(secs * 1_000_000_000)
}
