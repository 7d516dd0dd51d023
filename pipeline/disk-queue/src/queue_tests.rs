use std::{collections::BTreeSet, os::unix::fs::PermissionsExt};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

const LIMITS: Limits = Limits { max_bytes: 1 << 20, is_synced: true };

#[test]
fn what_is_written_is_read_in_its_order() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..200);
    assert_eq!(read(&mut queue), numbers(0..200));
    assert_eq!(queue.read().unwrap(), Read::End);
    push(&mut queue, 200..201);
    assert_eq!(read(&mut queue), numbers(200..201));
}

#[test]
fn what_is_not_done_is_read_again() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..10);
    let tokens: Vec<_> = records(&mut queue).iter().map(|it| it.token).collect();
    // The third is not: those behind it are read again, too.
    queue.done([tokens[0], tokens[1], tokens[3]]).unwrap();
    drop(queue);
    assert_eq!(read(&mut open(&folder)), numbers(2..10));
}

/// It may be that whoever was told is not believed: nothing breaks, and nothing else is done.
#[test]
fn what_is_done_twice_is_done_once() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..3);
    let tokens: Vec<_> = records(&mut queue).iter().map(|it| it.token).collect();
    queue.done([tokens[0], tokens[0]]).unwrap();
    queue.done([tokens[0], Token(99)]).unwrap();
    drop(queue);
    assert_eq!(read(&mut open(&folder)), numbers(1..3));
}

#[test]
fn segments_that_are_done_are_removed() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..4000);
    let n_full = segments(&folder).len();
    assert!(n_full > 2, "{n_full}");
    finish(&mut queue);
    assert_eq!(segments(&folder).len(), 1, "the one that is written to");
    assert!(queue.n_bytes() <= LIMITS.max_bytes / N_SEGMENTS);
    drop(queue);
    let (mut queue, opened) = DiskQueue::open(folder.path(), LIMITS).unwrap();
    assert_eq!((opened, segments(&folder)), (Opened { n_bytes: 0, n_torn: 0 }, vec![]));
    // Numbers are not used again, or the note of what is done would be about others.
    push(&mut queue, 0..1);
    drop(queue);
    assert_eq!(read(&mut open(&folder)), numbers(0..1));
}

#[test]
fn what_does_not_fit_is_refused_and_the_oldest_stay() {
    let folder = TempDir::new().unwrap();
    let limits = Limits { max_bytes: 64 * 1024, ..LIMITS };
    let (mut queue, _) = DiskQueue::open(folder.path(), limits).unwrap();
    let mut n_taken = 0;
    while queue.push(0, n_taken, &[7; 1000]).is_ok() {
        n_taken += 1;
    }
    assert!(matches!(queue.push(0, 0, &[7; 1000]), Err(WriteError::Full)));
    assert!((62..64).contains(&n_taken), "{n_taken}");
    assert!(queue.n_bytes() <= limits.max_bytes && disk_usage(&folder) == queue.n_bytes());
    let tokens: Vec<_> = records(&mut queue).iter().map(|it| it.token).collect();
    assert_eq!(tokens.len() as u64, n_taken);
    queue.done(tokens[..10].iter().copied()).unwrap();
    queue.push(0, n_taken, &[7; 1000]).unwrap();
    queue.done(tokens).unwrap();
    assert_eq!(records(&mut queue).len(), 1);
}

/// A single record may take all the room there is, again and again.
#[test]
fn room_is_freed_to_the_last_byte() {
    let folder = TempDir::new().unwrap();
    let limits = Limits { max_bytes: 64 * 1024, ..LIMITS };
    let (mut queue, _) = DiskQueue::open(folder.path(), limits).unwrap();
    let largest = vec![1; 64 * 1024 - SEGMENT_HEADER - RECORD_HEADER];
    for _ in 0..3 {
        queue.push(0, 1, &largest).unwrap();
        assert_eq!(queue.n_bytes(), limits.max_bytes);
        assert!(matches!(queue.push(0, 1, &[]), Err(WriteError::Full)));
        finish(&mut queue);
    }
    assert!(matches!(queue.push(0, 1, &[largest, vec![1]].concat()), Err(WriteError::Full)));
}

#[test]
fn a_directory_has_one_user() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("of/otlp");
    let first = DiskQueue::open(&path, LIMITS).unwrap();
    let error = DiskQueue::open(&path, LIMITS).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(first);
    assert!(DiskQueue::open(&path, LIMITS).is_ok());
}

/// What is sent may be secret.
#[test]
fn nobody_else_can_read_it() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("queue");
    let (mut queue, _) = DiskQueue::open(&path, LIMITS).unwrap();
    push(&mut queue, 0..1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o700);
    let files: Vec<_> = fs::read_dir(&path).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|it| mode(it) == 0o600));
}

#[test]
fn what_is_no_directory_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(matches!(DiskQueue::open(&path, LIMITS), Err(OpenError::Create { .. })));
}

/// What a newer version wrote is not taken for rubbish.
#[test]
fn a_newer_format_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..1);
    drop(queue);
    let [path] = segments(&folder).try_into().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    bytes[7] = 2;
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = DiskQueue::open(folder.path(), LIMITS).unwrap_err().to_string();
    assert!(error.contains("version 2 of the format, expected 1"), "{error}");
}

#[test]
fn files_of_others_are_left_alone() {
    let folder = TempDir::new().unwrap();
    for name in ["notes.txt", "1.segment", "000000000000000g.segment"] {
        fs::write(folder.path().join(name), "mine").unwrap();
    }
    let mut queue = open(&folder);
    push(&mut queue, 0..3);
    finish(&mut queue);
    drop(queue);
    open(&folder);
    let names: BTreeSet<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = ["000000000000000g.segment", "1.segment", "lock", "notes.txt", "position"];
    assert_eq!(names, expected.map(str::to_owned).into());
}

/// Wherever a crash stops the writing: what was whole is read, what was torn is gone, and what is written afterwards is
/// read behind it.
#[test]
fn writing_goes_on_after_every_crash() {
    let written = TempDir::new().unwrap();
    push(&mut open(&written), 0..4);
    let [path] = segments(&written).try_into().unwrap();
    let bytes = fs::read(&path).unwrap();
    let size = (bytes.len() - SEGMENT_HEADER) / 4;
    for len in 0..=bytes.len() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join(path.file_name().unwrap()), &bytes[..len]).unwrap();
        let (mut queue, opened) = DiskQueue::open(folder.path(), LIMITS).unwrap();
        let n_whole = len.saturating_sub(SEGMENT_HEADER) / size;
        let n_torn = len.saturating_sub(SEGMENT_HEADER) % size;
        assert_eq!(opened.n_torn, n_torn as u64, "{len}");
        push(&mut queue, 50..52);
        let expected: Vec<_> = (0..n_whole as u64).chain(50..52).collect();
        assert_eq!(read(&mut queue), expected, "{len}");
        drop(queue);
        assert_eq!(read(&mut open(&folder)), expected, "{len}");
    }
}

/// A segment that loses its end, as without `sync` when the power fails, does not hide what is written later.
#[test]
fn what_is_noted_of_lost_records_is_not_about_others() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..10);
    finish(&mut queue);
    drop(queue);
    let [path] = segments(&folder).try_into().unwrap();
    OpenOptions::new().write(true).open(path).unwrap().set_len(40).unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 10..12);
    assert_eq!(read(&mut queue), numbers(10..12));
}

#[test]
fn damage_is_told_and_passed() {
    let folder = TempDir::new().unwrap();
    push(&mut open(&folder), 0..3);
    let [path] = segments(&folder).try_into().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let size = (bytes.len() - SEGMENT_HEADER) / 3;
    bytes[SEGMENT_HEADER + 2 * size - 1] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut queue = open(&folder);
    let found: Vec<_> = std::iter::from_fn(|| match queue.read().unwrap() {
        Read::End => None,
        it => Some(it),
    })
    .collect();
    let payload = |it: &Read| match it {
        Read::Record(record) => Ok(number_of(record)),
        other => Err(other.clone()),
    };
    let damaged = Read::Damaged(Damage::Payload { kind: 1, n_items: 1 });
    assert_eq!(found.iter().map(payload).collect::<Vec<_>>(), [Ok(0), Err(damaged), Ok(2)]);
    let tokens: Vec<_> = found
        .iter()
        .filter_map(|it| match it {
            Read::Record(record) => Some(record.token),
            _ => None,
        })
        .collect();
    queue.done(tokens).unwrap();
    drop(queue);
    assert_eq!(open(&folder).n_bytes(), 0, "nothing is read twice");
}

/// One that cannot be read must not keep back what is behind it.
#[test]
fn a_segment_that_is_gone_is_passed() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..4000);
    let first = segments(&folder).remove(0);
    drop(queue);
    let mut queue = open(&folder);
    fs::remove_file(&first).unwrap();
    let error = queue.read().unwrap_err();
    assert_eq!(error.path, first);
    let rest = finish(&mut queue);
    assert!(rest.last() == Some(&3999) && rest.len() > 1000, "{}", rest.len());
    assert_eq!(segments(&folder), Vec::<PathBuf>::new());
}

/// `/dev/full` stands for a disk that is.
#[test]
fn a_full_disk_is_an_error_and_ends_with_the_disk_being_full() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..2);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    queue.writer.as_mut().unwrap().file = full;
    let error = queue.push(0, 1, &[1]).unwrap_err();
    assert!(matches!(error, WriteError::Write { .. }), "{error}");
    push(&mut queue, 2..4);
    assert_eq!(read(&mut queue), numbers(0..4));
    drop(queue);
    assert_eq!(read(&mut open(&folder)), numbers(0..4));
}

/// What has the room may be what is done: the segment that is written to.
#[test]
fn a_disk_that_is_full_of_what_is_done_has_room() {
    let folder = TempDir::new().unwrap();
    let mut queue = open(&folder);
    push(&mut queue, 0..2);
    finish(&mut queue);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let before = segments(&folder);
    queue.writer.as_mut().unwrap().file = full;
    push(&mut queue, 2..4);
    let after = segments(&folder);
    assert!(after.len() == 1 && after != before, "{after:?}");
    assert!(queue.reader.is_none(), "a file that is open keeps its room");
    assert_eq!(read(&mut queue), numbers(2..4));
}

/// What a test does with a queue.
#[derive(Clone, Debug)]
enum Step {
    Push(u16),
    Read(usize),
    /// Which of those that were read.
    Done(prop::sample::Index),
    Sync,
    /// Without an end of any kind.
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3000_u16).prop_map(Step::Push),
        4 => (1..5_usize).prop_map(Step::Read),
        4 => any::<prop::sample::Index>().prop_map(Step::Done),
        1 => Just(Step::Sync),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// However it is used and stopped: every record that was taken is read until it is done, in order, and the files take
    /// no more room than they may.
    #[test]
    fn nothing_that_was_taken_is_lost(steps in prop::collection::vec(step(), 0..120)) {
        let folder = TempDir::new().unwrap();
        let limits = Limits { max_bytes: 32 * 1024, is_synced: false };
        let mut queue = DiskQueue::open(folder.path(), limits).unwrap().0;
        let mut next = 0;
        let mut taken = BTreeSet::new();
        let mut done = BTreeSet::new();
        let mut open: Vec<Record> = Vec::new();
        for step in steps {
            match step {
                Step::Push(len) => {
                    let mut payload = vec![0; 8 + usize::from(len)];
                    payload[..8].copy_from_slice(&u64::to_le_bytes(next));
                    match queue.push(1, 1, &payload) {
                        Ok(()) => { taken.insert(next); }
                        Err(error) => prop_assert!(matches!(error, WriteError::Full), "{}", error),
                    }
                    next += 1;
                }
                Step::Read(n) => for _ in 0..n {
                    match queue.read().unwrap() {
                        Read::Record(record) => open.push(record),
                        Read::End => break,
                        Read::Damaged(damage) => panic!("{damage:?}"),
                    }
                },
                Step::Done(index) if !open.is_empty() => {
                    let record = open.remove(index.index(open.len()));
                    done.insert(number_of(&record));
                    queue.done([record.token]).unwrap();
                }
                Step::Done(_) => {}
                Step::Sync => queue.sync().unwrap(),
                Step::Reopen => {
                    drop(queue);
                    open.clear();
                    queue = DiskQueue::open(folder.path(), limits).unwrap().0;
                }
            }
            prop_assert!(queue.n_bytes() <= limits.max_bytes);
            prop_assert_eq!(disk_usage(&folder), queue.n_bytes());
        }
        drop(queue);
        let mut queue = DiskQueue::open(folder.path(), limits).unwrap().0;
        let rest = finish(&mut queue);
        prop_assert!(rest.is_sorted());
        let delivered: BTreeSet<_> = rest.iter().copied().chain(done).collect();
        prop_assert_eq!(delivered, taken);
    }
}

fn open(folder: &TempDir) -> DiskQueue {
    DiskQueue::open(folder.path(), LIMITS).unwrap().0
}

/// Writes a record for each number, which takes some room.
fn push(queue: &mut DiskQueue, numbers: std::ops::Range<u64>) {
    for number in numbers {
        queue.push(1, 1, &[number.to_le_bytes(), [0xff; 8]].concat()).unwrap();
    }
    queue.sync().unwrap();
}

fn records(queue: &mut DiskQueue) -> Vec<Record> {
    std::iter::from_fn(|| match queue.read().unwrap() {
        Read::Record(record) => Some(record),
        Read::End => None,
        Read::Damaged(damage) => panic!("{damage:?}"),
    })
    .collect()
}

fn read(queue: &mut DiskQueue) -> Vec<u64> {
    records(queue).iter().map(number_of).collect()
}

/// Reads what there is and is done with it.
fn finish(queue: &mut DiskQueue) -> Vec<u64> {
    let records = records(queue);
    queue.done(records.iter().map(|it| it.token)).unwrap();
    records.iter().map(number_of).collect()
}

fn number_of(record: &Record) -> u64 {
    u64::from_le_bytes(record.payload[..8].try_into().unwrap())
}

fn numbers(range: std::ops::Range<u64>) -> Vec<u64> {
    range.collect()
}

fn segments(folder: &TempDir) -> Vec<PathBuf> {
    let files = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|it| it.file_name().and_then(|it| it.to_str()).and_then(number).is_some()).collect();
    segments.sort();
    segments
}

fn disk_usage(folder: &TempDir) -> u64 {
    segments(folder).iter().map(|it| fs::metadata(it).unwrap().len()).sum()
}
