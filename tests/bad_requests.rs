//! Reads that ask for what is not there, or for too much, are refused with the code that says so.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::case::{Case, bad_one, only_whole, refused};
use common::client::{range, whole};
use common::{Needle, Setup, bytes};
use rdma_engine::protocol::message::StartRead;

const MIB: u64 = 1 << 20;

#[test]
fn a_wrong_cookie_gets_nothing() {
    for version in 1..=3 {
        Case::new(version, bad_one()).refused(&["COOKIE_MISMATCH"], |needle| {
            let with = |cookie| StartRead {
                cookie,
                ..whole(7, needle)
            };
            vec![
                with(needle.cookie ^ 1),
                with(0),
                with(needle.cookie.swap_bytes()),
            ]
        });
    }
}

#[test]
fn a_wrong_cookie_gets_nothing_of_an_empty_needle_either() {
    Case::new(3, Needle::new(2, [])).refused(&["COOKIE_MISMATCH"], |needle| {
        vec![StartRead {
            cookie: needle.cookie ^ 0x8000_0000,
            ..whole(7, needle)
        }]
    });
}

#[test]
fn an_unknown_volume_is_not_found() {
    Case::new(3, bad_one()).refused(&["VOLUME_NOT_FOUND"], |needle| {
        [0, 8, 77, u32::MAX]
            .map(|volume| whole(volume, needle))
            .to_vec()
    });
}

#[test]
fn an_unknown_needle_is_not_found() {
    Case::new(3, bad_one()).refused(&["NEEDLE_NOT_FOUND"], |needle| {
        let with = |needle_id| StartRead {
            needle_id,
            ..whole(7, needle)
        };
        vec![with(0), with(4), with(1 << 32 | 2), with(u64::MAX)]
    });
}

#[test]
fn an_offset_at_or_past_the_end_is_an_invalid_request() {
    Case::new(3, bad_one()).refused(&["INVALID_REQUEST"], |needle| {
        let at = |offset, size| range(7, needle, offset, size);
        vec![
            at(50_000, 0),
            at(50_000, 1),
            at(50_001, 0),
            at(u64::MAX, 0),
            at(u64::MAX, u64::MAX),
        ]
    });
}

#[test]
fn a_needle_larger_than_the_largest_transfer_can_be_read_in_ranges_only() {
    let setup = Setup::new().set("max_transfer_size", "1048576");
    let large = Needle::new(2, bytes(2, 3 * MIB as usize + 5));
    let data = large.data.clone();
    let case = Case::in_setup(setup, 3, large.clone());
    case.others_served(true, |engine| {
        let past = |offset, size| range(7, &large, offset, size);
        let reads = [
            past(0, 0),
            past(0, MIB + 1),
            past(1, u64::MAX),
            past(MIB, 0),
        ];
        refused(engine, &["TRANSFER_TOO_LARGE"], &reads);
        let mut client = engine.client();
        assert_eq!(client.capabilities().max_transfer_size, MIB);
        let pool = client.attach();
        let mut got = Vec::new();
        while got.len() < data.len() {
            let (part, started) = client.fetch(&pool, &past(got.len() as u64, MIB)).unwrap();
            assert_eq!(started.needle_size, data.len() as u64);
            got.extend(part);
        }
        assert!(got == data);
        // What is left counts, not what is asked for.
        let (tail, _) = client.fetch(&pool, &past(3 * MIB, u64::MAX)).unwrap();
        assert_eq!(tail, &data[3 * MIB as usize..]);
    });
}

#[test]
fn a_read_larger_than_the_pool_is_too_large_at_once() {
    let mut setup = Setup::new();
    setup.buffer_size = 4 << 20;
    let large = Needle::new(2, bytes(2, 5 * MIB as usize));
    Case::in_setup(setup, 3, large).refused(&["TRANSFER_TOO_LARGE"], only_whole);
}
