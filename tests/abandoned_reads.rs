//! Reads through a peer that nobody waits for any more, and more of them than there is room for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::client::{frame, range, whole};
use common::http::Metrics;
use common::own_target::right;
use common::process::{Second, part, tell};
use common::reader::MIB;
use common::{Client, Needle, OwnTarget, Setup, Target, TargetSetup, bytes, eventually};
use rdma_engine::peer::message::{Data, FromTarget};
use rdma_engine::protocol::message::StartRead;
use rustix::process::Signal;

fn needle() -> Needle {
    Needle::new(1, bytes(1, MIB))
}

/// All of the needle, by its length: there is room for it at once.
fn all() -> StartRead {
    range(7, &needle(), 0, MIB as u64)
}

fn in_state(metrics: &Metrics, state: &str) -> f64 {
    metrics.sum("rdma_pool_bytes", |labels| {
        labels.contains(&format!(r#""{state}""#))
    })
}

/// A target that sends half of an answer, and the rest when it is told to.
fn halting() -> (OwnTarget, Arc<AtomicBool>) {
    let go = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&go);
    let target = OwnTarget::start(move |visit| {
        visit.welcome(None, &[7]);
        while let Some(read) = visit.fetch() {
            let (facts, bytes) = right(&read, &needle());
            let (first, rest) = bytes.split_at(bytes.len() / 2);
            let data = Data { id: read.id, facts };
            visit.write(&common::peer::frame(&FromTarget::Data(data)));
            visit.write(first);
            eventually("it may go on", || told.load(Ordering::SeqCst).then_some(()));
            visit.write(rest);
        }
    });
    (target, go)
}

/// What an engine is started with that waits for the halting target as long as it takes.
fn reading_from(halting: &OwnTarget) -> Setup {
    let setup = Setup::new()
        .set("workers", "1")
        .set("peer_timeout", r#""10m""#);
    setup.peer("halting", halting.address)
}

/// Starts a read of the halting target's, and awaits that half of it has come.
fn half_read(engine: &common::Engine, client: &mut Client, timeout_secs: u64) {
    eventually("the peer is connected", || {
        let code = client.refusal(&whole(1, &needle()));
        (code == "VOLUME_NOT_FOUND").then_some(())
    });
    client.send(StartRead {
        timeout_secs,
        ..all()
    });
    engine.await_metrics("it is landing", |m| in_state(m, "in_flight") >= MIB as f64);
}

#[test]
fn what_still_lands_for_a_read_whose_deadline_is_over_is_nobodys_until_it_has_landed() {
    let (halting, go) = halting();
    let engine = reading_from(&halting).start();
    let before = engine.baseline();
    let mut client = engine.client();
    half_read(&engine, &mut client, 1);
    assert_eq!(client.receive_error().code, "SESSION_EXPIRED");
    let held = engine.metrics();
    assert_eq!(
        (held.sessions(), in_state(&held, "in_flight")),
        (0.0, MIB as f64)
    );
    let states = ["free", "reserved", "in_flight", "leased", "quarantined"];
    let sum: f64 = states.iter().map(|state| in_state(&held, state)).sum();
    assert_eq!(sum, (16 * MIB) as f64);
    // The rest of the pool is used meanwhile, and that part of it is not.
    let mut other = engine.bystander();
    other.served();
    assert_eq!(in_state(&engine.metrics(), "in_flight"), MIB as f64);
    go.store(true, Ordering::SeqCst);
    engine.await_metrics("it has landed", |m| m.pool_bytes_taken() == 0.0);
    // The connection is as good as before.
    let data = client.fetch(&other.pool, &all()).unwrap().0;
    assert!(data == needle().data);
    assert_eq!(halting.visits(), 1);
    drop((client, other));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_client_that_goes_in_the_middle_of_a_read_leaves_nothing_behind() {
    let (halting, go) = halting();
    let engine = reading_from(&halting).start();
    let before = engine.baseline();
    let mut client = engine.client();
    half_read(&engine, &mut client, 0);
    drop(client);
    engine.await_metrics("its session has ended", |m| m.sessions() == 0.0);
    assert_eq!(in_state(&engine.metrics(), "in_flight"), MIB as f64);
    go.store(true, Ordering::SeqCst);
    engine.assert_nothing_lost(&before);
}

#[test]
fn an_engine_told_to_stop_in_the_middle_of_a_read_gives_up_what_does_not_come() {
    let (halting, go) = halting();
    let setup = reading_from(&halting).set("shutdown_timeout", r#""200ms""#);
    let mut engine = setup.start();
    let mut client = engine.client();
    half_read(&engine, &mut client, 0);
    engine.signal(Signal::TERM);
    let status = engine.await_exit();
    assert!(status.success(), "{status}\n{}", engine.log());
    assert!(!engine.log().contains("panicked"), "{}", engine.log());
    go.store(true, Ordering::SeqCst);
}

const LOADED: &str = "a_client_process_or_an_engine_killed_under_load_leaves_nothing_behind";

/// A target with a needle that is sent from its file, and one that is staged.
fn loaded_target() -> Target {
    let staged = Needle {
        compressed: true,
        ..Needle::new(2, common::payload::gzip(&bytes(2, MIB)))
    };
    let target = TargetSetup::with(&[needle(), staged]);
    target.set("buffer_size", "67108864").start()
}

/// The client: asks for both needles over and over, and never completes a read, until the engine
/// is gone.
fn ask_on(socket: &Path) {
    let mut client = Client::connect(socket).unwrap();
    for n in 0.. {
        let read = StartRead {
            request_id: Some(n),
            timeout_secs: 1,
            ..whole(7, &Needle::new(1 + n % 2, []))
        };
        let asked = client.stream.write_all(&frame(read)).is_ok();
        if n == 16 {
            tell("asking");
        }
        if !asked || (n > 16 && client.receive_payload().is_none()) {
            return;
        }
    }
}

#[test]
fn a_client_process_or_an_engine_killed_under_load_leaves_nothing_behind() {
    if let Some(socket) = part() {
        return ask_on(socket.as_ref());
    }
    let target = loaded_target();
    let at_target = target.baseline();
    for engine_dies in [false, true] {
        let mut engine = Setup::new().peer("t", target.address()).start();
        engine.await_peer("t");
        let before = engine.baseline();
        let socket = engine.socket.to_str().unwrap().to_owned();
        let mut clients = [(); 3].map(|()| Second::start(LOADED, &socket));
        clients
            .iter_mut()
            .for_each(|client| assert_eq!(client.hear(), "asking"));
        if engine_dies {
            engine.signal(Signal::KILL);
            engine.await_exit();
        }
        clients.into_iter().for_each(Second::kill);
        if !engine_dies {
            engine.assert_nothing_lost(&before);
        }
        drop(engine);
        target.assert_nothing_lost(&at_target);
    }
}
