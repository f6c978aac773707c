//! More reads through a peer at once than a connection, or a pool, has room for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{completion, frame, range, whole};
use common::reader::MIB;
use common::{Client, Needle, Setup, TargetSetup, bytes, crc32c};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{CompleteRead, StartRead};

fn needle() -> Needle {
    Needle::new(1, bytes(1, MIB))
}

#[test]
fn a_thousand_reads_at_once_over_one_connection_are_all_served() {
    let target = TargetSetup::with(&[needle()]).start();
    let at_target = target.baseline();
    let mut setup = Setup::new().set("workers", "1");
    setup.buffer_size = 64 * MIB as u64;
    let engine = setup.peer("t", target.address()).start();
    engine.await_peer("t");
    let before = engine.baseline();
    let data = needle().data;
    let mut clients: Vec<Client> = (0..50).map(|_| engine.client()).collect();
    let pool = clients[0].attach();
    for round in 0..5u64 {
        let nth = |n: u64| {
            let size = 1 + (n * 977 + round) % 30_000;
            StartRead {
                request_id: Some(n),
                ..range(7, &Needle::new(1, []), n * 1000, size)
            }
        };
        for client in &mut clients {
            let requests: Vec<u8> = (0..20).flat_map(|n| frame(nth(n))).collect();
            client.write(&requests);
        }
        for client in &mut clients {
            let (mut landed, mut completed) = (0, 0);
            while completed < 20 {
                match client.receive() {
                    Response::StartReadResponse(started) => {
                        let asked = nth(started.request_id.unwrap());
                        let (from, size) = (asked.offset as usize, asked.size as usize);
                        assert!(pool.landed(&started) == data[from..from + size]);
                        client.send(CompleteRead {
                            request_id: Some(u64::MAX),
                            ..completion(&started)
                        });
                        landed += 1;
                    }
                    Response::CompleteReadResponse(done) if done.success => completed += 1,
                    other => panic!("after {landed} reads: {other:?}"),
                }
            }
        }
    }
    drop(clients);
    engine.assert_nothing_lost(&before);
    drop(engine);
    target.assert_nothing_lost(&at_target);
}

#[test]
fn more_readers_than_either_pool_has_room_for_are_all_served() {
    // Staged at the target, which has room for two, and landed here, where there is room for three.
    let logical = bytes(2, MIB);
    let staged = Needle {
        compressed: true,
        ..Needle::new(2, common::payload::gzip(&logical))
    };
    let target = TargetSetup::with(&[staged]);
    let target = target
        .set("buffer_size", "6291456")
        .set("max_transfer_size", "2097152")
        .start();
    let at_target = target.baseline();
    let mut setup = Setup::new().set("max_transfer_size", "1048576");
    setup.buffer_size = 3 * MIB as u64;
    let engine = setup.peer("t", target.address()).start();
    engine.await_peer("t");
    let before = engine.baseline();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            let (engine, logical) = (&engine, &logical);
            scope.spawn(move || {
                let mut client = engine.client();
                let pool = client.attach();
                for _ in 0..5 {
                    let read = whole(7, &Needle::new(2, []));
                    let (data, started) = client.fetch(&pool, &read).unwrap();
                    assert!(data == *logical);
                    assert_eq!(started.expected_crc, crc32c(logical));
                }
            });
        }
    });
    engine.assert_nothing_lost(&before);
    drop(engine);
    target.assert_nothing_lost(&at_target);
}

#[test]
fn a_read_that_finds_no_room_here_is_told_so_at_its_deadline() {
    let target = TargetSetup::with(&[needle()]).start();
    let mut setup = Setup::new().set("max_transfer_size", "1048576");
    setup.buffer_size = 2 * MIB as u64;
    let engine = setup.peer("t", target.address()).start();
    engine.await_peer("t");
    let before = engine.baseline();
    let mut holder = engine.client();
    let held = [(); 2].map(|()| holder.start(&whole(7, &needle())).unwrap());
    let mut waiter = engine.client();
    let brief = StartRead {
        timeout_secs: 1,
        ..whole(7, &needle())
    };
    assert_eq!(waiter.refusal(&brief), "RESOURCE_EXHAUSTED");
    for session in &held {
        holder.complete(session);
    }
    let session = waiter.start(&brief).unwrap();
    waiter.complete(&session);
    drop((holder, waiter));
    engine.assert_nothing_lost(&before);
}
