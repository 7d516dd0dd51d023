use std::{
    borrow::Cow,
    fmt::Write,
    hash::{BuildHasher, Hash, Hasher},
};

use hashbrown::{DefaultHashBuilder, HashTable};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use serde_json::Value as Json;

/// Most layouts that are remembered; keys come from code, but nothing forces a sender to have few.
const MAX_LAYOUTS: usize = 1_024;

/// Writes attributes as Prometheus labels: `name="value",...`, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct LabelWriter {
    layouts: HashTable<Layout>,
    hasher: DefaultHashBuilder,
}

/// Labels that the exporter gives itself. An attribute of the same name is written with `exported_` before it, as
/// Prometheus does with labels that collide with its own.
pub(crate) type OwnLabels<'a> = &'a [(&'static str, Cow<'a, str>)];

/// What the labels of series with the same keys have in common. Most series of a metric have the same, and to translate and
/// sort them for each point takes longer than all that is done with it.
#[derive(Debug)]
struct Layout {
    hash: u64,
    keys: Box<[Box<str>]>,
    own: Box<[&'static str]>,
    reserved: Option<&'static str>,
    /// In the order in which they are written.
    labels: Box<[Label]>,
}

#[derive(Debug)]
struct Label {
    /// Which of the names it is: labels of one name follow each other.
    name: usize,
    /// The name and what comes before the value.
    start: Box<str>,
    from: From,
}

/// Where a label's value is.
#[derive(Clone, Copy, Debug)]
enum From {
    Attribute(usize),
    Own(usize),
}

impl LabelWriter {
    /// Appends the labels of one series to `out`.
    ///
    /// `reserved` is a label that the type of the metric needs for itself, such as `le`. Attributes whose keys are
    /// translated to the same name are joined by `;`, in the order of their keys. Empty values are left out: to
    /// Prometheus they are the same as no label.
    pub(crate) fn write(
        &mut self,
        attributes: &[KeyValue],
        own: OwnLabels<'_>,
        reserved: Option<&'static str>,
        out: &mut String,
    ) {
        let layout = self.layout(attributes, own, reserved);
        let mut last = None;
        for Label { name, start, from } in &layout.labels {
            let value = match *from {
                From::Attribute(idx) => attributes[idx].value.as_ref().map(text).unwrap_or_default(),
                From::Own(idx) => Cow::Borrowed(&*own[idx].1),
            };
            if value.is_empty() {
                continue;
            }
            if last == Some(name) {
                // Into the value that was just closed.
                out.pop();
                out.push(';');
            } else {
                if last.is_some() {
                    out.push(',');
                }
                out.push_str(start);
            }
            escape(&value, out);
            out.push('"');
            last = Some(name);
        }
    }

    fn layout(
        &mut self,
        attributes: &[KeyValue],
        own: OwnLabels<'_>,
        reserved: Option<&'static str>,
    ) -> &Layout {
        let Self { layouts, hasher } = self;
        if layouts.len() >= MAX_LAYOUTS {
            layouts.clear();
        }
        let mut hash = hasher.build_hasher();
        attributes.iter().for_each(|it| it.key.hash(&mut hash));
        let hash = hash.finish();
        layouts
            .entry(hash, |it| it.is_of(attributes, own, reserved), |it| it.hash)
            .or_insert_with(|| Layout::new(hash, attributes, own, reserved))
            .into_mut()
    }
}

impl Layout {
    fn new(hash: u64, attributes: &[KeyValue], own: OwnLabels<'_>, reserved: Option<&'static str>) -> Self {
        let translated = attributes.iter().enumerate().map(|(idx, KeyValue { key, .. })| {
            let name = translate(key);
            let collides = reserved == Some(&name) || own.iter().any(|(it, _)| *it == name);
            let name = if collides { format!("exported_{name}") } else { name };
            (name, key.as_str(), From::Attribute(idx))
        });
        let own_labels = own.iter().enumerate().map(|(idx, (it, _))| ((*it).to_owned(), *it, From::Own(idx)));
        let mut labels: Vec<_> = translated.chain(own_labels).filter(|(name, ..)| !name.is_empty()).collect();
        labels
            .sort_by(|(left, left_key, _), (right, right_key, _)| (left, left_key).cmp(&(right, right_key)));
        let by_name = labels.chunk_by(|(left, ..), (right, ..)| left == right).enumerate();
        let labels = by_name.flat_map(|(number, labels)| {
            labels.iter().map(move |(name, _, from)| Label {
                name: number,
                start: format!("{name}=\"").into(),
                from: *from,
            })
        });
        Self {
            hash,
            keys: attributes.iter().map(|it| it.key.as_str().into()).collect(),
            own: own.iter().map(|(name, _)| *name).collect(),
            reserved,
            labels: labels.collect(),
        }
    }

    fn is_of(&self, attributes: &[KeyValue], own: OwnLabels<'_>, reserved: Option<&'static str>) -> bool {
        let keys = attributes.iter().map(|it| it.key.as_str());
        self.reserved == reserved
            && self.keys.iter().map(|it| &**it).eq(keys)
            && self.own.iter().copied().eq(own.iter().map(|(name, _)| *name))
    }
}

/// Translates an attribute's key: what a label cannot contain becomes one underscore.
///
/// A digit in front gets `key_` before it, as in Prometheus' own translation.
fn translate(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    if key.starts_with(|c: char| c.is_ascii_digit()) {
        name.push_str("key_");
    }
    for c in key.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    // A lone underscore is a label that says nothing, and all that is left of a key in another script.
    if name == "_" && key != "_" {
        name.push_str("key");
    }
    name
}

/// Escapes a label value: backslash, quote and line feed.
fn escape(value: &str, out: &mut String) {
    // Without a branch for each byte, so that many are looked at at once: there is almost never anything to escape.
    let is_special = |it: u8| matches!(it, b'\\' | b'"' | b'\n');
    if !value.bytes().fold(false, |found, it| found | is_special(it)) {
        return out.push_str(value);
    }
    let mut rest = value;
    while let Some(idx) = rest.find(['\\', '"', '\n']) {
        out.push_str(&rest[..idx]);
        out.push_str(match rest.as_bytes()[idx] {
            b'\\' => "\\\\",
            b'"' => "\\\"",
            _ => "\\n",
        });
        rest = &rest[idx + 1..];
    }
    out.push_str(rest);
}

/// Returns an attribute's value as text, by the specification's rules for attributes.
pub(crate) fn text(value: &AnyValue) -> Cow<'_, str> {
    match &value.value {
        None => Cow::Borrowed(""),
        Some(any_value::Value::StringValue(text)) => Cow::Borrowed(text),
        Some(any_value::Value::BoolValue(value)) => Cow::Borrowed(if *value { "true" } else { "false" }),
        Some(any_value::Value::IntValue(value)) => Cow::Owned(value.to_string()),
        Some(any_value::Value::BytesValue(bytes)) => Cow::Owned(base64(bytes)),
        Some(any_value::Value::DoubleValue(value)) => {
            let mut out = String::new();
            crate::float::write(*value, &mut out);
            Cow::Owned(out)
        }
        Some(_) => Cow::Owned(json(value).to_string()),
    }
}

fn json(value: &AnyValue) -> Json {
    match &value.value {
        Some(any_value::Value::BoolValue(value)) => Json::from(*value),
        Some(any_value::Value::IntValue(value)) => Json::from(*value),
        // What JSON cannot say as a number is said as text.
        Some(any_value::Value::DoubleValue(number)) if number.is_finite() => Json::from(*number),
        Some(any_value::Value::ArrayValue(array)) => array.values.iter().map(json).collect(),
        Some(any_value::Value::KvlistValue(list)) => {
            let entry = |it: &KeyValue| (it.key.clone(), it.value.as_ref().map_or(Json::Null, json));
            Json::Object(list.values.iter().map(entry).collect())
        }
        None => Json::Null,
        Some(_) => Json::from(text(value).into_owned()),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |idx: usize| u32::from(chunk.get(idx).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let six = bits >> (18 - 6 * digit) & 63;
            out.push(if digit <= chunk.len() { char::from(DIGITS[six as usize]) } else { '=' });
        }
    }
    out
}

/// Appends `name="value"` to rendered labels.
pub fn append(name: &str, value: &str, labels: &mut String) {
    if !labels.is_empty() {
        labels.push(',');
    }
    write!(labels, "{name}=\"{value}\"").expect("a string takes everything");
}

/// Returns the labels that were written, by name.
///
/// What was written by nobody here is read as far as it is of that form.
pub fn parse(mut labels: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    std::iter::from_fn(move || {
        let (name, rest) = labels.split_once("=\"")?;
        let mut from = 0;
        let end = loop {
            // An escaped character is one that does not end the value.
            match rest.get(from..)?.find(['"', '\\'])? + from {
                at if rest.as_bytes()[at] == b'"' => break at,
                at => from = at + 2,
            }
        };
        labels = rest[end + 1..].strip_prefix(',').unwrap_or_default();
        Some((name, unescape(&rest[..end])))
    })
}

fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let (mut out, mut chars) = (String::with_capacity(value.len()), value.chars());
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next().map(|it| if it == 'n' { '\n' } else { it })),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValueList};
    use proptest::prelude::{Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    #[test]
    fn labels_are_sorted_by_name() {
        check(&[("server.name", "db"), ("client.name", "web")], r#"client_name="web",server_name="db""#);
    }

    #[test]
    fn values_are_escaped() {
        check(&[("a", "\"x\\\n\ty\"")], "a=\"\\\"x\\\\\\n\ty\\\"\"");
    }

    #[test]
    fn empty_values_are_left_out() {
        check(&[("a", ""), ("b", "x")], r#"b="x""#);
        check(&[], "");
    }

    /// Nothing is lost when two keys become one label; the order of the attributes does not make another series.
    #[test]
    fn colliding_keys_are_joined_in_their_order() {
        check(&[("a.b", "dot"), ("a_b", "underscore"), ("a-b", "dash")], r#"a_b="dash;dot;underscore""#);
        check(&[("a-b", "dash"), ("a_b", "underscore"), ("a.b", "dot")], r#"a_b="dash;dot;underscore""#);
    }

    #[test]
    fn keys_become_label_names() {
        for (key, expected) in [
            ("k8s.cluster.name", "k8s_cluster_name"),
            ("a..b__c", "a_b_c"),
            ("5xx", "key_5xx"),
            ("_private", "_private"),
            ("__name__", "_name_"),
            ("a:b", "a_b"),
            ("\u{e9}\u{e8}", "_key"),
            ("", ""),
        ] {
            assert_eq!(translate(key), expected);
        }
    }

    /// What is remembered of one series' keys is of no other's: not without the labels that its source adds, nor with those that
    /// its type reserves; and an empty value leaves a label out of one series alone.
    #[test]
    fn a_writer_tells_layouts_apart() {
        let mut writer = LabelWriter::default();
        let own = [("job", Cow::Borrowed("own"))];
        for (attributes, own, reserved, expected) in [
            (&[("b", "1"), ("job", "2")][..], &[][..], None, r#"b="1",job="2""#),
            (&[("b", "1"), ("job", "2")], &own, None, r#"b="1",exported_job="2",job="own""#),
            (&[("b", "1"), ("job", "2")], &[], Some("b"), r#"exported_b="1",job="2""#),
            (&[("b", ""), ("job", "2")], &[], None, r#"job="2""#),
            (&[("b", "3"), ("job", "4")], &[], None, r#"b="3",job="4""#),
            (&[("job", "3"), ("b", "4")], &[], None, r#"b="4",job="3""#),
            (&[("a.b", ""), ("a_b", "2")], &[], None, r#"a_b="2""#),
            (&[("a.b", "1"), ("a_b", "2")], &[], None, r#"a_b="1;2""#),
        ] {
            let attributes: Vec<KeyValue> =
                attributes.iter().map(|(key, value)| attribute(key, string(value))).collect();
            let mut out = String::new();
            writer.write(&attributes, own, reserved, &mut out);
            assert_eq!(out, expected);
        }
    }

    /// Whoever makes up ever new keys makes the writer forget, and nothing else.
    #[test]
    fn layouts_are_bounded() {
        let mut writer = LabelWriter::default();
        for n in 0..3 * MAX_LAYOUTS {
            let mut out = String::new();
            writer.write(&[attribute(&format!("k{n}"), string("v"))], &[], None, &mut out);
            assert_eq!(out, format!("k{n}=\"v\""));
            assert!(writer.layouts.len() <= MAX_LAYOUTS);
        }
    }

    /// An attribute cannot take the place of a label that the format or the exporter needs.
    #[test]
    fn own_labels_win() {
        let attributes = [attribute("le", string("x")), attribute("job", string("mine"))];
        let own = [("job", Cow::Borrowed("theirs"))];
        let mut out = String::new();
        LabelWriter::default().write(&attributes, &own, Some("le"), &mut out);
        assert_eq!(out, r#"exported_job="mine",exported_le="x",job="theirs""#);
    }

    #[test]
    fn values_that_are_not_text_have_one() {
        use any_value::Value::{
            ArrayValue as Array, BoolValue, BytesValue, DoubleValue, IntValue, KvlistValue,
        };
        let list = |values| Array(ArrayValue { values });
        let pair = attribute("k", any(DoubleValue(0.5)));
        for (value, expected) in [
            (BoolValue(true), "true"),
            (IntValue(-3), "-3"),
            (DoubleValue(1e9), "1e+09"),
            (BytesValue(b"any carnal pleas".to_vec()), "YW55IGNhcm5hbCBwbGVhcw=="),
            (BytesValue(b"any carnal pleasu".to_vec()), "YW55IGNhcm5hbCBwbGVhc3U="),
            (BytesValue(b"any carnal pleasur".to_vec()), "YW55IGNhcm5hbCBwbGVhc3Vy"),
            (list(vec![string("a\"b"), any(IntValue(1)), AnyValue::default()]), r#"["a\"b",1,null]"#),
            (list(vec![any(DoubleValue(f64::NAN)), any(BytesValue(vec![0]))]), r#"["NaN","AA=="]"#),
            (KvlistValue(KeyValueList { values: vec![pair] }), r#"{"k":0.5}"#),
        ] {
            assert_eq!(text(&any(value)), expected);
        }
    }

    proptest! {
        /// What is written reads back, whatever the values are.
        #[test]
        fn labels_read_back(values in prop::collection::btree_map("[a-z]{1,4}", any_value(), 0..5)) {
            let attributes: Vec<_> = values.iter().map(|(key, value)| attribute(key, string(value))).collect();
            let mut out = String::new();
            LabelWriter::default().write(&attributes, &[], None, &mut out);
            let back: Vec<_> = parse(&out).map(|(name, value)| (name.to_owned(), value.into_owned())).collect();
            prop_assert_eq!(back, values.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn whatever_is_read_is_read_to_an_end(text in "[a-z\"\\\\=,]{0,20}") {
            prop_assert!(parse(&text).count() <= text.len());
        }
    }

    fn any_value() -> impl Strategy<Value = String> {
        prop_oneof!["[a-z\"\\\\\n=,]{1,6}", "\\PC{1,6}"]
    }

    #[track_caller]
    fn check(attributes: &[(&str, &str)], expected: &str) {
        let attributes: Vec<KeyValue> =
            attributes.iter().map(|(key, value)| attribute(key, string(value))).collect();
        let mut out = String::new();
        LabelWriter::default().write(&attributes, &[], None, &mut out);
        assert_eq!(out, expected);
    }

    fn attribute(key: &str, value: AnyValue) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(value), ..Default::default() }
    }

    fn string(text: &str) -> AnyValue {
        any(any_value::Value::StringValue(text.to_owned()))
    }

    fn any(value: any_value::Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }
}
