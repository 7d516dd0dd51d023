//! Attributes that are added to the resources of an encoded export request, of which nothing else is looked at.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use prost::Message;

use crate::wire::{Fields, Malformed};

/// Number of the one field that is a message: of a request its resources, of one of these whom it is of, of that its attributes.
const FIRST: u32 = 1;
/// The key of [`FIRST`], of a message.
const FIRST_KEY: u8 = 1 << 3 | 2;

/// Attributes to be added to resources, encoded once.
#[derive(Debug, Default)]
pub struct ResourceAttributes {
    each: Vec<Encoded>,
}

#[derive(Debug)]
struct Encoded {
    attribute: KeyValue,
    /// As a field of a resource.
    field: Vec<u8>,
}

impl ResourceAttributes {
    /// Makes attributes that are texts. Of several with one key the first counts.
    pub fn new<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut this = Self::default();
        for (key, text) in texts {
            if this.each.iter().all(|it| it.attribute.key != key) {
                let value = Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
                let attribute = KeyValue { key: key.to_owned(), value, ..KeyValue::default() };
                let mut field = vec![FIRST_KEY];
                field.extend(attribute.encode_length_delimited_to_vec());
                this.each.push(Encoded { attribute, field });
            }
        }
        this
    }

    /// Adds those that a decoded resource has not.
    pub(crate) fn add_to(&self, resource: &mut Resource) {
        for Encoded { attribute, .. } in &self.each {
            if resource.attributes.iter().all(|it| it.key != attribute.key) {
                resource.attributes.push(attribute.clone());
            }
        }
    }
}

/// What a resource says of itself.
#[derive(Clone, Debug, Default)]
pub struct ResourceView<'a> {
    /// Keys, and values that are texts.
    attributes: Vec<(&'a [u8], Option<&'a str>)>,
}

impl<'a> ResourceView<'a> {
    pub(crate) fn of_decoded(resource: &'a Resource) -> Self {
        let text = |value: &'a Option<AnyValue>| match value.as_ref()?.value.as_ref()? {
            Value::StringValue(text) => Some(text.as_str()),
            _ => None,
        };
        let attributes = resource.attributes.iter().map(|it| (it.key.as_bytes(), text(&it.value)));
        Self { attributes: attributes.collect() }
    }

    /// Returns the value of an attribute, if it is a text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.attributes.iter().find(|it| it.0 == key.as_bytes())?.1
    }

    /// Returns whether it has an attribute, whatever its value is.
    pub fn has(&self, key: &str) -> bool {
        self.attributes.iter().any(|it| it.0 == key.as_bytes())
    }

    /// Reads an encoded resource, or a further part of it: who sends a message twice means both.
    fn read(&mut self, resource: &'a [u8]) -> Result<(), Malformed> {
        for field in Fields::of(resource) {
            let field = field?;
            if field.number == FIRST {
                self.attributes.push(attribute(field.message()?)?);
            }
        }
        Ok(())
    }
}

/// Reads the key of an encoded attribute, and its value if that is a text.
fn attribute(message: &[u8]) -> Result<(&[u8], Option<&str>), Malformed> {
    const VALUE: u32 = 2;
    /// Fields of a value, of which it has one: the first is a text.
    const VALUES: std::ops::RangeInclusive<u32> = 1..=8;

    let (mut key, mut text) = (<&[u8]>::default(), None);
    for field in Fields::of(message) {
        let field = field?;
        match field.number {
            FIRST => key = field.message()?,
            VALUE => {
                for value in Fields::of(field.message()?) {
                    let value = value?;
                    if value.number == FIRST {
                        text = std::str::from_utf8(value.message()?).ok();
                    } else if VALUES.contains(&value.number) {
                        text = None;
                    }
                }
            }
            _ => {}
        }
    }
    Ok((key, text))
}

/// Adds attributes to the resources of an encoded export request: those that `of` gives, but none that a resource has. `None` if
/// that are none.
///
/// What it does not know is copied as it is, in its place.
pub(crate) fn splice(
    request: &[u8],
    mut of: impl FnMut(&ResourceView<'_>) -> Option<Arc<ResourceAttributes>>,
) -> Result<Option<Vec<u8>>, Malformed> {
    let mut spliced = Vec::new();
    let (mut end, mut copied) = (0, 0);
    let mut fields = Fields::of(request);
    while let Some(field) = fields.next() {
        let field = field?;
        let begin = end;
        end = request.len() - fields.rest().len();
        if field.number != FIRST {
            continue;
        }
        let message = field.message()?;
        let (seen, last) = look_at(message)?;
        let Some(attributes) = of(&seen) else { continue };
        let missing = || attributes.each.iter().filter(|it| !seen.has(&it.attribute.key));
        let added: usize = missing().map(|it| it.field.len()).sum();
        if added == 0 {
            continue;
        }
        if spliced.is_empty() {
            spliced.reserve(request.len() + 2 * added);
        }
        spliced.extend_from_slice(&request[copied..begin]);
        copied = end;
        // Whom it is of, or a part of that, gets longer; or begins to be told.
        let (before, known, after) = match last {
            Some((begin, end, payload)) => (&message[..begin], payload, &message[end..]),
            None => (<&[u8]>::default(), <&[u8]>::default(), message),
        };
        let resource = known.len() + added;
        begin_message(
            before.len() + 1 + prost::length_delimiter_len(resource) + resource + after.len(),
            &mut spliced,
        );
        spliced.extend_from_slice(before);
        begin_message(resource, &mut spliced);
        spliced.extend_from_slice(known);
        missing().for_each(|it| spliced.extend_from_slice(&it.field));
        spliced.extend_from_slice(after);
    }
    if copied == 0 {
        return Ok(None);
    }
    spliced.extend_from_slice(&request[copied..]);
    Ok(Some(spliced))
}

/// Where the field begins and ends that tells whom a message is of, and what it holds.
type Place<'a> = (usize, usize, &'a [u8]);

/// Reads whom something is of, and where that is told last.
fn look_at(message: &[u8]) -> Result<(ResourceView<'_>, Option<Place<'_>>), Malformed> {
    let (mut seen, mut last, mut end) = (ResourceView::default(), None, 0);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next() {
        let field = field?;
        let begin = end;
        end = message.len() - fields.rest().len();
        if field.number == FIRST {
            let resource = field.message()?;
            seen.read(resource)?;
            last = Some((begin, end, resource));
        }
    }
    Ok((seen, last))
}

fn begin_message(len: usize, into: &mut Vec<u8>) {
    into.push(FIRST_KEY);
    prost::encode_length_delimiter(len, into).expect("a vector grows");
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A request as a later version of OTLP may have it: every message has a field that this one does not know.
    #[derive(Clone, PartialEq, Message)]
    struct Later {
        #[prost(message, repeated, tag = "1")]
        resources: Vec<LaterSpans>,
        #[prost(string, repeated, tag = "1000")]
        unknown: Vec<String>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct LaterSpans {
        #[prost(message, optional, tag = "1")]
        resource: Option<LaterResource>,
        #[prost(bytes = "vec", repeated, tag = "2")]
        spans: Vec<Vec<u8>>,
        #[prost(string, tag = "3")]
        schema_url: String,
        #[prost(fixed64, tag = "1000")]
        unknown: u64,
    }

    #[derive(Clone, PartialEq, Message)]
    struct LaterResource {
        #[prost(message, repeated, tag = "1")]
        attributes: Vec<KeyValue>,
        #[prost(uint32, tag = "2")]
        dropped: u32,
        #[prost(string, repeated, tag = "1000")]
        unknown: Vec<String>,
    }

    proptest! {
        /// Whatever order the fields are in, and in however many parts a message comes: the same is added as if all were decoded.
        #[test]
        fn what_is_spliced_is_what_is_added_to_what_is_decoded(
            request in vec(part(1, resource_spans()).prop_union(unknown()), 0..5).prop_map(|it| it.concat()),
            added in vec((key(), "[a-z]{0,200}"), 0..4),
        ) {
            let attributes = Arc::new(ResourceAttributes::new(added.iter().map(|it| (it.0, it.1.as_str()))));
            let mut expected = Later::decode(request.as_slice()).unwrap();
            for spans in &mut expected.resources {
                let known = spans.resource.clone().unwrap_or_default();
                if known.attributes.iter().any(|it| it.key == "left") {
                    continue;
                }
                let mut resource = Resource { attributes: known.attributes.clone(), ..Resource::default() };
                attributes.add_to(&mut resource);
                if resource.attributes.len() > known.attributes.len() {
                    spans.resource = Some(LaterResource { attributes: resource.attributes, ..known });
                }
            }
            let of = |seen: &ResourceView<'_>| (!seen.has("left")).then(|| Arc::clone(&attributes));
            let spliced = splice(&request, of).unwrap().unwrap_or_else(|| request.clone());
            prop_assert_eq!(Later::decode(spliced.as_slice()).unwrap(), expected);
        }

        /// What is seen of an encoded resource is what is seen of it when it is decoded.
        #[test]
        fn a_resource_is_seen_alike_in_both_forms(parts in vec(resource(), 0..3)) {
            let decoded = Resource::decode(parts.concat().as_slice()).unwrap();
            let mut seen = ResourceView::default();
            parts.iter().for_each(|it| seen.read(it).unwrap());
            prop_assert_eq!(seen.attributes, ResourceView::of_decoded(&decoded).attributes);
        }

        /// Nothing that is sent here makes it panic, and what is decodable stays so.
        #[test]
        fn any_bytes_are_spliced_or_refused(request in vec(any::<u8>(), 0..64)) {
            let attributes = Arc::new(ResourceAttributes::new([("a", "b")]));
            if let Ok(Some(spliced)) = splice(&request, |_| Some(Arc::clone(&attributes))) {
                prop_assert!(Fields::of(&spliced).all(|it| it.is_ok()));
            }
        }
    }

    #[test]
    fn who_says_nothing_of_himself_is_told_of() {
        // A resource without a field, between two fields that nobody knows.
        let request = [0xf8, 0x07, 0x2a, 0x0a, 0x00, 0xf8, 0x07, 0x2b];
        let attributes = Arc::new(ResourceAttributes::new([("k", "v"), ("k", "other")]));
        let spliced = splice(&request, |_| Some(Arc::clone(&attributes))).unwrap().unwrap();
        let attribute = [0x0a, 0x08, 0x0a, 0x01, b'k', 0x12, 0x03, 0x0a, 0x01, b'v'];
        let expected =
            [&[0xf8, 0x07, 0x2a, 0x0a, 0x0c, 0x0a, 0x0a][..], &attribute, &[0xf8, 0x07, 0x2b]].concat();
        assert_eq!(spliced, expected);
    }

    #[test]
    fn what_is_not_changed_is_not_copied() {
        let attributes = Arc::new(ResourceAttributes::new([("k", "v")]));
        let of_k = Resource {
            attributes: vec![KeyValue { key: "k".to_owned(), ..KeyValue::default() }],
            ..Resource::default()
        };
        let spans = LaterSpans { resource: None, ..LaterSpans::default() }.encode_to_vec();
        let request = [field(1, &[spans, field(1, &of_k.encode_to_vec())].concat())].concat();
        assert_eq!(
            splice(&request, |_| Some(Arc::clone(&attributes))),
            Ok(None),
            "it has the only attribute"
        );
        assert_eq!(splice(&request, |_| None), Ok(None));
    }

    #[test]
    fn what_is_no_resource_is_refused() {
        let error = splice(&[0x0a, 0x02, 0x08, 0x01], |_| None).unwrap_err();
        assert_eq!(error.what, "a number in place of a message");
    }

    fn key() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("k8s.pod.name"), Just("service.name"), Just("left"), Just("host")]
    }

    fn field(number: u32, payload: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut field);
        prost::encode_length_delimiter(payload.len(), &mut field).unwrap();
        field.extend(payload);
        field
    }

    fn part(number: u32, payload: impl Strategy<Value = Vec<u8>> + 'static) -> BoxedStrategy<Vec<u8>> {
        payload.prop_map(move |it| field(number, &it)).boxed()
    }

    fn unknown() -> BoxedStrategy<Vec<u8>> {
        part(1000, "[a-z]{0,9}".prop_map(String::into_bytes))
    }

    /// Fields in any order: whom it is of in up to three parts, spans, the schema, and a number that nobody knows.
    fn resource_spans() -> impl Strategy<Value = Vec<u8>> {
        let number = any::<u64>().prop_map(|it| {
            let mut field = Vec::new();
            prost::encoding::fixed64::encode(1000, &it, &mut field);
            field
        });
        let text = || "[a-z]{0,150}".prop_map(String::into_bytes);
        vec(prop_oneof![3 => part(1, resource()), 2 => part(2, text()), 1 => part(3, text()), 1 => number.boxed()], 0..6)
            .prop_map(|it| it.concat())
    }

    fn resource() -> impl Strategy<Value = Vec<u8>> {
        let dropped = any::<u32>()
            .prop_map(|n| Resource { dropped_attributes_count: n, ..Resource::default() }.encode_to_vec());
        vec(prop_oneof![4 => part(1, key_value()), 1 => dropped.boxed(), 1 => unknown()], 0..5)
            .prop_map(|it| it.concat())
    }

    /// A key and a value, in either order, the value sometimes of two kinds, of which the last counts.
    fn key_value() -> impl Strategy<Value = Vec<u8>> {
        let value = prop_oneof![
            "[a-z]{0,9}".prop_map(Value::StringValue),
            any::<i64>().prop_map(Value::IntValue),
            any::<bool>().prop_map(Value::BoolValue),
        ];
        let value = value.prop_map(|it| field(2, &AnyValue { value: Some(it) }.encode_to_vec()));
        let key = key().prop_map(|it| field(1, it.as_bytes()));
        vec(prop_oneof![key.boxed(), value.boxed()], 0..4).prop_map(|it| it.concat())
    }
}
