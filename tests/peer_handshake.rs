//! Who may speak to a target: the handshake, and what strangers get instead of one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::{Read as _, Write};
use std::net::Shutdown;

use common::client::framed;
use common::peer::{ENGINE, TARGET, frame, hello, proof, read};
use common::target::while_others_are_served;
use common::{Peer, Target, TargetSetup, bystander, bytes};
use rdma_engine::peer::message::{FromEngine, FromTarget, Hello, Mac, Ping, Proof};

const SECRET: &str = "a secret that is long enough";

fn with_secret() -> TargetSetup {
    TargetSetup::new().secret(SECRET)
}

/// Each of `strangers` is refused with `code`, and others do not notice.
fn refused(setup: TargetSetup, code: &str, strangers: &[&dyn Fn(&mut Peer)]) {
    while_others_are_served(setup, |target| {
        for stranger in strangers {
            let mut peer = target.stranger();
            stranger(&mut peer);
            peer.assert_refused(code);
        }
    });
}

#[test]
fn a_peer_that_knows_the_secret_is_served_and_shown_that_the_target_knows_it() {
    // Both sides' proofs are checked against the peer's own code.
    while_others_are_served(with_secret(), Target::serves);
}

#[test]
fn without_a_secret_on_either_side_everyone_on_this_host_is_served() {
    while_others_are_served(TargetSetup::new(), Target::serves);
}

#[test]
fn a_welcome_says_what_the_target_can_and_volumes_what_it_has() {
    let setup = TargetSetup::new()
        .set("max_leases", "7")
        .set("lease_timeout", r#""3s""#)
        .set("max_transfer_size", "1048576")
        .set("peer_timeout", r#""9s""#);
    let target = setup.start();
    let mut peer = target.stranger();
    let welcome = peer.greet(None);
    assert_eq!((welcome.verbs, welcome.tcp), (false, true));
    assert_eq!(welcome.max_transfer, 1 << 20);
    assert_eq!((welcome.max_leases, welcome.lease_ms), (7, 3000));
    assert_eq!(welcome.silence_ms, 9000);
    assert_eq!(welcome.build, env!("CARGO_PKG_VERSION"));
    peer.ping();
    let ids: Vec<u32> = peer.volumes.iter().map(|v| v.id).collect();
    assert_eq!(ids, [bystander::GOOD_VOLUME]);
}

#[test]
fn a_wrong_secret_is_refused_and_the_target_gives_no_proof() {
    refused(
        with_secret(),
        "UNAUTHENTICATED",
        &[
            &|peer| {
                prove(peer, |hello, challenge| {
                    Some(proof("another secret", ENGINE, hello, challenge))
                })
            },
            &|peer| prove(peer, |_, _| Some(Mac([0; 32]))),
            &|peer| prove(peer, |_, _| None),
        ],
    );
}

#[test]
fn a_proof_the_target_could_have_made_itself_is_refused() {
    refused(
        with_secret(),
        "UNAUTHENTICATED",
        &[&|peer| {
            prove(peer, |hello, challenge| {
                Some(proof(SECRET, TARGET, hello, challenge))
            })
        }],
    );
}

#[test]
fn a_secret_on_one_side_alone_is_refused_and_the_message_says_on_which() {
    let (with, without) = (with_secret().start(), TargetSetup::new().start());
    for (target, secret, who) in [(with, false, "engine"), (without, true, "target")] {
        let mut peer = target.stranger();
        peer.send(&FromEngine::Hello(hello(secret)));
        let refused = peer.refusal();
        assert_eq!(refused.code, "UNAUTHENTICATED");
        let why = format!("the {who} has no secret");
        assert!(refused.message.contains(&why), "{refused:?}");
        assert!(!target.log().contains(SECRET), "{}", target.log());
        target.serves();
    }
}

#[test]
fn a_recorded_handshake_played_again_is_refused() {
    while_others_are_served(with_secret(), |target| {
        let hello = hello(true);
        let mut recorded = target.stranger();
        let challenge = recorded.challenge(&hello);
        let mac = Some(proof(SECRET, ENGINE, &hello, &challenge));
        recorded.send(&FromEngine::Proof(Proof { mac }));
        assert!(matches!(recorded.receive(), FromTarget::Welcome(_)));

        // While the first connection lives, and after it.
        for _ in 0..2 {
            let mut again = target.stranger();
            let other = again.challenge(&hello);
            assert_ne!(other.nonce, challenge.nonce);
            again.send(&FromEngine::Proof(Proof { mac }));
            again.assert_refused("UNAUTHENTICATED");
            // Fails the second time.
            let _ = recorded.stream.shutdown(Shutdown::Both);
        }
    });
}

#[test]
fn a_handshake_recorded_as_bytes_and_played_at_once_is_refused() {
    while_others_are_served(with_secret(), |target| {
        let hello = hello(true);
        let mut recorded = target.stranger();
        let challenge = recorded.challenge(&hello);
        let mac = Some(proof(SECRET, ENGINE, &hello, &challenge));
        let all = [
            frame(&FromEngine::Hello(hello)),
            frame(&FromEngine::Proof(Proof { mac })),
            frame(&FromEngine::Fetch(read(
                bystander::GOOD_VOLUME,
                &bystander::good_needle(),
            ))),
        ];
        let mut again = target.stranger();
        again.write(&all.concat());
        assert!(matches!(again.receive(), FromTarget::Challenge(_)));
        again.assert_refused("UNAUTHENTICATED");
    });
}

#[test]
fn versions_that_do_not_overlap_are_refused_and_both_are_named() {
    while_others_are_served(TargetSetup::new(), |target| {
        for (min, max) in [(2, 2), (2, u16::MAX), (0, 0)] {
            let mut peer = target.stranger();
            peer.send(&FromEngine::Hello(versions(min, max)));
            let refused = peer.refusal();
            assert_eq!(refused.code, "UNSUPPORTED_MESSAGE");
            assert!(refused.message.contains("the target 1"), "{refused:?}");
            let engine = format!("the engine speaks {min}");
            assert!(refused.message.contains(&engine), "{refused:?}");
        }
        let mut newer = target.stranger();
        assert_eq!(newer.challenge(&versions(0, 9)).version, 1);
    });
}

#[test]
fn what_is_no_hello_is_refused() {
    let magic = Hello {
        magic: "rdma-engine".into(),
        ..hello(false)
    };
    refused(
        TargetSetup::new(),
        "MALFORMED_MESSAGE",
        &[
            &|peer| peer.send(&FromEngine::Hello(magic.clone())),
            &|peer| peer.send(&FromEngine::Hello(versions(2, 1))),
            &|peer| peer.send(&FromEngine::Proof(Proof { mac: None })),
            &|peer| peer.send(&FromEngine::Ping(Ping { id: 1 })),
            &|peer| peer.write(&framed(b"")),
            &|peer| peer.write(&framed(&[0xc1; 1000])),
            &|peer| peer.write(&framed(&[0x91; 1000])),
            &|peer| peer.write(&framed(&bytes(3, 1024))),
        ],
    );
}

#[test]
fn a_request_before_the_proof_is_refused() {
    let greeted = |peer: &mut Peer| {
        peer.challenge(&hello(true));
    };
    let fetch = read(bystander::GOOD_VOLUME, &bystander::good_needle());
    refused(
        with_secret(),
        "MALFORMED_MESSAGE",
        &[
            &|peer| {
                greeted(peer);
                peer.send(&FromEngine::Fetch(fetch.clone()));
            },
            &|peer| {
                greeted(peer);
                peer.send(&FromEngine::Hello(hello(true)));
            },
        ],
    );
}

#[test]
fn a_handshake_after_the_handshake_is_refused() {
    while_others_are_served(TargetSetup::new(), |target| {
        for message in [
            FromEngine::Hello(hello(false)),
            FromEngine::Proof(Proof { mac: None }),
        ] {
            let mut peer = target.peer();
            peer.send(&message);
            peer.assert_refused("MALFORMED_MESSAGE");
        }
    });
}

#[test]
fn a_frame_a_stranger_announces_too_long_is_refused_unread() {
    let announced = |length: u32| move |peer: &mut Peer| peer.write(&length.to_le_bytes());
    refused(
        TargetSetup::new(),
        "MESSAGE_TOO_LARGE",
        &[
            &announced(1025),
            &announced((1 << 20) + 1),
            &announced(u32::MAX),
            &|peer| peer.write(b"GET / HTTP/1.1\r\nHost: target\r\n\r\n"),
            &|peer| peer.write(&[0xff; 4096]),
        ],
    );
}

#[test]
fn a_stranger_that_leaves_at_any_point_takes_nothing_along() {
    while_others_are_served(with_secret(), |target| {
        let greeting = frame(&FromEngine::Hello(hello(true)));
        for end in 0..greeting.len() {
            let mut peer = target.stranger();
            peer.write(&greeting[..end]);
        }
        for end in [0, 1, 4, 20] {
            let mut peer = target.stranger();
            peer.challenge(&hello(true));
            let proof = Proof {
                mac: Some(Mac([7; 32])),
            };
            peer.write(&frame(&FromEngine::Proof(proof))[..end]);
        }
    });
}

#[test]
fn a_stranger_that_does_not_finish_the_handshake_is_closed_in_time() {
    let setup = with_secret().impatient();
    let target = setup.start();
    let before = target.baseline();
    let mut silent = target.stranger();
    let mut halfway = target.stranger();
    halfway.write(&frame(&FromEngine::Hello(hello(true)))[..20]);
    let mut unproven = target.stranger();
    unproven.challenge(&hello(true));
    // One that is never silent, and never finishes.
    let mut dripping = target.stranger();
    dripping.write(&1024_u32.to_le_bytes());
    let mut dripped = dripping.stream.try_clone().unwrap();
    let drip = std::thread::spawn(move || {
        let mut count = 0;
        while count < 1024 && dripped.write_all(&[0xc0]).is_ok() {
            count += 1;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        count
    });
    target.await_connections(4);
    target.serves();
    for peer in [&mut silent, &mut halfway, &mut unproven] {
        assert_ended(peer);
    }
    assert!(drip.join().unwrap() < 1024, "it was let drip");
    drop((silent, halfway, unproven, dripping));
    target.assert_nothing_lost(&before);
}

#[test]
fn a_thousand_strangers_one_after_another_leave_nothing_behind() {
    while_others_are_served(with_secret(), |target| {
        for n in 0..1000 {
            let mut peer = target.stranger();
            match n % 3 {
                0 => {}
                1 => peer.write(&bytes(n, 100)),
                _ => peer.send(&FromEngine::Hello(hello(true))),
            }
        }
    });
}

fn versions(min: u16, max: u16) -> Hello {
    Hello {
        version_min: min,
        version_max: max,
        ..hello(false)
    }
}

/// Says hello and answers the challenge with a proof of `mac`'s making.
fn prove(
    peer: &mut Peer,
    mac: impl Fn(&Hello, &rdma_engine::peer::message::Challenge) -> Option<Mac>,
) {
    let hello = hello(true);
    let challenge = peer.challenge(&hello);
    let mac = mac(&hello, &challenge);
    peer.send(&FromEngine::Proof(Proof { mac }));
}

/// The target ends the connection, with or without a word.
fn assert_ended(peer: &mut Peer) {
    let mut rest = Vec::new();
    // An error is an end too.
    let ended = peer.stream.read_to_end(&mut rest);
    let timed_out = ended.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "the connection was left open");
}
