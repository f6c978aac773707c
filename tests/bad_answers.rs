//! Targets that answer with other bytes, or other facts, than they should.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::net::Shutdown;

use common::bad_answer::{
    NEEDLE_BYTES, fails_alone, fails_or_is_read_elsewhere, is_read_elsewhere, needle,
};
use common::client::{range, whole};
use common::own_target::right;
use common::{Visit, crc32c};
use rdma_engine::peer::message::{Facts, Failed, FromTarget, Read, TooLong};

/// The right answer with other facts.
fn with_facts(visit: &mut Visit, read: &Read, change: impl FnOnce(&mut Facts)) {
    let (mut facts, bytes) = right(read, &needle());
    change(&mut facts);
    visit.answer(read.id, facts, &bytes);
}

#[test]
fn more_bytes_than_there_is_room_for() {
    let answer = |visit: &mut Visit, read: &Read| {
        let data = vec![1; usize::try_from(read.room).unwrap() + 1];
        let (mut facts, _) = right(read, &needle());
        (facts.length, facts.needle_size) = (read.room + 1, read.room + 1);
        visit.answer(read.id, facts, &data);
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "where there was room for");
}

#[test]
fn bytes_that_nobody_asked_for() {
    let answer = |visit: &mut Visit, read: &Read| {
        let (facts, bytes) = right(read, &needle());
        visit.answer(read.id + 1000, facts, &bytes);
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "nobody asked for");
}

#[test]
fn bytes_that_are_cut_off() {
    let answer = |visit: &mut Visit, read: &Read| {
        let (facts, bytes) = right(read, &needle());
        visit.answer(read.id, facts, &bytes[..bytes.len() / 2]);
        let _ = visit.stream.shutdown(Shutdown::Both);
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "ended inside a message");
}

#[test]
fn a_connection_that_is_closed_instead_of_an_answer() {
    let answer = |visit: &mut Visit, _: &Read| {
        let _ = visit.stream.shutdown(Shutdown::Both);
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "closed the connection");
}

#[test]
fn bytes_that_changed_on_the_way() {
    let answer = |visit: &mut Visit, read: &Read| {
        let (facts, mut bytes) = right(read, &needle());
        bytes[10_000] ^= 1;
        visit.answer(read.id, facts, &bytes);
    };
    fails_or_is_read_elsewhere(answer, "CHECKSUM_MISMATCH", "changed on the way");
    let counted = is_read_elsewhere(answer, &whole(7, &needle()));
    assert_eq!(counted.get("rdma_checksum_mismatches_total"), 0.0);
}

#[test]
fn bytes_that_are_not_those_stored() {
    let answer = |visit: &mut Visit, read: &Read| {
        with_facts(visit, read, |facts| {
            (facts.crc, facts.verified, facts.stored) = (None, false, Some(0xdead_beef));
        });
    };
    fails_or_is_read_elsewhere(answer, "CHECKSUM_MISMATCH", "deadbeef");
    // A damaged replica is told of, though nobody's read fails of it.
    let counted = is_read_elsewhere(answer, &whole(7, &needle()));
    assert!(counted.get("rdma_checksum_mismatches_total") >= 1.0);
}

#[test]
fn fewer_bytes_than_the_needle_has() {
    let answer = |visit: &mut Visit, read: &Read| {
        let (_, mut bytes) = right(read, &needle());
        bytes.pop();
        let facts = Facts {
            length: bytes.len() as u64,
            needle_size: NEEDLE_BYTES,
            crc: Some(crc32c(&bytes)),
            verified: true,
            stored: None,
        };
        visit.answer(read.id, facts, &bytes);
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "another range");
}

#[test]
fn a_needle_that_ends_before_the_range_begins() {
    let answer = |visit: &mut Visit, read: &Read| {
        let facts = Facts {
            length: 0,
            needle_size: read.offset,
            crc: Some(0),
            verified: false,
            stored: None,
        };
        visit.answer(read.id, facts, &[]);
    };
    let read = range(7, &needle(), 1000, 500);
    fails_alone(answer, &read, "PEER_UNAVAILABLE", "another range");
    is_read_elsewhere(answer, &read);
}

#[test]
fn more_bytes_than_the_needle_has() {
    let answer = |visit: &mut Visit, read: &Read| {
        with_facts(visit, read, |f| f.needle_size = f.length - 1);
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "nonsense");
}

#[test]
fn a_failure_with_a_code_that_nobody_knows() {
    let answer = |visit: &mut Visit, read: &Read| {
        let (code, message) = ("OUT_OF_COFFEE".to_owned(), "no more of it".to_owned());
        visit.send(&FromTarget::Failed(Failed {
            id: read.id,
            code,
            message,
        }));
    };
    fails_or_is_read_elsewhere(answer, "INTERNAL", "no more of it");
}

#[test]
fn a_length_that_is_never_enough() {
    let answer = |visit: &mut Visit, read: &Read| {
        let mut read = Some(read.clone());
        while let Some(Read { id, room, .. }) = read {
            let length = room + 1;
            let more = TooLong {
                id,
                length,
                needle_size: NEEDLE_BYTES.max(length),
            };
            visit.send(&FromTarget::TooLong(more));
            read = visit.fetch();
        }
    };
    fails_or_is_read_elsewhere(answer, "PEER_UNAVAILABLE", "again and again");
}
