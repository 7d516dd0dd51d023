use std::time::Duration;

use abi::{CgroupNames, ListeningSocket, SkipReason, Socket};

use crate::error::RunProgramError;

/// Where observations come from: the kernel, or a test.
pub(crate) trait Source: Send {
    /// Returns the process that this runs in, as the kernel numbers it: not as its own namespace does.
    fn process(&self) -> u32;

    /// Returns whether it tells of resets that were sent.
    fn sees_resets(&self) -> bool;

    /// Returns how long a tick of the kernel's clock takes, if that is known.
    fn tick(&self) -> Option<Duration>;

    /// Waits until there is so much to drain that it should not wait for the next time. Cancel-safe.
    fn woken(&mut self) -> impl Future<Output = ()> + Send;

    /// Hands over every record that waits, in order; of those that come meanwhile no more than there is room for, so that it
    /// ends however fast they come.
    fn drain(&mut self, each: impl FnMut(&[u8]));

    /// Begins a walk of all connected sockets; what was left of another is forgotten.
    ///
    /// Returns whether everything that is to be walked was found.
    fn begin_walk(&mut self) -> Result<bool, RunProgramError>;

    /// Appends the next sockets of the walk: with their ends, or with identity and totals alone.
    fn walk_step(&mut self, with_ends: bool, sockets: &mut Vec<Socket>) -> Result<Step, RunProgramError>;

    /// Appends the listening sockets of the buckets from `first` on; `None` if they cannot be walked.
    fn walk_listening(
        &mut self,
        first: u32,
        sockets: &mut Vec<ListeningSocket>,
    ) -> Option<Result<ListeningStep, RunProgramError>>;

    /// Reads the names of a cgroup by the address of its node, which may be gone: the id tells.
    fn name_cgroup(&mut self, node: u64) -> Result<CgroupNames, RunProgramError>;

    /// Returns how often something could not be recorded; `None` if that cannot be told now. Of changes of state that were
    /// not given to any program (`Nested`) it may be too much until one that was preempted has run on.
    fn skipped(&self, reason: SkipReason) -> Option<u64>;

    /// Returns how often a program was not run because its CPU was in the middle of it; `None` if it is not attached, or
    /// that cannot be told now.
    fn missed(&self, program: Program) -> Option<u64>;

    /// Returns how many changes a program saw that those before it did not; `None` if there is none before it, or that
    /// cannot be told now.
    fn taken_over(&self, program: Program) -> Option<u64>;
}

/// A program that the kernel runs when something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    /// The first at changes of state.
    First,
    /// The one after it, where programs can be preempted.
    Second,
    /// The one after that, likewise.
    Third,
    /// The one after all others.
    Last,
    /// The one at resets.
    Reset,
}

impl Program {
    /// Every program, each at its place in the order of the variants.
    pub(crate) const ALL: [Self; 5] = [Self::First, Self::Second, Self::Third, Self::Last, Self::Reset];

    /// Returns the value of the `program` attribute.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Second => "second",
            Self::Third => "third",
            Self::Last => "last",
            Self::Reset => "reset",
        }
    }
}

/// What a step of a walk did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It went on.
    Sockets {
        /// Whether it saw every socket where it went.
        complete: bool,
    },
    /// There was nothing left.
    End,
}

/// What a step of a walk of listening sockets did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListeningStep {
    /// Where the next step begins; `None` if nothing is left.
    pub(crate) next: Option<u32>,
    /// Whether it saw every socket where it went.
    pub(crate) complete: bool,
}
