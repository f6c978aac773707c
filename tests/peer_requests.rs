//! What a peer that has proven itself may still do wrong, and how much it may ask at once.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::io::Write;

use common::abuse::packed;
use common::bystander::{GOOD_VOLUME, good_needle};
use common::client::framed;
use common::peer::{frame, range, read};
use common::target::while_others_are_served;
use common::{Peer, Target, TargetSetup, bytes};
use rdma_engine::peer::message::{Connect, FromEngine, FromTarget, Ping, Read, Release};
use rdma_engine::verbs::{Endpoint, Gid};
use serde_json::{Value, json};

/// Checks `check` on one connection, after which it still lives.
fn lives(check: impl FnOnce(&Target, &mut Peer)) {
    while_others_are_served(TargetSetup::new(), |target| {
        let mut peer = target.peer();
        check(target, &mut peer);
        target.serves_on(&mut peer);
    });
}

/// A Fetch of the good needle with some of its fields changed.
fn fetch_with(changes: Value) -> Vec<u8> {
    let mut read = serde_json::to_value(read(GOOD_VOLUME, &good_needle())).unwrap();
    for (field, value) in changes.as_object().unwrap() {
        read[field] = value.clone();
    }
    packed(&json!({"type": "Fetch", "data": read}))
}

#[test]
fn an_unknown_message_with_an_id_fails_and_the_connection_lives() {
    lives(|_, peer| {
        for kind in ["Frobnicate", "Leased", "Data", "Welcome", ""] {
            let message = json!({"type": kind, "data": {"id": 77, "more": [1, 2]}});
            let failed = peer.failed(&packed(&message));
            assert_eq!(
                (failed.id, failed.code.as_str()),
                (77, "UNSUPPORTED_MESSAGE")
            );
            assert!(failed.message.contains(kind), "{failed:?}");
        }
    });
}

#[test]
fn values_out_of_bounds_fail_and_the_connection_lives() {
    lives(|_, peer| {
        for changes in [
            json!({"id": 5, "collection": "c".repeat(257)}),
            json!({"id": 5, "patience_ms": 86_400_001_u64}),
            json!({"id": 5, "patience_ms": u64::MAX}),
        ] {
            let failed = peer.failed(&fetch_with(changes));
            assert_eq!((failed.id, failed.code.as_str()), (5, "INVALID_REQUEST"));
        }
        for changes in [
            json!({"id": 5, "volume_id": 1_u64 << 32}),
            json!({"id": 5, "cookie": -1}),
            json!({"id": 5, "offset": "0"}),
            json!({"id": 5, "size": null}),
            json!({"id": 5, "room": [1]}),
        ] {
            let failed = peer.failed(&fetch_with(changes));
            assert_eq!((failed.id, failed.code.as_str()), (5, "MALFORMED_MESSAGE"));
        }
        let missing = json!({"type": "Lease", "data": {"id": 5}});
        assert_eq!(peer.failed(&packed(&missing)).code, "MALFORMED_MESSAGE");
    });
}

#[test]
fn numbers_at_their_limits_are_served_or_fail_and_the_connection_lives() {
    lives(|_, peer| {
        let edges = [0, 1, u64::from(u32::MAX), u64::MAX - 1, u64::MAX];
        for offset in edges {
            for size in edges {
                let (answer, _) = peer.fetch(range(GOOD_VOLUME, &good_needle(), offset, size));
                match answer {
                    FromTarget::Data(data) => assert!(offset < data.facts.needle_size),
                    FromTarget::Failed(failed) => assert_eq!(failed.code, "INVALID_REQUEST"),
                    other => panic!("{offset}+{size}: {other:?}"),
                }
            }
        }
        for id in [0, u64::MAX] {
            peer.send(&FromEngine::Ping(Ping { id }));
            assert!(matches!(peer.receive(), FromTarget::Pong(pong) if pong.id == id));
        }
    });
}

#[test]
fn a_request_with_no_patience_is_answered_at_once_one_way_or_the_other() {
    lives(|_, peer| {
        for _ in 0..50 {
            let hasty = Read {
                patience_ms: 0,
                ..read(GOOD_VOLUME, &good_needle())
            };
            match peer.fetch(hasty) {
                (FromTarget::Data(_), bytes) => assert_eq!(bytes, good_needle().data),
                (FromTarget::Failed(failed), _) => {
                    let code = failed.code.as_str();
                    assert!(
                        ["NETWORK_TIMEOUT", "RESOURCE_EXHAUSTED"].contains(&code),
                        "{failed:?}"
                    );
                }
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn releases_of_leases_that_are_none_do_no_harm_and_are_not_answered() {
    lives(|_, peer| {
        for lease in [0, 1, 2, 77, u64::MAX] {
            peer.send(&FromEngine::Release(Release { lease }));
        }
        // The next answer is the Pong.
        peer.ping();
    });
}

#[test]
fn without_a_device_nothing_is_connected_or_lent_and_fetches_are_served() {
    lives(|target, peer| {
        let connect = |lane| {
            let endpoint = Endpoint {
                qpn: 17,
                psn: 1,
                gid: Gid([0; 16]),
                lid: 0,
                mtu: 1024,
                max_reads: 1,
            };
            FromEngine::Connect(Connect {
                id: 6,
                lane,
                endpoint,
            })
        };
        for (lane, code) in [
            (0, "UNSUPPORTED_HARDWARE"),
            (1, "UNSUPPORTED_HARDWARE"),
            (2, "INVALID_REQUEST"),
            (255, "INVALID_REQUEST"),
        ] {
            peer.send(&connect(lane));
            let FromTarget::Failed(failed) = peer.receive() else {
                panic!("a queue pair without a device");
            };
            assert_eq!((failed.id, failed.code.as_str()), (6, code));
        }
        let lease = FromEngine::Lease(Read {
            id: 8,
            ..read(GOOD_VOLUME, &good_needle())
        });
        peer.send(&lease);
        let FromTarget::Failed(failed) = peer.receive() else {
            panic!("a lease without a device");
        };
        assert_eq!(
            (failed.id, failed.code.as_str()),
            (8, "RDMA_OPERATION_FAILED")
        );
        assert_eq!(target.metrics().get("rdma_leases_active"), 0.0);
    });
}

#[test]
fn what_can_not_be_answered_by_an_id_ends_the_connection_with_a_reason() {
    let cases: [(&str, Vec<u8>); 8] = [
        ("MALFORMED_MESSAGE", framed(b"")),
        ("MALFORMED_MESSAGE", framed(&[0xc1; 64])),
        ("MALFORMED_MESSAGE", framed(&[0x91; 100_000])),
        ("MALFORMED_MESSAGE", framed(&bytes(1, 1 << 20))),
        (
            "MALFORMED_MESSAGE",
            framed(&packed(&json!({"type": "Ping", "data": {}}))),
        ),
        (
            "UNSUPPORTED_MESSAGE",
            framed(&packed(&json!({"type": "Frobnicate", "data": {}}))),
        ),
        (
            "MESSAGE_TOO_LARGE",
            ((1_u32 << 20) + 1).to_le_bytes().to_vec(),
        ),
        ("MESSAGE_TOO_LARGE", u32::MAX.to_le_bytes().to_vec()),
    ];
    while_others_are_served(TargetSetup::new(), |target| {
        for (code, bytes) in &cases {
            let mut peer = target.peer();
            peer.write(bytes);
            peer.assert_refused(code);
        }
    });
}

#[test]
fn what_was_asked_before_the_mistake_is_still_answered() {
    while_others_are_served(TargetSetup::new(), |target| {
        let mut peer = target.peer();
        let mut all: Vec<u8> = (1..=20)
            .flat_map(|id| frame(&FromEngine::Ping(Ping { id })))
            .collect();
        all.extend(framed(&[0xc1; 64]));
        peer.write(&all);
        for id in 1..=20 {
            assert!(matches!(peer.receive(), FromTarget::Pong(pong) if pong.id == id));
        }
        peer.assert_refused("MALFORMED_MESSAGE");
    });
}

#[test]
fn a_large_frame_that_is_only_announced_takes_no_memory() {
    while_others_are_served(TargetSetup::new(), |target| {
        let peers: Vec<Peer> = (0..100).map(|_| target.peer()).collect();
        let resident = || target.metrics().get("process_resident_memory_bytes");
        let before = resident();
        for peer in &peers {
            (&peer.stream)
                .write_all(&(1_u32 << 20).to_le_bytes())
                .unwrap();
        }
        // They are served in turn with the one that follows them.
        target.serves();
        let grown = resident() - before;
        assert!(grown < 32e6, "{grown} bytes for 100 announcements of 1 MiB");
    });
}

#[test]
fn frames_may_come_in_any_pieces() {
    lives(|_, peer| {
        let needle = good_needle();
        let id = 900;
        let fetch = FromEngine::Fetch(Read {
            id,
            ..read(GOOD_VOLUME, &needle)
        });
        let all = [frame(&fetch), frame(&FromEngine::Ping(Ping { id: 901 }))].concat();
        for byte in &all {
            peer.write(&[*byte]);
        }
        let mut answered = BTreeSet::new();
        for _ in 0..2 {
            match peer.receive() {
                FromTarget::Data(data) => {
                    assert_eq!(peer.raw(needle.data.len()).unwrap(), needle.data);
                    answered.insert(data.id);
                }
                FromTarget::Pong(pong) => {
                    answered.insert(pong.id);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(answered, BTreeSet::from([900, 901]));
    });
}

#[test]
fn a_connection_that_ends_inside_a_frame_takes_nothing_along() {
    while_others_are_served(TargetSetup::new(), |target| {
        let fetch = frame(&FromEngine::Fetch(read(GOOD_VOLUME, &good_needle())));
        for end in (1..fetch.len()).step_by(7) {
            let mut peer = target.peer();
            peer.write(&fetch);
            peer.write(&fetch[..end]);
        }
    });
}

#[test]
fn thousands_of_pipelined_requests_are_each_answered_once() {
    lives(|_, peer| {
        const COUNT: u64 = 5000;
        let needle = good_needle();
        // What is answered is read beside the writing: neither side waits for the other for ever.
        let mut writer = peer.stream.try_clone().unwrap();
        let asked = needle.clone();
        let writing = std::thread::spawn(move || {
            for id in 0..COUNT {
                let offset = id % 9000;
                let message = match id % 4 {
                    0 => FromEngine::Ping(Ping { id }),
                    1 => FromEngine::Fetch(Read {
                        id,
                        ..read(1, &asked)
                    }),
                    _ => FromEngine::Fetch(Read {
                        id,
                        ..range(GOOD_VOLUME, &asked, offset, 1000)
                    }),
                };
                writer.write_all(&frame(&message)).unwrap();
            }
        });
        let mut answered = BTreeSet::new();
        while answered.len() < COUNT as usize {
            let id = match peer.receive() {
                FromTarget::Pong(pong) => pong.id,
                FromTarget::Failed(failed) => {
                    assert_eq!(
                        (failed.id % 4, failed.code.as_str()),
                        (1, "VOLUME_NOT_FOUND")
                    );
                    failed.id
                }
                FromTarget::Data(data) => {
                    let start = (data.id % 9000) as usize;
                    assert_eq!(peer.raw(1000).unwrap(), needle.data[start..start + 1000]);
                    data.id
                }
                other => panic!("{other:?}"),
            };
            assert!(answered.insert(id), "{id} was answered twice");
        }
        writing.join().unwrap();
    });
}

#[test]
fn hundreds_of_requests_that_nobody_reads_the_answers_of_wait_their_turn() {
    lives(|_, peer| {
        // More than may be unanswered, written before the first answer is read.
        const COUNT: u64 = 700;
        let asked: Vec<u8> = (0..COUNT)
            .flat_map(|id| {
                frame(&FromEngine::Fetch(Read {
                    id,
                    ..range(GOOD_VOLUME, &good_needle(), 0, 100)
                }))
            })
            .collect();
        peer.write(&asked);
        let mut answered = BTreeSet::new();
        for _ in 0..COUNT {
            let FromTarget::Data(data) = peer.receive() else {
                panic!("bytes were expected");
            };
            assert_eq!(peer.raw(100).unwrap(), good_needle().data[..100]);
            assert!(answered.insert(data.id));
        }
    });
}
