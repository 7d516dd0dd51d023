//! How often the kernel did not run a program, because its CPU was in the middle of it.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

/// Longer than what the kernel tells of a program.
const MAX_BYTES: usize = 4096;

/// What the kernel tells of a program; open from the start, for that takes rights which may be given up later.
pub(super) struct Misses(File);

impl Misses {
    /// Opens it for a program by its descriptor.
    pub(super) fn of(program: BorrowedFd<'_>) -> io::Result<Self> {
        File::open(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).map(Self)
    }

    /// Returns how often; `None` if that cannot be read.
    pub(super) fn count(&self) -> Option<u64> {
        let mut bytes = [0; MAX_BYTES];
        let n = self.0.read_at(&mut bytes, 0).ok()?;
        parse(std::str::from_utf8(&bytes[..n]).ok()?)
    }
}

/// A kernel that does not tell, before Linux 5.12, runs every program always.
fn parse(fdinfo: &str) -> Option<u64> {
    let told = fdinfo.lines().find_map(|line| line.strip_prefix("recursion_misses:"));
    told.map_or(Some(0), |it| it.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_read_where_the_kernel_tells_them() {
        let fdinfo = "prog_type:\t17\nrun_cnt:\t100\nrecursion_misses:\t3\nverified_insns:\t7137\n";
        assert_eq!(parse(fdinfo), Some(3));
    }

    #[test]
    fn a_kernel_that_tells_of_no_misses_has_none() {
        assert_eq!(parse("prog_type:\t17\n"), Some(0));
    }

    /// It is not the same as none.
    #[test]
    fn what_cannot_be_read_is_unknown() {
        assert_eq!(parse("recursion_misses:\tmany\n"), None);
    }
}
