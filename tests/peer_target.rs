//! A target from its start to its end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::io::Write;

use common::payload::gzip;
use common::peer::{frame, read};
use common::{Needle, Peer, TargetSetup, bytes, eventually};
use rdma_engine::peer::message::{FromEngine, FromTarget, Ping, Read};
use rustix::process::Signal;

#[test]
fn beyond_this_host_a_target_wants_a_secret_or_to_be_told_that_none_is_needed() {
    for listen in ["0.0.0.0:0", "[::]:0"] {
        let (code, said) = TargetSetup::new().listen(listen).refused();
        assert_eq!(code, Some(2), "{said}");
        for word in ["listen", "loopback", "peer_secret_file", "insecure"] {
            assert!(said.contains(word), "{word} is not in {said}");
        }
    }
    let secret = TargetSetup::new()
        .listen("0.0.0.0:0")
        .secret("a good secret");
    let insecure = TargetSetup::new()
        .listen("0.0.0.0:0")
        .set("insecure", "true");
    for setup in [secret, insecure] {
        let target = setup.start();
        assert!(target.address().ip().is_unspecified());
        target.serves();
    }
}

#[test]
fn no_more_peers_are_taken_than_allowed_and_one_that_goes_makes_room() {
    let target = TargetSetup::new().set("max_peers", "3").start();
    let before = target.baseline();
    let mut peers: Vec<Peer> = (0..3).map(|_| target.peer()).collect();
    // Each is past its handshake on the target's side, too.
    for peer in &mut peers {
        peer.ping();
    }
    for n in 1..=5 {
        target.stranger().assert_closed();
        let refused = target.metrics().get("rdma_connections_refused_total");
        assert_eq!(refused, f64::from(n));
    }
    for peer in &mut peers {
        target.serves_on(peer);
    }
    peers.pop();
    target.await_connections(2);
    target.serves();
    drop(peers);
    target.assert_nothing_lost(&before);
}

#[test]
fn strangers_who_say_nothing_make_room_for_who_says_who_it_is() {
    let target = TargetSetup::new().set("max_peers", "2").start();
    let before = target.baseline();
    let mut strangers = [target.stranger(), target.stranger()];
    target.await_connections(2);
    let mut peers = Vec::new();
    // The oldest goes first.
    for stranger in &mut strangers {
        let mut peer = target.peer();
        // Now it is no stranger any more.
        peer.ping();
        peers.push(peer);
        stranger.assert_closed();
    }
    target.stranger().assert_closed();
    for peer in &mut peers {
        target.serves_on(peer);
    }
    drop((strangers, peers));
    target.assert_nothing_lost(&before);
}

#[test]
fn strangers_count_as_peers_until_they_are_gone() {
    let target = TargetSetup::new().impatient().start();
    let before = target.baseline();
    let strangers = [target.stranger(), target.stranger()];
    target.await_connections(2);
    // They are closed in time.
    target.await_connections(0);
    drop(strangers);
    target.assert_nothing_lost(&before);
}

#[test]
fn a_target_told_to_stop_closes_its_connections_and_ends_well() {
    let mut target = TargetSetup::new().start();
    let (mut idle, mut stranger) = (target.peer(), target.stranger());
    target.await_connections(2);
    target.signal(Signal::TERM);
    assert_eq!(target.await_exit().code(), Some(0), "{}", target.log());
    idle.assert_closed();
    stranger.assert_closed();
    assert!(!target.log().contains("panicked"), "{}", target.log());
}

#[test]
fn a_target_told_to_stop_finishes_what_it_was_asked_and_refuses_more() {
    const MIB: usize = 1 << 20;
    // More than fits between the target and a peer that takes its time, from the pool and from a
    // file.
    const COUNT: u64 = 64;
    let logical = [bytes(0, MIB), bytes(1, MIB)];
    let staged = Needle {
        compressed: true,
        ..Needle::new(10, gzip(&logical[0]))
    };
    let needles = [staged, Needle::new(11, logical[1].clone())];
    let setup = TargetSetup::with(&needles).set("shutdown_timeout", r#""60s""#);
    let mut target = setup.start();
    let (mut peer, mut other) = (target.peer(), target.peer());
    for id in 0..COUNT {
        peer.send(&FromEngine::Fetch(Read {
            id,
            ..read(7, &needles[id as usize % 2])
        }));
    }
    peer.send(&FromEngine::Ping(Ping { id: COUNT }));
    // Whether the Pong came: then all before it are taken on.
    let mut answered = BTreeSet::new();
    let mut take = || match peer.receive() {
        FromTarget::Data(data) => {
            let length = usize::try_from(data.facts.length).unwrap();
            let came = peer.raw(length).unwrap();
            assert!(came == logical[data.id as usize % 2]);
            assert!(answered.insert(data.id));
            answered.len() as u64
        }
        FromTarget::Pong(pong) => pong.id,
        other => panic!("{other:?}"),
    };
    while take() != COUNT {}
    target.signal(Signal::TERM);
    eventually("it is draining", || {
        target.log().contains("draining").then_some(())
    });
    for _ in 0..500 {
        assert_eq!(other.fails(read(7, &needles[0])), "SHUTTING_DOWN");
    }
    // Nor is anybody waited for who asks on and on.
    let again = frame(&FromEngine::Fetch(read(7, &needles[0])));
    let asking = std::thread::spawn(move || {
        while other.stream.write_all(&again).is_ok() && other.next().is_some() {}
    });
    while take() != COUNT {}
    assert_eq!(target.await_exit().code(), Some(0), "{}", target.log());
    asking.join().unwrap();
    let log = target.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(!log.contains("stopping with"), "{log}");
}

#[test]
fn a_target_started_again_is_served_from_at_the_same_address_at_once() {
    let needle = Needle::new(1, bytes(1, 1 << 20));
    let mut first = TargetSetup::with(std::slice::from_ref(&needle)).start();
    let address = first.address().to_string();
    for signal in [Signal::KILL, Signal::TERM] {
        let mut peer = first.peer();
        assert!(peer.fetched(read(7, &needle)) == needle.data);
        first.signal(signal);
        first.await_exit();
        peer.assert_closed();
        let setup = TargetSetup::with(std::slice::from_ref(&needle));
        first = setup.listen(&address).start();
    }
    assert!(first.peer().fetched(read(7, &needle)) == needle.data);
}

#[test]
fn a_second_target_at_the_same_address_does_not_start_and_says_why() {
    let first = TargetSetup::new().start();
    let address = first.address().to_string();
    let (code, said) = TargetSetup::new().listen(&address).refused();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&address), "{said}");
    first.serves();
}

#[test]
fn a_hundred_peers_at_once_are_all_served() {
    let needle = Needle::new(1, bytes(1, 1 << 20));
    let target = TargetSetup::with(std::slice::from_ref(&needle)).start();
    let before = target.baseline();
    let mut peers: Vec<Peer> = (0..100).map(|_| target.peer()).collect();
    std::thread::scope(|scope| {
        for peers in peers.chunks_mut(25) {
            let (target, needle) = (&target, &needle);
            scope.spawn(move || {
                for peer in peers {
                    target.serves_on(peer);
                    assert!(peer.fetched(read(7, needle)) == needle.data);
                }
            });
        }
    });
    drop(peers);
    target.assert_nothing_lost(&before);
}
