//! Reads that ask for what is not there, or for too much, are refused with the code that says so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::case::{BAD_BYTES, Cases, fetched, refused};
use common::client::whole;
use common::{Needle, Setup, bytes};
use rdma_engine::protocol::message::StartRead;

const MIB: u64 = 1 << 20;

#[test]
fn a_wrong_cookie_gets_nothing() {
    let mut cases = Cases::new();
    for version in 1..=3 {
        cases.add(version);
    }
    cases.add_needle(3, Needle::new(2, []));
    cases.refused(&["COOKIE_MISMATCH"], |case| {
        let cookie = case.bad.cookie;
        [0, cookie ^ 1, cookie ^ 0x8000_0000, cookie.swap_bytes()]
            .map(|cookie| StartRead {
                cookie,
                ..case.whole()
            })
            .to_vec()
    });
}

#[test]
fn an_unknown_volume_is_not_found() {
    let mut cases = Cases::new();
    cases.add(3);
    cases.refused(&["VOLUME_NOT_FOUND"], |case| {
        [0, 8, 77, u32::MAX]
            .map(|volume| whole(volume, &case.bad))
            .to_vec()
    });
}

#[test]
fn an_unknown_needle_is_not_found() {
    let mut cases = Cases::new();
    cases.add(3);
    cases.refused(&["NEEDLE_NOT_FOUND"], |case| {
        [0, 4, 1 << 32 | 2, u64::MAX]
            .map(|needle_id| StartRead {
                needle_id,
                ..case.whole()
            })
            .to_vec()
    });
}

#[test]
fn an_offset_at_or_past_the_end_is_an_invalid_request() {
    let mut cases = Cases::new();
    for version in 1..=3 {
        cases.add(version);
    }
    cases.refused(&["INVALID_REQUEST"], |case| {
        let mut reads = Vec::new();
        for offset in [BAD_BYTES, BAD_BYTES + 1, u64::MAX] {
            reads.extend([0, 1, u64::MAX].map(|size| case.range(offset, size)));
        }
        reads
    });
}

#[test]
fn a_needle_larger_than_the_largest_transfer_can_be_read_in_ranges_only() {
    let mut cases = Cases::of(Setup::new().set("max_transfer_size", "1048576"));
    let large = Needle::new(2, bytes(2, 3 * MIB as usize + 5));
    cases.add_needle(3, large.clone());
    cases.each(|bystander, cases| {
        let range = |offset, size| cases[0].range(offset, size);
        let reads = [(0, 0), (0, MIB + 1), (1, u64::MAX), (MIB, 0)];
        let reads = reads.map(|(offset, size)| range(offset, size));
        refused(bystander, &["TRANSFER_TOO_LARGE"], &reads);
        assert_eq!(bystander.client.capabilities().max_transfer_size, MIB);
        let mut got = Vec::new();
        while got.len() < large.data.len() {
            got.extend(fetched(bystander, &range(got.len() as u64, MIB)));
        }
        assert!(got == large.data);
        // What is left counts, not what is asked for.
        let tail = fetched(bystander, &range(3 * MIB, u64::MAX));
        assert_eq!(tail, &large.data[3 * MIB as usize..]);
    });
}

#[test]
fn a_read_larger_than_the_pool_is_too_large_at_once() {
    let mut setup = Setup::new();
    setup.buffer_size = 4 * MIB;
    let mut cases = Cases::of(setup);
    cases.add_needle(3, Needle::new(2, bytes(2, 5 * MIB as usize)));
    cases.refused(&["TRANSFER_TOO_LARGE"], |case| vec![case.whole()]);
}
