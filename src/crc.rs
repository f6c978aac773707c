//! CRC-32C (Castagnoli, CRC-32/ISCSI): the checksum SeaweedFS stores with a needle and the one a
//! client is told for the bytes it was handed.

use crc_fast::{CrcAlgorithm::Crc32Iscsi, Digest};

/// The CRC-32C of `data`, with the CPU's instructions.
pub fn crc32c(data: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(data)
}

/// A CRC-32C computed piece by piece, in order. Lives on the stack.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(Digest);

impl Crc32c {
    /// The CRC of nothing yet (its value is 0).
    pub fn new() -> Self {
        Self(Digest::new(Crc32Iscsi))
    }

    /// Adds the next piece.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The CRC of everything added so far; more may be added after.
    pub fn value(&self) -> u32 {
        // A 32-bit CRC in a 64-bit return type: the high half is zero.
        self.0.finalize() as u32
    }
}

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether the checksum stored with a needle stands for data whose CRC-32C is `computed`.
///
/// SeaweedFS before 3.09 stored the masked form (LevelDB's: rotated right by 15, plus a
/// constant), later ones the CRC itself; either is accepted.
pub fn stored_matches(stored: u32, computed: u32) -> bool {
    stored == computed || stored == masked(computed)
}

const fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_castagnoli() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(b"hello"), 0x9a71_bb4c);
    }

    #[test]
    fn pieces_of_any_length_add_up_to_the_whole() {
        let data: Vec<u8> = (0..100_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 3) as u8)
            .collect();
        for piece in [1, 3, 17, 255, 256, 4096, 65_537] {
            let mut crc = Crc32c::new();
            data.chunks(piece).for_each(|part| crc.update(part));
            assert_eq!(crc.value(), crc32c(&data), "pieces of {piece}");
        }
        assert_eq!(Crc32c::new().value(), 0);
    }

    #[test]
    fn both_stored_forms_match_and_nothing_else_does() {
        let crc = crc32c(b"hello");
        assert!(stored_matches(0x9a71_bb4c, crc));
        assert!(stored_matches(0x191c_1fbb, crc));
        assert!(!stored_matches(0x9a71_bb4d, crc));
        assert!(!stored_matches(0, crc));
    }
}
