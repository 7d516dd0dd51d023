use std::{
    cell::OnceCell,
    collections::VecDeque,
    num::NonZeroUsize,
    sync::{Arc, Mutex},
};

use abi::{CgroupNames, ConnectionRecord, ListeningSocket, RecordKind, state};
use bytemuck::Zeroable;
use component::{Context, Factory};
use component_test::{Compliance, Harness};
use model::{Begin, CloseReason, End, Signal, UnixNanos};
use tokio::sync::Notify;

use super::*;

/// Every component's promises, with a kernel of a few sockets.
#[tokio::test(start_paused = true)]
async fn complies() {
    let kernel = Kernel::default();
    kernel.open(1);
    kernel.open(2);
    kernel.close(2, 70);
    kernel.listen(3);
    Compliance::new(kernel.factory(), env!("CARGO_MANIFEST_DIR")).check().await;
}

/// Begins and ends do not wait for a sample.
#[tokio::test(start_paused = true)]
async fn begins_are_sent_within_a_drain_interval() {
    let kernel = Kernel::default();
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 10m").await;
    kernel.after_the_first_walk().await;
    kernel.open(1);
    let start = Instant::now();
    let flows = recv(&mut harness).await;
    assert_eq!((flows.len(), flows[0].begin), (1, Some(Begin::Opened)));
    assert!(start.elapsed() <= Duration::from_millis(100), "after {:?}", start.elapsed());
}

/// The kernel says when its buffer is half full.
#[tokio::test(start_paused = true)]
async fn a_wake_up_does_not_wait_for_the_drain_interval() {
    let kernel = Kernel::default();
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 10m\ndrain_interval: 1h").await;
    kernel.after_the_first_walk().await;
    kernel.open(1);
    kernel.wake.notify_one();
    let start = Instant::now();
    assert_eq!(recv(&mut harness).await.len(), 1);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn live_connections_are_sampled_each_interval() {
    let kernel = Kernel::default();
    kernel.open(1);
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 5s").await;
    recv(&mut harness).await;
    let start = Instant::now();
    let mut bytes = Vec::new();
    for n in 1..=3 {
        kernel.transfer(1, 100 * n);
        bytes.push(recv(&mut harness).await[0].request.bytes);
    }
    assert_eq!(bytes, [100, 100, 100]);
    assert!(start.elapsed() <= Duration::from_secs(15), "{:?}", start.elapsed());
}

/// What has happened is sent, and where everything stands.
#[tokio::test(start_paused = true)]
async fn shutdown_takes_a_last_sample() {
    let kernel = Kernel::default();
    kernel.open(1);
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 10m").await;
    recv(&mut harness).await;
    kernel.transfer(1, 500);
    kernel.open(2);
    kernel.close(2, 70);
    harness.request_shutdown(Duration::from_secs(10));
    let outcome = harness.finish().await;
    outcome.result.unwrap();
    let flows: Vec<Flow> = outcome.batches.into_iter().flat_map(records).collect();
    let mut bytes: Vec<_> = flows.iter().map(|it| (it.request.bytes, it.end)).collect();
    bytes.sort_by_key(|it| it.0);
    assert_eq!(bytes, [(70, Some(End::Closed(CloseReason::Normal))), (500, None)]);
}

/// No record is to come that would tell who reset it.
#[tokio::test(start_paused = true)]
async fn shutdown_lets_go_what_is_held_back() {
    let kernel = Kernel::default();
    kernel.open(1);
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 10m").await;
    recv(&mut harness).await;
    kernel.be_reset(1);
    harness.request_shutdown(Duration::from_secs(10));
    let flows: Vec<Flow> = harness.finish().await.batches.into_iter().flat_map(records).collect();
    let ends: Vec<_> = flows.iter().map(|it| it.end).collect();
    assert_eq!(ends, [Some(End::Closed(CloseReason::ServerReset))]);
}

/// A walk drains many times within a moment; who reset a connection may be told after it.
#[tokio::test(start_paused = true)]
async fn what_is_held_back_is_not_let_go_by_one_walk() {
    let kernel = Kernel::default();
    kernel.open(1);
    let settings = "sample_interval: 1s\ndrain_interval: 1h";
    let mut harness = Harness::start(&kernel.factory(), settings).await;
    recv(&mut harness).await;
    kernel.be_reset(1);
    let n_walks = kernel.n_walks();
    while kernel.n_walks() == n_walks {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    kernel.send_reset(1);
    let end = recv(&mut harness).await[0].end;
    assert_eq!(end, Some(End::Closed(CloseReason::ClientReset)));
}

/// The pipeline takes nothing: the kernel's buffer is drained all the same, and nothing is lost.
#[tokio::test(start_paused = true)]
async fn the_kernels_buffer_is_drained_while_the_pipeline_is_full() {
    let kernel = Kernel::default();
    let mut harness =
        Harness::try_start_with_capacity(&kernel.factory(), "sample_interval: 1s", 1).await.unwrap();
    for n in 1..=50 {
        kernel.open(n);
        kernel.transfer(n, u64::from(n));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(kernel.n_undrained(), 0, "after {n} connections");
    }
    for n in 1..=50 {
        kernel.close(n, u64::from(n));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(kernel.n_undrained(), 0);
    let mut flows = Vec::new();
    harness.request_shutdown(Duration::from_secs(10));
    while let Some(batch) = harness.recv_within(Duration::from_secs(1)).await {
        flows.extend(records(batch));
    }
    assert_eq!(flows.iter().filter(|it| it.begin.is_some()).count(), 50);
    assert_eq!(flows.iter().filter(|it| it.end.is_some()).count(), 50);
    assert_eq!(flows.iter().map(|it| it.request.bytes).sum::<u64>(), 50 * 51 / 2);
    assert!(flows.len() < 150, "{} records of 50 connections were not merged", flows.len());
}

/// A pipeline that is stuck does not hold up the end, and what it did not take is counted.
#[tokio::test(start_paused = true)]
async fn what_the_pipeline_does_not_take_until_the_deadline_is_counted() {
    let kernel = Kernel::default();
    let harness =
        Harness::try_start_with_capacity(&kernel.factory(), "sample_interval: 10m", 1).await.unwrap();
    kernel.after_the_first_walk().await;
    for n in 1..=10 {
        kernel.open(n);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // One batch is queued, one is under way, and the rest waits.
    harness.request_shutdown(Duration::from_secs(5));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let dropped = || harness.value("ridley.dropped.items", &[("reason", "shutdown")]);
    assert_eq!(dropped(), 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    // The one that was under way had been passed on: it is not dropped a second time here.
    assert_eq!((dropped(), harness.ledger().produced), (8, 2));
    let outcome = harness.finish().await;
    outcome.result.as_ref().unwrap();
    assert_eq!(outcome.n_items(), 1);
}

/// A batch is bounded, whatever there is to say.
#[tokio::test(start_paused = true)]
async fn batches_are_bounded() {
    let kernel = Kernel::default();
    for n in 1..=600 {
        kernel.open(n);
    }
    let mut harness = Harness::start(&kernel.factory(), "").await;
    let sizes =
        [recv(&mut harness).await.len(), recv(&mut harness).await.len(), recv(&mut harness).await.len()];
    assert_eq!(sizes, [256, 256, 88]);
}

/// Without walks, begins and ends go on; a walk that works again finds what it missed.
#[tokio::test(start_paused = true)]
async fn a_walk_that_fails_is_counted_and_tried_again() {
    let kernel = Kernel::default();
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 1s").await;
    kernel.after_the_first_walk().await;
    kernel.change(|it| it.walks_fail = true);
    kernel.open(1);
    kernel.transfer(1, 9);
    assert_eq!(recv(&mut harness).await[0].begin, Some(Begin::Opened));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let failed = harness.value("ridley.ebpf.walks", &[("outcome", "failed")]);
    assert!((4..=6).contains(&failed), "{failed} walks failed");
    kernel.change(|it| it.walks_fail = false);
    assert_eq!(recv(&mut harness).await[0].request.bytes, 9);
}

#[tokio::test(start_paused = true)]
async fn what_the_programs_skipped_is_a_metric() {
    let kernel = Kernel::default();
    kernel.change(|it| it.skipped = 3);
    let harness = Harness::start(&kernel.factory(), "sample_interval: 1s").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for reason in SkipReason::ALL {
        let value = harness.value("ridley.ebpf.skipped", &[("reason", reason.as_str())]);
        assert_eq!(value, 3, "{}", reason.as_str());
    }
}

/// Only what no program has taken over by the next sample counts; of all else the kernel's count is final.
#[tokio::test(start_paused = true)]
async fn what_is_taken_over_late_is_not_skipped() {
    let kernel = Kernel::default();
    let harness = Harness::start(&kernel.factory(), "sample_interval: 1s").await;
    let skipped = |reason: SkipReason| harness.value("ridley.ebpf.skipped", &[("reason", reason.as_str())]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut told = Vec::new();
    for count in [2, 1, 1, 4, 3] {
        kernel.change(|it| it.skipped = count);
        tokio::time::sleep(Duration::from_secs(1)).await;
        told.push((skipped(SkipReason::Nested), skipped(SkipReason::RingFull)));
    }
    assert_eq!(told, [(0, 2), (1, 2), (1, 2), (1, 4), (3, 4)]);
}

/// What listening sockets tell is sent in batches of the same bound, and does not keep connections waiting.
#[tokio::test(start_paused = true)]
async fn listening_sockets_are_sent_in_turns_with_connections() {
    let kernel = Kernel::default();
    for n in 1..=600 {
        kernel.open(n);
        kernel.listen(n);
    }
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 10m").await;
    let mut sizes = Vec::new();
    while let Some(batch) = harness.recv_within(Duration::from_secs(1)).await {
        sizes.push((matches!(batch, Batch::Listeners(_)), batch.n_items()));
    }
    let [listeners, flows] =
        [true, false].map(|it| sizes.iter().filter(move |(is, _)| *is == it).map(|(_, n)| *n));
    assert_eq!((listeners.collect::<Vec<_>>(), flows.sum::<u64>()), (vec![256, 256, 88], 600), "{sizes:?}");
    let last = |of_listeners| sizes.iter().rposition(|(is, _)| *is == of_listeners).unwrap();
    assert!(last(true).abs_diff(last(false)) <= 1, "{sizes:?}");
}

/// However often connections are sampled; but before the receiver ends once more.
#[tokio::test(start_paused = true)]
async fn listening_sockets_are_sampled_once_a_second_at_most() {
    let kernel = Kernel::default();
    kernel.listen(1);
    let harness = Harness::start(&kernel.factory(), "sample_interval: 100ms").await;
    let n_walks = || kernel.state.lock().unwrap().n_listening_walks;
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert_eq!(n_walks(), 5);
    harness.request_shutdown(Duration::from_secs(1));
    harness.finish().await;
    assert_eq!(n_walks(), 6);
}

/// A queue is told at each sample, what was dropped once.
#[tokio::test(start_paused = true)]
async fn listening_sockets_are_sampled_each_interval() {
    let kernel = Kernel::default();
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 5s").await;
    kernel.after_the_first_walk().await;
    kernel.listen(1);
    let mut told = Vec::new();
    for drops in [3, 3, 5] {
        kernel.change(|it| it.listening[0].drops = drops);
        told.push(recv_listener(&mut harness).await);
    }
    kernel.change(|it| it.listening.clear());
    told.push(recv_listener(&mut harness).await);
    assert_eq!(told, [(3, 128), (0, 128), (2, 128), (0, 0)]);
}

/// Without them the rest goes on, and it shows.
#[tokio::test(start_paused = true)]
async fn a_walk_of_listening_sockets_that_fails_is_counted() {
    let kernel = Kernel::default();
    kernel.open(1);
    kernel.change(|it| it.listening_fails = true);
    let mut harness = Harness::start(&kernel.factory(), "sample_interval: 1s").await;
    assert_eq!(recv(&mut harness).await.len(), 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let failed = harness.value("ridley.ebpf.walks", &[("outcome", "failed")]);
    assert!((4..=6).contains(&failed), "{failed} walks failed");
}

/// Returns what the next report says: drops, and the limit of the queue.
async fn recv_listener(harness: &mut Harness) -> (u64, u32) {
    match harness.recv().await {
        Some(Batch::Listeners(listeners)) => (listeners.records[0].dropped, listeners.records[0].queue_limit),
        other => panic!("{other:?}"),
    }
}

/// How much each program was not given, and what others then saw.
#[tokio::test(start_paused = true)]
async fn what_programs_do_for_each_other_is_a_metric() {
    let kernel = Kernel::default();
    kernel.change(|it| (it.missed, it.taken_over) = (5, 4));
    let harness = Harness::start(&kernel.factory(), "sample_interval: 1s").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    for program in Program::ALL {
        let missed = harness.value("ridley.ebpf.missed", &[("program", program.as_str())]);
        let taken_over = harness.value("ridley.ebpf.taken_over", &[("program", program.as_str())]);
        let expected = match program {
            Program::First => (5, 0),
            Program::Last => (0, 4),
            Program::Second | Program::Third | Program::Reset => (0, 0),
        };
        assert_eq!((missed, taken_over), expected, "{program:?}");
    }
}

async fn recv(harness: &mut Harness) -> Vec<Flow> {
    records(harness.recv().await.expect("the receiver runs"))
}

fn records(batch: Batch) -> Vec<Flow> {
    match batch {
        Batch::Flows(flows) => flows.records,
        _ => unreachable!("the receiver emits flows"),
    }
}

/// A kernel with client sockets, numbered.
#[derive(Clone, Default)]
struct Kernel {
    state: Arc<Mutex<State>>,
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    sockets: Vec<(u32, u64)>,
    records: VecDeque<ConnectionRecord>,
    n_walks: u32,
    n_listening_walks: u32,
    is_walked: bool,
    listening: Vec<ListeningSocket>,
    walks_fail: bool,
    listening_fails: bool,
    skipped: u64,
    missed: u64,
    taken_over: u64,
}

impl Kernel {
    fn factory(&self) -> Factory {
        let kernel = self.clone();
        let create = move |config: Config, context: Context| {
            let source = kernel.clone();
            async move {
                let metrics = Metrics::new(&context.telemetry);
                let receiver =
                    EbpfReceiver::new(&config, source, Scope::Machine, Seed::default(), metrics, now);
                Ok(Box::new(receiver) as Box<dyn Receiver>)
            }
        };
        Factory::receiver("ebpf", &[Signal::Flows], create).with_summary("observes a kernel of the test")
    }

    fn open(&self, number: u32) {
        self.change(|it| {
            it.sockets.push((number, 0));
            it.records.push_back(record(
                RecordKind::Opened,
                Socket { state: state::SYN_SENT, ..socket(number, 0) },
            ));
        });
    }

    fn listen(&self, inode: u32) {
        let socket = ListeningSocket { inode: inode.into(), queue_limit: 128, ..ListeningSocket::zeroed() };
        self.change(|it| it.listening.push(socket));
    }

    fn transfer(&self, number: u32, total: u64) {
        self.change(|it| {
            it.sockets.iter_mut().filter(|(it, _)| *it == number).for_each(|(_, bytes)| *bytes = total)
        });
    }

    fn close(&self, number: u32, total: u64) {
        self.change(|it| {
            it.sockets.retain(|(it, _)| *it != number);
            let mut socket = Socket { state: state::LAST_ACK, ..socket(number, total) };
            // The goodbye and its acknowledgement.
            socket.bytes_acked += 1;
            for sequence in [&mut socket.snd_una, &mut socket.snd_nxt, &mut socket.write_seq] {
                *sequence += 1;
            }
            it.records.push_back(record(RecordKind::Closed, socket));
        });
    }

    /// A connection that its application has closed is reset, as its socket tells.
    fn be_reset(&self, number: u32) {
        let socket = Socket { state: state::FIN_WAIT2, flags: 1, error: 104, ..socket(number, 0) };
        self.change(|it| {
            it.sockets.retain(|(it, _)| *it != number);
            it.records.push_back(record(RecordKind::Closed, socket));
        });
    }

    /// It was this end that sent the reset.
    fn send_reset(&self, number: u32) {
        self.change(|it| it.records.push_back(record(RecordKind::ResetSent, socket(number, 0))));
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }

    fn n_undrained(&self) -> usize {
        self.state.lock().unwrap().records.len()
    }

    fn n_walks(&self) -> u32 {
        self.state.lock().unwrap().n_walks
    }

    async fn after_the_first_walk(&self) {
        while self.n_walks() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Source for Kernel {
    fn process(&self) -> u32 {
        0
    }

    fn tick(&self) -> Option<Duration> {
        None
    }

    fn sees_resets(&self) -> bool {
        true
    }

    async fn woken(&mut self) {
        self.wake.notified().await;
    }

    fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        for record in std::mem::take(&mut self.state.lock().unwrap().records) {
            each(bytemuck::bytes_of(&record));
        }
    }

    fn begin_walk(&mut self) -> Result<bool, RunProgramError> {
        let mut state = self.state.lock().unwrap();
        if state.walks_fail {
            return Err(cannot_run("boot"));
        }
        state.is_walked = false;
        Ok(true)
    }

    fn walk_step(&mut self, _with_ends: bool, sockets: &mut Vec<Socket>) -> Result<Step, RunProgramError> {
        let mut state = self.state.lock().unwrap();
        if state.is_walked {
            state.n_walks += 1;
            return Ok(Step::End);
        }
        state.is_walked = true;
        sockets.extend(state.sockets.iter().map(|(number, bytes)| socket(*number, *bytes)));
        Ok(Step::Sockets { complete: true })
    }

    fn walk_listening(
        &mut self,
        _first: u32,
        sockets: &mut Vec<ListeningSocket>,
    ) -> Option<Result<ListeningStep, RunProgramError>> {
        let mut state = self.state.lock().unwrap();
        state.n_listening_walks += 1;
        if state.listening_fails {
            return Some(Err(cannot_run("walk_listening")));
        }
        sockets.extend(&state.listening);
        Some(Ok(ListeningStep { next: None, complete: true }))
    }

    fn name_cgroup(&mut self, _node: u64) -> Result<CgroupNames, RunProgramError> {
        Ok(CgroupNames::zeroed())
    }

    fn skipped(&self, _reason: SkipReason) -> Option<u64> {
        Some(self.state.lock().unwrap().skipped)
    }

    fn missed(&self, program: Program) -> Option<u64> {
        (program == Program::First).then(|| self.state.lock().unwrap().missed)
    }

    fn taken_over(&self, program: Program) -> Option<u64> {
        (program == Program::Last).then(|| self.state.lock().unwrap().taken_over)
    }
}

fn cannot_run(program: &'static str) -> RunProgramError {
    RunProgramError { program, source: Box::new(aya::programs::ProgramError::NotLoaded) }
}

fn record(kind: RecordKind, socket: Socket) -> ConnectionRecord {
    ConnectionRecord { kind: kind as u16, time: 1, socket, ..ConnectionRecord::zeroed() }
}

/// A client's socket that has sent `bytes`, all acknowledged.
fn socket(number: u32, bytes: u64) -> Socket {
    let sequence = 1 + u32::try_from(bytes).unwrap();
    Socket {
        bytes_acked: 1 + bytes,
        snd_una: sequence,
        snd_nxt: sequence,
        write_seq: sequence,
        rcv_nxt: number,
        state: state::ESTABLISHED,
        ..Socket::zeroed()
    }
}

/// Reads the clock that the test pauses.
fn now() -> Moment {
    thread_local! {
        static BOOT: OnceCell<Instant> = const { OnceCell::new() };
    }
    let since_boot = BOOT.with(|it| it.get_or_init(Instant::now).elapsed());
    let nanos = 1 + u64::try_from(since_boot.as_nanos()).unwrap();
    Moment { boot: nanos, wall: UnixNanos(nanos) }
}

/// The setting of the test is what the tracker gets.
#[tokio::test(start_paused = true)]
async fn the_limit_comes_from_the_settings() {
    let kernel = Kernel::default();
    let mut harness = Harness::start(&kernel.factory(), "max_connections: 1").await;
    kernel.after_the_first_walk().await;
    kernel.open(1);
    kernel.open(2);
    assert_eq!(recv(&mut harness).await.len(), 1);
    assert_eq!(harness.value("ridley.ebpf.untracked", &[]), 1);
    assert_eq!(Config::default().max_connections, NonZeroUsize::new(100_000).unwrap());
}
