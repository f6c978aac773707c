//! A target from its start to its end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::peer::read;
use common::{Needle, Peer, TargetSetup, bytes};
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
fn strangers_count_as_peers_until_they_are_gone() {
    let target = TargetSetup::new().set("max_peers", "2").impatient().start();
    let before = target.baseline();
    let strangers = [target.stranger(), target.stranger()];
    target.await_connections(2);
    target.stranger().assert_closed();
    // They are closed in time, and make room.
    target.await_connections(0);
    target.serves();
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
