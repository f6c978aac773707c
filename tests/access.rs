//! Who may connect, and who may read.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::client::frame;
use common::process::{Second, part, tell};
use common::{Bystander, Client, Engine, Setup, note};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{AttachPool, StartRead};

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Plays the second process: connects, reads, and tells what came of it.
fn connect_and_tell(socket: &str) {
    let outcome = match Client::connect(&PathBuf::from(socket)) {
        Err(error) => format!("connect: {error}"),
        Ok(mut client) => {
            // A connection turned away may be closed before it is written to.
            let _ = std::io::Write::write_all(&mut client.stream, &frame(Bystander::whole()));
            match client
                .receive_payload()
                .map(|p| Response::decode(&p).unwrap())
            {
                Some(Response::StartReadResponse(_)) => "served".to_owned(),
                Some(Response::Error(error)) => error.code,
                Some(other) => format!("{other:?}"),
                None => "closed".to_owned(),
            }
        }
    };
    tell(&outcome);
}

fn let_everyone_connect(engine: &Engine) {
    engine.setup.reachable();
    let mode = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(&engine.socket, mode).unwrap();
}

#[test]
fn a_user_who_is_not_allowed_is_refused_whatever_the_sockets_mode() {
    if let Some(socket) = part() {
        return connect_and_tell(&socket);
    }
    if !common::is_root() {
        return note("not root: a client of another user was not tried");
    }
    let engine = Setup::new().start();
    let before = engine.baseline();
    let_everyone_connect(&engine);
    let name = "a_user_who_is_not_allowed_is_refused_whatever_the_sockets_mode";
    let dir = engine.setup.dir.path();
    let mut second = Second::start_as(NOBODY, dir, name, engine.socket.to_str().unwrap());
    assert_eq!(second.hear(), "PERMISSION_DENIED");
    drop(second);
    assert!(engine.log().contains("65534"), "{}", engine.log());
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_user_who_is_listed_is_served() {
    if let Some(socket) = part() {
        return connect_and_tell(&socket);
    }
    if !common::is_root() {
        return note("not root: a client of another, listed user was not tried");
    }
    let engine = Setup::new().set("allowed_uids", "[1, 65534]").start();
    let before = engine.baseline();
    let_everyone_connect(&engine);
    let name = "a_user_who_is_listed_is_served";
    let dir = engine.setup.dir.path();
    let mut second = Second::start_as(NOBODY, dir, name, engine.socket.to_str().unwrap());
    assert_eq!(second.hear(), "served");
    drop(second);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_token_is_asked_for_where_one_is_configured() {
    let setup = Setup::new();
    let file = setup.dir.path().join("token");
    std::fs::write(&file, "correct horse\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let engine = setup.set("auth_token_file", &format!("{file:?}")).start();
    let before = engine.baseline();
    let mut client = engine.client();
    let with = |token: Option<&str>| StartRead {
        auth_token: token.map(str::to_owned),
        ..Bystander::whole()
    };
    let wrong = [
        None,
        Some(""),
        Some("correct horse "),
        Some("correct hors"),
        Some("correct horse\n"),
    ];
    for token in wrong {
        let error = client.start(&with(token)).unwrap_err();
        assert_eq!(error.code, "UNAUTHENTICATED", "{token:?}");
        assert_eq!(
            (error.category.as_str(), error.recoverable),
            ("security", false)
        );
        assert!(!error.message.contains("horse"), "{error:?}");
        let attach = AttachPool {
            auth_token: token.map(str::to_owned),
            ..AttachPool::default()
        };
        let (reply, descriptors) = client.attach_raw(attach);
        assert!(matches!(reply, Response::Error(e) if e.code == "UNAUTHENTICATED"));
        assert!(descriptors.is_empty());
    }
    let right = AttachPool {
        auth_token: Some("correct horse".to_owned()),
        ..AttachPool::default()
    };
    assert_eq!(client.attach_raw(right).1.len(), 1);
    let started = client.start(&with(Some("correct horse"))).unwrap();
    client.complete(&started);
    let auth = client.capabilities().supported_auth;
    assert!(auth.iter().any(|a| a == "token"), "{auth:?}");
    assert!(!engine.log().contains("horse"));
    drop(client);
    engine.await_metrics("nothing is held", |m| m.sessions() == 0.0);
    assert_eq!(engine.baseline().count(), before.count());
}

#[test]
fn a_token_nobody_asked_for_is_ignored() {
    let engine = Setup::new().start();
    let mut client = engine.client();
    let started = client.start(&StartRead {
        auth_token: Some("s3cret".to_owned()),
        ..Bystander::whole()
    });
    client.complete(&started.unwrap());
    let auth = client.capabilities().supported_auth;
    assert!(auth.iter().all(|a| a != "token"), "{auth:?}");
}
