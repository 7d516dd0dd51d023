//! Encoded export requests, divided without being decoded.

use bytes::Bytes;
use opentelemetry_proto::tonic::{logs::v1::LogsData, metrics::v1::MetricsData, trace::v1::TracesData};

use crate::{
    OtlpData, Signal,
    wire::{Fields, Malformed},
};

/// How large the parts of a request are at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxSize {
    /// So many bytes.
    Bytes(u64),
    /// So many spans, log records or data points.
    Items(u64),
}

/// Most bytes of a field's number and length.
const KEY_BYTES: u64 = 10 + 10;

/// Divides an encoded export request into several, with the number of items of each; together they have its items, in their
/// order, and each item is of the resource, the scope and the metric that it was of.
///
/// None is larger than `max`, but that one with a single item may have more bytes. What has no items is left out. A request of
/// flow records has no parts.
///
/// # Errors
///
/// Its outer messages are none.
pub fn split(signal: Signal, request: &[u8], max: MaxSize) -> Result<Vec<(Bytes, u64)>, Malformed> {
    let path = match signal {
        Signal::Metrics => MetricsData::ITEMS,
        Signal::Traces => TracesData::ITEMS,
        Signal::Logs => LogsData::ITEMS,
        Signal::Flows => &[],
    };
    let mut splitter = Splitter { max, levels: Vec::new(), n_items: 0, parts: Vec::new() };
    splitter.walk(request, path, &[])?;
    splitter.end_part();
    Ok(splitter.parts)
}

struct Splitter<'a> {
    max: MaxSize,
    /// The messages around the items, from the request itself.
    levels: Vec<Level<'a>>,
    /// How many items are in the present part.
    n_items: u64,
    parts: Vec<(Bytes, u64)>,
}

/// A message that is around the next item.
struct Level<'a> {
    /// The number of the field that it is of the message around it, encoded; nothing for the request.
    key: &'a [u8],
    /// The fields that each part of it has.
    common: Vec<&'a [u8]>,
    /// What of the present part is in it.
    items: Vec<u8>,
}

impl Level<'_> {
    fn n_common(&self) -> u64 {
        self.common.iter().map(|it| it.len() as u64).sum()
    }
}

impl<'a> Splitter<'a> {
    /// Goes through a message, in which the next of `path` are the fields on the way to the items.
    fn walk(&mut self, message: &'a [u8], path: &[&[u32]], key: &'a [u8]) -> Result<(), Malformed> {
        let Some((numbers, path)) = path.split_first() else { return Ok(()) };
        let mut common = Vec::new();
        let mut inner = Vec::new();
        let mut fields = Fields::of(message);
        let mut rest = message;
        while let Some(field) = fields.next() {
            let field = field?;
            let (whole, behind) = rest.split_at(rest.len() - fields.rest().len());
            rest = behind;
            match field.payload {
                Some(payload) if numbers.contains(&field.number) => inner.push((whole, payload)),
                _ => common.push(whole),
            }
        }
        self.levels.push(Level { key, common, items: Vec::new() });
        for (whole, payload) in inner {
            if path.is_empty() {
                self.add(whole);
            } else {
                self.walk(payload, path, key_of(whole))?;
            }
        }
        self.close();
        Ok(())
    }

    /// Adds an item, to the present part if there is room.
    fn add(&mut self, item: &[u8]) {
        let is_full = match self.max {
            MaxSize::Items(max) => self.n_items >= max,
            MaxSize::Bytes(max) => self.n_bytes() + item.len() as u64 > max,
        };
        if is_full && self.n_items > 0 {
            self.end_part();
        }
        if let Some(level) = self.levels.last_mut() {
            level.items.extend(item);
        }
        self.n_items += 1;
    }

    /// How many bytes the present part has at most.
    fn n_bytes(&self) -> u64 {
        self.levels.iter().map(|it| it.n_common() + it.items.len() as u64 + KEY_BYTES).sum()
    }

    /// Ends the innermost message.
    fn close(&mut self) {
        // The request itself is ended by the end of its last part.
        if self.levels.len() > 1 {
            self.flush(self.levels.len() - 1);
            self.levels.pop();
        }
    }

    /// Moves what a message has of the present part into the message around it.
    fn flush(&mut self, at: usize) {
        let (outer, inner) = self.levels.split_at_mut(at);
        let (Some(outer), Some(inner)) = (outer.last_mut(), inner.first_mut()) else { return };
        if inner.items.is_empty() {
            return;
        }
        outer.items.extend(inner.key);
        let len = inner.common.iter().map(|it| it.len()).sum::<usize>() + inner.items.len();
        prost::encode_length_delimiter(len, &mut outer.items).expect("a vector grows");
        for field in &inner.common {
            outer.items.extend(*field);
        }
        outer.items.append(&mut inner.items);
    }

    /// Ends the present part; what is around the next item is begun again.
    fn end_part(&mut self) {
        for at in (1..self.levels.len()).rev() {
            self.flush(at);
        }
        let Some(request) = self.levels.first_mut().filter(|it| !it.items.is_empty()) else { return };
        let mut part = request.common.concat();
        part.append(&mut request.items);
        self.parts.push((part.into(), self.n_items));
        self.n_items = 0;
    }
}

/// The number and kind of a field, encoded: what is before its length.
fn key_of(field: &[u8]) -> &[u8] {
    let last = field.iter().position(|it| it & 0x80 == 0).unwrap_or_default();
    &field[..=last]
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;
