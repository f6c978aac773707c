//! Targets that say nothing: half-open, not yet, not any more, or stopped.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::client::whole;
use common::failing::{await_told, fails_with};
use common::own_target::welcome;
use common::{Needle, OwnTarget, Setup, TargetSetup, Visit, bytes, eventually};
use rdma_engine::peer::message::{FromEngine, FromTarget, Pong};
use rdma_engine::protocol::message::StartRead;
use rustix::process::Signal;

fn needle() -> Needle {
    Needle::new(1, bytes(1, 100_000))
}

fn read() -> StartRead {
    whole(7, &needle())
}

#[test]
fn a_target_that_says_nothing_after_it_was_connected_to_is_given_up_and_tried_again() {
    let silent = OwnTarget::start(Visit::fall_silent);
    let setup = Setup::new().set("peer_timeout", r#""100ms""#);
    let engine = setup.peer("silent", silent.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    let words = "the handshake was not over within 100ms";
    fails_with(&mut client, &read(), "PEER_UNAVAILABLE", words);
    silent.await_visits(8);
    silent.await_ends(4);
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_that_is_given_up_is_tried_again_later_and_later() {
    let silent = OwnTarget::start(Visit::fall_silent);
    let setup = Setup::new()
        .set("peer_timeout", r#""100ms""#)
        .set("workers", "1");
    let engine = setup.peer("silent", silent.address).start();
    silent.await_visits(1);
    let begun = Instant::now();
    silent.await_visits(8);
    // Half of each step is waited at the least: 50, 100, … 3200 ms. A busy machine takes longer.
    assert!(begun.elapsed() > Duration::from_millis(6350 / 2));
    assert!(!engine.log().contains("panicked"));
}

#[test]
fn an_engine_ends_at_once_though_a_target_says_nothing() {
    let silent = OwnTarget::start(Visit::fall_silent);
    let setup = Setup::new().set("peer_timeout", r#""1h""#);
    let mut engine = setup.peer("silent", silent.address).start();
    silent.await_visits(2);
    engine.signal(Signal::TERM);
    let status = engine.await_exit();
    assert!(status.success(), "{status}\n{}", engine.log());
}

#[test]
fn a_target_that_has_not_said_yet_what_it_serves_is_not_taken_to_serve_nothing() {
    let go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&go);
    let slow = OwnTarget::start(move |visit| {
        visit.welcome_as(welcome());
        eventually("it may speak", || told.load(Ordering::SeqCst).then_some(()));
        visit.announce(&[7]);
        visit.serve(&needle());
    });
    let engine = Setup::new()
        .set("workers", "1")
        .peer("slow", slow.address)
        .start();
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    let words = "has not said yet what it serves";
    fails_with(&mut client, &read(), "PEER_UNAVAILABLE", words);
    go.store(true, Ordering::SeqCst);
    let data = eventually("it is read", || client.fetch(&pool, &read()).ok());
    assert!(data.0 == needle().data);
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_that_serves_nothing_says_so() {
    let target = TargetSetup::new();
    for entry in std::fs::read_dir(target.volumes()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let target = target.start();
    let engine = Setup::new().peer("t", target.address()).start();
    let before = engine.baseline();
    let mut client = engine.client();
    await_told(&mut client);
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_with_nothing_to_say_is_pinged_in_time_and_kept_however_seldom_that_was_asked_for() {
    let pings = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&pings);
    let idle = OwnTarget::start(move |visit| {
        visit.welcome(None, &[7]);
        while let Some(FromEngine::Ping(ping)) = visit.next() {
            visit.send(&FromTarget::Pong(Pong { id: ping.id }));
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let setup = Setup::new().impatient().set("peer_keepalive", r#""1h""#);
    let setup = setup.set("workers", "1").peer("idle", idle.address);
    let engine = setup.start();
    let before = engine.baseline();
    eventually("it was pinged for longer than the engine waits", || {
        (pings.load(Ordering::SeqCst) >= 5).then_some(())
    });
    assert_eq!(idle.visits(), 1, "the connection was given up");
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_that_falls_silent_is_given_up_with_what_was_asked_of_it() {
    let silent = OwnTarget::start(|visit| {
        visit.welcome(None, &[7]);
        visit.fall_silent();
    });
    let setup = Setup::new().impatient().set("workers", "1");
    let engine = setup.peer("bad", silent.address).start();
    let before = engine.baseline();
    let mut client = engine.client();
    await_told(&mut client);
    let error = client.start(&read()).unwrap_err();
    assert_eq!(error.code, "PEER_UNAVAILABLE");
    assert!(
        error
            .message
            .contains("peer bad: the peer's connection was lost: nothing came"),
        "{error:?}"
    );
    silent.await_ends(1);
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_that_is_stopped_is_given_up_and_read_again_when_it_goes_on() {
    let target = TargetSetup::with(&[needle()]).start();
    let at_target = target.baseline();
    let engine = Setup::new().impatient().peer("t", target.address()).start();
    engine.await_peer("t");
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    target.pause();
    let error = client.start(&read()).unwrap_err();
    assert_eq!(error.code, "PEER_UNAVAILABLE");
    assert!(error.message.contains("nothing came from it"), "{error:?}");
    // The kernel still takes connections for it.
    fails_with(
        &mut client,
        &read(),
        "PEER_UNAVAILABLE",
        "the handshake was not over",
    );
    target.signal(Signal::CONT);
    engine.await_peer("t");
    let (data, _) = client.fetch(&pool, &read()).unwrap();
    assert!(data == needle().data);
    drop(client);
    engine.assert_nothing_lost(&before);
    drop(engine);
    target.assert_nothing_lost(&at_target);
}
