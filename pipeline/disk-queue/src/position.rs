use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// Where a record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// The note of how far records are done, in two places by turns: if the writing of one is torn the other holds.
///
/// It is as large as it will be from the start, so that a full disk does not keep it from being written.
#[derive(Debug)]
pub(crate) struct Position {
    file: File,
    n_written: u64,
}

const SLOT: usize = 28;

impl Position {
    /// Opens the note, and returns what it says; it may say nothing.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Option<Place>)> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut bytes = [0; 2 * SLOT];
        // A shorter file is one that has just been made.
        if file.metadata()?.len() < bytes.len() as u64 {
            file.write_all_at(&bytes, 0)?;
        }
        file.read_exact_at(&mut bytes, 0)?;
        let newest = bytes.as_chunks::<SLOT>().0.iter().filter_map(decode).max_by_key(|(n, _)| *n);
        let (n_written, place) = newest.unzip();
        Ok((Self { file, n_written: n_written.unwrap_or_default() }, place))
    }

    pub(crate) fn write(&mut self, place: Place) -> io::Result<()> {
        let n_written = self.n_written + 1;
        self.file.write_all_at(&encode(n_written, place), (n_written % 2) * SLOT as u64)?;
        self.n_written = n_written;
        Ok(())
    }
}

fn encode(n_written: u64, Place { segment, offset }: Place) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    for (to, number) in slot.as_chunks_mut::<8>().0.iter_mut().zip([n_written, segment, offset]) {
        *to = number.to_le_bytes();
    }
    let sum = crc32fast::hash(&slot[..24]);
    slot[24..].copy_from_slice(&sum.to_le_bytes());
    slot
}

fn decode(slot: &[u8; SLOT]) -> Option<(u64, Place)> {
    let (numbers, sum) = slot.split_at(24);
    let (chunks, _) = numbers.as_chunks::<8>();
    let [n_written, segment, offset] = [0, 1, 2].map(|it| u64::from_le_bytes(chunks[it]));
    // Nothing but zeros is what there is before anything is noted.
    let is_whole = n_written > 0 && sum == crc32fast::hash(numbers).to_le_bytes();
    is_whole.then_some((n_written, Place { segment, offset }))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn the_newest_note_holds() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("position");
        assert_eq!(Position::open(&path).unwrap().1, None);
        for n in 1..5 {
            let place = Place { segment: n, offset: 16 };
            Position::open(&path).unwrap().0.write(place).unwrap();
            assert_eq!(Position::open(&path).unwrap().1, Some(place));
        }
    }

    /// A note that is lost costs a record that is sent twice; one that is wrong would cost a record.
    #[test]
    fn a_damaged_note_leaves_the_one_before() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("position");
        let places = [1, 2].map(|segment| Place { segment, offset: 16 });
        let (mut position, _) = Position::open(&path).unwrap();
        for place in places {
            position.write(place).unwrap();
        }
        // The second note is in the first place.
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..8 * SLOT {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(Position::open(&path).unwrap().1, Some(places[0]), "bit {bit}");
        }
    }
}
