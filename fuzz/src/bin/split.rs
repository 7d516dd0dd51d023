//! Requests that are counted and divided without being decoded: no item is lost, and no part is larger than it may be.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use model::{Logs, MaxSize, Metrics, Signal, Traces, split};

fuzz_target!(|input: &[u8]| {
    let Some((&[choice, size], request)) = input.split_first_chunk() else { return };
    let signal = [Signal::Metrics, Signal::Traces, Signal::Logs][usize::from(choice) % 3];
    let size = 1 + u64::from(size);
    let max = if choice & 0x80 == 0 { MaxSize::Items(size) } else { MaxSize::Bytes(size) };
    let Some(n_items) = count(signal, request.to_vec().into()) else { return };
    let parts = split(signal, request, max).expect("what can be counted can be divided");
    let mut n_found = 0;
    for (part, n) in parts {
        assert_eq!(count(signal, part.clone()), Some(n));
        assert!(n > 0);
        match max {
            MaxSize::Items(max) => assert!(n <= max),
            MaxSize::Bytes(max) => assert!(n == 1 || part.len() as u64 <= max),
        }
        n_found += n;
    }
    assert_eq!(n_found, n_items);
});

/// Returns how many items are in a request, if it is one.
fn count(signal: Signal, request: Bytes) -> Option<u64> {
    match signal {
        Signal::Metrics => Metrics::from_encoded(request).ok().map(|it| it.n_items()),
        Signal::Traces => Traces::from_encoded(request).ok().map(|it| it.n_items()),
        Signal::Logs => Logs::from_encoded(request).ok().map(|it| it.n_items()),
        Signal::Flows => None,
    }
}
