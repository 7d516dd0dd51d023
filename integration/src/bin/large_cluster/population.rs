//! What is in a large cluster, written as its controllers would write it.

use std::{
    collections::{BTreeMap, VecDeque},
    thread,
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::writer::Writer;

pub(crate) const NODES: usize = 300;
pub(crate) const SERVICES: usize = 1_000;
pub(crate) const PODS: usize = 10_000;
/// Addresses that no pod has: who gives one up is not followed by the next at once, and yet long before it is forgotten.
pub(crate) const FREE_ADDRESSES: usize = 200;
/// Writers at a time.
const WRITERS: usize = 4;

const NAMESPACE: &str = "large";
const PODS_PATH: &str = "/api/v1/namespaces/large/pods";
const SETS_PATH: &str = "/apis/apps/v1/namespaces/large/replicasets";

/// Pods by the addresses that they have, and which addresses are free.
#[derive(Debug)]
pub(crate) struct Population {
    /// The uids of ReplicaSets by their names.
    sets: BTreeMap<String, String>,
    /// The name of the pod that has the address of this number.
    tenants: Vec<Option<String>>,
    free: VecDeque<usize>,
    n_pods: usize,
}

impl Population {
    /// Creates nodes, Deployments' ReplicaSets, Services with their slices, and ten pods of each.
    ///
    /// # Errors
    ///
    /// The API server refuses one.
    pub(crate) fn create(writer: &Writer) -> anyhow::Result<Self> {
        writer.create("/api/v1/namespaces", &json!({ "metadata": { "name": NAMESPACE } }))?;
        side_by_side(NODES, |n| create_node(writer, n))?;
        side_by_side(SERVICES, |n| create_service(writer, n))?;
        let sets = uids(writer, SETS_PATH)?;
        side_by_side(PODS, |n| create_pod(writer, &sets, n, n))?;
        let pods = uids(writer, PODS_PATH)?;
        side_by_side(SERVICES, |n| create_slice(writer, &pods, n))?;
        let tenants = (0..PODS).map(|n| Some(pod_name(n))).chain(vec![None; FREE_ADDRESSES]).collect();
        Ok(Self { sets, tenants, free: (PODS..PODS + FREE_ADDRESSES).collect(), n_pods: PODS })
    }

    /// Replaces a pod by one of another Deployment, which gets the address that has been free for longest. Three writes: the
    /// pod goes, the other comes, the other gets its address.
    ///
    /// # Errors
    ///
    /// The API server refuses one.
    pub(crate) fn replace_one(&mut self, writer: &Writer) -> anyhow::Result<()> {
        let number = self.n_pods;
        self.n_pods += 1;
        // A prime far from the number of addresses, so that all have their turn and neighbours do not.
        let leaving = (number * 7_919) % self.tenants.len();
        let leaving = (leaving..self.tenants.len()).chain(0..leaving).find(|it| self.tenants[*it].is_some());
        let leaving = leaving.context("there are no pods")?;
        let name = self.tenants[leaving].take().context("the address is free")?;
        writer.delete(&format!("{PODS_PATH}/{name}"))?;
        let entering = self.free.pop_front().context("no address is free")?;
        self.free.push_back(leaving);
        create_pod(writer, &self.sets, number, entering)?;
        self.tenants[entering] = Some(pod_name(number));
        Ok(())
    }
}

/// Returns the name that the processor must give an address's owner, by what the API server says at the end; `None` where
/// no pod has the address.
///
/// # Errors
///
/// The API server does not answer.
pub(crate) fn truth(writer: &Writer) -> anyhow::Result<Vec<Option<String>>> {
    let pods = writer.get(PODS_PATH)?;
    let pods = pods["items"].as_array().context("a list has no items")?;
    ensure!(pods.len() == PODS, "{} pods are in the API server", pods.len());
    let mut owners = vec![None; PODS + FREE_ADDRESSES];
    for pod in pods {
        let address = pod["status"]["podIP"].as_str().context("a pod has no address")?;
        let number = (0..owners.len()).find(|n| pod_address(*n) == address).context("an unknown address")?;
        let set = pod["metadata"]["ownerReferences"][0]["name"].as_str().context("a pod has no owner")?;
        owners[number] = Some(set.trim_end_matches("-6f").to_owned());
    }
    Ok(owners)
}

/// Returns the address of a number.
pub(crate) fn pod_address(n: usize) -> String {
    format!("10.244.{}.{}", n / 200, n % 200 + 1)
}

fn pod_name(n: usize) -> String {
    format!("app-{}-6f-{n}", n % SERVICES)
}

fn create_node(writer: &Writer, n: usize) -> anyhow::Result<()> {
    let labels = json!({ "topology.kubernetes.io/zone": format!("zone-{}", n % 3), "topology.kubernetes.io/region": "eu" });
    let mut node = writer
        .create("/api/v1/nodes", &json!({ "metadata": { "name": format!("node-{n}"), "labels": labels } }))?;
    let address = format!("192.168.{}.{}", n / 200, n % 200 + 1);
    node["status"] = json!({ "addresses": [{ "type": "InternalIP", "address": address }] });
    writer.replace(&format!("/api/v1/nodes/node-{n}/status"), &node)
}

/// Creates a Service and the ReplicaSet of its Deployment.
fn create_service(writer: &Writer, n: usize) -> anyhow::Result<()> {
    let name = format!("app-{n}");
    // There is nobody to miss the Deployment itself.
    let uid = format!("00000000-0000-4000-8000-{n:012x}");
    let owner = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": name, "uid": uid, "controller": true });
    let template = json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "i" }] },
    });
    let set = json!({
        "metadata": { "name": format!("{name}-6f"), "ownerReferences": [owner] },
        "spec": { "selector": { "matchLabels": { "app": name } }, "template": template },
    });
    writer.create(SETS_PATH, &set)?;
    let service = json!({
        "metadata": { "name": name },
        "spec": { "selector": { "app": name }, "ports": [{ "port": 80, "targetPort": 8080 }] },
    });
    writer.create(&format!("/api/v1/namespaces/{NAMESPACE}/services"), &service).map(drop)
}

/// Creates the slice of a Service's ten pods.
fn create_slice(writer: &Writer, uids: &BTreeMap<String, String>, n: usize) -> anyhow::Result<()> {
    let name = format!("app-{n}");
    let target = |pod| {
        let name = pod_name(pod);
        json!({ "kind": "Pod", "name": name, "namespace": NAMESPACE, "uid": uids.get(&name) })
    };
    let endpoints: Vec<_> = (n..PODS)
        .step_by(SERVICES)
        .map(|pod| json!({ "addresses": [pod_address(pod)], "targetRef": target(pod) }))
        .collect();
    let slice = json!({
        "metadata": { "name": format!("{name}-1"), "labels": { "kubernetes.io/service-name": name } },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": [{ "port": 8080, "protocol": "TCP" }],
    });
    writer
        .create(&format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices"), &slice)
        .map(drop)
}

/// Creates the pod of a number, with the address of another.
fn create_pod(
    writer: &Writer,
    sets: &BTreeMap<String, String>,
    number: usize,
    address: usize,
) -> anyhow::Result<()> {
    let (name, app) = (pod_name(number), format!("app-{}", number % SERVICES));
    let set = format!("{app}-6f");
    let uid = sets.get(&set).context("the pod's ReplicaSet is missing")?;
    let owner =
        json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set, "uid": uid, "controller": true });
    let variables: Vec<_> = (0..8)
        .map(|n| json!({ "name": format!("SETTING_{n}"), "value": "a value of usual length" }))
        .collect();
    let pod = json!({
        "metadata": { "name": name, "labels": { "app": app, "pod-template-hash": "6f" }, "ownerReferences": [owner] },
        "spec": {
            "nodeName": format!("node-{}", address % NODES),
            "containers": [{ "name": "c", "image": "i", "env": variables }],
        },
    });
    let mut pod = writer.create(PODS_PATH, &pod)?;
    let address = pod_address(address);
    pod["status"] = json!({
        "phase": "Running", "startTime": pod["metadata"]["creationTimestamp"],
        "podIP": address, "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": "True" }],
    });
    writer.replace(&format!("{PODS_PATH}/{name}/status"), &pod)
}

/// Returns the uids of all objects at a path, by name.
fn uids(writer: &Writer, path: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let list = writer.get(path)?;
    let objects = list["items"].as_array().context("a list has no items")?;
    let text = |it: &Value| it.as_str().map(str::to_owned).context("an object has no name or no uid");
    objects.iter().map(|it| Ok((text(&it["metadata"]["name"])?, text(&it["metadata"]["uid"])?))).collect()
}

/// Does something for each number below `n`, some at a time.
fn side_by_side(n: usize, act: impl Fn(usize) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let act = &act;
        let writers =
            (0..WRITERS).map(|first| scope.spawn(move || (first..n).step_by(WRITERS).try_for_each(act)));
        let writers: Vec<_> = writers.collect();
        writers.into_iter().try_for_each(|it| it.join().expect("no writer panics"))
    })
}
