//! A queue of records in files: what is in it survives the process.
//!
//! Records are appended to the newest of a few files, its segments, and read from the oldest. A segment whose records
//! are all done is removed. Which are done is noted in a file of its own, after the fact: after a crash some that were
//! done are read once more, and none is left out.
//!
//! Segments are never appended to by another process than the one that began them. So whatever a crash left at the end of
//! one is cut off once, and nothing is ever written behind it. Every record has a checksum, and its header one of its
//! own, by which the next record is found behind a damaged one.
//!
//! There is no waiting here and no thread: whoever has a [`DiskQueue`] calls it where blocking is allowed.

#![forbid(unsafe_code)]

mod error;
mod format;
mod position;
mod queue;

pub use self::{
    error::{OpenError, ReadError, WriteError},
    format::{Damage, Found, Source, first_record, next_record, write_record, write_segment_header},
    queue::{DiskQueue, Limits, Opened, Read, Record, Token},
};
