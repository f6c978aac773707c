//! Clients that stop, fall silent, do not listen or die: nothing to the others, nothing lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use common::client::{frame, whole};
use common::process::{Second, part, status_bytes, tell};
use common::room::{MIB, quarter, quarter_bytes, room_for_four};
use common::{Bystander, Client, Engine, Needle, Setup, Spec, Volume, bytes, eventually};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{Ping, StartRead};

#[test]
fn the_sessions_of_a_client_killed_with_sigkill_are_reclaimed() {
    if let Some(socket) = part() {
        let socket = PathBuf::from(socket);
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(&socket).unwrap()).collect();
        for client in &mut clients {
            client.start(&quarter()).unwrap();
        }
        // And some it will never hear of: there is no room for them.
        for client in &mut clients {
            client.write(&frame(quarter()).repeat(3));
        }
        tell("holding");
        loop {
            std::thread::park();
        }
    }
    let engine = room_for_four().set("client_grace", r#""200ms""#).start();
    let before = engine.baseline();
    let name = "the_sessions_of_a_client_killed_with_sigkill_are_reclaimed";
    for _ in 0..3 {
        let mut second = Second::start(name, engine.socket.to_str().unwrap());
        assert_eq!(second.hear(), "holding");
        engine.await_metrics("the pool is full", |m| {
            m.pool_bytes_taken() > 3.4 * MIB as f64
        });
        second.kill();
        let mut client = engine.client();
        // Waits its turn, until what the dead client held and waited for is reclaimed.
        let pool = client.attach();
        let (data, _) = client.fetch(&pool, &quarter()).unwrap();
        assert_eq!(data, quarter_bytes());
    }
    engine.assert_nothing_lost(&before);
}

/// Awaits that the log is longer than it was.
fn await_a_log_line(engine: &Engine, logged: usize) {
    eventually("a line is logged", || {
        (engine.log().len() > logged).then_some(())
    });
}

#[test]
fn a_client_that_stops_in_the_middle_of_a_frame_is_closed_with_a_log_line() {
    let whole = frame(Bystander::whole());
    let engine = Setup::new().set("frame_timeout", r#""300ms""#).start();
    let before = engine.baseline();
    let mut bystander = engine.bystander();
    let mut pings = frame(Ping::default());
    pings.extend(&whole[..10]);
    let logged = engine.log().len();
    for half in [&whole[..1], &whole[..4], &whole[..whole.len() - 1]] {
        let mut client = engine.client();
        client.write(half);
        client.assert_closed();
        await_a_log_line(&engine, logged);
    }
    // After whole requests too.
    let mut client = engine.client();
    client.write(&pings);
    assert!(matches!(client.receive(), Response::Pong(_)));
    client.assert_closed();
    bystander.served();
    drop((client, bystander));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_client_that_says_nothing_costs_nobody_and_may_speak_later() {
    let engine = Setup::new().set("frame_timeout", r#""300ms""#).start();
    let before = engine.baseline();
    let mut bystander = engine.bystander();
    let mut silent = engine.client();
    let mut idle = engine.client();
    idle.ping();
    // A connection kept in a client's pool is silent between frames: three times as long as
    // half a frame would be waited for.
    for _ in 0..3 {
        let mut half = engine.client();
        half.write(&[1]);
        half.assert_closed();
    }
    bystander.served();
    silent.ping();
    idle.ping();
    drop((silent, idle, bystander));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_client_that_never_reads_its_pongs_is_closed_with_a_log_line() {
    never_reads_replies(&frame(Ping::default()));
}

#[test]
fn a_client_that_never_reads_what_its_reads_came_to_is_closed_with_a_log_line() {
    never_reads_replies(&frame(StartRead {
        timeout_secs: 1,
        ..Bystander::whole()
    }));
}

fn never_reads_replies(request: &[u8]) {
    let mut setup = Setup::new().set("frame_timeout", r#""500ms""#);
    // Room for as many reads as there may be replies in the socket.
    setup.max_sessions = 100_000;
    setup.buffer_size = 256 * MIB;
    let engine = setup.start();
    let before = engine.baseline();
    let mut bystander = engine.bystander();
    let heap = || status_bytes(engine.pid(), "RssAnon:");
    bystander.served();
    let (logged, heap_before) = (engine.log().len(), heap());
    let deaf = engine.client();
    deaf.stream.set_nonblocking(true).unwrap();
    let requests = request.repeat(1000);
    let mut at = 0;
    eventually("the engine gives up on it", || {
        loop {
            match (&deaf.stream).write(&requests[at..]) {
                Ok(written) => at = (at + written) % requests.len(),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    bystander.served();
                    return None;
                }
                Err(e) => {
                    let closed = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
                    assert!(closed.contains(&e.kind()), "{e}");
                    return Some(());
                }
            }
        }
    });
    await_a_log_line(&engine, logged);
    let grown = heap().saturating_sub(heap_before);
    assert!(grown < 16 * MIB, "replies nobody reads took {grown} bytes");
    drop((deaf, bystander));
    engine.assert_nothing_lost(&before);
}

#[test]
fn clients_that_leave_while_their_reads_are_in_flight_leave_nothing_behind() {
    // Direct, so that reads take a while; and where the build is, because not every temporary
    // directory can do direct reads.
    let mut setup = Setup::new().set("direct_io", "true");
    setup.buffer_size = 128 * MIB;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    setup.also_volumes(dir.path());
    let needle = Needle::new(1, bytes(1, MIB as usize));
    Volume::create(dir.path(), 7, &Spec::default()).put(&needle);
    let engine = setup.start();
    let before = engine.baseline();
    let mut bystander = engine.bystander();
    let read = frame(StartRead {
        timeout_secs: 1,
        ..whole(7, &needle)
    });
    for round in 0..40 {
        let mut leaver = engine.client();
        leaver.write(&read.repeat(1 + round % 7));
        if round % 2 == 0 {
            // Let some of them get under way.
            bystander.served();
        }
    }
    bystander.served();
    let fetched = bystander.client.fetch(&bystander.pool, &whole(7, &needle));
    assert!(fetched.unwrap().0 == needle.data);
    drop(bystander);
    engine.assert_nothing_lost(&before);
}
