//! Whatever happens in whatever order, the sums are right.

use std::collections::{HashMap, VecDeque};

use model::{Begin, ConnectionId, End, FailureReason, Flow};
use proptest::prelude::*;

use super::world::{Conn, Pending, SECOND, World};

#[derive(Clone, Copy, Debug)]
enum Op {
    Open { loses_record: bool, n_times: usize },
    Transfer { idx: usize, sent: u32, received: u32 },
    Close { idx: usize, loses_record: bool, n_times: usize },
    Fail { is_repeated: bool },
    Walk { misses: Option<usize> },
    Drain,
    Take { max: usize },
}

fn op() -> impl Strategy<Value = Op> {
    let rarely = || prop::bool::weighted(0.1);
    prop_oneof![
        3 => (rarely(), 1..3_usize).prop_map(|(loses_record, n_times)| Op::Open { loses_record, n_times }),
        6 => (0..8_usize, 0..100_000_u32, 0..100_000_u32)
            .prop_map(|(idx, sent, received)| Op::Transfer { idx, sent, received }),
        3 => (0..8_usize, rarely(), 1..3_usize)
            .prop_map(|(idx, loses_record, n_times)| Op::Close { idx, loses_record, n_times }),
        1 => any::<bool>().prop_map(|is_repeated| Op::Fail { is_repeated }),
        4 => prop::option::weighted(0.5, 0..2_usize).prop_map(|misses| Op::Walk { misses }),
        2 => Just(Op::Drain),
        2 => (1..8_usize).prop_map(|max| Op::Take { max }),
    ]
}

proptest! {
    /// Whatever happens in whatever order, each connection begins once, ends at most once, and its records add up:
    /// to every byte if its end was told, to what the last walk saw if it was not. Each attempt that failed is told
    /// once. Nothing that did not exist is reported.
    #[test]
    fn records_add_up(ops in prop::collection::vec(op(), 0..120)) {
        let mut world = World::new();
        world.walk(&[]);
        // All that ever were.
        let mut all: Vec<Life> = Vec::new();
        let mut pending: VecDeque<Pending> = VecDeque::new();
        let mut flows = Vec::new();
        let mut n_failed = 0;
        for op in ops {
            match op {
                Op::Open { loses_record, n_times } => {
                    let conn = Conn::client(u32::try_from(all.len()).unwrap() + 1);
                    all.push(Life { conn, loses_begin: loses_record, ..Life::default() });
                    if !loses_record {
                        pending.extend(vec![Pending::Open(conn); n_times]);
                    }
                }
                Op::Transfer { idx, sent, received } => {
                    if let Some(life) = nth_alive(&mut all, idx) {
                        life.conn.sent += u64::from(sent);
                        life.conn.received += u64::from(received);
                    }
                }
                Op::Close { idx, loses_record, n_times } => {
                    if let Some(life) = nth_alive(&mut all, idx) {
                        life.is_over = true;
                        life.loses_end = loses_record;
                        if !loses_record {
                            pending.extend(vec![Pending::Close(life.conn.finished()); n_times]);
                        }
                    }
                }
                Op::Fail { is_repeated } => {
                    n_failed += 1;
                    pending.push_back(Pending::Fail { is_repeated });
                }
                Op::Walk { misses } => {
                    if let Some(missed) = misses.and_then(|idx| nth_alive(&mut all, idx)) {
                        missed.is_missed = true;
                    }
                    walk(&mut world, &mut all, &mut pending);
                }
                Op::Drain => world.drain(&mut pending),
                Op::Take { max } => flows.extend(world.tracker.take_reports(max)),
            }
        }
        world.drain(&mut pending);
        // Two more walks find what was lost.
        for _ in 0..2 {
            walk(&mut world, &mut all, &mut pending);
        }
        flows.extend(world.take());

        let mut by_id: HashMap<ConnectionId, Vec<&Flow>> = HashMap::new();
        let is_failure = |it: &&Flow| it.id.is_none() && it.end == Some(End::Failed(FailureReason::Refused));
        prop_assert_eq!(flows.iter().filter(is_failure).count(), n_failed, "attempts that failed");
        for flow in flows.iter().filter(|it| !is_failure(it)) {
            by_id.entry(flow.id.unwrap()).or_default().push(flow);
        }
        for life in &all {
            let records = by_id.remove(&life.conn.key().id).unwrap_or_default();
            // Neither record came, and no two walks in a row saw it: nobody can know.
            if life.loses_begin && (life.loses_end || !life.is_over) && !life.is_confirmed {
                prop_assert!(records.is_empty());
                continue;
            }
            prop_assert!(!records.is_empty(), "{:?} was not reported", life);
            // It opens once. Whenever it was taken for ended it was found again, if it was not over.
            let mut is_open = false;
            for (idx, record) in records.iter().enumerate() {
                let begin = match (is_open, idx) {
                    (true, _) => None,
                    (false, 0) => Some(Begin::Opened),
                    (false, _) => Some(Begin::Found),
                };
                prop_assert_eq!(record.begin, begin, "{:?}: {:#?}", life, &records);
                is_open = record.end.is_none();
            }
            prop_assert_eq!(is_open, !life.is_over);
            let sent: u64 = records.iter().map(|it| it.request.bytes).sum();
            let received: u64 = records.iter().map(|it| it.response.bytes).sum();
            let is_told = !life.is_over || !life.loses_end;
            let expected = if is_told { (life.conn.sent, life.conn.received) } else { life.seen };
            prop_assert_eq!((sent, received), expected, "{:?}", life);
        }
        prop_assert!(by_id.is_empty(), "phantoms: {:?}", by_id);
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    conn: Conn,
    loses_begin: bool,
    loses_end: bool,
    is_over: bool,
    // What the last walk saw that saw it, and whether that was the one before the next.
    seen: (u64, u64),
    was_seen: bool,
    is_confirmed: bool,
    // Whether the next walk does not see it.
    is_missed: bool,
}

/// A walk copies what lives; what waited is taken before the copies are.
fn walk(world: &mut World, all: &mut [Life], pending: &mut VecDeque<Pending>) {
    world.begin_walk();
    let (seen, others): (Vec<_>, Vec<_>) = all.iter_mut().partition(|it| !it.is_over && !it.is_missed);
    world.drain(pending);
    for life in seen {
        world.find(life.conn.socket());
        life.seen = (life.conn.sent, life.conn.received);
        life.is_confirmed |= life.was_seen;
        life.was_seen = true;
    }
    for life in others {
        (life.was_seen, life.is_missed) = (false, false);
    }
    world.tracker.end_walk(world.moment());
    world.now += SECOND;
}

fn nth_alive(all: &mut [Life], idx: usize) -> Option<&mut Life> {
    all.iter_mut().filter(|it| !it.is_over).nth(idx)
}
