use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor},
};

use crate::schema::{Field, Kind, Message, Rule};

/// "Either standard or URL-safe base64 encoding with/without paddings are accepted" by protobuf's JSON.
const BASE64: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING),
    GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING),
];
const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Encodes a message that is written as JSON. Keys that it does not know are left out.
///
/// # Errors
///
/// It is no JSON, or something in it has another type than the field; the message names line and column.
pub fn to_protobuf(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let mut encoded = Vec::with_capacity(json.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(json);
    json.deserialize_map(Object { message, to: &mut encoded })?;
    json.end()?;
    Ok(encoded)
}

/// Writes a message's fields.
struct Object<'a> {
    message: &'static Message,
    to: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.message.fields.iter().find(|it| it.name == key) {
                Some(field) => map.next_value_seed(Value { field, place: Place::Field, to: self.to })?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is all of a field.
    Field,
    /// It is one of several, each with its key.
    Element,
    /// It is one of several in a list that has its key.
    Packed,
}

/// Writes a field.
struct Value<'a> {
    field: &'static Field,
    place: Place,
    to: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Field { name, kind, .. } = self.field;
        if self.is_list() {
            return write!(f, "an array for `{name}`");
        }
        let what = match kind {
            Kind::Message(_) => "an object",
            Kind::Text => "a text",
            Kind::Bytes => "bytes in base64",
            Kind::Id => "an id in hexadecimal digits",
            Kind::Bool => "true or false",
            Kind::Double => "a number",
            Kind::Enum => "the number of a value",
            Kind::Int64 | Kind::Sint32 | Kind::Sfixed64 => "an integer",
            Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => "an integer from 0 on",
        };
        write!(f, "{what} for `{name}`")
    }

    /// "`null` is an accepted value for all field types and treated as the default value".
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.place {
            Place::Field => Ok(()),
            Place::Element | Place::Packed => Err(E::invalid_type(Unexpected::Unit, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.field.kind {
            Kind::Message(message) if !self.is_list() => {
                let Self { field, to, .. } = self;
                measured(field, to, |to| Object { message, to }.visit_map(map))
            }
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if !self.is_list() {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
        }
        let Self { field, to, .. } = self;
        let mut write = |place, to: &mut Vec<u8>| {
            while elements.next_element_seed(Value { field, place, to: &mut *to })?.is_some() {}
            Ok(())
        };
        if field.kind.is_packed() {
            measured(field, to, |to| write(Place::Packed, to))
        } else {
            write(Place::Element, to)
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool if !self.is_list() => {
                self.number(!value, WireType::Varint, |to| encode_varint(value.into(), to));
                Ok(())
            }
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        let written = match self.field.kind {
            Kind::Double => self.double(value as f64),
            _ => self.integer(value.into()),
        };
        written.map_err(|this| E::invalid_value(Unexpected::Unsigned(value), &this))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        let written = match self.field.kind {
            Kind::Double => self.double(value as f64),
            _ => self.integer(value.into()),
        };
        written.map_err(|this| E::invalid_value(Unexpected::Signed(value), &this))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.double(value).map_err(|this| E::invalid_value(Unexpected::Float(value), &this))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let written = match self.field.kind {
            _ if self.is_list() => Err(self),
            Kind::Text => {
                self.bytes(text.as_bytes());
                Ok(())
            }
            Kind::Bytes => match BASE64.iter().find_map(|it| it.decode(text).ok()) {
                Some(bytes) => {
                    self.bytes(&bytes);
                    Ok(())
                }
                None => Err(self),
            },
            Kind::Id => match const_hex::decode(text) {
                Ok(bytes) => {
                    self.bytes(&bytes);
                    Ok(())
                }
                Err(_not_hexadecimal) => Err(self),
            },
            Kind::Double => match text {
                "NaN" => self.double(f64::NAN),
                "Infinity" => self.double(f64::INFINITY),
                "-Infinity" => self.double(f64::NEG_INFINITY),
                _ => match text.parse::<f64>() {
                    Ok(value) if value.is_finite() => self.double(value),
                    _ => Err(self),
                },
            },
            // "The enum name strings MUST NOT be used."
            Kind::Message(_) | Kind::Bool | Kind::Enum => Err(self),
            _ => match text.parse() {
                Ok(value) => self.integer(value),
                Err(_no_integer) => Err(self),
            },
        };
        written.map_err(|this| E::invalid_value(Unexpected::Str(text), &this))
    }
}

impl Value<'_> {
    fn is_list(&self) -> bool {
        self.field.rule == Rule::Repeated && self.place == Place::Field
    }

    /// Writes an integer, unless the field is none or has no such value.
    fn integer(self, value: i128) -> Result<(), Self> {
        if self.is_list() {
            return Err(self);
        }
        let is_default = value == 0;
        let (unsigned, signed) = (u64::try_from(value), i64::try_from(value));
        match (self.field.kind, unsigned, signed) {
            (Kind::Enum, _, Ok(value)) if i32::try_from(value).is_ok() => {
                self.number(is_default, WireType::Varint, |to| encode_varint(value as u64, to));
            }
            (Kind::Int64, _, Ok(value)) => {
                self.number(is_default, WireType::Varint, |to| encode_varint(value as u64, to));
            }
            (Kind::Sint32, _, Ok(value)) if i32::try_from(value).is_ok() => {
                let zigzag = (value << 1) ^ (value >> 63);
                self.number(is_default, WireType::Varint, |to| encode_varint(zigzag as u64, to));
            }
            (Kind::Sfixed64, _, Ok(value)) => {
                self.number(is_default, WireType::SixtyFourBit, |to| to.extend(value.to_le_bytes()));
            }
            (Kind::Uint64, Ok(value), _) => {
                self.number(is_default, WireType::Varint, |to| encode_varint(value, to));
            }
            (Kind::Fixed64, Ok(value), _) => {
                self.number(is_default, WireType::SixtyFourBit, |to| to.extend(value.to_le_bytes()));
            }
            (Kind::Uint32, Ok(value), _) if u32::try_from(value).is_ok() => {
                self.number(is_default, WireType::Varint, |to| encode_varint(value, to));
            }
            (Kind::Fixed32, Ok(value), _) if u32::try_from(value).is_ok() => {
                let [a, b, c, d, ..] = value.to_le_bytes();
                self.number(is_default, WireType::ThirtyTwoBit, |to| to.extend([a, b, c, d]));
            }
            _ => return Err(self),
        }
        Ok(())
    }

    /// Writes a number, which may be an integer that has a fraction of nothing.
    #[expect(clippy::cast_possible_truncation, reason = "it has no fraction, and fits")]
    fn double(self, value: f64) -> Result<(), Self> {
        match self.field.kind {
            Kind::Double if !self.is_list() => {
                let is_default = value.to_bits() == 0;
                self.number(is_default, WireType::SixtyFourBit, |to| to.extend(value.to_le_bytes()));
                Ok(())
            }
            // Larger ones are not exact.
            _ if value.fract() == 0.0 && value.abs() <= (1_u64 << 53) as f64 => self.integer(value as i128),
            _ => Err(self),
        }
    }

    fn number(self, is_default: bool, wire_type: WireType, write: impl FnOnce(&mut Vec<u8>)) {
        match self.place {
            Place::Field if is_default && self.field.rule == Rule::Implicit => return,
            Place::Field | Place::Element => encode_key(self.field.number, wire_type, self.to),
            Place::Packed => {}
        }
        write(self.to);
    }

    fn bytes(self, bytes: &[u8]) {
        if bytes.is_empty() && self.field.rule == Rule::Implicit {
            return;
        }
        encode_key(self.field.number, WireType::LengthDelimited, self.to);
        encode_varint(bytes.len() as u64, self.to);
        self.to.extend_from_slice(bytes);
    }
}

/// Writes what has its length in front.
fn measured<E>(
    field: &Field,
    to: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    encode_key(field.number, WireType::LengthDelimited, to);
    let begin = to.len();
    write(to)?;
    let end = to.len();
    // How many bytes the length takes is known only now.
    encode_varint((end - begin) as u64, to);
    let n_bytes = to.len() - end;
    to[begin..].rotate_right(n_bytes);
    Ok(())
}
