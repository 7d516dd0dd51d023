//! Segments of the queue on disk: whatever is in one, it is read to its end, and what nobody touched is read as it was written.

#![no_main]

use disk_queue::{Found, first_record, next_record, write_record, write_segment_header};
use libfuzzer_sys::fuzz_target;

const SEGMENT: u64 = 7;

fuzz_target!(|input: &[u8]| {
    read(input);
    // The first bytes say how long records are and what is done to them; what is in them is the rest.
    let Some((plan, content)) = input.split_at_checked(32) else { return };
    // A fuzzer finds out soon how to make a checksum, and would write records of its own into a payload.
    let content: Vec<u8> = content.iter().map(|it| if *it == b'\n' { 0 } else { *it }).collect();
    let mut bytes = Vec::new();
    write_segment_header(SEGMENT, &mut bytes);
    let mut written = Vec::new();
    for (n, len) in plan[..8].iter().enumerate() {
        let payload = &content[..content.len().min(usize::from(*len) * (n + 1))];
        let start = bytes.len();
        assert!(write_record(SEGMENT, start as u64, 1, n as u64, payload, &mut bytes));
        written.push((start..bytes.len(), payload));
    }
    let whole = bytes.clone();
    for damage in plan[8..].as_chunks::<4>().0 {
        let [high, low, len, value] = *damage;
        let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
        let end = bytes.len().min(at + usize::from(len % 64));
        bytes[at..end].fill(value);
    }
    let expected: Vec<_> = written
        .iter()
        .filter(|(range, _)| bytes[range.clone()] == whole[range.clone()])
        .map(|(_, payload)| payload.to_vec())
        .collect();
    assert_eq!(read(&bytes), expected);
});

/// Reads everything, and returns the payloads of the records.
fn read(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut offset = first_record();
    loop {
        let found = next_record(bytes, SEGMENT, offset, bytes.len() as u64).expect("memory can be read");
        let next = match found {
            Found::End => return payloads,
            Found::Record { payload, next, .. } => {
                payloads.push(payload);
                next
            }
            Found::Damaged { next, .. } => next,
        };
        assert!(next > offset && next <= bytes.len() as u64, "{offset} to {next} of {}", bytes.len());
        offset = next;
    }
}
