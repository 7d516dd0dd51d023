use std::{net::IpAddr, sync::Arc};

use model::{Attribute, Endpoint, Entity};
use opentelemetry_proto::tonic::{common::v1::KeyValue, resource::v1::Resource};

use crate::encode::text;

/// Kinds of Kubernetes that the semantic conventions have an attribute for.
const KUBERNETES_KINDS: [(&str, &str); 9] = [
    ("CronJob", "k8s.cronjob.name"),
    ("DaemonSet", "k8s.daemonset.name"),
    ("Deployment", "k8s.deployment.name"),
    ("Job", "k8s.job.name"),
    ("Node", "k8s.node.name"),
    ("Pod", "k8s.pod.name"),
    ("ReplicaSet", "k8s.replicaset.name"),
    ("Service", "k8s.service.name"),
    ("StatefulSet", "k8s.statefulset.name"),
];

/// Whom spans are of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Entity(Arc<Entity>),
    /// Nobody named the address.
    Address(IpAddr),
}

impl Owner {
    pub(crate) fn of(end: &Endpoint) -> Self {
        match &end.entity {
            Some(entity) => Self::Entity(Arc::clone(entity)),
            None => Self::Address(end.address),
        }
    }

    /// Returns `service.name`.
    pub(crate) fn service_name(&self) -> String {
        match self {
            Self::Entity(entity) => {
                entity.attribute(&Attribute::ServiceName).unwrap_or(&entity.name).to_string()
            }
            Self::Address(address) => address.to_string(),
        }
    }

    /// Returns `service.namespace`.
    pub(crate) fn service_namespace(&self) -> Option<&str> {
        match self {
            Self::Entity(entity) => {
                entity.attribute(&Attribute::ServiceNamespace).or(entity.namespace.as_ref()).map(|it| &**it)
            }
            Self::Address(_) => None,
        }
    }

    pub(crate) fn resource(&self) -> Resource {
        let mut attributes = vec![text("service.name", &self.service_name())];
        attributes.extend(self.service_namespace().map(|it| text("service.namespace", it)));
        if let Self::Entity(entity) = self {
            add_known(entity, &mut attributes);
        }
        Resource { attributes, ..Resource::default() }
    }
}

/// Adds what is known of an entity, by the names of the semantic conventions.
fn add_known(entity: &Entity, attributes: &mut Vec<KeyValue>) {
    let of_kind = KUBERNETES_KINDS.iter().find(|(kind, _)| **kind == *entity.kind);
    if let Some((_, key)) = of_kind {
        attributes.push(text(key, &entity.name));
        attributes.extend(entity.namespace.as_ref().map(|it| text("k8s.namespace.name", it)));
    }
    for (attribute, value) in &entity.attributes {
        let key = match attribute {
            Attribute::Process => "process.executable.name",
            Attribute::Container => "container.id",
            Attribute::Pod => "k8s.pod.name",
            Attribute::Node => "k8s.node.name",
            Attribute::Zone => "cloud.availability_zone",
            Attribute::Region => "cloud.region",
            Attribute::Tag(name) => name,
            // The one is of a port of the entity's, the others are there.
            Attribute::Service | Attribute::ServiceName | Attribute::ServiceNamespace => continue,
        };
        if attributes.iter().all(|it| it.key != *key) {
            attributes.push(text(key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use model::kind;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;

    #[test]
    fn a_workload_is_its_service() {
        let mut entity = Entity::new("cart", "Deployment");
        entity.namespace = Some("shop".into());
        entity.set_attribute(Attribute::Pod, "cart-1");
        entity.set_attribute(Attribute::Zone, "a");
        entity.set_attribute(Attribute::Service, "cart-public");
        entity.set_attribute(Attribute::Tag("app.team".into()), "blue");
        check(
            &Owner::Entity(entity.into()),
            "service.name=cart service.namespace=shop k8s.deployment.name=cart k8s.namespace.name=shop \
             k8s.pod.name=cart-1 cloud.availability_zone=a app.team=blue",
        );
    }

    /// What an annotation says comes before how the workload is called.
    #[test]
    fn a_service_may_have_a_name_of_its_own() {
        let mut entity = Entity::new("cart-7", "Pod");
        entity.namespace = Some("shop".into());
        entity.set_attribute(Attribute::Pod, "cart-7");
        entity.set_attribute(Attribute::ServiceName, "cart");
        entity.set_attribute(Attribute::ServiceNamespace, "store");
        check(
            &Owner::Entity(entity.into()),
            "service.name=cart service.namespace=store k8s.pod.name=cart-7 k8s.namespace.name=shop",
        );
    }

    #[test]
    fn a_process_is_its_service() {
        let mut entity = Entity::new("nginx.service", kind::UNIT);
        entity.set_attribute(Attribute::Process, "nginx");
        check(&Owner::Entity(entity.into()), "service.name=nginx.service process.executable.name=nginx");
    }

    #[test]
    fn an_address_is_its_own_name() {
        check(&Owner::Address("192.0.2.1".parse().unwrap()), "service.name=192.0.2.1");
    }

    #[track_caller]
    fn check(owner: &Owner, expected: &str) {
        let found =
            owner.resource().attributes.into_iter().map(|it| match it.value.and_then(|it| it.value) {
                Some(Value::StringValue(value)) => format!("{}={value}", it.key),
                other => panic!("{}: {other:?}", it.key),
            });
        assert_eq!(found.collect::<Vec<_>>().join(" "), expected);
    }
}
