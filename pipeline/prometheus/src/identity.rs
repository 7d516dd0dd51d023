use std::borrow::Cow;

use opentelemetry_proto::tonic::{
    common::v1::{InstrumentationScope, KeyValue},
    resource::v1::Resource,
};

use crate::labels;

/// What tells a resource from others, by the specification: `job` and `instance`.
#[derive(Debug, Default)]
pub struct Identity<'a> {
    /// These two, as far as the resource has them.
    pub labels: Vec<(&'static str, Cow<'a, str>)>,
    /// The attributes that do not identify it.
    pub others: Vec<KeyValue>,
}

impl<'a> Identity<'a> {
    /// Returns the identity of a resource.
    pub fn of(resource: Option<&'a Resource>) -> Self {
        let mut identity = Self::default();
        let (mut name, mut namespace, mut instance) = (Cow::default(), Cow::default(), Cow::default());
        for attribute in resource.into_iter().flat_map(|it| &it.attributes) {
            let value = || attribute.value.as_ref().map(labels::text).unwrap_or_default();
            match attribute.key.as_str() {
                "service.name" => name = value(),
                "service.namespace" => namespace = value(),
                "service.instance.id" => instance = value(),
                _ => identity.others.push(attribute.clone()),
            }
        }
        if !name.is_empty() {
            let job = if namespace.is_empty() { name } else { format!("{namespace}/{name}").into() };
            identity.labels.push(("job", job));
        }
        if !instance.is_empty() {
            identity.labels.push(("instance", instance));
        }
        identity
    }
}

/// Adds the labels that tell which instrumentation a metric comes from.
pub fn add_scope<'a>(
    scope: Option<&'a InstrumentationScope>,
    schema_url: &'a str,
    labels: &mut Vec<(&'static str, Cow<'a, str>)>,
) {
    if let Some(InstrumentationScope { name, version, .. }) = scope {
        labels.push(("otel_scope_name", Cow::Borrowed(name)));
        labels.push(("otel_scope_version", Cow::Borrowed(version)));
    }
    labels.push(("otel_scope_schema_url", Cow::Borrowed(schema_url)));
}
