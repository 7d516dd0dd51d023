use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Values of [`Entity::kind`] that this project gives itself; Kubernetes kinds are written as Kubernetes writes them.
pub mod kind {
    /// A process of a plain host, outside containers and service units.
    pub const PROCESS: &str = "Process";
    /// A systemd service unit.
    pub const UNIT: &str = "Unit";
    /// A container that no orchestrator is known for.
    pub const CONTAINER: &str = "Container";
    /// An address that nothing is known about.
    pub const EXTERNAL: &str = "external";
    /// What a budget had no room to keep apart.
    pub const OTHER: &str = "other";
}

/// Whom an end of a connection belongs to, as a processor named it.
///
/// Shared by every record that names it: processors intern, everyone else clones the [`Arc`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Entity {
    /// Workload, service unit, command or address. Never empty.
    pub name: Arc<str>,
    /// Kubernetes namespace, or the container that the process runs in. Never empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// What `name` is the name of: a constant of [`kind`] or a Kubernetes kind.
    pub kind: Arc<str>,
    /// What else is known, sorted by attribute; each attribute once.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "attribute_map")]
    pub attributes: Vec<(Attribute, Arc<str>)>,
}

impl Entity {
    /// Creates an entity of which nothing but the name and kind is known.
    pub fn new(name: impl Into<Arc<str>>, kind: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), namespace: None, kind: kind.into(), attributes: Vec::new() }
    }

    /// Returns whether another entity has the same name, namespace and kind, whatever else is known of the two.
    pub fn is_named_as(&self, other: &Self) -> bool {
        let Self { name, namespace, kind, attributes: _ } = self;
        (name, namespace, kind) == (&other.name, &other.namespace, &other.kind)
    }

    /// Returns the value of an attribute, if it is known.
    pub fn attribute(&self, attribute: &Attribute) -> Option<&Arc<str>> {
        let idx = self.attributes.binary_search_by(|(it, _)| it.cmp(attribute)).ok()?;
        Some(&self.attributes[idx].1)
    }

    /// Sets an attribute, replacing its former value.
    pub fn set_attribute(&mut self, attribute: Attribute, value: impl Into<Arc<str>>) {
        match self.attributes.binary_search_by(|(it, _)| it.cmp(&attribute)) {
            Ok(idx) => self.attributes[idx].1 = value.into(),
            Err(idx) => self.attributes.insert(idx, (attribute, value.into())),
        }
    }
}

/// What can be known of an [`Entity`] beyond its name; each can become an attribute of link series by configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attribute {
    /// Command of the process.
    Process,
    /// Well-known name of the server's port, or the Kubernetes Service.
    Service,
    /// Container id.
    Container,
    /// Name of the pod.
    Pod,
    /// Name of the node.
    Node,
    /// Zone of the node.
    Zone,
    /// Region of the node.
    Region,
    /// `service.name` of OpenTelemetry.
    ServiceName,
    /// `service.namespace` of OpenTelemetry.
    ServiceNamespace,
    /// A label or annotation, by the name that the configuration gives it. It has a dot in it, so that it is none of the
    /// others.
    Tag(Arc<str>),
}

impl Attribute {
    /// Every attribute that has a name of its own, in the order documents list them.
    pub const NAMED: [Self; 9] = [
        Self::Process,
        Self::Service,
        Self::Container,
        Self::Pod,
        Self::Node,
        Self::Zone,
        Self::Region,
        Self::ServiceName,
        Self::ServiceNamespace,
    ];

    /// Returns the name used in configuration, and behind `client.` or `server.` in series.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Process => "process",
            Self::Service => "service",
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Node => "node",
            Self::Zone => "zone",
            Self::Region => "region",
            Self::ServiceName => "service_name",
            Self::ServiceNamespace => "service_namespace",
            Self::Tag(name) => name,
        }
    }
}

impl Serialize for Attribute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Attribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The text names no attribute: it is none of the known ones, and has no dot as the names of labels do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownAttribute(String);

impl fmt::Display for UnknownAttribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an attribute of an end", self.0)
    }
}

impl std::error::Error for UnknownAttribute {}

impl FromStr for Attribute {
    type Err = UnknownAttribute;

    fn from_str(text: &str) -> Result<Self, UnknownAttribute> {
        match Self::NAMED.into_iter().find(|it| it.as_str() == text) {
            Some(named) => Ok(named),
            None if text.contains('.') => Ok(Self::Tag(text.into())),
            None => Err(UnknownAttribute(text.to_owned())),
        }
    }
}

/// Writes sorted attributes as a map, and sorts those of a map, which may come in any order.
mod attribute_map {
    use std::{collections::BTreeMap, sync::Arc};

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Attribute;

    type Attributes = Vec<(Attribute, Arc<str>)>;

    pub(super) fn serialize<S: Serializer>(it: &Attributes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(it.iter().map(|(attribute, value)| (attribute, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Attributes, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address as this observer sees it; an IPv4 address that arrived v4-mapped is an IPv4 address.
    pub address: IpAddr,
    /// Port as this observer sees it.
    pub port: u16,
    /// Whom the address belongs to, once a processor has named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<Arc<Entity>>,
}

impl Endpoint {
    /// Creates an end without a name. A v4-mapped IPv6 address becomes the IPv4 address it carries.
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self { address: address.to_canonical(), port, entity: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attributes stay sorted whatever the order in which they become known; `attribute` relies on it.
    #[test]
    fn attributes_are_found_in_any_order_of_setting() {
        let mut entity = Entity::new("nginx", kind::PROCESS);
        for attribute in Attribute::NAMED.into_iter().rev() {
            let value = attribute.as_str().to_owned();
            entity.set_attribute(attribute, value);
        }
        entity.set_attribute(Attribute::Service, "https");
        assert_eq!(entity.attribute(&Attribute::Process).map(|it| &**it), Some("process"));
        assert_eq!(entity.attribute(&Attribute::Service).map(|it| &**it), Some("https"));
        assert_eq!(entity.attributes.len(), Attribute::NAMED.len());
    }

    /// Whoever writes a record by hand need not know the order.
    #[test]
    fn attributes_are_a_map_in_any_order() {
        let text = r#"{"name":"nginx","kind":"Process","attributes":{"process":"nginx","service":"https"}}"#;
        let entity: Entity = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&entity).unwrap(), text);
        let reversed =
            r#"{"name":"nginx","kind":"Process","attributes":{"service":"https","process":"nginx"}}"#;
        assert_eq!(serde_json::from_str::<Entity>(reversed).unwrap(), entity);
    }

    #[test]
    fn v4_mapped_is_ipv4() {
        let mapped = Endpoint::new("::ffff:192.0.2.1".parse().unwrap(), 1);
        assert_eq!(mapped.address, "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
