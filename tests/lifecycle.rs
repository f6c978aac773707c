//! Starting and stopping.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::Output;

use common::client::{frame, whole};
use common::http;
use common::room::{hold, quarter, room_for_four};
use common::{Bystander, Client, Needle, Setup, Spec, Volume, bytes, eventually};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::AttachPool;
use rustix::process::Signal;

const MIB: u64 = 1 << 20;

/// Runs an engine that is to refuse to start.
fn refused_start(setup: &Setup) -> String {
    let Output { status, stderr, .. } = setup.command().output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    assert!(
        status.code().is_some_and(|code| code != 0),
        "{status}: {stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

#[test]
fn a_stale_socket_is_replaced() {
    let setup = Setup::new();
    drop(UnixListener::bind(setup.socket()).unwrap());
    assert!(setup.socket().exists());
    setup.start().bystander().served();
}

#[test]
fn the_socket_of_an_engine_that_was_killed_is_replaced() {
    let mut first = Setup::new().start();
    first.signal(Signal::KILL);
    first.await_exit();
    let second = Setup::new();
    std::fs::rename(&first.socket, second.socket()).unwrap();
    second.start().bystander().served();
}

#[test]
fn the_socket_of_a_live_engine_is_not_taken() {
    let engine = Setup::new().start();
    let stderr = refused_start(&engine.setup);
    assert!(stderr.contains(engine.socket.to_str().unwrap()), "{stderr}");
    engine.bystander().served();
}

#[test]
fn a_path_that_is_no_socket_is_left_alone() {
    let setup = Setup::new();
    std::fs::write(setup.socket(), "precious").unwrap();
    let stderr = refused_start(&setup);
    assert!(
        stderr.contains(setup.socket().to_str().unwrap()),
        "{stderr}"
    );
    assert_eq!(std::fs::read(setup.socket()).unwrap(), b"precious");
}

#[test]
fn a_directory_that_is_not_there_stops_the_start() {
    let mut setup = Setup::new();
    let absent = setup.dir.path().join("absent");
    setup.also_volumes(&absent);
    let stderr = refused_start(&setup);
    assert!(stderr.contains(absent.to_str().unwrap()), "{stderr}");
}

#[test]
fn only_owner_and_group_may_use_the_socket() {
    let engine = Setup::new().start();
    let socket = std::fs::metadata(&engine.socket).unwrap();
    assert_eq!(socket.permissions().mode() & 0o7777, 0o660);
}

/// Asks for reads until the engine refuses them because it is shutting down.
fn await_shutting_down(client: &mut Client) {
    eventually("new reads are refused", || {
        match client.start(&Bystander::whole()) {
            Ok(started) => {
                client.complete(&started);
                None
            }
            Err(error) => {
                assert_eq!(error.code, "SHUTTING_DOWN");
                assert!(error.recoverable);
                Some(())
            }
        }
    });
}

#[test]
fn sigterm_lets_sessions_finish_then_ends_with_success_and_removes_the_socket() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut engine = Setup::new().set("shutdown_timeout", r#""10m""#).start();
        let mut client = engine.client();
        let pool = client.attach();
        let held = client.start(&Bystander::whole()).unwrap();
        assert_eq!(engine.get("/readyz").status, 200);
        engine.signal(signal);
        await_shutting_down(&mut client);
        client.ping();
        // What was promised before is still there.
        assert_eq!(common::crc32c(&pool.landed(&held)), held.expected_crc);
        client.complete(&held);
        let status = engine.await_exit();
        assert!(status.success(), "{status}\n{}", engine.log());
        assert!(!engine.socket.exists());
        assert!(!engine.log().contains("panicked"), "{}", engine.log());
    }
}

#[test]
fn sigterm_with_nothing_to_finish_ends_at_once() {
    let mut engine = Setup::new().set("shutdown_timeout", r#""1h""#).start();
    // Connected and idle is nothing to finish.
    let mut client = engine.client();
    client.ping();
    engine.signal(Signal::TERM);
    assert!(engine.await_exit().success());
    client.assert_closed();
    assert!(!engine.socket.exists());
}

#[test]
fn sigterm_does_not_wait_for_ever_for_a_client() {
    let mut engine = Setup::new().set("shutdown_timeout", r#""500ms""#).start();
    let mut client = engine.client();
    client.start(&Bystander::whole()).unwrap();
    engine.signal(Signal::TERM);
    let status = engine.await_exit();
    assert!(status.success(), "{status}\n{}", engine.log());
    assert!(!engine.socket.exists());
}

#[test]
fn a_read_that_waits_for_room_at_sigterm_still_gets_its_turn() {
    let mut engine = room_for_four().set("shutdown_timeout", r#""10m""#).start();
    let (mut holder, mut waiter) = (engine.client(), engine.client());
    let held = hold(&mut holder, 4, &quarter());
    waiter.send(quarter());
    engine.await_metrics("one waits", |m| m.get("rdma_pool_waiters") == 1.0);
    let address = engine.http_address();
    engine.signal(Signal::TERM);
    eventually("the engine is not ready any more", || {
        let ready = http::get(address, "/readyz").is_ok_and(|answer| answer.status == 200);
        (!ready).then_some(())
    });
    holder.complete(&held[0]);
    match waiter.receive() {
        Response::StartReadResponse(started) => waiter.complete(&started),
        other => panic!("{other:?}"),
    }
    for session in &held[1..] {
        holder.complete(session);
    }
    let status = engine.await_exit();
    assert!(status.success(), "{status}\n{}", engine.log());
}

#[test]
fn reads_in_flight_at_sigterm_are_answered_each_with_its_bytes_or_a_refusal() {
    // Direct, so that none is done before it is asked for; and where the build is, because not
    // every temporary directory can do direct reads.
    let mut setup = Setup::new().set("direct_io", "true");
    setup.buffer_size = 64 * MIB;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    setup.also_volumes(dir.path());
    let needle = Needle::new(1, bytes(1, MIB as usize));
    Volume::create(dir.path(), 7, &Spec::default()).put(&needle);
    let mut engine = setup.start();
    let mut client = engine.client();
    let pool = client.attach();
    client.write(&frame(whole(7, &needle)).repeat(24));
    let Response::StartReadResponse(first) = client.receive() else {
        panic!("a read was expected");
    };
    engine.signal(Signal::TERM);
    let mut landed = vec![first];
    for _ in 1..24 {
        match client.receive() {
            Response::StartReadResponse(started) => landed.push(started),
            Response::Error(error) => assert_eq!(error.code, "SHUTTING_DOWN"),
            other => panic!("{other:?}"),
        }
    }
    for started in &landed {
        assert!(pool.landed(started) == needle.data);
        client.complete(started);
    }
    let status = engine.await_exit();
    assert!(status.success(), "{status}\n{}", engine.log());
}

#[test]
fn sigterm_ends_even_with_a_client_that_takes_no_descriptors() {
    let mut engine = Setup::new().start();
    let mut silent = engine.client();
    silent.stream.set_nonblocking(true).unwrap();
    let attach = frame(AttachPool::default());
    // Until the engine, whose replies nobody takes, has stopped reading.
    let full = std::iter::repeat_with(|| silent.stream.write(&attach))
        .take(1_000_000)
        .find_map(Result::err);
    assert_eq!(full.unwrap().kind(), ErrorKind::WouldBlock);
    engine.bystander().served();
    engine.signal(Signal::TERM);
    assert!(engine.await_exit().success());
}

#[test]
fn a_client_that_has_asked_its_last_still_gets_its_answers() {
    let engine = room_for_four().start();
    let mut holder = engine.client();
    let held = hold(&mut holder, 4, &quarter());
    let mut last = engine.client();
    // There is no room for it yet, so it is not answered at once.
    last.send(quarter());
    engine.await_metrics("the read waits", |m| m.get("rdma_pool_waiters") == 1.0);
    last.stream.shutdown(Shutdown::Write).unwrap();
    holder.complete(&held[0]);
    assert!(matches!(last.receive(), Response::StartReadResponse(_)));
    last.assert_closed();
}
