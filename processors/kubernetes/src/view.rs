//! How objects of the API server are read: what no name depends on is not kept, and most of it not even decoded.

use std::{borrow::Cow, collections::BTreeMap, fmt::Debug, hash::Hash, net::IpAddr, sync::Arc};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::{Resource, core::ClusterResourceScope};
use model::{UnixNanos, cgroup::Uid};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use crate::{
    Config, PodAttribute,
    extract::{Extraction, Tags},
    object::{ContainerId, Endpoint, EndpointSlice, Node, ObjectName, Owner, Pod, Service, ServiceIdentity},
    texts::Texts,
    watch::owner_kinds,
};

/// The kubelet writes the uid that it gives a static pod into this annotation of the pod's mirror in the API server.
const STATIC_POD_UID: &str = "kubernetes.io/config.hash";
const SERVICE_OF_SLICE: &str = "kubernetes.io/service-name";
const ZONE: &str = "topology.kubernetes.io/zone";
const REGION: &str = "topology.kubernetes.io/region";
/// Addresses that networks of pods give to a node itself.
const TUNNEL_ADDRESSES: [&str; 6] = [
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "flannel.alpha.coreos.com/public-ip",
];

/// A kind of objects that is watched, as it is read.
pub(crate) trait View:
    Resource<Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static
{
    /// What an object is known by.
    type Key: Clone + Eq + Hash + Send + 'static;
    /// What is kept of it.
    type Object: Send + 'static;

    /// Returns what it is known by; `None` if it lacks what every object has.
    fn key(&self) -> Option<Self::Key>;

    /// Returns what is kept of it.
    fn object(self, reading: &Reading) -> Option<Self::Object>;
}

/// What is to be read of objects, and what they have in common.
#[derive(Debug)]
pub(crate) struct Reading {
    extraction: Extraction,
    /// API group and kind of objects that control others and are watched for it.
    owners: Vec<(String, String)>,
    /// Whether somebody wants to know which containers a pod has.
    wants_containers: bool,
    texts: Texts,
}

impl Reading {
    pub(crate) fn new(config: &Config, extraction: Extraction) -> Self {
        let owners = owner_kinds(config).into_iter().map(|it| (it.group, it.kind)).collect();
        let mut sources = config.pod_association.iter().flat_map(|it| &it.sources);
        let wants_containers = sources.any(|it| it.name == Some(PodAttribute::Container));
        Self { extraction, owners, wants_containers, texts: Texts::default() }
    }

    pub(crate) fn wants_namespaces(&self) -> bool {
        self.extraction.wants_namespaces()
    }

    fn share(&self, text: &str) -> Arc<str> {
        self.texts.share(text)
    }

    /// Returns a label or an annotation, unless it is empty.
    fn value(&self, of: Option<&BTreeMap<String, String>>, key: &str) -> Option<Arc<str>> {
        of?.get(key).filter(|it| !it.is_empty()).map(|it| self.share(it))
    }
}

/// Implements [`Resource`] for a view of a kind.
macro_rules! resource {
    ($view:ty, $group:literal, $kind:literal, $plural:literal, $is_metadata:literal) => {
        impl Resource for $view {
            type DynamicType = ();
            type Scope = ClusterResourceScope;

            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn metadata_api() -> bool {
                $is_metadata
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodView, "", "Pod", "pods", false);
resource!(ServiceView, "", "Service", "services", false);
resource!(EndpointSliceView, "discovery.k8s.io", "EndpointSlice", "endpointslices", false);
resource!(NodeView, "", "Node", "nodes", false);
resource!(NamespaceView, "", "Namespace", "namespaces", true);

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PodView {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    node_name: Option<String>,
    host_network: bool,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    container_port: u16,
    host_port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: Option<String>,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<PodIp>,
    start_time: Option<Time>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
    ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerStatus {
    #[serde(rename = "containerID")]
    id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct PodIp {
    ip: IpAddr,
}

impl View for PodView {
    type Key = Uid;
    type Object = Arc<Pod>;

    fn key(&self) -> Option<Uid> {
        self.metadata.uid.as_deref().and_then(Uid::parse)
    }

    fn object(self, reading: &Reading) -> Option<Arc<Pod>> {
        let uid = self.key()?;
        let name = shared_name(&self.metadata, reading)?;
        let Self { metadata, spec: PodSpec { node_name, host_network, containers, init_containers }, status } =
            self;
        let ports = containers
            .iter()
            .chain(&init_containers)
            .flat_map(|it| &it.ports)
            .filter(|it| is_tcp(it.protocol.as_deref()));
        let mut host_ports: Vec<u16> = ports
            .filter_map(|it| if host_network { Some(it.container_port) } else { it.host_port })
            .filter(|it| *it != 0)
            .collect();
        host_ports.sort_unstable();
        host_ports.dedup();
        let PodStatus {
            phase,
            pod_ips,
            start_time,
            container_statuses,
            init_container_statuses,
            ephemeral_container_statuses,
        } = status;
        let statuses = [container_statuses, init_container_statuses, ephemeral_container_statuses];
        let ids = statuses.iter().flatten().filter_map(|it| ContainerId::parse(it.id.as_deref()?));
        let manifest = metadata.annotations.as_ref().and_then(|it| it.get(STATIC_POD_UID));
        Some(Arc::new(Pod {
            uid,
            cgroup_uid: manifest.and_then(|it| Uid::parse(it)),
            node: node_name.map(|it| reading.share(&it)),
            addresses: if host_network {
                Vec::new()
            } else {
                pod_ips.iter().map(|it| it.ip.to_canonical()).collect()
            },
            host_ports,
            is_over: matches!(phase.as_deref(), Some("Succeeded" | "Failed")),
            since: unix(start_time.as_ref().or(metadata.creation_timestamp.as_ref())),
            owner: owner(&metadata, reading),
            containers: ids.filter(|_| reading.wants_containers).collect(),
            service: ServiceIdentity::of(&metadata, reading),
            tags: reading.extraction.of_pod(&metadata, &reading.texts),
            name,
        }))
    }
}

impl ServiceIdentity {
    /// <https://github.com/open-telemetry/semantic-conventions/blob/v1.37.0/docs/non-normative/k8s-attributes.md>
    fn of(metadata: &ObjectMeta, reading: &Reading) -> Self {
        let annotation = |key: &str| reading.value(metadata.annotations.as_ref(), key);
        let labels = metadata.labels.as_ref().filter(|_| reading.extraction.well_known_labels);
        let label = |key: &str| reading.value(labels, key);
        Self {
            name: annotation("resource.opentelemetry.io/service.name")
                .or_else(|| label("app.kubernetes.io/instance"))
                .or_else(|| label("app.kubernetes.io/name")),
            namespace: annotation("resource.opentelemetry.io/service.namespace"),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServiceView {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    #[serde(rename = "externalIPs")]
    external_ips: Vec<String>,
    ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServicePort {
    port: u16,
    node_port: Option<u16>,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ingress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ingress {
    ip: Option<String>,
}

impl View for ServiceView {
    type Key = ObjectName;
    type Object = Arc<Service>;

    fn key(&self) -> Option<ObjectName> {
        object_name(&self.metadata)
    }

    fn object(self, reading: &Reading) -> Option<Arc<Service>> {
        let name = shared_name(&self.metadata, reading)?;
        let Self { metadata, spec: ServiceSpec { cluster_ips, external_ips, ports }, status } = self;
        let ingress = status.load_balancer.ingress.into_iter().filter_map(|it| it.ip);
        let outer: Vec<_> = external_ips.into_iter().chain(ingress).collect();
        let ports: Vec<_> = ports.into_iter().filter(|it| is_tcp(it.protocol.as_deref())).collect();
        let node_ports: Vec<_> = ports.iter().filter_map(|it| it.node_port).filter(|it| *it != 0).collect();
        let is_reached_by_nodes = !outer.is_empty() || !node_ports.is_empty();
        // A headless one has the address `None`.
        let addresses = cluster_ips.into_iter().chain(outer);
        Some(Arc::new(Service {
            name,
            addresses: addresses.filter_map(|it| address(&it)).collect(),
            ports: ports.iter().map(|it| it.port).collect(),
            node_ports,
            is_reached_by_nodes,
            since: unix(metadata.creation_timestamp.as_ref()),
        }))
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EndpointSliceView {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    endpoints: Option<Vec<EndpointView>>,
    #[serde(default)]
    ports: Option<Vec<EndpointPort>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EndpointView {
    addresses: Vec<String>,
    target_ref: Option<TargetRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct TargetRef {
    kind: Option<String>,
    uid: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct EndpointPort {
    port: Option<u16>,
    protocol: Option<String>,
}

impl View for EndpointSliceView {
    type Key = ObjectName;
    type Object = Arc<EndpointSlice>;

    fn key(&self) -> Option<ObjectName> {
        object_name(&self.metadata)
    }

    fn object(self, reading: &Reading) -> Option<Arc<EndpointSlice>> {
        let name = shared_name(&self.metadata, reading)?;
        let service = reading.value(self.metadata.labels.as_ref(), SERVICE_OF_SLICE)?;
        let ports = self.ports.unwrap_or_default().into_iter().filter(|it| is_tcp(it.protocol.as_deref()));
        let endpoints = self.endpoints.unwrap_or_default().into_iter().map(|it| Endpoint {
            // Those of a slice of names (`FQDN`) are none.
            addresses: it.addresses.iter().filter_map(|it| address(it)).collect(),
            pod: it
                .target_ref
                .filter(|it| it.kind.as_deref() == Some("Pod"))
                .and_then(|it| it.uid.as_deref().and_then(Uid::parse)),
        });
        Some(Arc::new(EndpointSlice {
            name,
            service,
            ports: ports.filter_map(|it| it.port).collect(),
            endpoints: endpoints.collect(),
        }))
    }
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NodeView {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: NodeSpec,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeSpec {
    #[serde(rename = "podCIDRs")]
    pod_cidrs: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

impl View for NodeView {
    type Key = Arc<str>;
    type Object = Arc<Node>;

    fn key(&self) -> Option<Arc<str>> {
        self.metadata.name.as_deref().map(Arc::from)
    }

    fn object(self, reading: &Reading) -> Option<Arc<Node>> {
        let name = reading.share(self.metadata.name.as_deref()?);
        let Self { metadata, spec, status } = self;
        // Some are names.
        let own = status.addresses.iter().filter_map(|it| address(&it.address));
        let annotated = TUNNEL_ADDRESSES.iter().filter_map(|key| metadata.annotations.as_ref()?.get(*key));
        let tunnels = annotated.filter_map(|it| address(it.split('/').next().unwrap_or_default()));
        let pod_networks: Vec<_> = spec
            .pod_cidrs
            .iter()
            .filter_map(|it| it.parse::<ipnet::IpNet>().ok())
            .map(|it| it.trunc())
            .collect();
        // The bridge of a node has the first address of its network, and flannel's tunnel the address of the network.
        let bridges = pod_networks.iter().flat_map(|it| [Some(it.network()), it.hosts().next()]).flatten();
        let mut addresses: Vec<_> = own.chain(tunnels).chain(bridges).collect();
        addresses.sort_unstable();
        addresses.dedup();
        Some(Arc::new(Node {
            addresses,
            zone: reading.value(metadata.labels.as_ref(), ZONE),
            region: reading.value(metadata.labels.as_ref(), REGION),
            since: unix(metadata.creation_timestamp.as_ref()),
            tags: reading.extraction.of_node(&metadata, &reading.texts),
            pod_networks,
            name,
        }))
    }
}

/// A namespace: nothing but its metadata is asked for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct NamespaceView {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
}

impl View for NamespaceView {
    type Key = Arc<str>;
    type Object = Tags;

    fn key(&self) -> Option<Arc<str>> {
        self.metadata.name.as_deref().map(Arc::from)
    }

    fn object(self, reading: &Reading) -> Option<Tags> {
        Some(reading.extraction.of_namespace(&self.metadata, &reading.texts))
    }
}

/// An object that may control others: nothing but its metadata is asked for.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct OwnerView {
    #[serde(deserialize_with = "metadata")]
    metadata: ObjectMeta,
}

impl Resource for OwnerView {
    type DynamicType = crate::config::OwnerKind;
    type Scope = ClusterResourceScope;

    fn kind(it: &Self::DynamicType) -> Cow<'_, str> {
        it.kind.as_str().into()
    }

    fn group(it: &Self::DynamicType) -> Cow<'_, str> {
        it.group.as_str().into()
    }

    fn version(it: &Self::DynamicType) -> Cow<'_, str> {
        it.version.as_str().into()
    }

    fn plural(it: &Self::DynamicType) -> Cow<'_, str> {
        it.plural.as_str().into()
    }

    fn metadata_api() -> bool {
        true
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl View for OwnerView {
    type Key = Uid;
    type Object = Option<Owner>;

    fn key(&self) -> Option<Uid> {
        self.metadata.uid.as_deref().and_then(Uid::parse)
    }

    fn object(self, reading: &Reading) -> Option<Option<Owner>> {
        Some(owner(&self.metadata, reading))
    }
}

/// Returns who controls an object.
fn owner(metadata: &ObjectMeta, reading: &Reading) -> Option<Owner> {
    let OwnerReference { api_version, kind, name, uid, .. } =
        metadata.owner_references.iter().flatten().find(|it| it.controller == Some(true))?;
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    // What the kubelet says controls the mirror of a static pod is its node, which is no workload.
    if kind == "Node" && group.is_empty() {
        return None;
    }
    let is_watched = reading.owners.iter().any(|it| it.0 == group && it.1 == *kind);
    Some(Owner {
        kind: reading.share(kind),
        name: reading.share(name),
        watched: Uid::parse(uid).filter(|_| is_watched),
    })
}

/// Reads of an object's metadata what is needed: what managers of fields wrote about them is often most of it.
fn metadata<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
        creation_timestamp: Option<Time>,
        labels: Option<BTreeMap<String, String>>,
        annotations: Option<BTreeMap<String, String>>,
        owner_references: Option<Vec<OwnerReference>>,
    }

    let Metadata {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        labels,
        annotations,
        owner_references,
    } = Metadata::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        creation_timestamp,
        labels,
        annotations,
        owner_references,
        ..ObjectMeta::default()
    })
}

fn object_name(metadata: &ObjectMeta) -> Option<ObjectName> {
    let [namespace, name] = [&metadata.namespace, &metadata.name].map(|it| it.as_deref().map(Arc::from));
    Some(ObjectName { namespace: namespace?, name: name? })
}

/// Like [`object_name`], with the namespace that the others in it have too.
fn shared_name(metadata: &ObjectMeta, reading: &Reading) -> Option<ObjectName> {
    let namespace = reading.share(metadata.namespace.as_deref()?);
    Some(ObjectName { namespace, name: Arc::from(metadata.name.as_deref()?) })
}

fn address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|it| it.to_canonical())
}

/// The protocol of a port is TCP unless it is another.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|it| it == "TCP")
}

/// Zero if it is not known: then it was always there.
fn unix(time: Option<&Time>) -> UnixNanos {
    let nanos = time.map_or(0, |it| it.0.as_nanosecond());
    UnixNanos(u64::try_from(nanos).unwrap_or_default())
}
