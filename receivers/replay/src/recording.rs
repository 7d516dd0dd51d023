use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use model::Flow;

use crate::decode::{MAX_LINE, Malformed, decode};

/// Records that are read at a time, at most.
const CHUNK_RECORDS: usize = 512;

/// Bytes that are read at a time, about: hostile lines must not add up.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A file of records, read in order. Blocking, and bounded whatever is in the file.
#[derive(Debug)]
pub(crate) struct Recording<R> {
    reader: R,
    line: Vec<u8>,
    n_lines: u64,
}

/// What was read at a time.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) records: Vec<Flow>,
    /// Why reading stopped behind those records.
    pub(crate) stop: Option<Stop>,
}

/// Why reading stopped.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The file is over.
    End,
    /// A line is not a record. Reading can go on behind it.
    Malformed { line: u64, malformed: Malformed },
    /// The file cannot be read further.
    Failed(io::Error),
}

impl Recording<BufReader<File>> {
    /// Opens a file.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        // Before opening, which waits for ever at the end of a pipe.
        if !path.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(Self::new(BufReader::new(File::open(path)?)))
    }
}

impl<R: BufRead> Recording<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, line: Vec::new(), n_lines: 0 }
    }

    /// Reads some records.
    pub(crate) fn read(&mut self) -> Chunk {
        let mut chunk = Chunk::default();
        let mut n_bytes = 0;
        while chunk.stop.is_none() && chunk.records.len() < CHUNK_RECORDS && n_bytes < CHUNK_BYTES {
            match self.read_line() {
                Err(err) => chunk.stop = Some(Stop::Failed(err)),
                Ok(None) => chunk.stop = Some(Stop::End),
                Ok(Some(read)) => {
                    n_bytes += self.line.len();
                    match read.and_then(|()| self.decode()) {
                        Ok(flow) => chunk.records.extend(flow),
                        Err(malformed) => {
                            chunk.stop = Some(Stop::Malformed { line: self.n_lines, malformed });
                        }
                    }
                }
            }
        }
        chunk
    }

    /// Decodes the line that was read; an empty one is no record, and no mistake.
    fn decode(&self) -> Result<Option<Flow>, Malformed> {
        let line = self.line.trim_ascii();
        if line.is_empty() { Ok(None) } else { decode(line).map(Some) }
    }

    /// Reads a line into `self.line`, at most [`MAX_LINE`] bytes of it. `None` at the end of the file.
    fn read_line(&mut self) -> io::Result<Option<Result<(), Malformed>>> {
        self.line.clear();
        let mut read = Ok(());
        let mut is_any = false;
        loop {
            let available = match self.reader.fill_buf() {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                break;
            }
            is_any = true;
            let end = available.iter().position(|it| *it == b'\n');
            let piece = &available[..end.unwrap_or(available.len())];
            if self.line.len() + piece.len() <= MAX_LINE {
                self.line.extend_from_slice(piece);
            } else {
                read = Err(Malformed::TooLong);
            }
            let n_consumed = piece.len() + usize::from(end.is_some());
            self.reader.consume(n_consumed);
            if end.is_some() {
                break;
            }
        }
        if !is_any {
            return Ok(None);
        }
        self.n_lines += 1;
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use component_test::flow;

    use super::*;

    #[test]
    fn records_are_read_to_the_end() {
        check(&format!("{}\n{}\n", line(1), line(2)), &[Read::Port(1), Read::Port(2)]);
    }

    #[test]
    fn the_last_line_need_not_end() {
        check(&format!("{}\n{}", line(1), line(2)), &[Read::Port(1), Read::Port(2)]);
    }

    #[test]
    fn empty_lines_and_line_ends_of_other_systems_are_no_mistakes() {
        check(&format!("\n{}\r\n  \n\n{}\n\n", line(1), line(2)), &[Read::Port(1), Read::Port(2)]);
        check("", &[]);
        check("\n", &[]);
    }

    #[test]
    fn a_mistake_is_named_by_its_line() {
        check(
            &format!("{}\n\n{{}}\n{}\nx\n", line(1), line(2)),
            &[Read::Port(1), Read::Mistake(3), Read::Port(2), Read::Mistake(5)],
        );
    }

    /// What a crash of the recorder leaves.
    #[test]
    fn a_torn_last_line_is_a_mistake() {
        check(&format!("{}\n{}", line(1), &line(2)[..30]), &[Read::Port(1), Read::Mistake(2)]);
    }

    /// A line without an end must not fill the memory.
    #[test]
    fn a_line_too_long_is_read_past() {
        let long = "x".repeat(10 * MAX_LINE);
        let text = format!("{}\n{long}\n{}\n", line(1), line(2));
        check(&text, &[Read::Port(1), Read::Mistake(2), Read::Port(2)]);
        let mut recording = Recording::new(Cursor::new(text));
        while !matches!(recording.read().stop, Some(Stop::End)) {}
        assert!(recording.line.capacity() <= 2 * MAX_LINE, "{} bytes are kept", recording.line.capacity());
    }

    #[test]
    fn the_longest_line_is_read() {
        let padded = format!("{}{}", line(1), " ".repeat(MAX_LINE - line(1).len()));
        check(&format!("{padded}\n{padded} \n"), &[Read::Port(1), Read::Mistake(2)]);
    }

    #[test]
    fn a_chunk_is_bounded() {
        let text = format!("{}\n", line(1)).repeat(CHUNK_RECORDS + 1);
        let mut recording = Recording::new(Cursor::new(text));
        let chunk = recording.read();
        assert_eq!((chunk.records.len(), chunk.stop.is_none()), (CHUNK_RECORDS, true));

        let wide = format!("{}{}\n", line(1), " ".repeat(MAX_LINE - line(1).len())).repeat(100);
        let chunk = Recording::new(Cursor::new(wide)).read();
        assert_eq!((chunk.records.len(), chunk.stop.is_none()), (CHUNK_BYTES / MAX_LINE, true));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        struct Broken;
        impl io::Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::ConnectionReset.into())
            }
        }
        let chunk = Recording::new(BufReader::new(Broken)).read();
        assert!(matches!(chunk.stop, Some(Stop::Failed(_))), "{chunk:?}");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        for path in ["/dev/null", "/tmp", "/no/such/file"] {
            assert!(Recording::open(Path::new(path)).is_err(), "{path}");
        }
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Read {
        Port(u16),
        Mistake(u64),
    }

    fn line(port: u16) -> String {
        serde_json::to_string(&flow().client(&format!("10.0.0.1:{port}")).build()).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &[Read]) {
        // Small pieces, so that lines are put together.
        let mut recording = Recording::new(BufReader::with_capacity(7, Cursor::new(text)));
        let mut found = Vec::new();
        loop {
            let Chunk { records, stop } = recording.read();
            found.extend(records.iter().map(|it| Read::Port(it.client.port)));
            match stop {
                None => {}
                Some(Stop::Malformed { line, malformed: _ }) => found.push(Read::Mistake(line)),
                Some(Stop::End) => break,
                Some(Stop::Failed(err)) => panic!("{err}"),
            }
        }
        assert_eq!(found, expected);
    }
}
