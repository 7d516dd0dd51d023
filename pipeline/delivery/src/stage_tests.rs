use std::{
    any::Any,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use component::{Kind, Registry};
use model::Space;

use super::*;
use crate::{Request, Retry, held::Way, instruments::Instruments};

#[test]
fn without_batches_each_request_is_one() {
    let mut test = Test::new(None);
    test.push(Signal::Traces, 1, b"a");
    test.push(Signal::Metrics, 1, b"b");
    assert_eq!(test.pop_all(false), ["a", "b"]);
}

#[test]
fn requests_wait_for_others_until_there_are_enough() {
    let mut test = Test::new(Some(Batching { min_size: 5, ..Batching::default() }));
    test.push(Signal::Traces, 2, b"a");
    test.push(Signal::Traces, 2, b"b");
    assert_eq!(test.pop_all(false), [""; 0]);
    test.push(Signal::Traces, 2, b"c");
    test.push(Signal::Traces, 2, b"d");
    assert_eq!(test.pop_all(false), ["abc"]);
    assert_eq!(test.pop_all(true), ["d"]);
}

#[test]
fn requests_wait_for_others_no_longer_than_they_may() {
    let mut test = Test::new(Some(Batching::default()));
    test.push(Signal::Traces, 1, b"a");
    let began = test.now;
    assert_eq!(test.stage.ready_at(), Some(began + Duration::from_millis(200)));
    test.now += Duration::from_millis(150);
    test.push(Signal::Traces, 1, b"b");
    assert_eq!(test.pop_all(false), [""; 0]);
    test.now += Duration::from_millis(50);
    assert_eq!(test.pop_all(false), ["ab"]);
    assert_eq!(test.stage.ready_at(), None);
}

#[test]
fn signals_are_not_put_together() {
    let mut test = Test::new(Some(Batching { min_size: 2, ..Batching::default() }));
    for payload in [b"a", b"b"] {
        test.push(Signal::Traces, 1, payload);
        test.now += Duration::from_millis(1);
        test.push(Signal::Logs, 1, &payload.map(|it| it.to_ascii_uppercase()));
    }
    assert_eq!(test.pop_all(false), ["ab", "AB"]);
}

#[test]
fn nothing_becomes_too_large_by_being_put_together() {
    let batching = Batching { min_size: 3, max_size: 3, sizer: Sizer::Bytes, ..Batching::default() };
    let mut test = Test::new(Some(batching));
    for payload in ["aa", "bb", "c", "dd", "e"] {
        test.push(Signal::Traces, 100, payload.as_bytes());
    }
    assert_eq!(test.pop_all(true), ["aa", "bbc", "dde"]);
}

/// A span of no bytes, in a scope of its own, in a resource of its own.
const SPAN: &[u8] = &[0x0a, 4, 0x12, 2, 0x12, 0];

#[test]
fn what_is_too_large_is_divided() {
    let batching = Batching { min_size: 0, max_size: 2, ..Batching::default() };
    let mut test = Test::new(Some(batching));
    test.push(Signal::Traces, 5, &SPAN.repeat(5));
    let mut sizes = Vec::new();
    while let Some(held) = test.stage.pop(test.now, false) {
        sizes.push(held.request.n_items);
        held.hand_over();
    }
    assert_eq!(sizes, [2, 2, 1]);
}

/// The server says what is wrong with it, and that is in the log.
#[test]
fn what_cannot_be_read_is_sent_as_it_is() {
    let batching = Batching { min_size: 0, max_size: 2, ..Batching::default() };
    let mut test = Test::new(Some(batching));
    test.push(Signal::Traces, 5, b"not a message");
    assert_eq!(test.pop_all(false), ["not a message"]);
}

/// Whatever requests become, the room that they take is what there is of them, and is free when they are gone.
#[test]
fn room_follows_the_bytes() {
    let batching = Batching { min_size: 3, max_size: 4, ..Batching::default() };
    let mut test = Test::new(Some(batching));
    for n in [1, 2, 9, 1] {
        test.push(Signal::Traces, n, &SPAN.repeat(usize::try_from(n).unwrap()));
    }
    assert!(test.n_bytes() > 13 * SPAN.len());
    assert_eq!(test.spaces.iter().filter(|it| it.strong_count() > 0).count(), 4);
    while let Some(held) = test.stage.pop(test.now, true) {
        held.hand_over();
    }
    assert_eq!(test.n_bytes(), 0);
    assert_eq!(test.spaces.iter().filter(|it| it.strong_count() > 0).count(), 0);
}

struct Test {
    stage: Stage<()>,
    way: Arc<Way<()>>,
    memory: Arc<AtomicUsize>,
    now: Instant,
    /// What requests take of a receiver's budget.
    spaces: Vec<Weak<dyn Any + Send + Sync>>,
}

impl Test {
    fn new(batching: Option<Batching>) -> Self {
        let telemetry = Arc::new(Registry::default()).telemetry(Kind::Exporter, &"test".parse().unwrap());
        Self {
            stage: Stage::new(batching),
            way: Arc::new(Way::new((), Retry::default(), Instruments::new(telemetry))),
            memory: Arc::default(),
            now: Instant::now(),
            spaces: Vec::new(),
        }
    }

    fn push(&mut self, signal: Signal, n_items: u64, payload: &[u8]) {
        let space: Space = Arc::new(());
        self.spaces.push(Arc::downgrade(&space));
        let payload = payload.to_vec().into();
        let request = Request { signal, payload, n_items, space: Some(space) };
        self.stage.push(Held::new(&self.way, request, &self.memory), self.now);
    }

    fn pop_all(&mut self, is_ending: bool) -> Vec<String> {
        let mut payloads = Vec::new();
        while let Some(held) = self.stage.pop(self.now, is_ending) {
            payloads.push(String::from_utf8(held.request.payload.to_vec()).unwrap());
            held.hand_over();
        }
        payloads
    }

    fn n_bytes(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }
}
