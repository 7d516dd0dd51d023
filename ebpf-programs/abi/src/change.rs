/// What the programs that are attached to changes of state count of them: index of the `CHANGES` map.
///
/// Where the kernel runs the first of them on a CPU it does not run it again before it has ended, so that other changes on
/// that CPU are given to those after it alone.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeCount {
    /// The first program was run inside itself, as kernels before 6.1 do, and left the change to those after it.
    Declined,
    /// Changes that the second program was the first to see.
    BySecond,
    /// Changes that the third program was the first to see.
    ByThird,
    /// Changes that the last program was the first to see.
    ByLast,
}

impl ChangeCount {
    /// How many there are: the size of the map.
    pub const COUNT: u32 = 4;
}
