use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};

use crate::{Action, Change};

/// Changes the attributes of a resource, one after the other.
pub(crate) fn apply(changes: &[Change], resource: &mut Resource) {
    for change in changes {
        apply_one(change, &mut resource.attributes);
    }
}

fn apply_one(change: &Change, attributes: &mut Vec<KeyValue>) {
    let Change { key, action, value, from_attribute } = change;
    if *action == Action::Delete {
        attributes.retain(|it| it.key != *key);
        return;
    }
    let value = match (value, from_attribute) {
        (Some(text), _) => Some(AnyValue { value: Some(Value::StringValue(text.clone())) }),
        (None, Some(from)) => attributes.iter().find(|it| it.key == *from).and_then(|it| it.value.clone()),
        (None, None) => None,
    };
    let Some(value) = value else { return };
    match (attributes.iter_mut().find(|it| it.key == *key), action) {
        (Some(found), Action::Update | Action::Upsert) => found.value = Some(value),
        (None, Action::Insert | Action::Upsert) => {
            attributes.push(KeyValue { key: key.clone(), value: Some(value), ..KeyValue::default() });
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_inserted_updated_and_deleted() {
        for (change, expected) in [
            ("{key: a, action: insert, value: x}", "a=1 b=2"),
            ("{key: c, action: insert, value: x}", "a=1 b=2 c=x"),
            ("{key: a, action: update, value: x}", "a=x b=2"),
            ("{key: c, action: update, value: x}", "a=1 b=2"),
            ("{key: a, action: upsert, value: x}", "a=x b=2"),
            ("{key: c, action: upsert, value: x}", "a=1 b=2 c=x"),
            ("{key: a, action: upsert, from_attribute: b}", "a=2 b=2"),
            ("{key: c, action: insert, from_attribute: b}", "a=1 b=2 c=2"),
            ("{key: a, action: upsert, from_attribute: c}", "a=1 b=2"),
            ("{key: a, action: delete}", "b=2"),
            ("{key: c, action: delete}", "a=1 b=2"),
        ] {
            let changes = [serde_saphyr::from_str(change).unwrap()];
            let attribute = |(key, value): (&str, &str)| KeyValue {
                key: key.to_owned(),
                value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
                ..KeyValue::default()
            };
            let attributes = [("a", "1"), ("b", "2")].map(attribute).into();
            let mut resource = Resource { attributes, ..Resource::default() };
            apply(&changes, &mut resource);
            let found = resource.attributes.iter().map(|it| match &it.value {
                Some(AnyValue { value: Some(Value::StringValue(text)) }) => format!("{}={text}", it.key),
                other => panic!("{other:?}"),
            });
            assert_eq!(found.collect::<Vec<_>>().join(" "), expected, "{change}");
        }
    }
}
