//! Compressed needles come back decompressed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::payload::{bytes, gzip, text, zstd_sized, zstd_unsized};
use common::reader::{MIB, Reader};
use common::{Needle, engine_with};

#[test]
fn compressed_needles_come_back_decompressed() {
    let mut stored = Vec::new();
    let contents = [
        text(1, 1),
        text(2, 4096),
        text(3, 300_000),
        bytes(4, 70_000),
        text(5, 2 * MIB + 1),
        // The largest transfer here, and hardly smaller when compressed.
        bytes(6, 4 * MIB),
    ];
    for logical in contents {
        let (first, rest) = logical.split_at(logical.len() / 2);
        for data in [
            gzip(&logical),
            [gzip(first), gzip(rest)].concat(),
            [gzip(first), gzip(b""), gzip(rest)].concat(),
            zstd_sized(&logical),
            zstd_unsized(&logical),
            [zstd_sized(first), zstd_unsized(rest)].concat(),
        ] {
            let id = stored.len() as u64 + 1;
            let mut needle = Needle::new(id, data);
            needle.compressed = true;
            needle.old_crc = id.is_multiple_of(2);
            stored.push((needle, logical.clone()));
        }
    }
    let needles: Vec<Needle> = stored.iter().map(|s| s.0.clone()).collect();
    let engine = engine_with(&needles);
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for (needle, logical) in &stored {
        // All that is stored is read for any range of it, so its checksum can be checked.
        reader.check(7, needle, logical, true);
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn data_flagged_as_compressed_that_is_neither_gzip_nor_zstd_comes_back_as_it_is() {
    let mut needle = Needle::new(1, bytes(1, 5000));
    needle.compressed = true;
    let engine = engine_with(std::slice::from_ref(&needle));
    Reader::of(&engine).check(7, &needle, &needle.data, false);
}

#[test]
fn data_that_merely_looks_compressed_comes_back_as_it_is() {
    let needles = [
        Needle::new(1, gzip(b"not flagged")),
        Needle::new(2, zstd_sized(b"not flagged")),
    ];
    let engine = engine_with(&needles);
    let mut reader = Reader::of(&engine);
    for needle in &needles {
        reader.check(7, needle, &needle.data, false);
    }
}
