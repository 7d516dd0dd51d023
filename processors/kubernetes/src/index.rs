use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use foldhash::fast::RandomState;
use ipnet::IpNet;
use model::{UnixNanos, cgroup::Uid};

use crate::{
    Config,
    addresses::{Addresses, Tenant},
    config::Scope,
    extract::Tags,
    object::{ContainerId, EndpointSlice, Node, ObjectName, Owner, Pod, Service},
    store::{Change, Store},
    watch::owner_kinds,
};

/// How many objects that control each other are followed from a pod to its workload: more than anyone nests.
const MAX_OWNERS: usize = 8;

type Map<K, V> = HashMap<K, V, RandomState>;

/// What is known of the objects of a cluster, and of those that were there a moment ago.
///
/// A state machine: objects go in as the API server tells of them, and who asks says of which time.
#[derive(Debug)]
pub(crate) struct Index {
    pods: Store<Uid, Arc<Pod>>,
    /// Pods that are gone, for late records of them.
    gone: Map<Uid, Arc<Pod>>,
    // In the order of time.
    gone_at: VecDeque<(UnixNanos, Uid)>,
    /// Static pods by the uid in the names of their cgroups.
    static_pods: Map<Uid, Uid>,
    /// Pods by their containers, if somebody wants to know.
    containers: Map<ContainerId, Uid>,
    /// Objects that control others, by kind, with who controls them.
    owners: Vec<Store<Uid, Option<Owner>>>,
    /// Workloads of pods, once they are known.
    workloads: Map<Uid, Arc<Workload>>,
    services: Store<ObjectName, Arc<Service>>,
    slices: Store<ObjectName, Arc<EndpointSlice>>,
    nodes: Store<Arc<str>, Arc<Node>>,
    /// Networks of pods, with how many nodes have each.
    pod_networks: Map<IpNet, usize>,
    /// How long their prefixes are, each once.
    prefix_lens: Vec<u8>,
    /// What the configuration asks for of namespaces.
    namespaces: Store<Arc<str>, Tags>,
    addresses: Addresses,
    /// The slices of a Service.
    slices_of: Map<ObjectName, Vec<ObjectName>>,
    /// Whose the answers of a Service are, until its slices change.
    behind: Map<ObjectName, Behind>,
    /// Who answers at an address and port, for which Services.
    backends: Map<(IpAddr, u16), Vec<Backend>>,
    /// Services that something outside of pods answers for, by its address, once for each port.
    lone_backends: Map<IpAddr, Vec<ObjectName>>,
    /// Pods that the addresses of a node reach at a port.
    host_ports: Map<(Arc<str>, u16), Vec<Uid>>,
    node_ports: Map<u16, ObjectName>,
    /// The pod that this runs in: its name, and what it was when it was told of.
    agent: Option<(ObjectName, Option<Arc<Pod>>)>,
    /// Pods like it, by their nodes: those observe what is on these.
    agents: Map<Arc<str>, Vec<Uid>>,
    /// How often something changed of which names are made while what is named was there.
    edition: u64,
    scope: Scope,
    keep: Duration,
}

/// What a pod is an instance of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Workload {
    pub(crate) kind: Arc<str>,
    pub(crate) name: ObjectName,
}

/// One of those that answer for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) service: ObjectName,
    pub(crate) pod: Option<Uid>,
}

/// Whose a Service's answers are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// All are of pods of one workload, such as the one of this uid.
    One(Uid, Arc<Workload>),
    /// They are of several workloads, or of none.
    NotOne,
}

/// What is asked for may still be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Untold;

impl Index {
    /// Knows nothing yet.
    pub(crate) fn new(config: &Config) -> Self {
        let capacity = config.max_objects.get();
        Self {
            pods: Store::new(capacity),
            gone: Map::default(),
            gone_at: VecDeque::new(),
            static_pods: Map::default(),
            containers: Map::default(),
            owners: owner_kinds(config).iter().map(|_| Store::new(capacity)).collect(),
            scope: config.scope,
            workloads: Map::default(),
            services: Store::new(capacity),
            slices: Store::new(capacity),
            nodes: Store::new(capacity),
            pod_networks: Map::default(),
            prefix_lens: Vec::new(),
            namespaces: Store::new(capacity),
            addresses: Addresses::new(config.keep_deleted),
            slices_of: Map::default(),
            behind: Map::default(),
            backends: Map::default(),
            lone_backends: Map::default(),
            host_ports: Map::default(),
            node_ports: Map::default(),
            agent: None,
            agents: Map::default(),
            edition: 0,
            keep: config.keep_deleted,
        }
    }

    /// Tells which pod this runs in.
    pub(crate) fn set_agent(&mut self, name: ObjectName) {
        self.agent = Some((name, None));
    }

    /// Takes what was told of pods.
    pub(crate) fn on_pod(&mut self, change: Change<Uid, Arc<Pod>>, now: UnixNanos) {
        for (old, new) in self.pods.apply(change) {
            let has = |pod: &Option<Arc<Pod>>, address| {
                pod.as_ref().is_some_and(|it| !it.is_over && it.addresses.contains(address))
            };
            if let Some(old) = &old {
                for address in old.addresses.iter().filter(|it| !has(&new, it)) {
                    self.addresses.leave(*address, &Tenant::Pod(old.uid), now);
                }
                self.set_host_ports(old, false);
                if let Some(node) = &old.node {
                    remove_one(&mut self.agents, node, |it| *it == old.uid);
                }
            }
            if let Some(new) = new.as_ref().filter(|it| !it.is_over) {
                self.add_agent(new);
            }
            if let (Some(old), Some(new)) = (&old, &new)
                && (&old.service, &old.tags, &old.owner) != (&new.service, &new.tags, &new.owner)
            {
                if old.owner != new.owner {
                    self.workloads.remove(&old.uid);
                    self.behind.clear();
                }
                self.edition += 1;
            }
            match (old, new) {
                (old, Some(new)) => {
                    for id in old.iter().flat_map(|it| &it.containers) {
                        self.containers.remove(id);
                    }
                    self.containers.extend(new.containers.iter().map(|it| (*it, new.uid)));
                    if let Some(uid) = new.cgroup_uid {
                        self.static_pods.insert(uid, new.uid);
                    }
                    if !new.is_over {
                        for address in &new.addresses {
                            self.addresses.enter(*address, Tenant::Pod(new.uid), new.since);
                        }
                        self.set_host_ports(&new, true);
                    }
                }
                (Some(old), None) => {
                    self.gone_at.push_back((now, old.uid));
                    self.gone.insert(old.uid, old);
                }
                (None, None) => {}
            }
        }
    }

    /// Takes what was told of objects that control others, of one kind.
    pub(crate) fn on_owner(&mut self, kind: usize, change: Change<Uid, Option<Owner>>) {
        if let Some(owners) = self.owners.get_mut(kind) {
            owners.apply(change);
        }
    }

    /// Takes what was told of Services.
    pub(crate) fn on_service(&mut self, change: Change<ObjectName, Arc<Service>>, now: UnixNanos) {
        for (old, new) in self.services.apply(change) {
            let tenant = |it: &Service| Tenant::Service(it.name.clone());
            if let Some(old) = &old {
                let stays = |address| new.as_ref().is_some_and(|it| it.addresses.contains(address));
                for address in old.addresses.iter().filter(|it| !stays(it)) {
                    self.addresses.leave(*address, &tenant(old), now);
                }
                for port in &old.node_ports {
                    if self.node_ports.get(port) == Some(&old.name) {
                        self.node_ports.remove(port);
                    }
                }
            }
            if let Some(new) = &new {
                for address in &new.addresses {
                    self.addresses.enter(*address, tenant(new), new.since);
                }
                self.node_ports.extend(new.node_ports.iter().map(|it| (*it, new.name.clone())));
            }
        }
    }

    /// Takes what was told of slices of endpoints.
    pub(crate) fn on_slice(&mut self, change: Change<ObjectName, Arc<EndpointSlice>>) {
        for (old, new) in self.slices.apply(change) {
            for slice in old.iter().chain(&new) {
                self.behind.remove(&slice.service_name());
            }
            if let Some(old) = old {
                let service = old.service_name();
                for (key, backend) in old.backends() {
                    remove_one(&mut self.backends, &key, |it| *it == backend);
                    if backend.pod.is_none() {
                        remove_one(&mut self.lone_backends, &key.0, |it| *it == backend.service);
                    }
                }
                remove_one(&mut self.slices_of, &service, |it| *it == old.name);
            }
            if let Some(new) = new {
                for (key, backend) in new.backends() {
                    if backend.pod.is_none() {
                        add_one(&mut self.lone_backends, key.0, backend.service.clone());
                    }
                    add_one(&mut self.backends, key, backend);
                }
                add_one(&mut self.slices_of, new.service_name(), new.name.clone());
            }
        }
    }

    /// Takes what was told of nodes.
    pub(crate) fn on_node(&mut self, change: Change<Arc<str>, Arc<Node>>, now: UnixNanos) {
        for (old, new) in self.nodes.apply(change) {
            let place = |it: &Option<Arc<Node>>| {
                it.as_ref().map(|it| (it.zone.clone(), it.region.clone(), it.tags.clone()))
            };
            if place(&old) != place(&new) {
                self.edition += 1;
            }
            for network in new.iter().flat_map(|it| &it.pod_networks) {
                *self.pod_networks.entry(*network).or_default() += 1;
                if !self.prefix_lens.contains(&network.prefix_len()) {
                    self.prefix_lens.push(network.prefix_len());
                }
            }
            for network in old.iter().flat_map(|it| &it.pod_networks) {
                if let Some(n_nodes) = self.pod_networks.get_mut(network) {
                    *n_nodes -= 1;
                    if *n_nodes == 0 {
                        self.pod_networks.remove(network);
                    }
                }
            }
            if let Some(old) = &old {
                let stays = |address| new.as_ref().is_some_and(|it| it.addresses.contains(address));
                for address in old.addresses.iter().filter(|it| !stays(it)) {
                    self.addresses.leave(*address, &Tenant::Node(old.name.clone()), now);
                }
            }
            for address in new.iter().flat_map(|it| &it.addresses) {
                let node = new.as_ref().expect("it has the address");
                self.addresses.enter(*address, Tenant::Node(node.name.clone()), node.since);
            }
        }
    }

    /// Takes what was told of namespaces.
    pub(crate) fn on_namespace(&mut self, change: Change<Arc<str>, Tags>) {
        if !self.namespaces.apply(change).is_empty() {
            self.edition += 1;
        }
    }

    /// Forgets what has been gone for long.
    pub(crate) fn expire(&mut self, now: UnixNanos) {
        self.addresses.expire(now);
        while let Some(&(at, uid)) = self.gone_at.front()
            && now.saturating_since(at) >= self.keep
        {
            self.gone_at.pop_front();
            let Some(pod) = self.gone.remove(&uid) else { continue };
            if self.pods.get(&uid).is_none() {
                self.workloads.remove(&uid);
                for id in &pod.containers {
                    self.containers.remove(id);
                }
            }
            if let Some(cgroup_uid) = pod.cgroup_uid
                && self.static_pods.get(&cgroup_uid) == Some(&uid)
            {
                self.static_pods.remove(&cgroup_uid);
            }
        }
    }

    /// Returns a number that is another as soon as something may have another name than before.
    pub(crate) const fn edition(&self) -> u64 {
        self.edition
    }

    /// Returns whether all objects were told of at least once.
    pub(crate) fn is_complete(&self) -> bool {
        let Self { pods, owners, services, slices, nodes, .. } = self;
        let knows_services = self.scope == Scope::Node || services.is_complete() && slices.is_complete();
        knows_services && pods.is_complete() && nodes.is_complete() && owners.iter().all(Store::is_complete)
    }

    /// Returns the pod whose cgroups have a uid in their names, also if it is gone.
    pub(crate) fn pod_of_cgroup(&self, uid: Uid) -> Option<&Arc<Pod>> {
        let uid = self.static_pods.get(&uid).copied().unwrap_or(uid);
        self.pod(uid)
    }

    /// Returns the pod that a container is of, also if it is gone.
    pub(crate) fn pod_of_container(&self, id: ContainerId) -> Option<&Arc<Pod>> {
        self.pod(*self.containers.get(&id)?)
    }

    /// Returns a pod, also if it is gone.
    pub(crate) fn pod(&self, uid: Uid) -> Option<&Arc<Pod>> {
        self.pods.get(&uid).or_else(|| self.gone.get(&uid))
    }

    /// Returns a node.
    pub(crate) fn node(&self, name: &str) -> Option<&Arc<Node>> {
        self.nodes.get(name)
    }

    /// Returns what the configuration asks for of a namespace.
    pub(crate) fn tags_of_namespace(&self, name: &str) -> &[(Arc<str>, Arc<str>)] {
        self.namespaces.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns a Service.
    pub(crate) fn service(&self, name: &ObjectName) -> Option<&Arc<Service>> {
        self.services.get(name)
    }

    /// Returns the Service at a port of the nodes.
    pub(crate) fn service_at_node_port(&self, port: u16) -> Option<&ObjectName> {
        self.node_ports.get(&port)
    }

    /// Returns who had an address at a time, the last that came first.
    pub(crate) fn tenants(&self, address: IpAddr, at: UnixNanos) -> impl Iterator<Item = &Tenant> {
        self.addresses.tenants(address, at)
    }

    /// Returns the pod that had an address at a time.
    pub(crate) fn pod_at(&self, address: IpAddr, at: UnixNanos) -> Option<&Arc<Pod>> {
        self.pod(self.tenants(address, at).find_map(Tenant::pod)?)
    }

    /// Returns who answers at an address and port.
    pub(crate) fn backends(&self, address: IpAddr, port: u16) -> &[Backend] {
        self.backends.get(&(address, port)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns whether nodes pass on what reaches them from elsewhere to an address and port.
    pub(crate) fn is_reached_by_nodes(&self, address: IpAddr, port: u16) -> bool {
        let is_reached = |it: &Backend| self.service(&it.service).is_none_or(|it| it.is_reached_by_nodes);
        self.backends(address, port).iter().any(is_reached)
    }

    /// Returns the Service that something outside of pods at an address answers for, such as the API server.
    pub(crate) fn service_without_pods_at(&self, address: IpAddr) -> Option<&ObjectName> {
        self.lone_backends.get(&address)?.first()
    }

    /// Returns the pod that a node's addresses reach at a port, if it is one.
    pub(crate) fn pod_at_host_port(&self, node: &Arc<str>, port: u16) -> Option<&Arc<Pod>> {
        match self.host_ports.get(&(node.clone(), port)).map(Vec::as_slice) {
            Some([uid]) => self.pod(*uid),
            _ => None,
        }
    }

    /// Returns the pod that this runs in, once it has been told of.
    pub(crate) fn agent(&self) -> Option<&Arc<Pod>> {
        self.agent.as_ref()?.1.as_ref()
    }

    /// Returns whether a pod like that which this runs in is on a node.
    pub(crate) fn is_observed(&self, node: &Arc<str>) -> bool {
        self.agents.contains_key(node)
    }

    /// Returns whether an address is of a network of pods.
    pub(crate) fn is_of_pods(&self, address: IpAddr) -> bool {
        let network_of = |len| IpNet::new(address, len).ok().map(|it| it.trunc());
        self.prefix_lens
            .iter()
            .filter_map(|len| network_of(*len))
            .any(|it| self.pod_networks.contains_key(&it))
    }

    /// Returns what a pod is an instance of: fixed once it is known.
    pub(crate) fn workload(&mut self, pod: &Pod) -> Result<Arc<Workload>, Untold> {
        if let Some(known) = self.workloads.get(&pod.uid) {
            return Ok(Arc::clone(known));
        }
        let found = Arc::new(self.find_workload(pod)?);
        self.workloads.insert(pod.uid, Arc::clone(&found));
        Ok(found)
    }

    /// Returns what a pod is an instance of, as far as has been told: of which object if not of which workload.
    pub(crate) fn best_workload(&self, pod: &Pod) -> Arc<Workload> {
        self.workloads.get(&pod.uid).map_or_else(|| Arc::new(nearest_workload(pod)), Arc::clone)
    }

    fn find_workload(&self, pod: &Pod) -> Result<Workload, Untold> {
        let mut workload = nearest_workload(pod);
        let mut watched = pod.owner.as_ref().and_then(|it| it.watched);
        for _ in 0..MAX_OWNERS {
            let Some(uid) = watched else { break };
            let Some(owner) = self.owners.iter().find_map(|it| it.get(&uid)).ok_or(Untold)? else { break };
            workload.kind = owner.kind.clone();
            workload.name.name = owner.name.clone();
            watched = owner.watched;
        }
        Ok(workload)
    }

    /// Returns whose the answers of a Service are.
    pub(crate) fn behind(&mut self, service: &ObjectName) -> Result<Behind, Untold> {
        if let Some(known) = self.behind.get(service) {
            return Ok(known.clone());
        }
        let found = self.find_behind(service)?;
        self.behind.insert(service.clone(), found.clone());
        Ok(found)
    }

    fn find_behind(&mut self, service: &ObjectName) -> Result<Behind, Untold> {
        let slices: Vec<_> = self.slices_of.get(service).into_iter().flatten().cloned().collect();
        let mut found: Option<(Uid, Arc<Workload>)> = None;
        for slice in slices {
            let Some(slice) = self.slices.get(&slice).cloned() else { continue };
            for endpoint in &slice.endpoints {
                let Some(uid) = endpoint.pod else { return Ok(Behind::NotOne) };
                let pod = Arc::clone(self.pod(uid).ok_or(Untold)?);
                let workload = self.workload(&pod)?;
                match &found {
                    Some((_, other)) if *other != workload => return Ok(Behind::NotOne),
                    Some(_) => {}
                    None => found = Some((uid, workload)),
                }
            }
        }
        Ok(found.map_or(Behind::NotOne, |(uid, workload)| Behind::One(uid, workload)))
    }

    /// Returns how many objects there was no room for since the last call.
    pub(crate) fn take_refused(&mut self) -> u64 {
        let Self { pods, owners, services, slices, nodes, namespaces, .. } = self;
        let refused = [
            pods.take_refused(),
            services.take_refused(),
            slices.take_refused(),
            nodes.take_refused(),
            namespaces.take_refused(),
        ];
        owners.iter_mut().map(Store::take_refused).chain(refused).sum()
    }

    /// Returns how many pods are known, those that are gone included.
    pub(crate) fn n_pods(&self) -> usize {
        self.pods.len() + self.gone.len()
    }

    /// Returns how many addresses are known.
    pub(crate) fn n_addresses(&self) -> usize {
        self.addresses.len()
    }

    /// Takes note of a pod that may be like that which this runs in.
    fn add_agent(&mut self, pod: &Arc<Pod>) {
        let Self { pods, agents, agent: Some((name, agent)), .. } = self else { return };
        let mut add = |pod: &Pod| {
            if let Some(node) = &pod.node {
                add_one(agents, node.clone(), pod.uid);
            }
        };
        match agent {
            Some(agent) if agent.is_sibling(pod) => add(pod),
            Some(_) => {}
            None if pod.name == *name => {
                pods.values().filter(|it| !it.is_over && it.is_sibling(pod)).for_each(|it| add(it));
                *agent = Some(Arc::clone(pod));
            }
            None => {}
        }
    }

    fn set_host_ports(&mut self, pod: &Pod, is_there: bool) {
        let Some(node) = &pod.node else { return };
        for port in &pod.host_ports {
            let key = (node.clone(), *port);
            if is_there {
                add_one(&mut self.host_ports, key, pod.uid);
            } else {
                remove_one(&mut self.host_ports, &key, |it| *it == pod.uid);
            }
        }
    }
}

impl EndpointSlice {
    fn service_name(&self) -> ObjectName {
        ObjectName { namespace: self.name.namespace.clone(), name: self.service.clone() }
    }

    fn backends(&self) -> impl Iterator<Item = ((IpAddr, u16), Backend)> {
        let service = self.service_name();
        self.endpoints.iter().flat_map(move |endpoint| {
            let backend = Backend { service: service.clone(), pod: endpoint.pod };
            endpoint.addresses.iter().flat_map(move |address| {
                let backend = backend.clone();
                self.ports.iter().map(move |port| ((*address, *port), backend.clone()))
            })
        })
    }
}

/// Returns what a pod is an instance of by what it says itself.
fn nearest_workload(pod: &Pod) -> Workload {
    let ObjectName { namespace, name } = &pod.name;
    let (kind, name) = match &pod.owner {
        Some(owner) => (owner.kind.clone(), owner.name.clone()),
        None => (Arc::from("Pod"), name.clone()),
    };
    Workload { kind, name: ObjectName { namespace: namespace.clone(), name } }
}

/// Adds one to what a key has, which for most is one.
fn add_one<K: Eq + std::hash::Hash, V>(map: &mut Map<K, Vec<V>>, key: K, value: V) {
    map.entry(key).or_insert_with(|| Vec::with_capacity(1)).push(value);
}

/// Removes one of what a key has, and the key with the last.
fn remove_one<K: Eq + std::hash::Hash, V>(map: &mut Map<K, Vec<V>>, key: &K, is_it: impl Fn(&V) -> bool) {
    let Some(values) = map.get_mut(key) else { return };
    if let Some(idx) = values.iter().position(is_it) {
        values.swap_remove(idx);
    }
    if values.is_empty() {
        map.remove(key);
    }
}
