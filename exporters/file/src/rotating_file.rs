use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{Mode, encode::Lines, error::WriteError};

/// A file that is given another name when it is full, so that a new one can begin. Blocking.
///
/// Every file ends with a whole line, also after a crash or an error in the middle of a write, and only one process
/// writes to it.
#[derive(Debug)]
pub(crate) struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    max_files: u32,
    /// Absent after an error, until the file can be opened again.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    size: u64,
}

/// What became of lines.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) n_lines: usize,
    pub(crate) n_bytes: u64,
    pub(crate) n_rotations: u64,
    /// Why the lines after those were not written.
    pub(crate) error: Option<WriteError>,
}

impl RotatingFile {
    /// Opens the file.
    pub(crate) fn open(path: PathBuf, mode: Mode, max_bytes: u64, max_files: u32) -> io::Result<Self> {
        let current = Current::open(&path)?;
        let current = match mode {
            Mode::Append => current,
            Mode::Truncate => current.emptied()?,
        };
        Ok(Self { path, max_bytes, max_files, current: Some(current) })
    }

    /// Writes lines until one cannot be written.
    pub(crate) fn write(&mut self, lines: &Lines) -> Written {
        let mut written = Written::default();
        while written.n_lines < lines.len() && written.error.is_none() {
            if let Err(error) = self.write_some(lines, &mut written) {
                written.error = Some(error);
            }
        }
        written
    }

    /// Asks the operating system to have everything on the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.current.as_ref().map_or(Ok(()), |it| it.file.sync_data())
    }

    /// Writes as many lines as fit into the file, or makes room for the next.
    fn write_some(&mut self, lines: &Lines, written: &mut Written) -> Result<(), WriteError> {
        let Self { path, max_bytes, .. } = self;
        let current = match &mut self.current {
            Some(current) => current,
            empty => {
                let opened = Current::open(path);
                empty.insert(opened.map_err(|source| WriteError::Open { path: path.clone(), source })?)
            }
        };
        let (mut text, mut n_lines) = lines.fitting(written.n_lines, max_bytes.saturating_sub(current.size));
        if n_lines == 0 {
            if current.size > 0 {
                self.rotate()?;
                written.n_rotations += 1;
                return Ok(());
            }
            // A line that is longer than a file may be: better one file too long than a record lost.
            (text, n_lines) = (lines.line(written.n_lines), 1);
        }
        if let Err(source) = current.file.write_all(text) {
            // Part of it may have been written; without it the file ends with a whole line. If this fails too, the
            // next line begins on a line of its own when the file is opened again.
            drop(current.file.set_len(current.size));
            self.current = None;
            return Err(WriteError::Write { path: path.clone(), source });
        }
        current.size += text.len() as u64;
        written.n_lines += n_lines;
        written.n_bytes += text.len() as u64;
        Ok(())
    }

    /// Gives every file its next name; the oldest is replaced.
    fn rotate(&mut self) -> Result<(), WriteError> {
        let Self { path, max_files, .. } = self;
        if let (1, Some(current)) = (*max_files, self.current.take()) {
            let emptied = current.emptied();
            let write = |source| WriteError::Write { path: path.clone(), source };
            self.current = Some(emptied.map_err(write)?);
            return Ok(());
        }
        for n in (0..*max_files - 1).rev() {
            let (from, to) = (numbered(path, n), numbered(path, n + 1));
            match fs::rename(&from, &to) {
                Ok(()) => {}
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(WriteError::Rename { from, to, source }),
            }
        }
        Ok(())
    }
}

impl Current {
    fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "another process writes to it"));
            }
            // Some file systems have no locks: nothing is lost without.
            Err(TryLockError::Error(_)) => {}
        }
        let mut size = file.seek(SeekFrom::End(0))?;
        if size > 0 {
            // A crash may have left part of a line: the next record must not become part of it.
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != [b'\n'] {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok(Self { file, size })
    }

    fn emptied(mut self) -> io::Result<Self> {
        self.file.set_len(0)?;
        self.size = 0;
        Ok(self)
    }
}

/// Returns the name of the `n`th file before the one being written.
fn numbered(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(format!(".{n}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use component_test::flow;
    use model::Flow;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn records_are_lines_of_the_file() {
        let folder = TempDir::new().unwrap();
        let mut file = open(&folder, Mode::Append, u64::MAX, 5).unwrap();
        let written = file.write(&lines(0..2));
        assert!(written.error.is_none());
        assert_eq!((written.n_lines, written.n_bytes), (2, text(&folder, "").len() as u64));
        assert_eq!(ports(&folder, ""), [0, 1]);
    }

    #[test]
    fn append_keeps_what_is_there_and_truncate_does_not() {
        for (mode, expected) in [(Mode::Append, vec![0, 1]), (Mode::Truncate, vec![1])] {
            let folder = TempDir::new().unwrap();
            for n in 0..2 {
                let mode = if n == 0 { Mode::Append } else { mode };
                assert_eq!(open(&folder, mode, u64::MAX, 5).unwrap().write(&lines(n..n + 1)).n_lines, 1);
            }
            assert_eq!(ports(&folder, ""), expected, "{mode:?}");
        }
    }

    /// After a crash the first new record must not be lost together with the torn one.
    #[test]
    fn a_torn_line_is_ended() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("flows"), "{\"torn").unwrap();
        let mut file = open(&folder, Mode::Append, u64::MAX, 5).unwrap();
        file.write(&lines(7..8));
        let text = text(&folder, "");
        assert_eq!(file.current.unwrap().size, text.len() as u64);
        let (torn, rest) = text.split_once('\n').unwrap();
        assert_eq!((torn, rest.lines().count()), ("{\"torn", 1));
    }

    #[test]
    fn a_full_file_gets_a_number_and_the_oldest_goes() {
        let folder = TempDir::new().unwrap();
        let mut file = open(&folder, Mode::Append, 2 * one_line(), 3).unwrap();
        let written = file.write(&lines(10..19));
        assert_eq!((written.n_lines, written.n_rotations), (9, 4));
        assert_eq!(ports(&folder, ""), [18]);
        assert_eq!(ports(&folder, ".1"), [16, 17]);
        assert_eq!(ports(&folder, ".2"), [14, 15]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_single_file_begins_anew() {
        let folder = TempDir::new().unwrap();
        let mut file = open(&folder, Mode::Append, 2 * one_line(), 1).unwrap();
        file.write(&lines(10..15));
        assert_eq!(ports(&folder, ""), [14]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// The bound is on what grows by itself; a record is never cut.
    #[test]
    fn a_record_longer_than_a_file_has_one_of_its_own() {
        let folder = TempDir::new().unwrap();
        let mut file = open(&folder, Mode::Append, 1, 3).unwrap();
        assert!(file.write(&lines(0..3)).error.is_none());
        assert_eq!(
            (ports(&folder, ""), ports(&folder, ".1"), ports(&folder, ".2")),
            (vec![2], vec![1], vec![0])
        );
    }

    #[test]
    fn a_second_writer_is_refused() {
        let folder = TempDir::new().unwrap();
        let _first = open(&folder, Mode::Append, u64::MAX, 5).unwrap();
        let err = open(&folder, Mode::Append, u64::MAX, 5).unwrap_err();
        assert_eq!(err.to_string(), "another process writes to it");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let folder = TempDir::new().unwrap();
        assert!(RotatingFile::open(folder.path().to_owned(), Mode::Append, 1, 1).is_err());
        let null = RotatingFile::open("/dev/null".into(), Mode::Append, 1, 1).unwrap_err();
        assert_eq!(null.to_string(), "it is not a regular file");
        assert!(RotatingFile::open(folder.path().join("no/folder"), Mode::Append, 1, 1).is_err());
    }

    /// A name that cannot be taken must not stop the exporter for ever, nor make it write beyond its bound.
    #[test]
    fn rotation_that_fails_is_tried_again() {
        let folder = TempDir::new().unwrap();
        let obstacle = folder.path().join("flows.1");
        fs::create_dir_all(obstacle.join("inside")).unwrap();
        let mut file = open(&folder, Mode::Append, 2 * one_line(), 2).unwrap();
        let written = file.write(&lines(10..13));
        assert_eq!(written.n_lines, 2);
        assert!(matches!(written.error, Some(WriteError::Rename { .. })), "{:?}", written.error);
        fs::remove_dir_all(obstacle).unwrap();
        assert!(file.write(&lines(13..14)).error.is_none());
        assert_eq!((ports(&folder, ".1"), ports(&folder, "")), (vec![10, 11], vec![13]));
    }

    /// `/dev/full` stands for a disk that is.
    #[test]
    fn a_full_disk_is_an_error_and_ends_with_the_disk_being_full() {
        let folder = TempDir::new().unwrap();
        let mut file = open(&folder, Mode::Append, u64::MAX, 2).unwrap();
        file.write(&lines(0..1));
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        file.current.as_mut().unwrap().file = full;
        let written = file.write(&lines(1..3));
        assert_eq!(written.n_lines, 0);
        assert!(matches!(written.error, Some(WriteError::Write { .. })), "{:?}", written.error);
        assert!(file.write(&lines(3..4)).error.is_none());
        assert_eq!(ports(&folder, ""), [0, 3]);
    }

    proptest! {
        /// However records are grouped: no file is larger than it may be, there are no more than there may be, and
        /// together they hold the latest records in order.
        #[test]
        fn files_hold_the_latest_records(
            groups in prop::collection::vec(0..6_u16, 0..12),
            lines_per_file in 1..4_u64,
            max_files in 1..4_u32,
        ) {
            let folder = TempDir::new().unwrap();
            let max_bytes = lines_per_file * one_line();
            let mut file = open(&folder, Mode::Append, max_bytes, max_files).unwrap();
            let mut next = 10;
            for n in groups {
                prop_assert!(file.write(&lines(next..next + n)).error.is_none());
                next += n;
            }
            let mut kept = Vec::new();
            for n in (0..max_files).rev() {
                let suffix = if n == 0 { String::new() } else { format!(".{n}") };
                if folder.path().join(format!("flows{suffix}")).exists() {
                    prop_assert!(text(&folder, &suffix).len() as u64 <= max_bytes);
                    kept.extend(ports(&folder, &suffix));
                }
            }
            prop_assert!(fs::read_dir(folder.path()).unwrap().count() <= max_files as usize);
            let n_kept = u16::try_from(kept.len()).unwrap();
            prop_assert_eq!(kept, (next - n_kept..next).collect::<Vec<_>>());
            prop_assert!(next == 10 || n_kept > 0);
        }
    }

    fn open(folder: &TempDir, mode: Mode, max_bytes: u64, max_files: u32) -> io::Result<RotatingFile> {
        RotatingFile::open(folder.path().join("flows"), mode, max_bytes, max_files)
    }

    /// Makes a line per number, as the client's port: two digits, so that all lines are equally long.
    fn lines(ports: std::ops::Range<u16>) -> Lines {
        let records: Vec<Flow> =
            ports.map(|port| flow().client(&format!("10.0.0.1:{port}")).build()).collect();
        Lines::of(&records)
    }

    fn one_line() -> u64 {
        lines(10..11).line(0).len() as u64
    }

    fn text(folder: &TempDir, suffix: &str) -> String {
        fs::read_to_string(folder.path().join(format!("flows{suffix}"))).unwrap()
    }

    fn ports(folder: &TempDir, suffix: &str) -> Vec<u16> {
        let port = |line: &str| serde_json::from_str::<Flow>(line).unwrap().client.port;
        text(folder, suffix).lines().map(port).collect()
    }
}
