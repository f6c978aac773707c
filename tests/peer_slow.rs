//! Peers who keep a target waiting: half-open, silent, slow, or gone in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::bystander::{GOOD_VOLUME, good_needle};
use common::payload::gzip;
use common::peer::{frame, read};
use common::{Needle, Peer, Target, TargetSetup, bytes, eventually};
use rdma_engine::peer::message::{FromEngine, FromTarget, Ping, Read};

const MIB: usize = 1 << 20;
/// Enough answers of a mebibyte to fill every buffer between the target and a peer.
const MANY: u64 = 64;

/// A needle that is staged in the pool, and one whose file's pages are sent.
fn staged_and_plain() -> [Needle; 2] {
    let staged = Needle {
        compressed: true,
        ..Needle::new(1, gzip(&bytes(1, MIB)))
    };
    [staged, Needle::new(2, bytes(2, MIB))]
}

/// A target that is soon tired of waiting, with both needles.
fn impatient() -> Target {
    TargetSetup::with(&staged_and_plain()).impatient().start()
}

/// A new peer that has asked for a needle many times and read none of it.
fn asked(target: &Target, needle: &Needle) -> Peer {
    let mut peer = target.peer();
    let requests: Vec<u8> = (0..MANY)
        .flat_map(|id| {
            frame(&FromEngine::Fetch(Read {
                id,
                ..read(7, needle)
            }))
        })
        .collect();
    peer.write(&requests);
    peer
}

#[test]
fn a_peer_that_takes_no_answers_is_closed_in_time_and_others_are_served_meanwhile() {
    let target = impatient();
    let before = target.baseline();
    for needle in staged_and_plain() {
        let peer = asked(&target, &needle);
        target.serves();
        target.await_connections(0);
        target.serves();
        target.await_metrics("its buffers came back while it still is there", |m| {
            m.pool_bytes_taken() == 0.0
        });
        drop(peer);
    }
    target.assert_nothing_lost(&before);
}

#[test]
fn however_much_one_peer_asks_and_does_not_take_there_is_room_for_others() {
    let target = TargetSetup::with(&staged_and_plain()).start();
    let before = target.baseline();
    let [staged, _] = staged_and_plain();
    // Nobody here is closed for being slow: the room is there all the while.
    let hoarder = asked(&target, &staged);
    target.await_metrics("its answers wait in the pool", |m| {
        m.pool_bytes_taken() >= MIB as f64
    });
    for _ in 0..20 {
        let data = target.peer().fetched(read(7, &staged));
        assert!(data == bytes(1, MIB));
    }
    let open = target.metrics().get("rdma_connections_active");
    assert!(open >= 1.0, "the hoarder was closed, so nothing was shown");
    drop(hoarder);
    target.assert_nothing_lost(&before);
}

#[test]
fn peers_who_fill_the_pool_together_hold_others_up_only_so_long() {
    let target = TargetSetup::with(&staged_and_plain())
        .set("buffer_size", "4194304")
        .set("max_transfer_size", "2097152")
        .impatient()
        .start();
    let before = target.baseline();
    let [staged, _] = staged_and_plain();
    let hoarders: Vec<Peer> = (0..4).map(|_| asked(&target, &staged)).collect();
    let mut patient = target.peer();
    patient.send(&FromEngine::Fetch(Read {
        id: 1000,
        ..read(7, &staged)
    }));
    let data = eventually("the one that waits is served", || {
        patient.send(&FromEngine::Ping(Ping { id: 1001 }));
        match patient.receive() {
            FromTarget::Pong(_) => None,
            FromTarget::Data(data) => Some(data),
            other => panic!("{other:?}"),
        }
    });
    let length = usize::try_from(data.facts.length).unwrap();
    assert!(patient.raw(length).unwrap() == bytes(1, MIB));
    drop((hoarders, patient));
    target.assert_nothing_lost(&before);
}

/// Sets its flag when it goes.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_peer_that_reads_a_byte_at_a_time_is_served_or_closed_and_harms_nobody() {
    for needle in staged_and_plain() {
        let target = impatient();
        let before = target.baseline();
        let mut slow = asked(&target, &needle);
        let enough = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // However this ends, the reading does.
            let over = Over(&enough);
            scope.spawn(|| {
                let mut byte = [0];
                // Until the target closes it, or has served everybody else.
                while !enough.load(Ordering::Relaxed)
                    && slow.stream.read(&mut byte).is_ok_and(|n| n == 1)
                {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            for _ in 0..200 {
                target.serves();
            }
            drop(over);
        });
        drop(slow);
        target.assert_nothing_lost(&before);
    }
}

#[test]
fn a_peer_that_takes_its_time_but_reads_on_gets_everything() {
    let target = TargetSetup::with(&staged_and_plain()).start();
    let before = target.baseline();
    for needle in staged_and_plain() {
        let mut peer = asked(&target, &needle);
        let mut answered = vec![false; MANY as usize];
        for _ in 0..MANY {
            let FromTarget::Data(data) = peer.receive() else {
                panic!("bytes were expected");
            };
            let length = usize::try_from(data.facts.length).unwrap();
            assert!(peer.raw(length).unwrap() == bytes(needle.id, MIB));
            assert!(!std::mem::replace(&mut answered[data.id as usize], true));
            target.serves();
        }
    }
    target.assert_nothing_lost(&before);
}

#[test]
fn a_silent_peer_is_closed_in_time_and_one_that_pings_is_not() {
    let target = impatient();
    let before = target.baseline();
    let mut talking = target.peer();
    let mut silent = target.peer();
    let mut halfway = target.peer();
    halfway.write(&frame(&FromEngine::Fetch(read(GOOD_VOLUME, &good_needle())))[..50]);
    target.await_connections(3);
    eventually("only the one that pings is left", || {
        talking.ping();
        let open = target.metrics().get("rdma_connections_active");
        assert!(open >= 1.0, "the one that pings was closed");
        (open == 1.0).then_some(())
    });
    silent.assert_closed();
    halfway.assert_closed();
    target.serves_on(&mut talking);
    drop((talking, silent, halfway));
    target.assert_nothing_lost(&before);
}

#[test]
fn peers_that_go_in_the_middle_of_an_answer_take_nothing_along() {
    let target = TargetSetup::with(&staged_and_plain()).start();
    let before = target.baseline();
    let mut bystander = target.peer();
    for needle in staged_and_plain() {
        for n in 0..40 {
            let mut peer = asked(&target, &needle);
            // From before the first byte to some answers later.
            let mut taken = vec![0; n * n * 1000];
            peer.stream.read_exact(&mut taken).unwrap();
            bystander.ping();
        }
        target.serves_on(&mut bystander);
    }
    drop(bystander);
    target.assert_nothing_lost(&before);
}

#[test]
fn a_peer_that_says_its_last_word_and_takes_no_answers_is_closed_in_time() {
    let target = impatient();
    let before = target.baseline();
    for needle in staged_and_plain() {
        let peer = asked(&target, &needle);
        peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
        target.await_connections(0);
        target.await_metrics("its buffers came back", |m| m.pool_bytes_taken() == 0.0);
    }
    target.assert_nothing_lost(&before);
}
