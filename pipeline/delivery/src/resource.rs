//! Of whom is what this process made itself.

use std::{collections::BTreeMap, env};

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use percent_encoding::percent_decode_str;

/// Returns the resource of this process, by its host and its environment.
pub fn own_resource() -> Resource {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let variable = |name| env::var(name).unwrap_or_default();
    resource(&host, &variable("OTEL_RESOURCE_ATTRIBUTES"), &variable("OTEL_SERVICE_NAME"))
}

/// <https://github.com/open-telemetry/opentelemetry-specification/blob/v1.50.0/specification/resource/sdk.md#specifying-resource-information-via-an-environment-variable>
fn resource(host: &str, given: &str, service: &str) -> Resource {
    let mut attributes = BTreeMap::from([
        ("service.name", "ridley".to_owned()),
        ("service.instance.id", host.to_owned()),
        ("host.name", host.to_owned()),
    ]);
    for (key, value) in given.split(',').filter_map(|it| it.split_once('=')) {
        attributes.insert(key.trim(), percent_decode_str(value.trim()).decode_utf8_lossy().into_owned());
    }
    if !service.is_empty() {
        attributes.insert("service.name", service.to_owned());
    }
    let attribute = |(key, value): (&str, String)| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
        ..KeyValue::default()
    };
    Resource { attributes: attributes.into_iter().map(attribute).collect(), ..Resource::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_adds_and_replaces() {
        let own = "host.name=h service.instance.id=h service.name=ridley";
        check("", "", own);
        check("", "agent", "host.name=h service.instance.id=h service.name=agent");
        check("a.b=c%20d , e=f=g,nothing,", "", &format!("a.b=c d e=f=g {own}"));
        check(
            "service.name=x,service.instance.id=7",
            "agent",
            "host.name=h service.instance.id=7 service.name=agent",
        );
    }

    #[track_caller]
    fn check(given: &str, service: &str, expected: &str) {
        let text = |it: &KeyValue| match it.value.as_ref().and_then(|it| it.value.as_ref()) {
            Some(Value::StringValue(value)) => format!("{}={value}", it.key),
            other => panic!("{other:?}"),
        };
        let found: Vec<_> = resource("h", given, service).attributes.iter().map(text).collect();
        assert_eq!(found.join(" "), expected);
    }
}
