use proptest::prelude::*;

use super::*;

const SEGMENT: u64 = 7;

/// Kind, number of items, payload.
type Written = (u8, u64, Vec<u8>);

#[test]
fn records_are_read_as_they_were_written() {
    let records = records();
    let (bytes, _) = segment(&records);
    assert_eq!(read(&bytes), (records, vec![]));
}

/// What is in files of users must stay readable.
#[test]
fn the_format_is_this() {
    let (bytes, _) = segment(&[(2, 3, b"abc".to_vec())]);
    let hex: String = bytes.iter().map(|it| format!("{it:02x}")).collect();
    let expected = "7269646c65797101070000004953547b\
                    7265630a03000000020000000300000000000000c2412435f4039d03616263";
    assert_eq!(hex, expected);
}

/// Whoever writes is stopped anywhere: what was written before is there, and nothing else.
#[test]
fn what_is_torn_is_told_apart_at_every_place() {
    let records = records();
    let (bytes, ends) = segment(&records);
    for len in SEGMENT_HEADER..bytes.len() {
        let n_whole = ends.iter().filter(|it| **it <= len).count();
        let is_torn = len > SEGMENT_HEADER && !ends.contains(&len);
        let (found, damages) = read(&bytes[..len]);
        assert_eq!(found, records[..n_whole], "{len}");
        assert_eq!(damages, vec![Damage::Torn; usize::from(is_torn)], "{len}");
    }
}

/// A file that grew before its content was written.
#[test]
fn zeros_at_the_end_are_torn() {
    let records = records();
    let (mut bytes, _) = segment(&records);
    bytes.resize(bytes.len() + 3 * CHUNK, 0);
    assert_eq!(read(&bytes), (records, vec![Damage::Torn]));
}

/// One bit costs one record, whichever it is, and what is lost is told.
#[test]
fn every_flipped_bit_costs_its_record_alone() {
    let records = records();
    let (bytes, ends) = segment(&records);
    for bit in 0..8 * bytes.len() {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let (found, damages) = read(&bytes);
        if bit / 8 < SEGMENT_HEADER {
            assert_eq!((found, damages), (records.clone(), vec![]), "bit {bit}");
            continue;
        }
        let hit = ends.iter().position(|it| bit / 8 < *it).unwrap();
        let mut expected = records.clone();
        let (kind, n_items, payload) = expected.remove(hit);
        let in_payload = bit / 8 >= ends[hit] - payload.len();
        let damage = if in_payload { Damage::Payload { kind, n_items } } else { Damage::Unknown };
        assert_eq!((found, damages), (expected, vec![damage]), "bit {bit}");
    }
}

/// Whoever sends data must not be able to have other data made of it.
#[test]
fn records_inside_of_a_payload_are_none() {
    let (inner, _) = segment(&records());
    let outer = vec![(1, 1, inner[SEGMENT_HEADER..].to_vec()), (1, 1, inner)];
    let (mut bytes, _) = segment(&outer);
    // Without the header of the first there is a search through its payload.
    bytes[SEGMENT_HEADER] ^= 1;
    assert_eq!(read(&bytes), (outer[1..].to_vec(), vec![Damage::Unknown]));
}

/// Headers may lie across the chunks in which they are looked for.
#[test]
fn a_record_is_found_wherever_it_begins() {
    for len in CHUNK - RECORD_HEADER - 40..CHUNK + 40 {
        let records = [(1, 1, vec![b'r'; len]), (2, 2, vec![9])];
        let (mut bytes, _) = segment(&records);
        bytes[SEGMENT_HEADER] ^= 1;
        assert_eq!(read(&bytes), (records[1..].to_vec(), vec![Damage::Unknown]), "{len}");
    }
}

#[test]
fn a_version_is_known_if_the_header_is_whole() {
    let (bytes, _) = segment(&[]);
    let mut header: [u8; SEGMENT_HEADER] = bytes.try_into().unwrap();
    assert_eq!(version(&header), Some(VERSION));
    header[7] = 9;
    assert_eq!(version(&header), None);
    let sum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&sum.to_le_bytes());
    assert_eq!(version(&header), Some(9));
}

proptest! {
    /// Whatever is in a file, it is read to its end, and no more memory is taken than there are bytes.
    #[test]
    fn anything_can_be_read(
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        whole in any::<bool>(),
        at in 0..200_usize,
    ) {
        let mut bytes = bytes;
        if whole {
            let (records, _) = segment(&records());
            let at = at.min(bytes.len());
            bytes.splice(at..at, records);
        }
        let (found, _) = read(&bytes);
        let n_bytes: usize = found.iter().map(|(_, _, payload)| payload.len()).sum();
        prop_assert!(n_bytes <= bytes.len());
    }

    /// Several stretches of rubbish: every record that none of them touches is read, in order.
    #[test]
    fn what_is_not_touched_is_read(
        damages in prop::collection::vec((0..400_usize, 1..60_usize, any::<u8>()), 0..4),
    ) {
        let records = records();
        let (mut bytes, ends) = segment(&records);
        let whole = bytes.clone();
        for (at, len, value) in damages {
            let end = (at + len).min(bytes.len());
            bytes[at.min(end)..end].fill(value);
        }
        let starts = std::iter::once(SEGMENT_HEADER).chain(ends.iter().copied());
        let is_whole = |(start, end): (usize, &usize)| bytes[start..*end] == whole[start..*end];
        let untouched = starts.zip(&ends).map(is_whole);
        let expected: Vec<_> =
            records.iter().zip(untouched).filter(|(_, it)| *it).map(|(it, _)| it.clone()).collect();
        prop_assert_eq!(read(&bytes).0, expected);
    }
}

/// Some records, among them one without a payload, and one that looks like the beginning of another.
fn records() -> Vec<Written> {
    vec![
        (0, 1, b"one".to_vec()),
        (1, u64::MAX, Vec::new()),
        (255, 0, b"rec\nrec\n\x03\0\0\0".repeat(3)),
        (2, 70_000, vec![0; 40]),
        (0, 5, (0..120).collect()),
    ]
}

/// Makes a segment, and returns where each record ends.
fn segment(records: &[Written]) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = Vec::new();
    write_segment_header(SEGMENT, &mut bytes);
    let mut ends = Vec::new();
    for (kind, n_items, payload) in records {
        let offset = bytes.len() as u64;
        assert!(write_record(SEGMENT, offset, *kind, *n_items, payload, &mut bytes));
        ends.push(bytes.len());
    }
    (bytes, ends)
}

/// Reads a segment to its end.
fn read(bytes: &[u8]) -> (Vec<Written>, Vec<Damage>) {
    let (mut records, mut damages) = (Vec::new(), Vec::new());
    let mut offset = first_record();
    loop {
        let before = offset;
        match next_record(bytes, SEGMENT, offset, bytes.len() as u64).unwrap() {
            Found::End => return (records, damages),
            Found::Record { kind, n_items, payload, next } => {
                records.push((kind, n_items, payload));
                offset = next;
            }
            Found::Damaged { damage, next } => {
                damages.push(damage);
                offset = next;
            }
        }
        assert!(offset > before && offset <= bytes.len() as u64);
    }
}
