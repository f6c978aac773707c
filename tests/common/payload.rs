//! Bytes to store, compressed or not, and the checksum they must come back with.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Needle;

/// `length` bytes that differ for every `seed` and repeat nowhere near one another.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0xd1b5_4a32_d192_ed03;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        // xorshift64*: nothing here needs better randomness.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        out.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    out.truncate(length);
    out
}

/// Text that compresses well and still differs by `seed`.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 64);
    let mut line = 0u64;
    while out.len() < length {
        out.extend_from_slice(
            format!("line {line} of the file {seed}, much like all\n").as_bytes(),
        );
        line += 1;
    }
    out.truncate(length);
    out
}

/// CRC-32C (Castagnoli).
pub fn crc32c(data: &[u8]) -> u32 {
    u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data)).unwrap()
}

/// The form older SeaweedFS writers stored the same checksum in.
pub fn crc32c_old_form(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// One gzip member.
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A frame that says how long its content is, as `zstd` writes one when it has the whole input.
pub fn zstd_sized(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 1).unwrap()
}

/// A frame that does not, as a streaming writer leaves it.
pub fn zstd_unsized(data: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Needles of each of these contents, compressed in every way SeaweedFS may have stored it.
pub fn compressed(contents: &[Vec<u8>]) -> Vec<Vec<Needle>> {
    let mut ids = 1..;
    let stored = |logical: &Vec<u8>| {
        let (first, rest) = logical.split_at(logical.len() / 2);
        let forms = [
            gzip(logical),
            [gzip(first), gzip(rest)].concat(),
            [gzip(first), gzip(b""), gzip(rest)].concat(),
            zstd_sized(logical),
            zstd_unsized(logical),
            [zstd_sized(first), zstd_unsized(rest)].concat(),
        ];
        let needle = |(data, id): (Vec<u8>, u64)| Needle {
            compressed: true,
            old_crc: id.is_multiple_of(2),
            ..Needle::new(id, data)
        };
        forms.into_iter().zip(&mut ids).map(needle).collect()
    };
    contents.iter().map(stored).collect()
}
