//! The bytes that peers send: never two equal blocks in a row, so that a lost, repeated or moved piece is noticed.

use std::sync::OnceLock;

use crate::plan::Side;

// A prime near 64 KiB: no power of two, where buffers are cut, divides it.
const PERIOD: usize = 65_521;

/// Returns the payload of a direction from an offset on, as far as it lies in one piece of memory: at least one byte,
/// at most a period.
pub fn from_offset(sender: Side, offset: u64) -> &'static [u8] {
    static TWO_PERIODS: OnceLock<Vec<u8>> = OnceLock::new();
    let bytes = TWO_PERIODS.get_or_init(|| two_periods(0x9e37_79b9));
    let shift = match sender {
        Side::Client => 0,
        Side::Server => PERIOD / 2,
    };
    let start = usize::try_from(offset % PERIOD as u64).expect("the period fits") + shift;
    let start = start % PERIOD;
    &bytes[start..start + PERIOD]
}

// Xorshift: noise without a dependency; its quality does not matter here.
fn two_periods(seed: u32) -> Vec<u8> {
    let mut state = seed;
    let mut bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    })
    .take(PERIOD)
    .collect();
    bytes.extend_from_within(..);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read at an offset does not depend on where the reading started.
    #[test]
    fn pieces_are_parts_of_one_stream() {
        for offset in [0, 1, 65_520, 65_521, 65_522, 1 << 33] {
            let whole = from_offset(Side::Client, offset);
            assert_eq!(whole[100..], from_offset(Side::Client, offset + 100)[..PERIOD - 100], "{offset}");
        }
    }

    /// A payload that comes back where it came from, or that is repeated by a buffer's size, is another one.
    #[test]
    fn directions_and_blocks_differ() {
        assert_ne!(from_offset(Side::Client, 0)[..64], from_offset(Side::Server, 0)[..64]);
        for block in [1, 512, 1024, 1448, 4096, 65_536] {
            assert_ne!(
                from_offset(Side::Client, 0)[..64],
                from_offset(Side::Client, block)[..64],
                "repeats after {block} bytes"
            );
        }
    }
}
