/// Why a data point was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// A delta: whoever misses one would miss it for good.
    DeltaTemporality,
    /// An exponential histogram, which is not translated.
    ExponentialHistogram,
    /// A point that contradicts itself, or that is none.
    Malformed,
    /// A metric whose name has no letter or digit.
    InvalidName,
    /// A metric that would be of two types, or share the name of its samples with another one.
    NameConflict,
    /// A point older than the one that is held.
    OutOfOrder,
    /// A series for which there is no room.
    MaxSeries,
    /// An item of a signal that the exporter does not take.
    WrongSignal,
}

impl DropReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::DeltaTemporality,
        Self::ExponentialHistogram,
        Self::Malformed,
        Self::InvalidName,
        Self::NameConflict,
        Self::OutOfOrder,
        Self::MaxSeries,
        Self::WrongSignal,
    ];

    /// Returns the reason as telemetry has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeltaTemporality => "delta_temporality",
            Self::ExponentialHistogram => "exponential_histogram",
            Self::Malformed => "malformed",
            Self::InvalidName => "invalid_name",
            Self::NameConflict => "name_conflict",
            Self::OutOfOrder => "out_of_order",
            Self::MaxSeries => "max_series",
            Self::WrongSignal => "wrong_signal",
        }
    }
}

// `as usize` finds a reason's counter.
const _: () = {
    let mut idx = 0;
    while idx < DropReason::ALL.len() {
        assert!(DropReason::ALL[idx] as usize == idx);
        idx += 1;
    }
};

/// What was not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Points, by reason, in the order of [`DropReason::ALL`].
    pub points: [u64; DropReason::ALL.len()],
    /// Resources whose attributes `target_info` lacks.
    pub n_targets: u64,
}

impl Drops {
    /// Adds points that were dropped for a reason.
    pub fn add(&mut self, reason: DropReason, n: u64) {
        self.points[reason as usize] += n;
    }

    /// Returns how many points were dropped for a reason.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.points[reason as usize]
    }
}
