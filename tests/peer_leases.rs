//! What a target lends. Lending needs a queue pair, and that a device: these tests are run where
//! there is one, with `--ignored`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::bystander::{GOOD_VOLUME, good_needle};
use common::http::Metrics;
use common::peer::{device_gid, read};
use common::{Needle, Peer, Target, TargetSetup, bytes, crc32c};
use rdma_engine::peer::message::{Connect, FromEngine, FromTarget, Leased, Read, Release};
use rdma_engine::verbs::Endpoint;

const MIB: usize = 1 << 20;

/// A target that lends, with two needles of nearly a mebibyte in its volume 7.
fn lending() -> TargetSetup {
    TargetSetup::with(&[large(1), large(2)]).set("device", r#""auto""#)
}

fn large(id: u64) -> Needle {
    Needle::new(id, bytes(id, MIB - 8192))
}

/// A pool that four leases of a large needle fill; one peer may have two of them.
fn small_pool(setup: TargetSetup) -> TargetSetup {
    setup
        .set("buffer_size", "4194304")
        .set("max_transfer_size", "2097152")
}

/// A new peer with a queue pair, as far as the target can tell.
fn connected(target: &Target) -> Peer {
    let mut peer = target.peer();
    let endpoint = Endpoint {
        qpn: 17,
        psn: 1,
        gid: device_gid(),
        lid: 0,
        mtu: 1024,
        max_reads: 1,
    };
    let id = peer.id();
    peer.send(&FromEngine::Connect(Connect {
        id,
        lane: 0,
        endpoint,
    }));
    match peer.receive() {
        FromTarget::Connected(connected) => assert_eq!(connected.id, id),
        other => panic!("a queue pair was expected, not {other:?}"),
    }
    peer
}

fn ask(peer: &mut Peer, read: Read) -> u64 {
    let id = peer.id();
    peer.send(&FromEngine::Lease(Read { id, ..read }));
    id
}

fn lease(peer: &mut Peer, read: Read) -> Leased {
    let id = ask(peer, read);
    match peer.receive() {
        FromTarget::Leased(leased) => {
            assert_eq!(leased.id, id);
            leased
        }
        other => panic!("a lease was expected, not {other:?}"),
    }
}

fn refusal(peer: &mut Peer, read: Read) -> String {
    let id = ask(peer, read);
    match peer.receive() {
        FromTarget::Failed(failed) => {
            assert_eq!(failed.id, id);
            failed.code
        }
        other => panic!("a Failed was expected, not {other:?}"),
    }
}

fn release(peer: &mut Peer, lease: u64) {
    peer.send(&FromEngine::Release(Release { lease }));
    // Once this is answered the Release has been read.
    peer.ping();
}

fn good() -> Read {
    read(GOOD_VOLUME, &good_needle())
}

/// Three peers that ask a target with a small pool for four leases each: two of them have what they
/// may, and the third waits for room.
fn crowding(target: &Target, patience_ms: u64) -> [Peer; 3] {
    let mut peers = [(); 3].map(|()| connected(target));
    let large = Read {
        patience_ms,
        ..read(7, &large(1))
    };
    let (first, last) = peers.split_at_mut(2);
    for peer in first {
        (0..4).for_each(|_| _ = ask(peer, large.clone()));
    }
    target.await_metrics("each has two, or a place in line for them", |m| {
        leases(m) + m.get("rdma_pool_waiters") == 4.0
    });
    (0..4).for_each(|_| _ = ask(&mut last[0], large.clone()));
    target.await_metrics("the third waits for room", |m| {
        m.get("rdma_pool_waiters") >= 2.0
    });
    peers
}

fn leases(metrics: &Metrics) -> f64 {
    metrics.get("rdma_leases_active")
}

#[test]
#[ignore = "needs an RDMA device"]
fn what_is_lent_is_described_and_comes_back_when_released() {
    let target = lending().start();
    let before = target.baseline();
    let mut peer = connected(&target);
    let leased = lease(&mut peer, good());
    let needle = good_needle();
    assert_eq!(leased.facts.length, needle.data.len() as u64);
    assert_eq!(leased.facts.crc, Some(crc32c(&needle.data)));
    assert!(leased.facts.verified);
    assert!(leased.addr != 0 && leased.lease_ms == 30_000);
    assert_eq!(leases(&target.metrics()), 1.0);
    assert!(target.metrics().pool_bytes_taken() >= needle.data.len() as f64);
    release(&mut peer, leased.lease);
    assert_eq!(target.metrics().pool_bytes_taken(), 0.0);
    // Twice is no harm.
    release(&mut peer, leased.lease);
    assert_eq!(leases(&target.metrics()), 0.0);
    drop(peer);
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn before_a_queue_pair_nothing_is_lent() {
    let target = lending().start();
    let before = target.baseline();
    let mut peer = target.peer();
    assert_eq!(refusal(&mut peer, good()), "RDMA_OPERATION_FAILED");
    drop(peer);
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn a_lease_that_comes_to_its_deadline_ends_and_its_late_release_frees_nothing_else() {
    let target = lending().set("lease_timeout", r#""100ms""#).start();
    let before = target.baseline();
    let mut peer = connected(&target);
    let old: Vec<Leased> = (0..10).map(|_| lease(&mut peer, good())).collect();
    target.await_metrics("all expired and their buffers are back", |m| {
        m.get("rdma_leases_expired_total") == 10.0 && m.pool_bytes_taken() == 0.0
    });
    for leased in old {
        let new = lease(&mut peer, good());
        assert_ne!(new.lease, leased.lease, "a name was used again");
        release(&mut peer, leased.lease);
        release(&mut peer, new.lease);
    }
    drop(peer);
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn leases_die_with_their_connection_and_with_no_other() {
    let target = lending().start();
    let before = target.baseline();
    let (mut going, mut staying) = (connected(&target), connected(&target));
    let kept = lease(&mut staying, good());
    for _ in 0..5 {
        lease(&mut going, good());
    }
    assert_eq!(leases(&target.metrics()), 6.0);
    drop(going);
    target.await_metrics("the others' lease is left", |m| leases(m) == 1.0);
    release(&mut staying, kept.lease);
    assert_eq!(leases(&target.metrics()), 0.0);
    drop(staying);
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn a_peer_can_not_release_what_is_lent_to_another() {
    let target = lending().start();
    let before = target.baseline();
    let (mut holder, mut thief) = (connected(&target), connected(&target));
    let held = lease(&mut holder, good());
    for name in 0..100 {
        release(&mut thief, name);
    }
    assert_eq!(leases(&target.metrics()), 1.0);
    release(&mut holder, held.lease);
    assert_eq!(leases(&target.metrics()), 0.0);
    drop((holder, thief));
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn no_more_is_lent_to_a_peer_than_allowed_and_a_release_makes_room() {
    let target = lending().set("max_leases", "3").start();
    let before = target.baseline();
    let (mut peer, mut other) = (connected(&target), connected(&target));
    let held: Vec<Leased> = (0..3).map(|_| lease(&mut peer, good())).collect();
    for _ in 0..5 {
        assert_eq!(refusal(&mut peer, good()), "RESOURCE_EXHAUSTED");
    }
    let others = lease(&mut other, good());
    release(&mut other, others.lease);
    release(&mut peer, held[0].lease);
    lease(&mut peer, good());
    assert_eq!(refusal(&mut peer, good()), "RESOURCE_EXHAUSTED");
    drop((peer, other));
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn a_lease_that_comes_to_nothing_takes_no_place() {
    let target = lending().set("max_leases", "1").start();
    let before = target.baseline();
    let mut peer = connected(&target);
    for _ in 0..3 {
        let absent = Read {
            needle_id: 99,
            ..good()
        };
        assert_eq!(refusal(&mut peer, absent), "NEEDLE_NOT_FOUND");
        ask(&mut peer, Read { room: 1, ..good() });
        assert!(matches!(peer.receive(), FromTarget::TooLong(_)));
    }
    let leased = lease(&mut peer, good());
    release(&mut peer, leased.lease);
    drop(peer);
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn leases_that_find_no_room_wait_and_get_it_when_others_end() {
    let target = small_pool(lending()).start();
    let before = target.baseline();
    let mut peers = crowding(&target, 10_000);
    for _ in 0..4 {
        for peer in &mut peers {
            let FromTarget::Leased(leased) = peer.receive() else {
                panic!("a lease was expected");
            };
            let lease = leased.lease;
            peer.send(&FromEngine::Release(Release { lease }));
        }
    }
    peers.iter_mut().for_each(Peer::ping);
    assert_eq!(leases(&target.metrics()), 0.0);
    drop(peers);
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn however_much_one_peer_borrows_and_keeps_there_is_room_for_others() {
    let setup = small_pool(lending()).set("lease_timeout", r#""1h""#);
    let target = setup.start();
    let before = target.baseline();
    let (mut hoarder, mut other) = (connected(&target), connected(&target));
    let mut held: Vec<Leased> = (0..2)
        .map(|_| lease(&mut hoarder, read(7, &large(1))))
        .collect();
    // There is no more for it in half of the pool, for as long as it waits.
    let brief = Read {
        patience_ms: 500,
        ..read(7, &large(1))
    };
    assert_eq!(refusal(&mut hoarder, brief), "NETWORK_TIMEOUT");
    for _ in 0..20 {
        let leased = lease(&mut other, read(7, &large(2)));
        release(&mut other, leased.lease);
    }
    release(&mut hoarder, held.pop().unwrap().lease);
    lease(&mut hoarder, read(7, &large(1)));
    drop((hoarder, other));
    target.assert_nothing_lost(&before);
}

#[test]
#[ignore = "needs an RDMA device"]
fn a_peer_that_goes_while_it_waits_for_room_gives_back_what_it_holds_at_once() {
    // Long lives and much patience: nothing but the connection's end can end these in time.
    let setup = small_pool(lending()).set("lease_timeout", r#""1h""#);
    let target = setup.start();
    let before = target.baseline();
    let peers = crowding(&target, 600_000);
    assert!(leases(&target.metrics()) > 0.0);
    drop(peers);
    target.assert_nothing_lost(&before);
}
