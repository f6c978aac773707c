//! Targets whose handshake fails: nothing is read from them, and the error says why.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{framed, whole};
use common::failing::fails_with;
use common::own_target::welcome;
use common::peer::frame;
use common::{Needle, OwnTarget, Setup, TargetSetup, Visit, bytes, eventually};
use rdma_engine::peer::message::{Challenge, FromEngine, FromTarget, Mac, Refused, Welcome};
use rdma_engine::protocol::message::StartRead;

const SECRET: &str = "a secret that nobody is to see";

fn read() -> StartRead {
    whole(7, &Needle::new(1, []))
}

/// Checks that an engine gets no further with a target that plays this part than to say `words`,
/// and that it tries again.
fn is_turned_down(
    secret: Option<&str>,
    words: &str,
    part: impl Fn(&mut Visit) + Send + Sync + 'static,
) {
    let bad = OwnTarget::start(move |visit| {
        part(visit);
        visit.fall_silent();
    });
    let mut setup = Setup::new().peer("bad", bad.address);
    if let Some(secret) = secret {
        setup = setup.peer_secret(secret);
    }
    let engine = setup.start();
    let before = engine.baseline();
    let mut client = engine.client();
    fails_with(&mut client, &read(), "PEER_UNAVAILABLE", words);
    bad.await_visits(6);
    // One that is turned down after its welcome is connected for a moment, each time it is tried.
    eventually("the peer is told to be down", || {
        let now = client.capabilities();
        let told = now.steps_down.iter().any(|step| step.contains("peer bad"));
        (told && now.transports == ["local"] && !now.real_rdma).then_some(())
    });
    drop(client);
    engine.assert_nothing_lost(&before);
    assert!(!engine.log().contains(SECRET));
}

/// The challenge of a target that behaves, but for `change`.
fn challenge(visit: &mut Visit, secret: bool, change: impl FnOnce(&mut Challenge, [u8; 32])) {
    if let Some(FromEngine::Hello(hello)) = visit.next() {
        let nonce = [9; 32];
        let mut challenge = Challenge {
            version: 1,
            nonce,
            secret,
        };
        change(&mut challenge, hello.nonce);
        visit.send(&FromTarget::Challenge(challenge));
    }
}

#[test]
fn an_end_instead_of_a_challenge() {
    is_turned_down(None, "closed the connection", |visit| {
        let _ = visit.next();
        let _ = visit.stream.shutdown(std::net::Shutdown::Both);
    });
}

#[test]
fn garbage_instead_of_a_challenge() {
    is_turned_down(None, "nonsense", |visit| {
        visit.write(&framed(&bytes(1, 700)));
    });
    is_turned_down(None, "the limit is 1024", |visit| {
        visit.write(&framed(&bytes(1, 1025)));
    });
    is_turned_down(None, "a frame of", |visit| {
        visit.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
}

#[test]
fn a_welcome_instead_of_a_challenge() {
    is_turned_down(None, "Welcome came where Challenge was expected", |visit| {
        visit.send(&FromTarget::Welcome(welcome()));
    });
}

#[test]
fn a_refusal() {
    let refused = || {
        FromTarget::Refused(Refused {
            code: "SHUTTING_DOWN".to_owned(),
            message: "come back later".to_owned(),
        })
    };
    is_turned_down(None, "SHUTTING_DOWN: come back later", move |visit| {
        visit.send(&refused());
    });
}

#[test]
fn a_version_that_was_not_offered() {
    is_turned_down(None, "chose version 2", |visit| {
        challenge(visit, false, |challenge, _| challenge.version = 2);
    });
}

#[test]
fn the_engines_own_nonce() {
    is_turned_down(Some(SECRET), "own nonce back", |visit| {
        challenge(visit, true, |challenge, engine| challenge.nonce = engine);
    });
}

#[test]
fn a_target_without_a_secret() {
    is_turned_down(Some(SECRET), "the target has no secret", |visit| {
        challenge(visit, false, |_, _| {});
    });
}

#[test]
fn a_target_that_does_not_know_the_secret() {
    for (mac, words) in [
        (None, "the target sent no proof"),
        (Some(Mac([7; 32])), "the target does not know the secret"),
    ] {
        is_turned_down(Some(SECRET), words, move |visit| {
            visit.pretend(Welcome { mac, ..welcome() });
        });
    }
}

#[test]
fn the_engines_own_proof() {
    is_turned_down(
        Some(SECRET),
        "the target does not know the secret",
        |visit| {
            challenge(visit, true, |_, _| {});
            if let Some(FromEngine::Proof(proof)) = visit.next() {
                let mac = proof.mac;
                visit.send(&FromTarget::Welcome(Welcome { mac, ..welcome() }));
            }
        },
    );
}

#[test]
fn a_proof_that_nobody_asked_for() {
    is_turned_down(None, "where no secret is shared", |visit| {
        challenge(visit, false, |_, _| {});
        if let Some(FromEngine::Proof(proof)) = visit.next() {
            assert_eq!(proof.mac, None);
            let mac = Some(Mac([7; 32]));
            visit.send(&FromTarget::Welcome(Welcome { mac, ..welcome() }));
        }
    });
}

#[test]
fn a_handshake_with_more_behind_it_than_fits() {
    is_turned_down(None, "a second handshake", |visit| {
        visit.welcome(None, &[7]);
        visit.write(&frame(&FromTarget::Welcome(welcome())));
    });
}

#[test]
fn real_targets_with_another_secret_or_none() {
    for (of_target, of_engine, words) in [
        (Some("another secret"), Some(SECRET), "UNAUTHENTICATED"),
        (
            Some(SECRET),
            None,
            "UNAUTHENTICATED: the engine has no secret",
        ),
        (
            None,
            Some(SECRET),
            "UNAUTHENTICATED: the target has no secret",
        ),
    ] {
        let mut target = TargetSetup::new();
        if let Some(secret) = of_target {
            target = target.secret(secret);
        }
        let target = target.start();
        let mut setup = Setup::new().peer("t", target.address());
        if let Some(secret) = of_engine {
            setup = setup.peer_secret(secret);
        }
        let engine = setup.start();
        let before = engine.baseline();
        let mut client = engine.client();
        fails_with(&mut client, &read(), "PEER_UNAVAILABLE", words);
        drop(client);
        engine.assert_nothing_lost(&before);
        assert!(!engine.log().contains(SECRET));
    }
}

#[test]
fn a_secret_that_both_know_is_in_no_log_and_on_no_page() {
    let needle = Needle::new(1, bytes(1, 300_000));
    let target = TargetSetup::with(std::slice::from_ref(&needle));
    let target = target.secret(SECRET).set("debug", "true").start();
    let at_target = target.baseline();
    let setup = Setup::new().peer_secret(SECRET).set("debug", "true");
    let engine = setup.peer("t", target.address()).start();
    engine.await_peer("t");
    let before = engine.baseline();
    let mut reader = common::reader::Reader::over_tcp(&engine);
    reader.check(7, &needle, &needle.data, false);
    let told = format!("{:?}", reader.client.capabilities());
    drop(reader);
    engine.assert_nothing_lost(&before);
    let page = engine.get("/metrics").body;
    let engine_log = engine.log();
    drop(engine);
    target.assert_nothing_lost(&at_target);
    let both = [engine_log, target.log()];
    assert!(both.iter().all(|log| log.contains("DEBUG")), "{both:?}");
    for said in both.into_iter().chain([told, page]) {
        assert!(!said.contains(SECRET), "{said}");
        // Nor is any part of it, or the bytes of a needle.
        assert!(!said.contains("nobody is to see"), "{said}");
    }
}
