use std::{
    hash::{BuildHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use model::{Endpoint, Entity, Flow, Observer, Transport, kind};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};

use crate::attributes::{EndSelection, Selection};

/// What tells one link from another.
///
/// Compared with records by [`Identity::is_of`] and [`hash`], which look at the selected attributes only and build
/// nothing: a record of a known link costs no allocation.
#[derive(Clone, Debug)]
pub(crate) enum Identity {
    /// Connections between these two.
    Known { client: End, server: End, server_port: u16, transport: Transport, observer: Observer },
    /// Connections that the budget had no room to keep apart.
    Overflow { transport: Transport, observer: Observer },
}

/// One end of a link.
#[derive(Clone, Debug)]
pub(crate) struct End {
    name: Name,
    /// Set if the address is among the selected attributes.
    address: Option<IpAddr>,
}

#[derive(Clone, Debug)]
enum Name {
    Entity(Arc<Entity>),
    /// Nobody named the address: it is its own name.
    Address(IpAddr),
}

/// Returns the hash of the link that a record belongs to.
pub(crate) fn hash(flow: &Flow, selection: &Selection, hasher: &impl BuildHasher) -> u64 {
    let mut state = hasher.build_hasher();
    hash_end(&flow.client, &selection.client, &mut state);
    hash_end(&flow.server, &selection.server, &mut state);
    (flow.server.port, flow.transport, flow.observer).hash(&mut state);
    state.finish()
}

impl Identity {
    /// Returns the identity of the link that a record belongs to.
    pub(crate) fn of(flow: &Flow, selection: &Selection) -> Self {
        Self::Known {
            client: End::of(&flow.client, &selection.client),
            server: End::of(&flow.server, &selection.server),
            server_port: flow.server.port,
            transport: flow.transport,
            observer: flow.observer,
        }
    }

    /// Returns whether a record belongs to the link. Never true of the overflow.
    pub(crate) fn is_of(&self, flow: &Flow, selection: &Selection) -> bool {
        match self {
            Self::Overflow { .. } => false,
            Self::Known { client, server, server_port, transport, observer } => {
                flow.server.port == *server_port
                    && flow.transport == *transport
                    && flow.observer == *observer
                    && client.is_of(&flow.client, &selection.client)
                    && server.is_of(&flow.server, &selection.server)
            }
        }
    }

    pub(crate) const fn is_overflow(&self) -> bool {
        matches!(self, Self::Overflow { .. })
    }

    /// Returns the attributes that every point of the link carries; none has an empty value.
    pub(crate) fn attributes(&self, selection: &Selection) -> Vec<KeyValue> {
        let mut attributes = Vec::with_capacity(10);
        let (transport, observer) = match self {
            Self::Known { client, server, server_port, transport, observer } => {
                client.add_attributes(&CLIENT, &selection.client, &mut attributes);
                server.add_attributes(&SERVER, &selection.server, &mut attributes);
                attributes.push(integer("server.port", i64::from(*server_port)));
                (transport, observer)
            }
            Self::Overflow { transport, observer } => {
                for words in [&CLIENT, &SERVER] {
                    attributes.push(text(words.name, kind::OTHER));
                    attributes.push(text(words.kind, kind::OTHER));
                }
                (transport, observer)
            }
        };
        attributes.push(text("network.transport", transport.as_str()));
        attributes.push(text("observer", observer.as_str()));
        attributes
    }
}

impl End {
    fn of(endpoint: &Endpoint, selection: &EndSelection) -> Self {
        let name = match &endpoint.entity {
            Some(entity) => Name::Entity(Arc::clone(entity)),
            None => Name::Address(endpoint.address),
        };
        Self { name, address: selection.address.then_some(endpoint.address) }
    }

    fn is_of(&self, endpoint: &Endpoint, selection: &EndSelection) -> bool {
        let same_name = match (&self.name, &endpoint.entity) {
            (Name::Entity(it), Some(other)) => Arc::ptr_eq(it, other) || is_same(it, other, selection),
            (Name::Address(it), None) => *it == endpoint.address,
            (Name::Entity(_), None) | (Name::Address(_), Some(_)) => false,
        };
        same_name && self.address.is_none_or(|it| it == endpoint.address)
    }

    fn add_attributes(&self, words: &Words, selection: &EndSelection, attributes: &mut Vec<KeyValue>) {
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                attributes.push(text(key, value));
            }
        };
        match &self.name {
            Name::Entity(entity) => {
                let Entity { name, namespace, kind, attributes: _ } = &**entity;
                add(words.name, name);
                add(words.namespace, namespace.as_deref().unwrap_or_default());
                add(words.kind, kind);
                for attribute in &selection.attributes {
                    if let Some(value) = entity.attribute(attribute) {
                        add(&format!("{}.{}", words.end, attribute.as_str()), value);
                    }
                }
            }
            Name::Address(address) => {
                add(words.name, &address.to_string());
                add(words.kind, kind::EXTERNAL);
            }
        }
        if let Some(address) = self.address {
            add(words.address, &address.to_string());
        }
    }
}

/// Names of the attributes of one end.
struct Words {
    end: &'static str,
    name: &'static str,
    namespace: &'static str,
    kind: &'static str,
    address: &'static str,
}

const CLIENT: Words = Words {
    end: "client",
    name: "client.name",
    namespace: "client.namespace",
    kind: "client.kind",
    address: "client.address",
};

const SERVER: Words = Words {
    end: "server",
    name: "server.name",
    namespace: "server.namespace",
    kind: "server.kind",
    address: "server.address",
};

fn hash_end(endpoint: &Endpoint, selection: &EndSelection, state: &mut impl Hasher) {
    match &endpoint.entity {
        Some(entity) => {
            let Entity { name, namespace, kind, attributes: _ } = &**entity;
            (name, namespace, kind).hash(state);
            for attribute in &selection.attributes {
                entity.attribute(attribute).hash(state);
            }
        }
        None => endpoint.address.hash(state),
    }
    if selection.address {
        endpoint.address.hash(state);
    }
}

fn is_same(left: &Entity, right: &Entity, selection: &EndSelection) -> bool {
    left.name == right.name
        && left.namespace == right.namespace
        && left.kind == right.kind
        && selection.attributes.iter().all(|it| left.attribute(it) == right.attribute(it))
}

/// Returns a text attribute.
pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

/// Returns a number attribute.
pub(crate) fn integer(key: &str, value: i64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use std::hash::RandomState;

    use component_test::{FlowBuilder, flow};
    use model::{Attribute, Observer};

    use super::*;

    fn entity(name: &str, namespace: Option<&str>, process: Option<&str>) -> Entity {
        let mut entity = Entity::new(name, kind::UNIT);
        entity.namespace = namespace.map(Into::into);
        if let Some(process) = process {
            entity.set_attribute(Attribute::Process, process);
        }
        entity
    }

    fn named(name: &str, namespace: Option<&str>, process: Option<&str>) -> FlowBuilder {
        flow().client_entity(entity(name, namespace, process)).server_entity(entity("db", None, None))
    }

    #[test]
    fn the_same_names_make_one_link() {
        check(&[], named("api", None, None), named("api", None, None), true);
    }

    /// Equal names belong together whatever the address and port of the client.
    #[test]
    fn the_address_of_a_named_end_does_not_matter() {
        check(&[], named("api", None, None), named("api", None, None).client("10.9.9.9:1"), true);
    }

    #[test]
    fn a_selected_address_tells_links_apart() {
        check(&["address"], named("api", None, None), named("api", None, None).client("10.9.9.9:1"), false);
    }

    /// The same name in two namespaces is two workloads.
    #[test]
    fn the_namespace_tells_links_apart() {
        check(&[], named("api", Some("shop"), None), named("api", Some("bank"), None), false);
        check(&[], named("api", Some("shop"), None), named("api", None, None), false);
    }

    #[test]
    fn attributes_matter_only_if_selected() {
        let [one, other] = [named("api", None, Some("one")), named("api", None, Some("other"))];
        check(&[], one.clone(), other.clone(), true);
        check(&["server.process"], one.clone(), other.clone(), true);
        check(&["client.process"], one, other, false);
    }

    #[test]
    fn the_server_port_and_the_observer_tell_links_apart() {
        let one = named("api", None, None);
        check(&[], one.clone(), one.clone().server("10.0.0.2:81"), false);
        check(&[], one.clone(), one.observer(Observer::Server), false);
    }

    /// An address without a name is not the entity that happens to be named like it.
    #[test]
    fn an_address_is_not_an_entity_of_that_name() {
        let named = flow().client_entity(Entity::new("10.0.0.1", kind::EXTERNAL));
        check(&[], flow(), named, false);
    }

    #[test]
    fn values_that_are_not_known_are_absent() {
        let words = ["process", "service", "client.address"];
        attributes(
            &words,
            named("api", None, Some("node")),
            "client.name=api client.kind=Unit client.process=node client.address=10.0.0.1 server.name=db \
             server.kind=Unit server.port=80 network.transport=tcp observer=client",
        );
    }

    /// A name that is empty, against the promise of the model, would make a label that Prometheus takes for absent.
    #[test]
    fn empty_values_are_absent() {
        attributes(
            &[],
            named("api", Some(""), None),
            "client.name=api client.kind=Unit server.name=db server.kind=Unit server.port=80 \
             network.transport=tcp observer=client",
        );
    }

    #[test]
    fn an_end_without_a_name_is_named_by_its_address() {
        attributes(
            &[],
            flow().client("[fd00::1]:5"),
            "client.name=fd00::1 client.kind=external server.name=10.0.0.2 server.kind=external server.port=80 \
             network.transport=tcp observer=client",
        );
    }

    #[track_caller]
    fn check(words: &[&str], left: FlowBuilder, right: FlowBuilder, same: bool) {
        let selection = selection(words);
        let [left, right] = [left.build(), right.build()];
        for (it, other) in [(&left, &right), (&right, &left)] {
            assert!(Identity::of(it, &selection).is_of(it, &selection));
            assert_eq!(Identity::of(it, &selection).is_of(other, &selection), same);
        }
        if same {
            let hasher = RandomState::new();
            assert_eq!(hash(&left, &selection, &hasher), hash(&right, &selection, &hasher));
        }
    }

    #[track_caller]
    fn attributes(words: &[&str], flow: FlowBuilder, expected: &str) {
        let selection = selection(words);
        let attributes = Identity::of(&flow.build(), &selection).attributes(&selection);
        let texts = attributes.iter().map(|it| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
            Some(any_value::Value::StringValue(value)) => format!("{}={value}", it.key),
            Some(any_value::Value::IntValue(value)) => format!("{}={value}", it.key),
            other => panic!("{}: {other:?}", it.key),
        });
        assert_eq!(texts.collect::<Vec<_>>().join(" "), expected);
    }

    fn selection(words: &[&str]) -> Selection {
        Selection::new(&words.iter().map(|it| it.parse().unwrap()).collect::<Vec<_>>())
    }
}
