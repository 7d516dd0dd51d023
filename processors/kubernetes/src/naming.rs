use std::{collections::HashMap, net::IpAddr, sync::Arc};

use foldhash::fast::RandomState;
use ipnet::IpNet;
use model::{
    Attribute, Entity, EntityCache, FixedNames, Flow, Listener, Local, Names, Observer, UnixNanos,
    cgroup::{self, Uid},
    kind,
};

use crate::{
    Config,
    addresses::Tenant,
    index::{Behind, Index, Untold, Workload},
    object::{Node, ObjectName, Pod},
};

/// Kinds of ends that are not workloads.
const NODE: &str = "Node";
const POD: &str = "Pod";
const SERVICE: &str = "Service";

/// Name of an end of which nothing is known but that it is one of these.
const UNKNOWN: &str = "unknown";

/// Most network namespaces whose pod is remembered: more than a node has pods.
const MAX_NAMESPACES: usize = 1 << 12;

/// Whether to wait for what may still be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Names are given only when all that they depend on is known.
    Wait,
    /// Names are given by what is known.
    Settle,
}

/// Gives both ends of a record their names in the cluster, and each connection the same names until its end.
#[derive(Debug)]
pub(crate) struct Naming {
    pub(crate) index: Index,
    ends: Ends,
    connections: FixedNames,
}

#[derive(Debug)]
struct Ends {
    /// Networks with a name, the smallest first.
    networks: Vec<(IpNet, Arc<str>)>,
    entities: EntityCache<Key>,
    /// The edition of the index that these are of.
    edition: u64,
    /// Pods by their network namespace, where cgroups do not tell.
    namespaces: HashMap<u32, Uid, RandomState>,
    /// The node that the records are of.
    node: Option<Arc<str>>,
}

/// Everything that a name depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Pod {
        uid: Uid,
        /// Whether its workload is known, which then is always the same.
        is_settled: bool,
        service: Option<Arc<str>>,
        command: Option<Arc<str>>,
    },
    /// The workload behind a Service, told by one of its pods, without what differs from pod to pod.
    Behind {
        uid: Uid,
        workload: Arc<Workload>,
        service: Arc<str>,
    },
    Service(ObjectName),
    Node {
        name: Arc<str>,
        command: Option<Arc<str>>,
    },
    /// A pod that the API server has not told of.
    Lost(Option<Uid>),
    Network(Arc<str>),
}

/// Where an end is, and when.
#[derive(Clone, Copy, Debug)]
struct Place {
    address: IpAddr,
    /// Of servers.
    port: Option<u16>,
    at: UnixNanos,
}

impl Naming {
    /// Creates a naming that knows no objects yet.
    pub(crate) fn new(config: &Config) -> Self {
        let mut networks: Vec<_> = config
            .networks
            .iter()
            .flat_map(|(name, networks)| networks.iter().map(|it| (*it, Arc::<str>::from(name.as_str()))))
            .collect();
        networks.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        let node = config.node.as_deref().filter(|it| !it.is_empty()).map(Arc::from);
        let mut index = Index::new(config);
        if let Some(agent) = config.pod.as_deref().and_then(ObjectName::parse) {
            index.set_agent(agent);
        }
        Self {
            index,
            ends: Ends {
                networks,
                entities: EntityCache::new(config.max_entities),
                edition: 0,
                namespaces: HashMap::default(),
                node,
            },
            connections: FixedNames::new(config.max_connections.get()),
        }
    }

    /// Names the ends that have no name yet.
    ///
    /// # Errors
    ///
    /// What a name depends on has not been told yet; then neither end is named.
    pub(crate) fn name(&mut self, flow: &mut Flow, patience: Patience) -> Result<(), Untold> {
        let Self { index, ends, connections } = self;
        connections.name(flow, |flow| ends.names_of(index, flow, patience))?;
        // Whose records count is decided once.
        if flow.begin.is_some() {
            flow.other_is_observed |= ends.is_elsewhere(index, flow);
        }
        Ok(())
    }

    /// Names whose a listening socket is, if it has no name yet: as its connections' server is named.
    ///
    /// # Errors
    ///
    /// What the name depends on has not been told yet.
    pub(crate) fn name_listener(
        &mut self,
        listener: &mut Listener,
        patience: Patience,
    ) -> Result<(), Untold> {
        if listener.server.entity.is_none() {
            let Self { index, ends, .. } = self;
            let place = Place {
                address: listener.server.address,
                port: Some(listener.server.port),
                at: listener.interval.end,
            };
            listener.server.entity = Some(ends.local(index, &listener.local, place, patience)?);
        }
        Ok(())
    }

    /// Returns how many connections' names are remembered.
    pub(crate) fn n_connections(&self) -> usize {
        self.connections.len()
    }

    pub(crate) fn n_entities(&self) -> usize {
        self.ends.entities.len()
    }

    /// Returns how many connections were forgotten before their end since the last call.
    pub(crate) fn take_forgotten(&mut self) -> u64 {
        self.connections.take_forgotten()
    }
}

impl Ends {
    fn names_of(&mut self, index: &mut Index, flow: &Flow, patience: Patience) -> Result<Names, Untold> {
        // Of one that is older than the observer it is known that it lives now.
        let at = flow.started.unwrap_or(flow.interval.end);
        let client = Place { address: flow.client.address, port: None, at };
        let server = Place { address: flow.server.address, port: Some(flow.server.port), at };
        Ok(match flow.observer {
            Observer::Client => {
                let client = self.local(index, &flow.local, client, patience)?;
                let server = self.remote(index, server, &client, patience)?;
                Names { client, server }
            }
            Observer::Server => {
                let server = self.local(index, &flow.local, server, patience)?;
                let client = self.remote(index, client, &server, patience)?;
                Names { client, server }
            }
        })
    }

    /// Returns whether the agent of another node observes the other end: that of a pod, and a client that is a node, unless it
    /// may only have passed on what came from outside.
    fn is_elsewhere(&self, index: &Index, flow: &Flow) -> bool {
        let (other, is_client) = match flow.observer {
            Observer::Client => (&flow.server, false),
            Observer::Server => (&flow.client, true),
        };
        let Some(entity) = &other.entity else { return false };
        let own = self.node.as_ref().or_else(|| index.agent()?.node.as_ref());
        let is_there = |node: &Arc<str>| own.is_some_and(|own| own != node) && index.is_observed(node);
        let is_itself = || {
            entity.attribute(&Attribute::Pod).is_some()
                || is_client && !index.is_reached_by_nodes(flow.server.address, flow.server.port)
        };
        entity.attribute(&Attribute::Node).is_some_and(is_there) && is_itself()
    }

    /// Names the observer's own end: by its cgroup, else by its network namespace, else by its address.
    fn local(
        &mut self,
        index: &mut Index,
        local: &Local,
        place: Place,
        patience: Patience,
    ) -> Result<Arc<Entity>, Untold> {
        let Local { cgroup, netns, process } = local;
        let command = process.as_ref().map(|it| it.command.clone()).filter(|it| !it.is_empty());
        let path = cgroup.as_deref().filter(|it| *it != "/");
        if let Some(uid) = path.and_then(cgroup::pod) {
            let Some(pod) = index.pod_of_cgroup(uid).cloned() else {
                return match patience {
                    Patience::Wait => Err(Untold),
                    Patience::Settle => Ok(self.entity(index, Key::Lost(Some(uid)))),
                };
            };
            if !pod.addresses.is_empty() {
                self.remember_namespace(*netns, pod.uid);
            }
            if self.node.is_none() {
                self.node.clone_from(&pod.node);
            }
            return self.local_pod(index, &pod, place, command, patience);
        }
        if path.is_none() {
            let known = self.namespaces.get(netns).copied();
            let pod = match known {
                Some(uid) => index.pod(uid),
                None => index.pod_at(place.address, place.at),
            };
            if let Some(pod) = pod.cloned() {
                return self.local_pod(index, &pod, place, command, patience);
            }
        }
        let known = self.node.clone().or_else(|| index.agent()?.node.clone());
        let name = known.unwrap_or_else(|| UNKNOWN.into());
        Ok(self.entity(index, Key::Node { name, command }))
    }

    fn local_pod(
        &mut self,
        index: &mut Index,
        pod: &Pod,
        place: Place,
        command: Option<Arc<str>>,
        patience: Patience,
    ) -> Result<Arc<Entity>, Untold> {
        let service = place.port.and_then(|port| service_at(index, place.address, port));
        self.pod(index, pod, service, command, patience)
    }

    /// Names the other end, of which nothing is known but where it is. `local` is the observer's own.
    fn remote(
        &mut self,
        index: &mut Index,
        place: Place,
        local: &Arc<Entity>,
        patience: Patience,
    ) -> Result<Arc<Entity>, Untold> {
        let Place { address, port, at } = place;
        if address.is_loopback() {
            // Who shares a network namespace is the same pod, or the same node.
            return Ok(Arc::clone(local));
        }
        if let Some(port) = port {
            // A Service may share an address with a node, or with other Services at other ports.
            let at_port = |name: &&ObjectName| {
                index.service(name).is_none_or(|it| it.ports.is_empty() || it.ports.contains(&port))
            };
            let service = index.tenants(address, at).filter_map(Tenant::service).find(at_port).cloned();
            if let Some(service) = service {
                return self.behind(index, &service, patience);
            }
        }
        if let Some(pod) = index.pod_at(address, at).cloned() {
            let service = port.and_then(|port| service_at(index, address, port));
            return self.pod(index, &pod, service, None, patience);
        }
        if let Some(port) = port
            && let Some(named) = self.at_endpoint(index, address, port, patience)?
        {
            return Ok(named);
        }
        let node = index.tenants(address, at).find_map(Tenant::node).cloned();
        if let Some(node) = node {
            if let Some(port) = port {
                if let Some(service) = index.service_at_node_port(port).cloned() {
                    return self.behind(index, &service, patience);
                }
                if let Some(pod) = index.pod_at_host_port(&node, port).cloned() {
                    let service = service_at(index, address, port);
                    return self.pod(index, &pod, service, None, patience);
                }
            }
            return Ok(self.entity(index, Key::Node { name: node, command: None }));
        }
        if let Some(service) = index.service_without_pods_at(address).cloned() {
            return Ok(self.entity(index, Key::Service(service)));
        }
        if index.is_of_pods(address) {
            return match patience {
                Patience::Wait => Err(Untold),
                Patience::Settle => Ok(self.entity(index, Key::Lost(None))),
            };
        }
        let network = self.networks.iter().find(|(network, _)| network.contains(&address));
        let name = network.map_or_else(|| kind::EXTERNAL.into(), |(_, name)| name.clone());
        Ok(self.entity(index, Key::Network(name)))
    }

    /// Names who answers at an address and port for a Service, where the address is not a pod's own.
    fn at_endpoint(
        &mut self,
        index: &mut Index,
        address: IpAddr,
        port: u16,
        patience: Patience,
    ) -> Result<Option<Arc<Entity>>, Untold> {
        let Some(backend) = index.backends(address, port).first().cloned() else { return Ok(None) };
        let Some(uid) = backend.pod else {
            return Ok(Some(self.entity(index, Key::Service(backend.service))));
        };
        // One with an address of its own is known by that, or has it no more.
        let Some(pod) = index.pod(uid).filter(|it| it.addresses.is_empty()).cloned() else { return Ok(None) };
        let service = service_at(index, address, port);
        self.pod(index, &pod, service, None, patience).map(Some)
    }

    /// Names who answers for a Service: the workload if there is one, else the Service itself.
    fn behind(
        &mut self,
        index: &mut Index,
        service: &ObjectName,
        patience: Patience,
    ) -> Result<Arc<Entity>, Untold> {
        let behind = match (index.behind(service), patience) {
            (Ok(behind), _) => behind,
            (Err(Untold), Patience::Wait) => return Err(Untold),
            (Err(Untold), Patience::Settle) => Behind::NotOne,
        };
        let key = match behind {
            Behind::NotOne => Key::Service(service.clone()),
            Behind::One(uid, workload) => Key::Behind { uid, workload, service: service.name.clone() },
        };
        Ok(self.entity(index, key))
    }

    fn pod(
        &mut self,
        index: &mut Index,
        pod: &Pod,
        service: Option<Arc<str>>,
        command: Option<Arc<str>>,
        patience: Patience,
    ) -> Result<Arc<Entity>, Untold> {
        let is_settled = match (index.workload(pod), patience) {
            (Ok(_), _) => true,
            (Err(Untold), Patience::Wait) => return Err(Untold),
            (Err(Untold), Patience::Settle) => false,
        };
        Ok(self.entity(index, Key::Pod { uid: pod.uid, is_settled, service, command }))
    }

    fn entity(&mut self, index: &Index, key: Key) -> Arc<Entity> {
        if self.edition != index.edition() {
            self.edition = index.edition();
            self.entities.clear();
        }
        self.entities.get(key, |key| key.entity(index))
    }

    fn remember_namespace(&mut self, netns: u32, uid: Uid) {
        if netns == 0 || self.namespaces.get(&netns) == Some(&uid) {
            return;
        }
        if self.namespaces.len() >= MAX_NAMESPACES {
            self.namespaces.clear();
        }
        self.namespaces.insert(netns, uid);
    }
}

impl Key {
    fn entity(&self, index: &Index) -> Entity {
        match self {
            Self::Pod { uid, is_settled: _, service, command } => {
                let Some(pod) = index.pod(*uid) else { return lost(Some(*uid)) };
                let mut entity = workload_entity(index, pod, &index.best_workload(pod));
                entity.set_attribute(Attribute::Pod, pod.name.name.clone());
                add_node(&mut entity, index, pod.node.as_ref());
                for (tag, value) in &pod.tags {
                    entity.set_attribute(Attribute::Tag(tag.clone()), value.clone());
                }
                for (attribute, value) in [(Attribute::Service, service), (Attribute::Process, command)] {
                    if let Some(value) = value {
                        entity.set_attribute(attribute, value.clone());
                    }
                }
                entity
            }
            Self::Behind { uid, workload, service } => {
                let mut entity = match index.pod(*uid) {
                    Some(pod) => workload_entity(index, pod, workload),
                    None => workload.entity(),
                };
                entity.set_attribute(Attribute::Service, service.clone());
                entity
            }
            Self::Service(ObjectName { namespace, name }) => {
                let mut entity = Entity::new(name.clone(), SERVICE);
                entity.namespace = Some(namespace.clone());
                entity.set_attribute(Attribute::Service, name.clone());
                entity
            }
            Self::Node { name, command } => {
                let mut entity = Entity::new(name.clone(), NODE);
                add_node(&mut entity, index, Some(name));
                if let Some(command) = command {
                    entity.set_attribute(Attribute::Process, command.clone());
                }
                entity
            }
            Self::Lost(uid) => lost(*uid),
            Self::Network(name) => Entity::new(name.clone(), kind::EXTERNAL),
        }
    }
}

impl Workload {
    fn entity(&self) -> Entity {
        let mut entity = Entity::new(self.name.name.clone(), self.kind.clone());
        entity.namespace = Some(self.name.namespace.clone());
        entity
    }
}

/// Makes the name of a workload, with what its pods have in common.
fn workload_entity(index: &Index, pod: &Pod, workload: &Workload) -> Entity {
    let mut entity = workload.entity();
    let ObjectName { namespace, name } = &workload.name;
    for (tag, value) in index.tags_of_namespace(namespace) {
        entity.set_attribute(Attribute::Tag(tag.clone()), value.clone());
    }
    let service_name = pod.service.name.as_ref().unwrap_or(name);
    let service_namespace = pod.service.namespace.as_ref().unwrap_or(namespace);
    entity.set_attribute(Attribute::ServiceName, service_name.clone());
    entity.set_attribute(Attribute::ServiceNamespace, service_namespace.clone());
    entity
}

/// Makes the name of a pod that the API server has not told of.
fn lost(uid: Option<Uid>) -> Entity {
    Entity::new(uid.map_or_else(|| UNKNOWN.to_owned(), |it| it.to_string()), POD)
}

/// Returns the Service that an address and port answer for, if it is one.
fn service_at(index: &Index, address: IpAddr, port: u16) -> Option<Arc<str>> {
    let mut services = index.backends(address, port).iter().map(|it| &it.service);
    let first = services.next()?;
    services.all(|it| it == first).then(|| first.name.clone())
}

/// Adds where an end is.
fn add_node(entity: &mut Entity, index: &Index, name: Option<&Arc<str>>) {
    let Some(name) = name else { return };
    entity.set_attribute(Attribute::Node, name.clone());
    let Some(node) = index.node(name) else { return };
    let Node { zone, region, tags, .. } = &**node;
    for (attribute, value) in [(Attribute::Zone, zone), (Attribute::Region, region)] {
        if let Some(value) = value {
            entity.set_attribute(attribute, value.clone());
        }
    }
    for (tag, value) in tags {
        entity.set_attribute(Attribute::Tag(tag.clone()), value.clone());
    }
}

#[cfg(test)]
#[path = "naming_tests.rs"]
mod tests;
