//! Targets that keep an engine waiting: half-open, silent, slow, or stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::client::{range, whole};
use common::failing::{await_told, fails_with};
use common::own_target::right;
use common::peer::frame;
use common::target::SHORT;
use common::{Client, Engine, Needle, OwnTarget, Setup, TargetSetup, Visit, bytes, eventually};
use rdma_engine::peer::message::{Data, FromTarget};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::StartRead;

fn needle() -> Needle {
    Needle::new(1, bytes(1, 100_000))
}

fn read() -> StartRead {
    whole(7, &needle())
}

/// An engine with one worker and one peer, from which that worker has heard.
fn engine_of(bad: &OwnTarget) -> (Engine, common::Baseline, Client) {
    let setup = Setup::new().impatient().set("workers", "1");
    let engine = setup.peer("bad", bad.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    await_told(&mut client);
    (engine, before, client)
}

#[test]
fn a_target_that_answers_pings_and_nothing_else_is_given_up_and_its_buffers_come_back() {
    let deaf = OwnTarget::start(|visit| {
        visit.welcome(None, &[7]);
        visit.pong();
    });
    let (engine, before, mut client) = engine_of(&deaf);
    // A client's patience that is over first, and one that is not.
    let brief = StartRead {
        timeout_secs: 1,
        ..read()
    };
    assert_eq!(client.refusal(&brief), "SESSION_EXPIRED");
    assert!(engine.metrics().pool_bytes_taken() > 0.0);
    engine.await_metrics("the buffer came back", |m| m.pool_bytes_taken() == 0.0);
    deaf.await_ends(1);
    fails_with(
        &mut client,
        &read(),
        "PEER_UNAVAILABLE",
        "no answer, nor 65536 bytes of one",
    );
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_that_answers_pings_is_not_given_up_while_requests_go_out() {
    let slow = OwnTarget::start(|visit| {
        visit.welcome(None, &[7]);
        let mut unanswered = Vec::new();
        let begun = Instant::now();
        // Nothing but Pongs for longer than the engine waits for a sign of life.
        while begun.elapsed() < SHORT * 3 / 2 {
            let Some(read) = visit.fetch() else { return };
            unanswered.push(read);
        }
        for read in unanswered {
            visit.answer_well(&read, &needle());
        }
        visit.serve(&needle());
    });
    let (engine, before, mut client) = engine_of(&slow);
    let (enough, engine_ref) = (AtomicBool::new(false), &engine);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // Requests of other clients, so often that the engine is never quiet itself.
            let mut others = Vec::new();
            while !enough.load(Ordering::SeqCst) {
                let mut other = engine_ref.client();
                other.send(range(7, &needle(), 0, 100));
                others.push(other);
                std::thread::sleep(Duration::from_millis(100));
            }
            for mut other in others {
                match other.receive() {
                    Response::StartReadResponse(started) => other.complete(&started),
                    reply => panic!("{reply:?}"),
                }
            }
        });
        let started = client.start(&read());
        enough.store(true, Ordering::SeqCst);
        asking.join().unwrap();
        client.complete(&started.expect("it is answered, late"));
    });
    assert_eq!(slow.visits(), 1, "the connection was given up");
    drop(client);
    engine.assert_nothing_lost(&before);
}

/// Sends a byte of the answer now and then.
fn dribble(visit: &mut Visit) {
    visit.welcome(None, &[7]);
    while let Some(read) = visit.fetch() {
        let (facts, bytes) = right(&read, &needle());
        visit.write(&frame(&FromTarget::Data(Data { id: read.id, facts })));
        for byte in &bytes {
            if !visit.write(&[*byte]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_read_from_a_target_that_sends_a_byte_now_and_then_ends_at_its_deadline() {
    let slow = OwnTarget::start(dribble);
    let good = TargetSetup::new();
    good.volume(8, &common::Spec::default(), &[needle()]);
    let good = good.start();
    let at_good = good.baseline();
    let setup = Setup::new().impatient().set("workers", "1");
    let setup = setup.peer("slow", slow.address);
    let engine = setup.peer("good", good.address()).start();
    engine.await_peer("good");
    let before = engine.baseline();
    let mut stuck = engine.client();
    stuck.send(StartRead {
        timeout_secs: 1,
        ..read()
    });
    slow.await_asked(1);
    let mut other = engine.client();
    let pool = other.attach();
    for _ in 0..20 {
        let (data, _) = other.fetch(&pool, &whole(8, &needle())).unwrap();
        assert!(data == needle().data);
    }
    // What still may be written to belongs to nobody else, until the connection is over.
    let in_flight =
        |m: &common::http::Metrics| m.sum("rdma_pool_bytes", |l| l.contains("in_flight"));
    assert_eq!(stuck.receive_error().code, "SESSION_EXPIRED");
    let held = engine.metrics();
    assert!(
        in_flight(&held) >= 100_000.0 || slow.visits() > 1,
        "{held:?}"
    );
    slow.await_ends(1);
    engine.await_metrics("it came back", |m| m.pool_bytes_taken() == 0.0);
    // One that has the time is told by whom it was let down.
    let words = "peer slow: the peer's connection was lost: no answer, nor 65536 bytes";
    fails_with(&mut stuck, &read(), "PEER_UNAVAILABLE", words);
    drop((stuck, other));
    engine.assert_nothing_lost(&before);
    drop(engine);
    good.assert_nothing_lost(&at_good);
}

#[test]
fn what_a_slow_target_does_not_give_in_time_is_read_from_another() {
    let slow = OwnTarget::start(dribble);
    let good = TargetSetup::with(&[needle()]).start();
    let setup = Setup::new().impatient().peer("slow", slow.address);
    let engine = setup.peer("good", good.address()).start();
    engine.await_peer("good");
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    eventually("the slow one was asked", || {
        let (data, _) = client.fetch(&pool, &read()).unwrap();
        assert!(data == needle().data);
        (slow.asked() >= 1).then_some(())
    });
    drop(client);
    engine.assert_nothing_lost(&before);
}
