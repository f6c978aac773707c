//! Sessions: who holds a buffer, and until when.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::path::PathBuf;

use common::client::{completion, range, whole};
use common::process::{Second, accepted_on, part, tell};
use common::room::{MIB, complete_code, hold, large_id, quarter, quarter_bytes, room_for_four};
use common::{Bystander, Client, Setup, eventually};
use rdma_engine::protocol::message::{CompleteRead, StartRead};

#[test]
fn an_unknown_session_is_not_found() {
    let engine = Setup::new().start();
    let mut client = engine.client();
    let real = client.start(&Bystander::whole()).unwrap();
    let mut guesses: Vec<String> = ["", "x", "c42f3d5e-f0dd-492c-8f7d-6e0fc2624dd0", "ü-ü-ü"]
        .map(str::to_owned)
        .to_vec();
    guesses.push("0".repeat(500_000));
    guesses.push(real.session_id.clone() + "0");
    for (at, digit) in real.session_id.char_indices() {
        let other = if digit == '0' { '1' } else { '0' };
        let mut guess = real.session_id.clone();
        guess.replace_range(at..=at, &other.to_string());
        guesses.push(guess);
        guesses.push(real.session_id[..at].to_owned());
    }
    for guess in guesses {
        assert_eq!(
            complete_code(&mut client, &guess),
            "SESSION_NOT_FOUND",
            "{guess}"
        );
    }
    assert_eq!(engine.metrics().sessions(), 1.0);
    client.complete(&real);
}

#[test]
fn an_expired_session_says_so_and_its_buffer_is_free() {
    let engine = room_for_four().start();
    let before = engine.baseline();
    let mut client = engine.client();
    let read = StartRead {
        timeout_secs: 1,
        ..quarter()
    };
    let held = hold(&mut client, 4, &read);
    assert_eq!(engine.metrics().sessions(), 4.0);
    engine.await_metrics("the sessions expire", |m| {
        m.sessions() == 0.0 && m.pool_bytes_taken() == 0.0
    });
    for session in &held {
        assert!(common::now_ns() >= session.expires_at_ns);
        assert_eq!(
            complete_code(&mut client, &session.session_id),
            "SESSION_EXPIRED"
        );
    }
    // All of the pool can be had again.
    for session in hold(&mut client, 4, &quarter()) {
        client.complete(&session);
    }
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_late_completion_frees_nobody_elses_buffer() {
    let mut setup = room_for_four();
    setup.max_sessions = 1;
    let engine = setup.start();
    let mut client = engine.client();
    let pool = client.attach();
    let read = StartRead {
        timeout_secs: 1,
        ..quarter()
    };
    let late = client.start(&read).unwrap();
    engine.await_metrics("the session expires", |m| m.sessions() == 0.0);
    // The same place in the slab, and most likely the same buffer.
    let next = client.start(&quarter()).unwrap();
    let code = complete_code(&mut client, &late.session_id);
    assert!(
        ["SESSION_EXPIRED", "SESSION_NOT_FOUND"].contains(&code.as_str()),
        "{code}"
    );
    assert_eq!(engine.metrics().sessions(), 1.0);
    assert_eq!(pool.landed(&next), quarter_bytes());
    client.complete(&next);
}

#[test]
fn a_session_lasts_as_long_as_was_asked_and_no_longer_than_is_allowed() {
    let mut setup = Setup::new().set("session_timeout_max", r#""40s""#);
    setup.session_timeout = 20;
    let engine = setup.start();
    let mut client = engine.client();
    for (asked, allowed) in [(0, 20), (5, 5), (30, 30), (41, 40), (u64::MAX, 40)] {
        let from = common::now_ns();
        let read = StartRead {
            timeout_secs: asked,
            ..Bystander::whole()
        };
        let started = client.start(&read).unwrap();
        let allowed = allowed * 1_000_000_000;
        let span = from + allowed..=common::now_ns() + allowed;
        // The deadline may be kept in whole milliseconds.
        let rounded = span.start() - 1_000_000..=span.end() + 1_000_000;
        assert!(
            rounded.contains(&started.expires_at_ns),
            "{asked} s: {}",
            started.expires_at_ns
        );
        client.complete(&started);
    }
}

#[test]
fn a_session_can_be_completed_once() {
    let engine = Setup::new().start();
    let before = engine.baseline();
    let (mut client, mut another) = (engine.client(), engine.client());
    let session = client.start(&Bystander::whole()).unwrap();
    another.complete(&session);
    for client in [&mut client, &mut another] {
        assert_eq!(
            complete_code(client, &session.session_id),
            "SESSION_NOT_FOUND"
        );
    }
    drop((client, another));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_session_outlives_its_connection_while_the_process_has_another() {
    let engine = Setup::new().set("client_grace", r#""1ms""#).start();
    let before = engine.baseline();
    let mut another = engine.client();
    let session = engine.client().start(&Bystander::whole()).unwrap();
    eventually("the first connection is closed", || {
        (accepted_on(&engine.socket) == 1).then_some(())
    });
    another.complete(&session);
    drop(another);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_session_can_be_completed_by_another_process() {
    if let Some(part) = part() {
        let (socket, session_id) = part.split_once(' ').unwrap();
        let mut client = Client::connect(&PathBuf::from(socket)).unwrap();
        let complete = CompleteRead {
            session_id: session_id.to_owned(),
            ..CompleteRead::default()
        };
        tell(&format!("{:?}", client.complete_with(complete).is_ok()));
        return;
    }
    let engine = Setup::new().start();
    let before = engine.baseline();
    let mut client = engine.client();
    let session = client.start(&Bystander::whole()).unwrap();
    let name = "a_session_can_be_completed_by_another_process";
    let part = format!("{} {}", engine.socket.display(), session.session_id);
    let mut second = Second::start(name, &part);
    assert_eq!(second.hear(), "true");
    assert_eq!(
        complete_code(&mut client, &session.session_id),
        "SESSION_NOT_FOUND"
    );
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_completion_that_disagrees_is_told_so_and_the_buffer_is_free() {
    let engine = Setup::new().start();
    let before = engine.baseline();
    let mut client = engine.client();
    let disagreements: [fn(&mut CompleteRead); 3] = [
        |c| c.client_crc = c.client_crc.map(|crc| crc ^ 1),
        |c| c.bytes_transferred -= 1,
        |c| c.bytes_transferred = u64::MAX,
    ];
    for disagree in disagreements {
        let session = client.start(&Bystander::whole()).unwrap();
        let mut complete = completion(&session);
        disagree(&mut complete);
        let completed = client.complete_with(complete).unwrap();
        assert!(!completed.success);
        assert_eq!(completed.server_crc, Some(session.expected_crc));
        assert!(completed.message.is_some_and(|m| !m.is_empty()));
        assert_eq!(
            complete_code(&mut client, &session.session_id),
            "SESSION_NOT_FOUND"
        );
        assert_eq!(engine.metrics().pool_bytes_taken(), 0.0);
    }
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_client_that_says_nothing_of_its_checksum_or_of_success_ends_its_session() {
    let engine = Setup::new().start();
    let mut client = engine.client();
    let session = client.start(&Bystander::whole()).unwrap();
    let complete = CompleteRead {
        client_crc: None,
        ..completion(&session)
    };
    let completed = client.complete_with(complete).unwrap();
    assert!(completed.success);
    assert_eq!(completed.server_crc, Some(session.expected_crc));
    let session = client.start(&Bystander::whole()).unwrap();
    let complete = CompleteRead {
        session_id: session.session_id.clone(),
        error_message: Some("short read".to_owned()),
        bytes_transferred: 17,
        ..CompleteRead::default()
    };
    client.complete_with(complete).unwrap();
    assert_eq!(
        complete_code(&mut client, &session.session_id),
        "SESSION_NOT_FOUND"
    );
    engine.await_metrics("the buffers are free", |m| m.pool_bytes_taken() == 0.0);
}

#[test]
fn more_sessions_than_the_limit_are_refused_before_they_take_anything() {
    let mut setup = room_for_four();
    setup.max_sessions = 3;
    let engine = setup.start();
    let before = engine.baseline();
    let (mut client, mut another) = (engine.client(), engine.client());
    let held = hold(&mut client, 3, &quarter());
    let taken = engine.metrics().pool_bytes_taken();
    for client in [&mut client, &mut another] {
        let error = client.start(&quarter()).unwrap_err();
        assert_eq!(error.code, "TOO_MANY_SESSIONS");
        assert_eq!(
            (error.category.as_str(), error.recoverable),
            ("session", true)
        );
        client.ping();
    }
    assert_eq!(engine.metrics().pool_bytes_taken(), taken);
    let capabilities = client.capabilities();
    assert_eq!(
        (capabilities.max_sessions, capabilities.active_sessions),
        (3, 3)
    );
    client.complete(&held[0]);
    let again = another.start(&quarter()).unwrap();
    assert_eq!(client.refusal(&quarter()), "TOO_MANY_SESSIONS");
    for session in held[1..].iter().chain([&again]) {
        client.complete(session);
    }
    drop((client, another));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_read_that_fails_takes_no_session() {
    let mut setup = room_for_four();
    setup.max_sessions = 1;
    let engine = setup.start();
    let mut client = engine.client();
    for _ in 0..10 {
        assert_eq!(client.refusal(&whole(8, &large_id())), "VOLUME_NOT_FOUND");
        assert_eq!(
            client.refusal(&range(7, &large_id(), 4 * MIB, 1)),
            "INVALID_REQUEST"
        );
    }
    let session = client.start(&quarter()).unwrap();
    client.complete(&session);
}
