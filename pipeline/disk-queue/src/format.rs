//! What is in a segment.
//!
//! All numbers are little-endian. A segment begins with 16 bytes: `ridleyq`, the version (1), the first four bytes of the
//! segment's number, and the checksum of these 12. Then come records, each of 28 bytes and its payload:
//!
//! | bytes | what |
//! | --- | --- |
//! | 4 | `rec\n` |
//! | 4 | length of the payload |
//! | 1, 3 | kind, zeros |
//! | 8 | number of items |
//! | 4 | checksum of the payload |
//! | 4 | checksum of the number of the segment, of where in it the record is, and of the 24 bytes before |
//!
//! Checksums are CRC-32 (ISO-HDLC). A record is one only where it was written: bytes of a payload that look like a record
//! are none, but that somebody may make them for just this place, and has them read if what is before is damaged. Nothing comes of
//! it that whoever may send could not send.

use std::{fs::File, io, os::unix::fs::FileExt};

/// The version of the format that is written.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER: usize = 16;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEADER: usize = 28;

const NAME: &[u8; 7] = b"ridleyq";
const MARK: &[u8; 4] = b"rec\n";
/// How much is looked through at a time for the next record behind a damaged one.
const CHUNK: usize = 64 * 1024;

/// Bytes that can be read anywhere: a file, or a part of memory.
pub trait Source {
    /// Fills `bytes` with what is at `offset`.
    ///
    /// # Errors
    ///
    /// There are not so many bytes there, or they cannot be read.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
}

impl Source for File {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, bytes, offset)
    }
}

impl Source for [u8] {
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let rest = usize::try_from(offset).ok().and_then(|it| self.get(it..));
        let found = rest.and_then(|it| it.get(..bytes.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.copy_from_slice(found);
        Ok(())
    }
}

/// What is at some place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing more.
    End,
    /// A record as it was written.
    Record {
        /// What its writer calls its kind.
        kind: u8,
        /// How many items it has.
        n_items: u64,
        /// What was written.
        payload: Vec<u8>,
        /// Where the next one is.
        next: u64,
    },
    /// Something else.
    Damaged {
        /// What it is.
        damage: Damage,
        /// Where the next record is, or the end.
        next: u64,
    },
}

/// What is in the place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The beginning of a record at the end of the segment: whoever wrote it was stopped.
    Torn,
    /// A record whose payload is not what was written.
    Payload {
        /// Its kind.
        kind: u8,
        /// How many items are lost.
        n_items: u64,
    },
    /// Nobody knows what it was.
    Unknown,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    len: u32,
    kind: u8,
    n_items: u64,
    payload_sum: u32,
}

impl Header {
    fn encode(self, segment: u64, offset: u64) -> [u8; RECORD_HEADER] {
        let Self { len, kind, n_items, payload_sum } = self;
        let mut bytes = [0; RECORD_HEADER];
        bytes[..4].copy_from_slice(MARK);
        bytes[4..8].copy_from_slice(&len.to_le_bytes());
        bytes[8] = kind;
        bytes[12..20].copy_from_slice(&n_items.to_le_bytes());
        bytes[20..24].copy_from_slice(&payload_sum.to_le_bytes());
        let sum = header_sum(&bytes[..24], segment, offset);
        bytes[24..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; RECORD_HEADER], segment: u64, offset: u64) -> Option<Self> {
        let (content, sum) = bytes.split_at(24);
        if !bytes.starts_with(MARK) || sum != header_sum(content, segment, offset).to_le_bytes() {
            return None;
        }
        Some(Self {
            len: u32::from_le_bytes(part(bytes, 4)),
            kind: bytes[8],
            n_items: u64::from_le_bytes(part(bytes, 12)),
            payload_sum: u32::from_le_bytes(part(bytes, 20)),
        })
    }
}

fn part<const N: usize>(bytes: &[u8; RECORD_HEADER], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("fields end before the header does")
}

fn header_sum(content: &[u8], segment: u64, offset: u64) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&segment.to_le_bytes());
    sum.update(&offset.to_le_bytes());
    sum.update(content);
    sum.finalize()
}

/// Begins a segment.
pub fn write_segment_header(segment: u64, to: &mut Vec<u8>) {
    let mut bytes = [0; SEGMENT_HEADER];
    bytes[..7].copy_from_slice(NAME);
    bytes[7] = VERSION;
    bytes[8..12].copy_from_slice(&segment.to_le_bytes()[..4]);
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    to.extend(bytes);
}

/// Adds a record, which is going to be at `offset` of a segment.
///
/// Returns whether it did: a record has no more than 4 GiB.
pub fn write_record(
    segment: u64,
    offset: u64,
    kind: u8,
    n_items: u64,
    payload: &[u8],
    to: &mut Vec<u8>,
) -> bool {
    let Ok(len) = u32::try_from(payload.len()) else { return false };
    let header = Header { len, kind, n_items, payload_sum: crc32fast::hash(payload) };
    to.extend(header.encode(segment, offset));
    to.extend(payload);
    true
}

/// Returns the version of a segment; `None` if its header is damaged, which takes nothing from its records.
pub(crate) fn version(header: &[u8; SEGMENT_HEADER]) -> Option<u8> {
    let (content, sum) = header.split_at(12);
    let is_whole = header.starts_with(NAME) && sum == crc32fast::hash(content).to_le_bytes();
    is_whole.then_some(header[7])
}

/// Returns where the first record of a segment is.
pub const fn first_record() -> u64 {
    SEGMENT_HEADER as u64
}

/// Reads what is at `offset` of a segment that ends at `end`.
///
/// # Errors
///
/// The bytes cannot be read.
pub fn next_record<S: Source + ?Sized>(source: &S, segment: u64, offset: u64, end: u64) -> io::Result<Found> {
    if offset >= end {
        return Ok(Found::End);
    }
    let torn = Found::Damaged { damage: Damage::Torn, next: end };
    let Some(after_header) = behind(offset, RECORD_HEADER as u64, end) else { return Ok(torn) };
    let mut header = [0; RECORD_HEADER];
    source.read_exact_at(&mut header, offset)?;
    let Some(header) = Header::decode(&header, segment, offset) else {
        let (damage, next) = resume(source, segment, offset, end)?;
        return Ok(Found::Damaged { damage, next });
    };
    let Header { len, kind, n_items, payload_sum } = header;
    let Some(next) = behind(after_header, u64::from(len), end) else { return Ok(torn) };
    let mut payload = vec![0; usize::try_from(len).map_err(|_large| io::ErrorKind::OutOfMemory)?];
    source.read_exact_at(&mut payload, after_header)?;
    if crc32fast::hash(&payload) == payload_sum {
        Ok(Found::Record { kind, n_items, payload, next })
    } else {
        Ok(Found::Damaged { damage: Damage::Payload { kind, n_items }, next })
    }
}

fn behind(offset: u64, len: u64, end: u64) -> Option<u64> {
    offset.checked_add(len).filter(|it| *it <= end)
}

/// Looks for the next record behind `offset`, where there is none.
///
/// A file system that grew a file and did not get to writing what belongs there has zeros in it.
fn resume<S: Source + ?Sized>(source: &S, segment: u64, offset: u64, end: u64) -> io::Result<(Damage, u64)> {
    let mut bytes = Vec::new();
    let mut is_zero = true;
    let mut at = offset;
    while at < end {
        // Headers that begin in this chunk may end in the next.
        let len = (end - at).min((CHUNK + RECORD_HEADER) as u64);
        bytes.resize(usize::try_from(len).expect("a chunk is small"), 0);
        source.read_exact_at(&mut bytes, at)?;
        is_zero &= bytes.iter().all(|it| *it == 0);
        for (start, header) in bytes.array_windows().enumerate().take(CHUNK) {
            let start = at + start as u64;
            if start > offset && Header::decode(header, segment, start).is_some() {
                return Ok((Damage::Unknown, start));
            }
        }
        at += CHUNK as u64;
    }
    Ok((if is_zero { Damage::Torn } else { Damage::Unknown }, end))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
