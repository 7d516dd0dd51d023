//! What is kept of the objects of the API server: a few dozen bytes of each.

use std::{net::IpAddr, sync::Arc};

use model::{UnixNanos, cgroup::Uid};

use crate::extract::Tags;

/// Name of an object within its namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ObjectName {
    /// Its namespace.
    pub(crate) namespace: Arc<str>,
    /// Its name.
    pub(crate) name: Arc<str>,
}

impl ObjectName {
    /// Reads `namespace/name`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        let is_word = |it: &str| !it.is_empty() && !it.contains('/');
        (is_word(namespace) && is_word(name)).then(|| Self { namespace: namespace.into(), name: name.into() })
    }
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pod {
    /// Its uid.
    pub(crate) uid: Uid,
    /// The uid in the names of its cgroups if that is another: the hash of a static pod's manifest.
    pub(crate) cgroup_uid: Option<Uid>,
    /// Its name.
    pub(crate) name: ObjectName,
    /// The node that it was assigned to.
    pub(crate) node: Option<Arc<str>>,
    /// Addresses of its own; none if it uses the node's.
    pub(crate) addresses: Vec<IpAddr>,
    /// TCP ports by which the node's addresses reach it: those of its containers if it uses the node's network, else the
    /// containers' host ports.
    pub(crate) host_ports: Vec<u16>,
    /// Whether all of its containers have ended for good: then its addresses may be another's already.
    pub(crate) is_over: bool,
    /// When the kubelet took it over, before it had an address.
    pub(crate) since: UnixNanos,
    /// Who controls it.
    pub(crate) owner: Option<Owner>,
    /// Its containers, if somebody wants to know.
    pub(crate) containers: Box<[ContainerId]>,
    /// What it calls itself for OpenTelemetry.
    pub(crate) service: ServiceIdentity,
    /// Labels and annotations that the configuration asks for, by the name that it gives them.
    pub(crate) tags: Tags,
}

/// The id of a container, which all runtimes write as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ContainerId([u64; 4]);

impl ContainerId {
    /// Reads an id, also as the API server has it, with its runtime: `containerd://<id>`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        const DIGITS: usize = 16;
        let id = text.split_once("://").map_or(text, |(_, id)| id).as_bytes();
        if id.len() != 4 * DIGITS || !id.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let mut parts = [0; 4];
        for (part, digits) in parts.iter_mut().zip(id.chunks_exact(DIGITS)) {
            *part = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self(parts))
    }
}

/// `service.name` and `service.namespace`, as far as labels and annotations tell them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceIdentity {
    /// `service.name`.
    pub(crate) name: Option<Arc<str>>,
    /// `service.namespace`.
    pub(crate) namespace: Option<Arc<str>>,
}

/// Who controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// Its kind.
    pub(crate) kind: Arc<str>,
    /// Its name; it is in the namespace of what it controls.
    pub(crate) name: Arc<str>,
    /// Its uid, if it may be controlled itself: its kind is among those that are watched for it.
    pub(crate) watched: Option<Uid>,
}

impl Pod {
    /// Returns whether it is controlled by the same as another pod.
    pub(crate) fn is_sibling(&self, other: &Self) -> bool {
        self.owner.is_some() && self.owner == other.owner && self.name.namespace == other.name.namespace
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: ObjectName,
    /// Addresses of its own: of the cluster, of load balancers and external ones. Others may share the latter at other ports.
    pub(crate) addresses: Vec<IpAddr>,
    /// TCP ports at these.
    pub(crate) ports: Vec<u16>,
    /// TCP ports at every node's addresses.
    pub(crate) node_ports: Vec<u16>,
    /// Whether nodes pass on to its endpoints what reaches them from elsewhere, and may put their own address in its place.
    pub(crate) is_reached_by_nodes: bool,
    /// When it was created.
    pub(crate) since: UnixNanos,
}

/// A part of the endpoints of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointSlice {
    /// Its name.
    pub(crate) name: ObjectName,
    /// The name of the Service, in the same namespace.
    pub(crate) service: Arc<str>,
    /// TCP ports of all endpoints.
    pub(crate) ports: Vec<u16>,
    /// The endpoints.
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Who may answer for a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where.
    pub(crate) addresses: Vec<IpAddr>,
    /// Which pod, if it is one: its uid as the API server has it.
    pub(crate) pod: Option<Uid>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Every address of its own, also those by which it is known in the network of pods.
    pub(crate) addresses: Vec<IpAddr>,
    /// Networks that its pods' addresses are from.
    pub(crate) pod_networks: Vec<ipnet::IpNet>,
    /// `topology.kubernetes.io/zone`.
    pub(crate) zone: Option<Arc<str>>,
    /// `topology.kubernetes.io/region`.
    pub(crate) region: Option<Arc<str>>,
    /// When it was created.
    pub(crate) since: UnixNanos,
    /// Labels and annotations that the configuration asks for.
    pub(crate) tags: Tags,
}
