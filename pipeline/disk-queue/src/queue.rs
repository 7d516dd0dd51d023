use std::{
    collections::VecDeque,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    error::{OpenError, ReadError, WriteError},
    format::{
        self, Damage, Found, RECORD_HEADER, SEGMENT_HEADER, VERSION, first_record, next_record, write_record,
        write_segment_header,
    },
    position::{Place, Position},
};

/// How large a segment is allowed to be, whatever the whole may take.
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4096..=16 * 1024 * 1024;
/// Into how many segments the whole is divided: that much is freed at a time.
const N_SEGMENTS: u64 = 16;
/// Digits of a segment's number in the name of its file.
const DIGITS: usize = 16;

/// What a queue may take, and what it promises.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most bytes of all segments.
    pub max_bytes: u64,
    /// Whether [`DiskQueue::sync`] is going to be called, so that what it does not reach must be on the disk already.
    pub is_synced: bool,
}

/// A queue of records in the files of a directory.
#[derive(Debug)]
pub struct DiskQueue {
    directory: PathBuf,
    limits: Limits,
    segment_bytes: u64,
    /// From the oldest; the last is the one that is written to, if there is one.
    segments: VecDeque<Segment>,
    n_bytes: u64,
    writer: Option<Writer>,
    next_segment: u64,
    /// What is read next.
    cursor: Place,
    reader: Option<(u64, File)>,
    /// What was read and is not done, or follows what is not.
    open: VecDeque<Open>,
    first_open: u64,
    /// What is before is done.
    done: Place,
    position: Position,
    /// Held as long as the queue is.
    _lock: File,
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    number: u64,
    len: u64,
}

#[derive(Debug)]
struct Writer {
    file: File,
    is_dirty: bool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    end: Place,
    is_done: bool,
}

/// What was found when a queue was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Bytes of all segments.
    pub n_bytes: u64,
    /// Bytes at the end of the newest that belonged to no whole record.
    pub n_torn: u64,
}

/// Tells a record that was read from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(u64);

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What [`DiskQueue::done`] wants to be told.
    pub token: Token,
    /// What its writer calls its kind.
    pub kind: u8,
    /// How many items it has.
    pub n_items: u64,
    /// What was written.
    pub payload: Vec<u8>,
}

/// What reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// There is nothing that was not read.
    End,
    /// The next record.
    Record(Record),
    /// What was there is no record; the next may be one.
    Damaged(Damage),
}

impl DiskQueue {
    /// Opens the queue in a directory, which is made if there is none.
    ///
    /// What was read and not done when it was last open is read again.
    ///
    /// # Errors
    ///
    /// The directory or a file in it cannot be used, is another process's, or is of a newer version.
    pub fn open(directory: &Path, limits: Limits) -> Result<(Self, Opened), OpenError> {
        let create = |source| OpenError::Create { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(create)?;
        let lock = lock(directory)?;
        let path = directory.join("position");
        let (position, done) = Position::open(&path).map_err(file_error(&path))?;
        let done = done.unwrap_or_default();
        let mut queue = Self {
            directory: directory.to_owned(),
            limits,
            segment_bytes: (limits.max_bytes / N_SEGMENTS)
                .clamp(*SEGMENT_BYTES.start(), *SEGMENT_BYTES.end()),
            segments: VecDeque::new(),
            n_bytes: 0,
            writer: None,
            next_segment: done.segment + 1,
            cursor: done,
            reader: None,
            open: VecDeque::new(),
            first_open: 0,
            done,
            position,
            _lock: lock,
        };
        let n_torn = queue.find_segments()?;
        let n_bytes = queue.n_bytes;
        Ok((queue, Opened { n_bytes, n_torn }))
    }

    /// Finds the segments that are not done, and cuts off what a crash left at the end of the newest.
    fn find_segments(&mut self) -> Result<u64, OpenError> {
        let in_directory = file_error(&self.directory);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(&in_directory)? {
            numbers.extend(entry.map_err(&in_directory)?.file_name().to_str().and_then(number));
        }
        numbers.sort_unstable();
        let newest = numbers.last().copied();
        let mut n_torn = 0;
        for number in numbers {
            let path = self.path(number);
            let error = file_error(&path);
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(&error)?;
            let mut len = file.metadata().map_err(&error)?.len();
            check_version(&file, len, &path)?;
            if Some(number) == newest {
                let end = whole_end(&file, number, len).map_err(&error)?;
                if end < len {
                    file.set_len(end).map_err(&error)?;
                    file.sync_data().map_err(&error)?;
                }
                n_torn = len - end;
                len = end;
            }
            self.next_segment = self.next_segment.max(number + 1);
            let is_done =
                number < self.done.segment || number == self.done.segment && len <= self.done.offset;
            if is_done || len <= first_record() {
                fs::remove_file(&path).map_err(&error)?;
            } else {
                self.n_bytes += len;
                self.segments.push_back(Segment { number, len });
            }
        }
        Ok(n_torn)
    }

    /// Returns the bytes of all segments.
    pub const fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Returns whether everything that was written has been read.
    pub fn is_at_end(&self) -> bool {
        self.segments.back().is_none_or(|it| self.cursor >= Place { segment: it.number, offset: it.len })
    }

    /// Writes a record behind the others. It survives the process from then on, and the machine from the next
    /// [`DiskQueue::sync`].
    ///
    /// # Errors
    ///
    /// There is no room, or it cannot be written: it is not in the queue.
    pub fn push(&mut self, kind: u8, n_items: u64, payload: &[u8]) -> Result<(), WriteError> {
        match self.append(kind, n_items, payload) {
            // The disk may be full of what is done with.
            Err(WriteError::Write { .. }) if self.is_at_end() && self.open.is_empty() => {
                self.remove_done()?;
                self.append(kind, n_items, payload)
            }
            appended => appended,
        }
    }

    fn append(&mut self, kind: u8, n_items: u64, payload: &[u8]) -> Result<(), WriteError> {
        let size = (RECORD_HEADER + payload.len()) as u64;
        let is_full = |len: u64| len > first_record() && len + size > self.segment_bytes;
        if self.writer.is_some() && self.segments.back().is_some_and(|it| is_full(it.len)) {
            self.end_segment()?;
        }
        if !self.has_room(size) && self.is_at_end() && self.open.is_empty() {
            // What is full is done with.
            self.end_segment()?;
        }
        if !self.has_room(size) {
            return Err(WriteError::Full);
        }
        if self.writer.is_none() {
            self.begin_segment()?;
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            unreachable!("a segment was begun");
        };
        let mut bytes = Vec::with_capacity(RECORD_HEADER + payload.len());
        if !write_record(segment.number, segment.len, kind, n_items, payload, &mut bytes) {
            return Err(WriteError::Full);
        }
        if let Err(source) = writer.file.write_all(&bytes) {
            let path = segment_path(&self.directory, segment.number);
            // Part of it may be there. What cannot be cut off stays behind the end of the segment.
            let is_cut = writer.file.set_len(segment.len).is_ok();
            // Where the disk is full its room must be freed as soon as what has it is done. The first error is the one to tell.
            if !is_cut || segment.len > first_record() {
                let _first = self.end_segment();
            }
            return Err(WriteError::Write { path, source });
        }
        writer.is_dirty = true;
        segment.len += size;
        self.n_bytes += size;
        Ok(())
    }

    /// Has what was written on the disk.
    ///
    /// # Errors
    ///
    /// The operating system does not say that it is.
    pub fn sync(&mut self) -> Result<(), WriteError> {
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back()) else { return Ok(()) };
        if !writer.is_dirty {
            return Ok(());
        }
        if let Err(source) = writer.file.sync_data() {
            let path = self.path(segment.number);
            // Nothing is said of what was written once this failed: what follows goes elsewhere.
            self.writer = None;
            return Err(WriteError::Sync { path, source });
        }
        writer.is_dirty = false;
        Ok(())
    }

    /// Reads what follows.
    ///
    /// # Errors
    ///
    /// It cannot be read; the next call tries the next segment.
    pub fn read(&mut self) -> Result<Read, ReadError> {
        loop {
            let after = self.segments.partition_point(|it| it.number < self.cursor.segment);
            let Some(&Segment { number, len }) = self.segments.get(after) else { return Ok(Read::End) };
            if number > self.cursor.segment {
                self.cursor = Place { segment: number, offset: first_record() };
            }
            let found = self.find(number, len);
            if found.is_err() {
                self.reader = None;
                self.pass(Place { segment: number, offset: len }, true);
            }
            match found? {
                Found::End if after + 1 < self.segments.len() => {
                    let Segment { number, .. } = self.segments[after + 1];
                    self.cursor = Place { segment: number, offset: first_record() };
                }
                Found::End => return Ok(Read::End),
                Found::Record { kind, n_items, payload, next } => {
                    let token = self.pass(Place { segment: number, offset: next }, false);
                    return Ok(Read::Record(Record { token, kind, n_items, payload }));
                }
                Found::Damaged { damage, next } => {
                    self.pass(Place { segment: number, offset: next }, true);
                    return Ok(Read::Damaged(damage));
                }
            }
        }
    }

    fn find(&mut self, number: u64, len: u64) -> Result<Found, ReadError> {
        let offset = self.cursor.offset.max(first_record());
        if offset >= len {
            return Ok(Found::End);
        }
        let path = self.path(number);
        let error = |source| ReadError { path: path.clone(), source };
        let file = match self.reader.take() {
            Some((of, file)) if of == number => file,
            _ => File::open(&path).map_err(error)?,
        };
        let found = next_record(&file, number, offset, len).map_err(error);
        self.reader = Some((number, file));
        found
    }

    fn pass(&mut self, end: Place, is_done: bool) -> Token {
        self.cursor = end;
        self.open.push_back(Open { end, is_done });
        Token(self.first_open + self.open.len() as u64 - 1)
    }

    /// Has it that a record need not be read again, and frees the room of those segments that have no other.
    ///
    /// # Errors
    ///
    /// It cannot be noted: after a crash it is read again. Or a segment cannot be removed, and takes room.
    pub fn done(&mut self, tokens: impl IntoIterator<Item = Token>) -> Result<(), WriteError> {
        for Token(token) in tokens {
            let open = token.checked_sub(self.first_open).and_then(|it| usize::try_from(it).ok());
            if let Some(open) = open.and_then(|it| self.open.get_mut(it)) {
                open.is_done = true;
            }
        }
        let before = self.done;
        while let Some(open) = self.open.pop_front_if(|it| it.is_done) {
            self.done = open.end;
            self.first_open += 1;
        }
        if self.done == before {
            return Ok(());
        }
        let noted = self.position.write(self.done);
        let removed = self.remove_done();
        noted.map_err(|source| WriteError::Write { path: self.directory.join("position"), source })?;
        removed
    }

    /// Removes segments that are done; the one that is written to is not.
    fn remove_done(&mut self) -> Result<(), WriteError> {
        while let Some(&Segment { number, len }) = self.segments.front() {
            let is_written = self.writer.is_some() && self.segments.len() == 1;
            if is_written || self.done < (Place { segment: number, offset: len }) {
                break;
            }
            // A file that is open has its room until it is closed.
            self.reader.take_if(|(of, _)| *of == number);
            let path = self.path(number);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(WriteError::Write { path, source });
                }
                _ => {}
            }
            self.segments.pop_front();
            self.n_bytes -= len;
        }
        Ok(())
    }

    fn has_room(&self, size: u64) -> bool {
        let header = if self.writer.is_none() { first_record() } else { 0 };
        self.n_bytes + header + size <= self.limits.max_bytes
    }

    /// Has nothing more written to the newest segment.
    fn end_segment(&mut self) -> Result<(), WriteError> {
        let synced = if self.limits.is_synced { self.sync() } else { Ok(()) };
        self.writer = None;
        synced?;
        self.remove_done()
    }

    fn begin_segment(&mut self) -> Result<(), WriteError> {
        let number = self.next_segment;
        let path = self.path(number);
        let mut header = Vec::with_capacity(SEGMENT_HEADER);
        write_segment_header(number, &mut header);
        // What an earlier attempt left has no record in it.
        let mut options = OpenOptions::new();
        let opened = options.append(true).create(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| WriteError::Create { path: path.clone(), source })?;
        let begun = file.set_len(0).and_then(|()| (&file).write_all(&header));
        begun.map_err(|source| WriteError::Write { path, source })?;
        if self.limits.is_synced {
            let synced = File::open(&self.directory).and_then(|it| it.sync_all());
            synced.map_err(|source| WriteError::Sync { path: self.directory.clone(), source })?;
        }
        self.next_segment += 1;
        self.segments.push_back(Segment { number, len: first_record() });
        self.n_bytes += first_record();
        self.writer = Some(Writer { file, is_dirty: true });
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        segment_path(&self.directory, number)
    }
}

fn segment_path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:0DIGITS$x}.segment"))
}

fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment").filter(|it| it.len() == DIGITS)?;
    u64::from_str_radix(digits, 16).ok().filter(|it| *it < u64::MAX)
}

fn file_error(path: &Path) -> impl Fn(io::Error) -> OpenError {
    move |source| OpenError::File { path: path.to_owned(), source }
}

/// Makes sure that no other process has the directory, for as long as the file is open.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let error = file_error(&path);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(&error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(error(source)),
    }
}

fn check_version(file: &File, len: u64, path: &Path) -> Result<(), OpenError> {
    if len < first_record() {
        return Ok(());
    }
    let mut header = [0; SEGMENT_HEADER];
    format::Source::read_exact_at(file, &mut header, 0).map_err(file_error(path))?;
    match format::version(&header) {
        Some(found) if found != VERSION => Err(OpenError::Newer { path: path.to_owned(), found }),
        _ => Ok(()),
    }
}

/// Returns where a segment ends without what was torn.
fn whole_end(file: &File, number: u64, len: u64) -> io::Result<u64> {
    let mut offset = first_record();
    loop {
        match next_record(file, number, offset, len)? {
            Found::End | Found::Damaged { damage: Damage::Torn, .. } => return Ok(offset.min(len)),
            Found::Record { next, .. } | Found::Damaged { next, .. } => offset = next,
        }
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
