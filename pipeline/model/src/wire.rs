//! Encoded protobuf messages, read without being decoded.

use std::fmt;

/// An encoded message that cannot be what it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a protobuf message of its kind: {}", self.what)
    }
}

impl std::error::Error for Malformed {}

const fn malformed(what: &'static str) -> Malformed {
    Malformed { what }
}

/// One field of an encoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    /// Its number.
    pub(crate) number: u32,
    /// The bytes of a text, a list or another message; `None` of a number.
    pub(crate) payload: Option<&'a [u8]>,
}

impl<'a> Field<'a> {
    /// Returns the bytes of another message.
    pub(crate) fn message(&self) -> Result<&'a [u8], Malformed> {
        self.payload.ok_or(malformed("a number in place of a message"))
    }
}

/// The fields of an encoded message, in its order. Ends after the first error.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Returns what is behind the fields that were read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|it| *it != 0);
        let number = number.ok_or(malformed("a field without a valid number"))?;
        let payload = match key & 7 {
            0 => self.varint().map(|_| None)?,
            1 => self.take(8).map(|_| None)?,
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_too_long| TRUNCATED)?;
                Some(self.take(len)?)
            }
            5 => self.take(4).map(|_| None)?,
            _ => return Err(malformed("a field of an unknown type")),
        };
        Ok(Field { number, payload })
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(TRUNCATED)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed("a number of more than ten bytes"))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(taken)
    }
}

const TRUNCATED: Malformed = malformed("it ends within a field");

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Counts the messages at the end of a path of fields, each of them one of several.
pub(crate) fn count(message: &[u8], path: &[&[u32]]) -> Result<u64, Malformed> {
    let Some((numbers, path)) = path.split_first() else { return Ok(1) };
    let mut n = 0;
    for field in Fields::of(message) {
        let field = field?;
        if numbers.contains(&field.number) {
            n += count(field.message()?, path)?;
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_their_order() {
        // 1: 300, 2: "hi", 3: fixed32, 4: fixed64.
        let message = [8, 0xac, 2, 18, 2, b'h', b'i', 29, 1, 2, 3, 4, 33, 1, 2, 3, 4, 5, 6, 7, 8];
        let found: Result<Vec<_>, _> = Fields::of(&message).collect();
        let field = |number, payload| Field { number, payload };
        let expected = [field(1, None), field(2, Some(b"hi".as_slice())), field(3, None), field(4, None)];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn what_is_no_message_is_told() {
        let too_long = [8, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
        for (message, expected) in [
            ([8].as_slice(), "ends within"),
            (&[18, 2, 1], "ends within"),
            (&[18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "ends within"),
            (&[29, 1, 2], "ends within"),
            (&[0, 1], "valid number"),
            (&[11], "unknown type"),
            (&too_long, "ten bytes"),
        ] {
            let error = count(message, &[&[9]]).unwrap_err().to_string();
            assert!(error.contains(expected), "{message:?}: {error}");
        }
        assert_eq!(count(&[8, 1], &[&[1]]).unwrap_err().what, "a number in place of a message");
    }
}
