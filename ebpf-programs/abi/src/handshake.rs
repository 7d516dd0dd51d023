use bytemuck::{Pod, Zeroable};

/// What is known of a handshake that a client began; all zero if nothing is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Handshake {
    /// Nanoseconds since boot, `CLOCK_BOOTTIME`.
    pub since: u64,
    /// Command of the process's first thread.
    pub command: [u8; 16],
    /// Process (thread group).
    pub pid: u32,
    /// Explicit padding. Always zero.
    pub reserved: u32,
}

impl Handshake {
    /// How many words of memory it takes.
    pub const WORDS: usize = size_of::<Self>() / 8;

    /// Returns the seal by which a socket's handshake is known in memory that several CPUs write without a lock.
    ///
    /// It mixes the socket's address with all that is known, so that parts of two handshakes have the seal of neither.
    #[inline(always)]
    pub const fn seal(socket: u64, words: &[u64; Self::WORDS]) -> u64 {
        let mut seal = socket;
        let mut idx = 0;
        while idx < Self::WORDS {
            seal = seal.rotate_left(13) ^ words[idx];
            idx += 1;
        }
        seal
    }

    /// Returns whether nothing is known.
    pub const fn is_unknown(&self) -> bool {
        self.since == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn handshake() -> impl Strategy<Value = (u64, [u64; Handshake::WORDS])> {
        (0_u64..1 << 40, any::<u64>(), any::<[u8; 16]>(), any::<u32>()).prop_map(
            |(slot, since, command, pid)| {
                // The kernel's objects lie at multiples of their alignment, all in one part of memory.
                let socket = 0xffff_8880_0000_0000 + 64 * (slot & 0xffff_ffff);
                (socket, bytemuck::cast(Handshake { since, command, pid, reserved: 0 }))
            },
        )
    }

    proptest! {
        /// Two CPUs that write the same memory leave words of both, and then the handshake of neither.
        #[test]
        fn what_is_left_of_two_is_recognised(one in handshake(), other in handshake(), of_other in 0_usize..1 << (Handshake::WORDS + 1)) {
            let (mut words, mut seal) = (one.1, Handshake::seal(one.0, &one.1));
            for (idx, word) in words.iter_mut().enumerate() {
                if of_other >> idx & 1 != 0 {
                    *word = other.1[idx];
                }
            }
            if of_other >> Handshake::WORDS != 0 {
                seal = Handshake::seal(other.0, &other.1);
            }
            for (socket, known) in [one, other] {
                let is_taken_for_it = seal == Handshake::seal(socket, &words);
                prop_assert_eq!(is_taken_for_it, words == known && seal == Handshake::seal(socket, &known));
            }
        }
    }
}
