use std::{io::Write, str};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::schema::{Field, Kind, Message, Rule};

/// As many messages within each other as prost reads.
const MAX_DEPTH: usize = 100;

/// Bytes that are no message of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message of its kind: {what}")]
pub struct Malformed {
    what: &'static str,
}

const TRUNCATED: Malformed = Malformed { what: "it ends within a field" };
const WRONG_TYPE: Malformed = Malformed { what: "a field of another type" };

/// Writes an encoded message as JSON. Fields that it does not know are left out.
///
/// # Errors
///
/// It is no such message.
pub fn to_json(message: &'static Message, protobuf: &[u8]) -> Result<Vec<u8>, Malformed> {
    // Keys and hexadecimal ids take more than the bytes that they stand for.
    let mut json = Vec::with_capacity(protobuf.len() * 2);
    object(message, &[protobuf], 0, &mut json)?;
    Ok(json)
}

/// A field's value as it is encoded.
#[derive(Clone, Copy, Debug)]
enum Encoded<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Writes a message that is encoded in one part or several, which are as good as one.
fn object(message: &Message, parts: &[&[u8]], depth: usize, json: &mut Vec<u8>) -> Result<(), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed { what: "too many messages within each other" });
    }
    let mut found = Vec::new();
    for mut part in parts.iter().copied() {
        while part.has_remaining() {
            found.push(field(&mut part)?);
        }
    }
    json.push(b'{');
    let mut is_first = true;
    for field in message.fields {
        let values: Vec<_> =
            found.iter().filter(|(number, _)| *number == field.number).map(|(_, value)| *value).collect();
        if values.is_empty() || field.rule == Rule::Implicit && values.last().is_some_and(is_default) {
            continue;
        }
        if !is_first {
            json.push(b',');
        }
        is_first = false;
        text(field.name, json);
        json.push(b':');
        if field.rule == Rule::Repeated {
            list(field, &values, depth, json)?;
        } else if let Kind::Message(message) = field.kind {
            let parts: Result<Vec<_>, _> = values.iter().map(|it| it.bytes()).collect();
            object(message, &parts?, depth + 1, json)?;
        } else if let Some(last) = values.last() {
            scalar(field.kind, *last, json)?;
        }
    }
    json.push(b'}');
    Ok(())
}

fn list(field: &Field, values: &[Encoded<'_>], depth: usize, json: &mut Vec<u8>) -> Result<(), Malformed> {
    json.push(b'[');
    let begin = json.len();
    let mut write = |value| {
        if json.len() > begin {
            json.push(b',');
        }
        match (field.kind, value) {
            (Kind::Message(message), Encoded::Bytes(bytes)) => object(message, &[bytes], depth + 1, json),
            (kind, value) => scalar(kind, value, json),
        }
    };
    for value in values {
        match *value {
            Encoded::Bytes(mut packed) if field.kind.is_packed() => {
                while packed.has_remaining() {
                    write(number(field.kind.wire_type(), &mut packed)?)?;
                }
            }
            value => write(value)?,
        }
    }
    json.push(b']');
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "of a number that is too large for its field the lower 32 bits count, as for any reader of protobuf"
)]
fn scalar(kind: Kind, value: Encoded<'_>, json: &mut Vec<u8>) -> Result<(), Malformed> {
    match (kind, value) {
        (Kind::Text, Encoded::Bytes(bytes)) => {
            let value =
                str::from_utf8(bytes).map_err(|_no_text| Malformed { what: "a text that is no UTF-8" })?;
            text(value, json);
        }
        (Kind::Bytes, Encoded::Bytes(bytes)) => text(&STANDARD.encode(bytes), json),
        (Kind::Id, Encoded::Bytes(bytes)) => text(&const_hex::encode(bytes), json),
        (Kind::Bool, Encoded::Varint(value)) => put(json, format_args!("{}", value != 0)),
        (Kind::Double, Encoded::Fixed64(bits)) => double(f64::from_bits(bits), json),
        (Kind::Enum, Encoded::Varint(value)) => put(json, format_args!("{}", value as i32)),
        (Kind::Uint32, Encoded::Varint(value)) => put(json, format_args!("{}", value as u32)),
        (Kind::Fixed32, Encoded::Fixed32(value)) => put(json, format_args!("{value}")),
        (Kind::Sint32, Encoded::Varint(value)) => {
            let zigzag = value as u32;
            put(json, format_args!("{}", (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)));
        }
        // "64-bit integer numbers in JSON-encoded payloads are encoded as decimal strings".
        (Kind::Int64, Encoded::Varint(value)) => put(json, format_args!("\"{}\"", value as i64)),
        (Kind::Uint64, Encoded::Varint(value)) | (Kind::Fixed64, Encoded::Fixed64(value)) => {
            put(json, format_args!("\"{value}\""));
        }
        (Kind::Sfixed64, Encoded::Fixed64(value)) => put(json, format_args!("\"{}\"", value as i64)),
        _ => return Err(WRONG_TYPE),
    }
    Ok(())
}

fn double(value: f64, json: &mut Vec<u8>) {
    if value.is_finite() {
        serde_json::to_writer(json, &value).expect("a vector grows");
        return;
    }
    let name = if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    };
    text(name, json);
}

fn text(value: &str, json: &mut Vec<u8>) {
    serde_json::to_writer(json, value).expect("a vector grows");
}

fn put(json: &mut Vec<u8>, value: std::fmt::Arguments<'_>) {
    json.write_fmt(value).expect("a vector grows");
}

/// Reads a field and its number.
fn field<'a>(from: &mut &'a [u8]) -> Result<(u32, Encoded<'a>), Malformed> {
    let key = decode_key(from).map_err(|_no_key| Malformed { what: "a field without a valid key" })?;
    let (number, wire_type) = key;
    let value = match wire_type {
        WireType::LengthDelimited => {
            let len = decode_varint(from).map_err(|_no_length| TRUNCATED)?;
            let len = usize::try_from(len).map_err(|_too_long| TRUNCATED)?;
            let (bytes, rest) = from.split_at_checked(len).ok_or(TRUNCATED)?;
            *from = rest;
            Encoded::Bytes(bytes)
        }
        other => self::number(other, from)?,
    };
    Ok((number, value))
}

fn number<'a>(wire_type: WireType, from: &mut &'a [u8]) -> Result<Encoded<'a>, Malformed> {
    match wire_type {
        WireType::Varint => decode_varint(from).map(Encoded::Varint).map_err(|_none| TRUNCATED),
        WireType::SixtyFourBit => from.try_get_u64_le().map(Encoded::Fixed64).map_err(|_none| TRUNCATED),
        WireType::ThirtyTwoBit => from.try_get_u32_le().map(Encoded::Fixed32).map_err(|_none| TRUNCATED),
        WireType::LengthDelimited | WireType::StartGroup | WireType::EndGroup => Err(WRONG_TYPE),
    }
}

fn is_default(value: &Encoded<'_>) -> bool {
    match value {
        Encoded::Varint(value) | Encoded::Fixed64(value) => *value == 0,
        Encoded::Fixed32(value) => *value == 0,
        Encoded::Bytes(bytes) => bytes.is_empty(),
    }
}

impl<'a> Encoded<'a> {
    const fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(WRONG_TYPE),
        }
    }
}
