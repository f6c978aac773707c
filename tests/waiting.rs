//! More readers than the pool has room for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{frame, range};
use common::process::accepted_on;
use common::room::{QUARTER, hold, large, large_id, quarter, room_for_four};
use common::{Client, eventually};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{Ping, StartRead};

#[test]
fn ten_times_more_readers_than_there_is_room_for_are_all_served() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let data = large().data;
    std::thread::scope(|scope| {
        for reader in 0..40u64 {
            let (engine, data) = (&engine, &data);
            scope.spawn(move || {
                let mut client = engine.client();
                let pool = client.attach();
                for round in 0..5 {
                    let offset = (reader * 5 + round) * 1000;
                    let read = range(7, &large_id(), offset, QUARTER);
                    let (got, _) = client.fetch(&pool, &read).unwrap();
                    let offset = usize::try_from(offset).unwrap();
                    assert!(got == data[offset..offset + QUARTER as usize]);
                }
            });
        }
    });
    engine.assert_nothing_lost(&before);
}

#[test]
fn readers_who_wait_for_room_are_served_in_the_order_they_came() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let (mut holder, mut waiter) = (engine.client(), engine.client());
    let mut held = hold(&mut holder, 4, &quarter());
    for id in 0..20 {
        waiter.send(StartRead {
            request_id: Some(id),
            ..quarter()
        });
    }
    // What does not have to wait for room overtakes.
    waiter.send(Ping {
        request_id: Some(99),
        ..Ping::default()
    });
    assert_eq!(waiter.receive().request_id(), Some(99));
    for id in 0..20 {
        let done = held.remove(0);
        holder.complete(&done);
        match waiter.receive() {
            Response::StartReadResponse(started) => {
                assert_eq!(started.request_id, Some(id));
                held.push(started);
            }
            other => panic!("{other:?}"),
        }
    }
    for session in &held {
        holder.complete(session);
    }
    drop((holder, waiter));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_client_that_goes_with_as_many_requests_as_it_may_have_waits_no_more() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let (mut holder, mut waiter) = (engine.client(), engine.client());
    let held = hold(&mut holder, 4, &quarter());
    waiter.send(quarter());
    // Their answers wait for the first; some are not even read.
    (0..300).for_each(|_| waiter.send(Ping::default()));
    engine.await_metrics("it waits", |m| m.get("rdma_pool_waiters") == 1.0);
    drop(waiter);
    engine.await_metrics("it has left", |m| m.get("rdma_pool_waiters") == 0.0);
    for session in &held {
        holder.complete(session);
    }
    drop(holder);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_small_read_does_not_overtake_a_large_one_that_waits() {
    let engine = room_for_four().start();
    let (mut holder, mut waiter) = (engine.client(), engine.client());
    let held = hold(&mut holder, 4, &quarter());
    let small = StartRead {
        request_id: Some(2),
        ..range(7, &large_id(), 0, 100)
    };
    waiter.send(StartRead {
        request_id: Some(1),
        ..quarter()
    });
    waiter.send(small);
    let both = engine.await_metrics("both wait", |m| m.get("rdma_pool_waiters") == 2.0);
    // Not for want of room: the small one would fit beside those that are held.
    assert!(both.get("rdma_pool_largest_free_bytes") >= 8192.0);
    holder.complete(&held[0]);
    // Now there is room for both; which has its bytes first is up to the kernel.
    let mut answered = [waiter.receive().request_id(), waiter.receive().request_id()];
    answered.sort();
    assert_eq!(answered, [Some(1), Some(2)]);
}

#[test]
fn a_reader_who_waits_in_vain_is_told_at_its_deadline_and_may_try_again() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let mut holder = engine.client();
    let held = hold(&mut holder, 4, &quarter());
    let impatient = StartRead {
        timeout_secs: 1,
        ..quarter()
    };
    let mut waiters: Vec<Client> = (0..36).map(|_| engine.client()).collect();
    for waiter in &mut waiters {
        waiter.send(impatient.clone());
    }
    for waiter in &mut waiters {
        let error = waiter.receive_error();
        assert_eq!(error.code, "RESOURCE_EXHAUSTED");
        assert_eq!(
            (error.category.as_str(), error.recoverable),
            ("resource", true)
        );
    }
    assert_eq!(engine.metrics().sessions(), 4.0);
    for session in &held {
        holder.complete(session);
    }
    for waiter in &mut waiters {
        let session = waiter.start(&impatient).unwrap();
        waiter.complete(&session);
    }
    drop((holder, waiters));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_reader_who_leaves_while_it_waits_gives_its_place_up() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let mut holder = engine.client();
    let held = hold(&mut holder, 4, &quarter());
    for _ in 0..10 {
        let mut leaver = engine.client();
        leaver.write(&frame(quarter()).repeat(4));
    }
    let mut waiter = engine.client();
    waiter.send(quarter());
    eventually("the leavers are gone", || {
        (accepted_on(&engine.socket) == 2).then_some(())
    });
    holder.complete(&held[0]);
    let Response::StartReadResponse(started) = waiter.receive() else {
        panic!("a read was expected");
    };
    waiter.complete(&started);
    for session in &held[1..] {
        holder.complete(session);
    }
    drop((holder, waiter));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_read_that_its_client_gives_up_is_counted_with_the_time_it_took() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let mut holder = engine.client();
    let held = hold(&mut holder, 4, &quarter());
    let mut leaver = engine.client();
    leaver.send(quarter());
    eventually("it waits", || {
        (engine.metrics().get("rdma_pool_waiters") == 1.0).then_some(())
    });
    drop(leaver);
    let reads = |name, result: &str| {
        let metrics = engine.metrics();
        metrics.sum(name, |l| l.contains("start_read") && l.contains(result))
    };
    eventually("it is counted", || {
        (reads("rdma_operations_total", r#"result="given_up""#) == 1.0).then_some(())
    });
    assert_eq!(reads("rdma_operation_duration_seconds_count", ""), 5.0);
    for session in &held {
        holder.complete(session);
    }
    drop(holder);
    engine.assert_nothing_lost(&before);
}
