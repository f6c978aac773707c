//! Compressed needles that can not be served as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::case::{Case, Cases, refused};
use common::payload::{gzip, text, zstd_sized};
use common::process::status_bytes;
use common::{Needle, Setup};

const MIB: u64 = 1 << 20;

fn compressed(data: Vec<u8>) -> Needle {
    Needle {
        compressed: true,
        ..Needle::new(2, data)
    }
}

#[test]
fn compressed_data_that_can_not_be_decompressed_is_a_corrupt_needle() {
    let plain = text(1, 100_000);
    let zstd = zstd_sized(&plain);
    let gzip = gzip(&plain);
    let cut = |data: &[u8]| data[..data.len() / 2].to_vec();
    let spoilt = |data: &[u8], at: usize| {
        let mut data = data.to_vec();
        data[at] = !data[at];
        data
    };
    let mut cases = Cases::new();
    for data in [
        cut(&gzip),
        cut(&zstd),
        // gzip's own checksum and length.
        spoilt(&gzip, gzip.len() - 8),
        spoilt(&gzip, gzip.len() - 1),
        spoilt(&gzip, gzip.len() / 2),
        gzip[..5].to_vec(),
        zstd[..5].to_vec(),
    ] {
        cases.add_needle(3, compressed(data));
    }
    cases.refused(&["CORRUPT_NEEDLE"], |case| vec![case.whole()]);
}

#[test]
fn compressed_data_with_a_wrong_checksum_is_a_mismatch_even_for_a_range() {
    let plain = text(1, 100_000);
    let mut cases = Cases::new();
    for data in [gzip(&plain), zstd_sized(&plain)] {
        let case = cases.add_needle(3, compressed(data));
        case.volume.corrupt(case.placed.footer);
    }
    cases.refused(&["CHECKSUM_MISMATCH"], Case::whole_and_part);
}

#[test]
fn a_compressed_needle_that_expands_past_the_largest_transfer_is_too_large() {
    let zeros = vec![0; MIB as usize];
    let mut setup = Setup::new().set("max_transfer_size", "4194304");
    setup.buffer_size = 8 * MIB;
    let mut cases = Cases::of(setup);
    for piece in [gzip(&zeros), zstd_sized(&zeros)] {
        // A gibibyte in about a megabyte.
        cases.add_needle(3, compressed(piece.repeat(1024)));
    }
    cases.each_on_engine(|engine, bystander, cases| {
        let before = status_bytes(engine.pid(), "VmHWM:");
        let reads: Vec<_> = cases.iter().map(Case::whole).collect();
        refused(bystander, &["TRANSFER_TOO_LARGE"], &reads);
        let grown = status_bytes(engine.pid(), "VmHWM:") - before;
        // The pool itself becomes resident as it is used.
        assert!(grown < 48 * MIB, "{grown} bytes more were resident");
    });
}
