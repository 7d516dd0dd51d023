//! The programs in the kernel, and what comes from them.

mod misses;

use std::{net::TcpListener, os::fd::AsFd, time::Duration};

use abi::{
    CgroupNames, ChangeCount, ListeningSocket, MAX_LISTENING, MAX_SOCKETS, MAX_TABLES, Offsets, SkipReason,
    Socket, Table, WalkArguments, WalkState,
};
use aya::{
    Ebpf, EbpfLoader, RawTracePointRunOptions, TestRun,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::RawTracePoint,
};

use component::ErrorChain;
use rustix::fs::fstat;
use tracing::{debug, info};

use self::misses::Misses;
use crate::{
    btf::Btf,
    cgroups,
    clock::TickCount,
    error::{LoadError, RunProgramError},
    layout::{self, Degraded},
    mapped::Mapped,
    object::OBJECT,
    source::{ListeningStep, Program, Source, Step},
    wake::Wakeups,
};

/// Chunks of a table that one run reads. Preemption is off meanwhile: about ten microseconds for each if it is empty,
/// and one more for each socket.
const CHUNKS_PER_RUN: u32 = 8;

/// Programs that are attached, and where to.
const STATE_CHANGE: Attachment =
    Attachment { name: Program::First, program: "on_state_change", tracepoint: SET_STATE };
/// Run after it, in this order, whatever it does: where programs can be preempted, and everywhere.
const STATE_CHANGE_AGAIN: [Attachment; 2] = [
    Attachment { name: Program::Second, program: "on_state_change_second", tracepoint: SET_STATE },
    Attachment { name: Program::Third, program: "on_state_change_third", tracepoint: SET_STATE },
];
const STATE_CHANGE_LAST: Attachment =
    Attachment { name: Program::Last, program: "on_state_change_last", tracepoint: SET_STATE };
const SET_STATE: &str = "inet_sock_set_state";
pub(crate) const RESET_SENT: Attachment =
    Attachment { name: Program::Reset, program: "on_reset_sent", tracepoint: "tcp_send_reset" };

#[derive(Clone, Copy, Debug)]
pub(crate) struct Attachment {
    name: Program,
    program: &'static str,
    pub(crate) tracepoint: &'static str,
}

/// What the kernel puts before each record of a ring buffer, `BPF_RINGBUF_HDR_SZ`.
const RECORD_HEADER: usize = 8;

/// Walks listening sockets.
const WALK_LISTENING: &str = "walk_listening";

/// Reads the names of a cgroup.
const NAME_CGROUP: &str = "name_cgroup";

/// The programs that find tables and walk them, in one of the variants that kernels of different age accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Variant {
    boot: &'static str,
    walk: &'static str,
    /// How it repeats itself.
    by: &'static str,
}

/// Every variant, the best first: the first that the kernel accepts is used.
const VARIANTS: [Variant; 3] = [
    Variant { boot: "boot", walk: "walk", by: "bpf_loop" },
    Variant { boot: "boot_elements", walk: "walk_elements", by: "bpf_for_each_map_elem" },
    Variant { boot: "boot_flat", walk: "walk_flat", by: "bounded loops" },
];

/// The loaded programs. Dropping it takes them out of the kernel.
pub(crate) struct Observer {
    programs: Ebpf,
    variant: Variant,
    events: RingBuf<MapData>,
    ring_bytes: usize,
    wakeups: Wakeups,
    skipped: PerCpuArray<MapData, u64>,
    changes: PerCpuArray<MapData, u64>,
    misses: Vec<(Program, Misses)>,
    state: Mapped<WalkState>,
    sockets: Mapped<Socket>,
    tables: Mapped<Table>,
    // `None` if the kernel does not tell where they are.
    listening: Option<Mapped<ListeningSocket>>,
    cgroup: Mapped<CgroupNames>,
    // Where the walk is: tables it has still to visit, the last one first, and the next bucket of that.
    pending: Vec<Table>,
    next_bucket: u32,
    process: u32,
    tick: Option<Duration>,
    sees_resets: bool,
}

impl Observer {
    /// Loads and attaches the programs; needs a runtime.
    ///
    /// Returns also what the running kernel cannot tell.
    pub(crate) fn load(ring_bytes: u32) -> Result<(Self, Vec<Degraded>), LoadError> {
        let btf = Btf::of_running_kernel()?;
        let again: &[_] = if layout::preempts_programs(&btf) { &STATE_CHANGE_AGAIN } else { &[] };
        Self::try_load(&btf, ring_bytes, &VARIANTS, again).map_err(LoadError::or_not_permitted)
    }

    fn try_load(
        btf: &Btf,
        ring_bytes: u32,
        variants: &[Variant],
        again: &[Attachment],
    ) -> Result<(Self, Vec<Degraded>), LoadError> {
        let (mut offsets, mut degraded) = layout::offsets(btf)?;
        offsets.wake_bytes = ring_bytes / 2;
        let mut programs = EbpfLoader::new()
            // Nothing is relocated: the programs get offsets.
            .btf(None)
            .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
            .map_max_entries("EVENTS", ring_bytes)
            .load(OBJECT)
            .map_err(|source| LoadError::CreateMaps(Box::new(source)))?;
        let variant = load_first(&mut programs, variants)?;
        if variant == VARIANTS[0] {
            debug!(by = variant.by, "sockets are walked");
        } else {
            info!(
                by = variant.by,
                "sockets are walked in smaller steps, for what this kernel lets programs repeat"
            );
        }
        load_program(&mut programs, NAME_CGROUP)?;
        let mut has_listening = offsets.hashinfo_listening != Offsets::ABSENT;
        if has_listening && let Err(error) = load_program(&mut programs, WALK_LISTENING) {
            debug!(error = %ErrorChain(&error), "listening sockets are not walked");
            degraded.push(Degraded {
                missing: WALK_LISTENING,
                effect: "what listening sockets drop, and their queues, stay unknown",
            });
            has_listening = false;
        }
        let open = |map| move |source| LoadError::OpenMap { map, source: Box::new(source) };
        let events = RingBuf::try_from(take_map(&mut programs, "EVENTS")).map_err(open("EVENTS"))?;
        let skipped = PerCpuArray::try_from(take_map(&mut programs, "SKIPPED")).map_err(open("SKIPPED"))?;
        let changes = PerCpuArray::try_from(take_map(&mut programs, "CHANGES")).map_err(open("CHANGES"))?;
        let mut observer = Self {
            variant,
            wakeups: Wakeups::new(&events).map_err(LoadError::WatchRing)?,
            events,
            ring_bytes: ring_bytes as usize,
            skipped,
            changes,
            misses: Vec::new(),
            state: map_memory(&programs, "WALK", 1)?,
            sockets: map_memory(&programs, "SOCKETS", MAX_SOCKETS as usize)?,
            tables: map_memory(&programs, "TABLES", MAX_TABLES as usize)?,
            listening: has_listening
                .then(|| map_memory(&programs, "LISTENING", MAX_LISTENING as usize))
                .transpose()?,
            cgroup: map_memory(&programs, "CGROUP", 1)?,
            pending: Vec::new(),
            next_bucket: 0,
            process: std::process::id(),
            tick: None,
            sees_resets: false,
            programs,
        };
        // A walk that cannot run is told when it is tried; then this process goes by the number it knows itself by.
        if observer.run(variant.boot, [0; 12]).is_ok() {
            observer.process = observer.state.get(0).process;
            observer.tick = observer.tick_count().tick();
        }
        match observer.attach(RESET_SENT) {
            Ok(()) => observer.sees_resets = true,
            Err(error) => {
                debug!(error = %ErrorChain(&error), "resets are not observed");
                degraded.push(Degraded {
                    missing: RESET_SENT.tracepoint,
                    effect: "a reset of a connection that an application had closed already is told as aborted",
                });
            }
        }
        debug!(programs = again.len() + 2, "changes of state are recorded");
        observer.attach(STATE_CHANGE)?;
        for attachment in again {
            observer.attach(*attachment)?;
        }
        observer.attach(STATE_CHANGE_LAST)?;
        if observer.missed(Program::First).is_none() {
            degraded.push(Degraded {
                missing: "/proc/self/fdinfo",
                effect: "what the kernel gives to no program is not counted, `ridley.ebpf.skipped` says too little",
            });
        }
        Ok((observer, degraded))
    }

    fn attach(&mut self, attachment: Attachment) -> Result<(), LoadError> {
        let Attachment { name, program, tracepoint } = attachment;
        load_program(&mut self.programs, program)?;
        let loaded = raw_tracepoint(&mut self.programs, program);
        let attached = loaded.attach(tracepoint).map(drop);
        attached.map_err(|source| LoadError::AttachProgram {
            program,
            tracepoint,
            source: Box::new(source),
        })?;
        match loaded.fd().map(|fd| Misses::of(fd.as_fd())) {
            Ok(Ok(misses)) => self.misses.push((name, misses)),
            Ok(Err(error)) => {
                debug!(program, %error, "what the kernel does not give to a program stays unknown")
            }
            Err(_) => unreachable!("the program was loaded just now"),
        }
        Ok(())
    }

    /// Measures how long a tick of the kernel's clock takes, if one reading did not tell it, for the machine was booted five
    /// minutes ago. Takes a second at most. Returns what stays unknown if it does.
    pub(crate) async fn measure_tick(&mut self) -> Option<Degraded> {
        const TRIES: usize = 4;
        const WAIT: Duration = Duration::from_millis(250);
        let first = self.tick_count();
        for _ in 0..TRIES {
            if self.tick.is_some() {
                return None;
            }
            tokio::time::sleep(WAIT).await;
            if self.run(self.variant.boot, [0; 12]).is_ok() {
                self.tick = self.tick_count().tick_since(first);
            }
        }
        self.tick.is_none().then_some(Degraded {
            missing: "jiffies",
            effect: "for how long windows of receivers hold data back is told as zero, and SYN cookies are not told",
        })
    }

    fn tick_count(&self) -> TickCount {
        let WalkState { ticks, monotonic, .. } = self.state.get(0);
        TickCount { ticks, monotonic: Duration::from_nanos(monotonic) }
    }

    /// Returns the path of the cgroup that this process is in, by a socket with which it listens; `None` if the kernel does not
    /// tell. What this process reads of itself ends at the root of its namespace of cgroups, which in a pod is the pod.
    pub(crate) fn own_cgroup(&mut self, listener: &TcpListener) -> Result<Option<String>, RunProgramError> {
        let inode = fstat(listener).map(|it| it.st_ino).unwrap_or_default();
        let mut sockets = Vec::new();
        let mut next = Some(0);
        while let Some(first) = next {
            let Some(step) = self.walk_listening(first, &mut sockets) else { return Ok(None) };
            next = step?.next;
            if let Some(own) = sockets.drain(..).find(|it| it.inode == inode && inode != 0) {
                let names = self.name_cgroup(own.cgroup_node)?;
                return Ok((names.id == own.cgroup).then(|| cgroups::path(&names)));
            }
        }
        Ok(None)
    }

    fn run(&self, program: &'static str, args: [u64; 12]) -> Result<(), RunProgramError> {
        let loaded = self.programs.program(program).expect("the program was loaded by this name");
        let loaded: &RawTracePoint = loaded.try_into().expect("the object has raw tracepoint programs only");
        let options = RawTracePointRunOptions { args, cpu: None };
        match loaded.test_run(options) {
            Ok(_) => Ok(()),
            Err(source) => Err(RunProgramError { program, source: Box::new(source) }),
        }
    }
}

impl Source for Observer {
    fn process(&self) -> u32 {
        self.process
    }

    fn tick(&self) -> Option<Duration> {
        self.tick
    }

    fn sees_resets(&self) -> bool {
        self.sees_resets
    }

    async fn woken(&mut self) {
        self.wakeups.woken().await;
    }

    fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        let mut left = self.ring_bytes;
        while left > 0
            && let Some(record) = self.events.next()
        {
            left = left.saturating_sub(RECORD_HEADER + record.len());
            each(&record);
        }
    }

    fn begin_walk(&mut self) -> Result<bool, RunProgramError> {
        self.pending.clear();
        self.run(self.variant.boot, [0; 12])?;
        let WalkState { n_tables, n_skipped, .. } = self.state.get(0);
        for idx in 0..n_tables.min(MAX_TABLES) as usize {
            let table = self.tables.get(idx);
            if !self.pending.iter().any(|it| it.buckets == table.buckets) {
                self.pending.push(table);
            }
        }
        self.next_bucket = 0;
        Ok(n_skipped == 0)
    }

    fn walk_step(&mut self, with_ends: bool, sockets: &mut Vec<Socket>) -> Result<Step, RunProgramError> {
        let Some(&table) = self.pending.last() else { return Ok(Step::End) };
        let arguments = WalkArguments { table, first: self.next_bucket, n_chunks: CHUNKS_PER_RUN, with_ends };
        self.run(self.variant.walk, arguments.to_raw())?;
        let WalkState { n_sockets, n_skipped, next_bucket, .. } = self.state.get(0);
        let n_sockets = n_sockets.min(MAX_SOCKETS) as usize;
        sockets.extend((0..n_sockets).map(|idx| self.sockets.get(idx)));
        let has_moved = next_bucket > self.next_bucket;
        self.next_bucket = next_bucket;
        if next_bucket > table.mask || !has_moved {
            self.pending.pop();
            self.next_bucket = 0;
        }
        Ok(Step::Sockets { complete: n_skipped == 0 && has_moved })
    }

    fn walk_listening(
        &mut self,
        first: u32,
        sockets: &mut Vec<ListeningSocket>,
    ) -> Option<Result<ListeningStep, RunProgramError>> {
        let listening = self.listening.as_ref()?;
        if let Err(error) = self.run(WALK_LISTENING, [u64::from(first), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]) {
            return Some(Err(error));
        }
        let WalkState { n_sockets, n_skipped, next_bucket, mask, .. } = self.state.get(0);
        sockets.extend((0..n_sockets.min(MAX_LISTENING) as usize).map(|idx| listening.get(idx)));
        let has_moved = next_bucket > first;
        let next = (has_moved && next_bucket <= mask).then_some(next_bucket);
        Some(Ok(ListeningStep { next, complete: n_skipped == 0 && has_moved }))
    }

    fn name_cgroup(&mut self, node: u64) -> Result<CgroupNames, RunProgramError> {
        self.run(NAME_CGROUP, [node, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        Ok(self.cgroup.get(0))
    }

    fn skipped(&self, reason: SkipReason) -> Option<u64> {
        match reason {
            SkipReason::Nested => self.n_nested(),
            SkipReason::NestedReset if self.sees_resets => {
                Some(sum(&self.skipped, reason as u32)? + self.missed(Program::Reset)?)
            }
            _ => sum(&self.skipped, reason as u32),
        }
    }

    fn missed(&self, program: Program) -> Option<u64> {
        let (_, misses) = self.misses.iter().find(|(it, _)| *it == program)?;
        misses.count()
    }

    fn taken_over(&self, program: Program) -> Option<u64> {
        let count = match program {
            Program::First | Program::Reset => return None,
            Program::Second => ChangeCount::BySecond,
            Program::Third => ChangeCount::ByThird,
            Program::Last => ChangeCount::ByLast,
        };
        sum(&self.changes, count as u32)
    }
}

impl Observer {
    /// Returns how many changes of state no program was given: those that the first was not, or that it left to others, but
    /// for those that others saw. These they count a moment later, or much later if they are preempted before: until then
    /// the changes are among those that none was given.
    fn n_nested(&self) -> Option<u64> {
        // Read first: what others see in between makes it too little until the next time, and never too much.
        let n_missed = self.missed(Program::First)? + sum(&self.changes, ChangeCount::Declined as u32)?;
        let mut n_taken_over = 0;
        for program in [Program::Second, Program::Third, Program::Last] {
            n_taken_over += self.taken_over(program)?;
        }
        Some(n_missed.saturating_sub(n_taken_over))
    }
}

fn sum(counts: &PerCpuArray<MapData, u64>, idx: u32) -> Option<u64> {
    Some(counts.get(&idx, 0).ok()?.iter().sum())
}

/// Loads the first of the variants that the kernel accepts; the error is the last one's.
fn load_first(programs: &mut Ebpf, variants: &[Variant]) -> Result<Variant, LoadError> {
    let (last, others) = variants.split_last().expect("there are variants");
    let mut load =
        |it: &Variant| load_program(programs, it.boot).and_then(|()| load_program(programs, it.walk));
    for variant in others {
        match load(variant) {
            Ok(()) => return Ok(*variant),
            Err(error) => {
                debug!(by = variant.by, error = %ErrorChain(&error), "the kernel refuses a variant")
            }
        }
    }
    load(last)?;
    Ok(*last)
}

fn load_program(programs: &mut Ebpf, program: &'static str) -> Result<(), LoadError> {
    raw_tracepoint(programs, program)
        .load()
        .map_err(|source| LoadError::LoadProgram { program, source: Box::new(source) })
}

fn raw_tracepoint<'a>(programs: &'a mut Ebpf, program: &str) -> &'a mut RawTracePoint {
    let program = programs.program_mut(program).expect("the object has every program that is named here");
    program.try_into().expect("the object has raw tracepoint programs only")
}

fn take_map(programs: &mut Ebpf, map: &str) -> aya::maps::Map {
    programs.take_map(map).expect("the object has every map that is named here")
}

fn map_memory<T: bytemuck::AnyBitPattern>(
    programs: &Ebpf,
    map: &'static str,
    len: usize,
) -> Result<Mapped<T>, LoadError> {
    let data = match programs.map(map) {
        Some(aya::maps::Map::Array(data)) => data,
        _ => unreachable!("the object has every array that is named here"),
    };
    Mapped::new(data.fd(), len).map_err(|source| LoadError::MapMemory { map, source })
}

#[cfg(all(test, feature = "kernel-tests"))]
mod kernel_tests;
