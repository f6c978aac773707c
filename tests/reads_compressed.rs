//! Compressed needles come back decompressed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{ErrorKind, Read};

use common::client::range;
use common::payload::{bytes, compressed, gzip, text, zstd_sized};
use common::reader::{MIB, Reader};
use common::{Needle, Setup, Spec, Volume, engine_with};
use rdma_engine::protocol::Response;

#[test]
fn compressed_needles_come_back_decompressed() {
    let contents = [
        text(1, 1),
        text(2, 4096),
        text(3, 300_000),
        bytes(4, 70_000),
    ];
    let stored = compressed(&contents);
    let engine = engine_with(&stored.concat());
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for (needles, logical) in stored.iter().zip(&contents) {
        for needle in needles {
            // All that is stored is read for any range of it, so its checksum can be checked.
            reader.check(7, needle, logical, true);
        }
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn compressed_needles_as_large_as_a_transfer_come_back_decompressed() {
    // The largest transfer here; one content hardly gets smaller when it is compressed.
    let contents = [text(5, 4 * MIB), bytes(6, 4 * MIB)];
    let stored = compressed(&contents);
    let engine = engine_with(&stored.concat());
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for (needles, logical) in stored.iter().zip(&contents) {
        for needle in needles {
            let ranges = [(0, 0), (MIB - 1, 2), (3 * MIB + 5, 0)];
            reader.check_ranges(7, needle, logical, true, &ranges);
        }
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

#[test]
fn while_a_long_needle_is_decompressed_others_are_served() {
    // 128 MiB from a few stored bytes, and the same with an end that claims to be all there is.
    let long = gzip(&vec![0; MIB]).repeat(128);
    let lying = [long.clone(), gzip(b"end")].concat();
    let needles = [(1, long, 128 * MIB), (2, lying, 128 * MIB + 3)].map(|(id, data, length)| {
        let needle = Needle {
            compressed: true,
            ..Needle::new(id, data)
        };
        (needle, length)
    });
    let setup = Setup::new().set("workers", "1");
    let mut volume = Volume::create(setup.volumes(), 7, &Spec::default());
    for (needle, _) in &needles {
        volume.put(needle);
    }
    let engine = setup.start();
    let before = engine.baseline();
    let mut bystander = engine.bystander();
    for (needle, length) in &needles {
        let mut reader = Reader::of(&engine);
        reader.client.send(range(7, needle, 100 * MIB as u64, 5));
        bystander.served();
        reader.client.stream.set_nonblocking(true).unwrap();
        let early = reader.client.stream.read(&mut [0; 1]);
        let waits = early.is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        assert!(waits, "needle {} held the others up", needle.id);
        reader.client.stream.set_nonblocking(false).unwrap();
        let Response::StartReadResponse(started) = reader.client.receive() else {
            panic!("a read was expected");
        };
        assert_eq!(started.needle_size, *length as u64);
        assert_eq!(reader.pool.landed(&started), [0; 5]);
        reader.client.complete(&started);
    }
    drop(bystander);
    engine.assert_nothing_lost(&before);
}
