use component_test::{FlowBuilder, any_flow, flow};
use model::{CloseReason, End, FailureReason, Flow, Interval};
use proptest::prelude::*;

use super::*;

const PERIOD: Duration = Duration::from_secs(640);
/// A moment at which a period of the first part begins.
const START: u64 = 640_000;

/// What ends within a period is one observation, however many records tell of it.
#[test]
fn a_short_connection_is_one_observation() {
    let whole = flow().opened(START).interval(START, START + 1).request(5).closed(CloseReason::Normal);
    check(&[whole], &[(START, START + 1, 5, 1)]);
    let begins = flow().opened(START).interval(START, START).request(5);
    let ends = flow().started(START).interval(START, START + 2).request(6).closed(CloseReason::Normal);
    check(&[begins, flow().interval(START, START + 1).request(1), ends], &[(START, START + 2, 12, 3)]);
}

/// A connection that stays open has one in each period, and each counts what the period brought.
#[test]
fn a_long_connection_is_one_observation_in_each_period() {
    let at = |secs, bytes| flow().interval(START + secs - 1, START + secs).request(bytes);
    let [second, third] = [640, 1_280].map(|it| it - offset());
    let records = [
        at(1, 1).opened(START),
        at(second - 1, 2),
        at(second, 4),
        at(second + 9, 8),
        at(third + 1, 16).closed(CloseReason::Normal),
    ];
    let expected = [
        (START, START + second - 1, 3, 2),
        (START + second - 1, START + second + 9, 12, 2),
        (START + third, START + third + 1, 16, 1),
    ];
    check(&records, &expected);
}

/// A period is told of when it is over, not when the next record comes.
#[test]
fn a_period_ends_by_itself() {
    let mut periods = Periods::new(PERIOD, 10);
    let mut done = Vec::new();
    let begin = START + 640 - offset();
    periods.push(&flow().interval(begin, begin + 1).build(), &mut done);
    periods.pass(secs(begin + 639), &mut done);
    assert_eq!((done.len(), periods.n_connections()), (0, 1));
    periods.pass(secs(begin + 640), &mut done);
    assert_eq!((done.len(), periods.n_connections(), periods.n_records()), (1, 0, 0));
}

/// What comes late is told of when the period is over that goes on, not each time that the clock is looked at.
#[test]
fn a_late_record_waits_for_the_end_of_a_period() {
    let mut periods = Periods::new(PERIOD, 10);
    let mut done = Vec::new();
    periods.pass(secs(START), &mut done);
    periods.push(&flow().interval(1, 2).build(), &mut done);
    periods.pass(secs(START + 1), &mut done);
    assert_eq!(done, []);
    periods.pass(secs(START + 640), &mut done);
    assert_eq!(done.len(), 1);
}

/// Both observers put what they saw into the same period, and of two parts one begins earlier.
#[test]
fn periods_of_connections_begin_at_different_moments() {
    let periods = Periods::new(PERIOD, 10);
    let begins = |part| (0..640).find(|it| periods.period_of(part, secs(START + it)) > 1_000);
    assert_eq!([0, 1, 2, 63].map(begins), [None, Some(630), Some(620), Some(10)]);
}

#[test]
fn both_ends_are_in_one_trace() {
    let client = flow().closed(CloseReason::Normal);
    let server = flow().observer(Observer::Server).client("10.9.9.9:7").closed(CloseReason::Normal);
    let [client, server] = [client, server].map(|it| run(&[it]).remove(0));
    assert_eq!(client.trace, server.trace);
    assert_eq!([client.observers(), server.observers()], [[Observer::Client], [Observer::Server]]);
}

/// What `join` made of two records tells of both ends, and of the server what its own observer says.
#[test]
fn a_joined_record_is_of_both_ends() {
    let alone = flow().opened(START).interval(START, START).server("10.96.0.1:80");
    let joined =
        flow().joined().interval(START, START + 1).server("10.0.0.7:8080").closed(CloseReason::Normal);
    let observed = run(&[alone, joined]).remove(0);
    assert_eq!(observed.observers(), [Observer::Client, Observer::Server]);
    assert_eq!(observed.server.port, 8080);
}

/// Nothing else tells of an attempt: no two are in one trace.
#[test]
fn every_attempt_has_a_trace_of_its_own() {
    let failed = |client| flow().client(client).failed(FailureReason::Refused).interval(START, START + 1);
    let traces: Vec<_> = run(&[
        failed("10.0.0.1:1"),
        failed("10.0.0.1:2"),
        failed("[fd00::1]:1"),
        failed("10.0.0.1:1").interval(START, START + 2),
    ])
    .iter()
    .map(|it| it.trace)
    .collect();
    for (n, trace) in traces.iter().enumerate() {
        assert!(!traces[..n].contains(trace), "{traces:?}");
        assert_eq!(TraceId::connection(&trace.bytes()), None, "it is no connection's");
    }
}

#[test]
fn what_went_wrong_is_told() {
    let error = |flow: FlowBuilder| run(&[flow]).remove(0).error();
    for reason in CloseReason::ALL {
        let is_error = !matches!(reason, CloseReason::Normal | CloseReason::Unknown);
        assert_eq!(error(flow().closed(reason)), is_error.then_some(reason.as_str()));
    }
    for reason in FailureReason::ALL {
        assert_eq!(error(flow().failed(reason)), Some(reason.as_str()));
    }
    assert_eq!(error(flow().closed_again()), None);
}

/// What has no room until its end is told of by its end alone.
#[test]
fn connections_without_room_are_counted() {
    let mut periods = Periods::new(PERIOD, 1);
    let mut done = Vec::new();
    for record in
        [flow().id(1), flow().id(2), flow().id(2), flow().id(1), flow().id(2).closed(CloseReason::Normal)]
    {
        periods.push(&record.build(), &mut done);
    }
    assert_eq!((done.len(), done[0].n_records), (1, 1));
    assert_eq!((periods.n_connections(), periods.n_records(), periods.take_refused()), (1, 2, 2));
}

proptest! {
    /// Whatever comes, every record is in one observation, or counted.
    #[test]
    fn every_record_is_accounted_for(
        records in prop::collection::vec((any_flow(), 0..4_u32, 0..3_000_u64), 0..60),
        passes in prop::collection::vec(0..3_000_u64, 60),
    ) {
        let mut periods = Periods::new(PERIOD, 2);
        let mut done = Vec::new();
        let n_records = records.len() as u64;
        for ((mut record, id, end), now) in records.into_iter().zip(passes) {
            record.id = record.id.map(|_| ConnectionId::from_sequence_numbers(id, id));
            record.interval = Interval { start: secs(end), end: secs(end) };
            periods.push(&record, &mut done);
            prop_assert!(periods.n_connections() <= 2);
            if now < 600 {
                periods.pass(secs(now), &mut done);
            }
        }
        let told = |done: &[Observed]| done.iter().map(|it| it.n_records).sum::<u64>();
        let remembered = periods.n_records();
        let refused = periods.take_refused();
        prop_assert_eq!(told(&done) + remembered + refused, n_records);
        periods.drain(&mut done);
        prop_assert_eq!((told(&done) + refused, periods.n_connections()), (n_records, 0));
        prop_assert!(done.iter().all(|it| it.interval.start <= it.interval.end));
    }
}

/// Compares observations by begin, end, bytes of the request and records.
#[track_caller]
fn check(records: &[FlowBuilder], expected: &[(u64, u64, u64, u64)]) {
    let expected: Vec<_> = expected.iter().map(|it| (secs(it.0), secs(it.1), it.2, it.3)).collect();
    let found = run(records);
    let of = |it: &Observed| (it.interval.start, it.interval.end, it.request.bytes, it.n_records);
    assert_eq!(found.iter().map(of).collect::<Vec<_>>(), expected);
    let ends: Vec<_> = found.iter().map(|it| it.end).collect();
    let (last, others) = ends.split_last().expect("there is one");
    assert_eq!(*last, Some(End::Closed(CloseReason::Normal)));
    assert!(others.iter().all(Option::is_none), "{ends:?}");
}

fn run(records: &[FlowBuilder]) -> Vec<Observed> {
    let mut periods = Periods::new(PERIOD, 10);
    let mut done = Vec::new();
    for record in records {
        periods.push(&Flow::from(record.clone()), &mut done);
    }
    assert_eq!(periods.n_connections(), 0, "every connection is over");
    done
}

/// Returns by how many seconds the periods of `flow()` begin earlier than those of the first part.
fn offset() -> u64 {
    let id = flow().build().id.expect("it has one");
    part_of(TraceId::of_connection(id)) as u64 * 10
}

fn secs(n: u64) -> UnixNanos {
    UnixNanos(n * 1_000_000_000)
}
