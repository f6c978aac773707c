use serde_json::json;

use super::*;
use crate::error::MESSAGE_BYTES_MAX;
use crate::peer::message::*;
use crate::protocol::{LENGTH_BYTES, MAX_FRAME_BYTES};
use crate::verbs::{Endpoint, Gid};

fn payload<M: Serialize>(message: &M) -> Vec<u8> {
    let mut out = Vec::new();
    encode(message, &mut out);
    out.split_off(LENGTH_BYTES)
}

fn packed(value: &serde_json::Value) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

fn code(payload: &[u8]) -> Code {
    FromEngine::decode(payload).unwrap_err().error.code
}

fn endpoint() -> Endpoint {
    Endpoint {
        qpn: 0x11,
        psn: 0x00ab_cdef,
        gid: Gid([0xfe; 16]),
        lid: 0,
        mtu: 1024,
        max_reads: 16,
    }
}

fn read() -> Read {
    Read {
        id: 7,
        volume_id: 3,
        collection: Some("pictures".into()),
        needle_id: u64::MAX,
        cookie: 0x0370_37d6,
        offset: 4096,
        size: 0,
        room: 1 << 20,
        patience_ms: 30_000,
    }
}

const FACTS: Facts = Facts {
    length: 4096,
    needle_size: 1 << 20,
    crc: Some(0xe306_9283),
    verified: false,
    stored: None,
};

fn volumes(added: usize, collection: &str) -> Volumes {
    let volume = |id| ServedVolume {
        id: u32::MAX - id as u32,
        collection: collection.to_owned(),
    };
    Volumes {
        added: (0..added).map(volume).collect(),
        removed: Vec::new(),
    }
}

fn from_engine() -> Vec<FromEngine> {
    vec![
        FromEngine::Hello(Hello {
            magic: MAGIC.into(),
            version_min: 1,
            version_max: 2,
            nonce: [9; NONCE_BYTES],
            secret: true,
        }),
        FromEngine::Proof(Proof {
            mac: Some(Mac([0xaa; PROOF_BYTES])),
        }),
        FromEngine::Proof(Proof { mac: None }),
        FromEngine::Connect(Connect {
            id: u64::MAX,
            lane: LANES - 1,
            endpoint: endpoint(),
        }),
        FromEngine::Lease(read()),
        FromEngine::Fetch(Read {
            collection: None,
            ..read()
        }),
        FromEngine::Release(Release { lease: 5 }),
        FromEngine::Ping(Ping { id: 1 }),
    ]
}

fn welcome() -> Welcome {
    Welcome {
        mac: Some(Mac([0x55; PROOF_BYTES])),
        verbs: true,
        tcp: true,
        max_transfer: u64::MAX,
        max_leases: u32::MAX,
        lease_ms: MILLIS_MAX,
        silence_ms: MILLIS_MAX,
        build: "b".repeat(NAME_BYTES_MAX),
    }
}

fn leased() -> Leased {
    Leased {
        id: 7,
        lease: 8,
        addr: 0x7f12_0000_0000,
        rkey: 0x1234,
        lease_ms: 30_000,
        facts: FACTS,
    }
}

fn from_target() -> Vec<FromTarget> {
    let error = Error::new(Code::IoError, "é".repeat(MESSAGE_BYTES_MAX));
    vec![
        FromTarget::Challenge(Challenge {
            version: 1,
            nonce: [4; NONCE_BYTES],
            secret: false,
        }),
        FromTarget::Welcome(welcome()),
        FromTarget::Refused(Refused::new(&error)),
        FromTarget::Connected(Connected {
            id: 2,
            endpoint: endpoint(),
        }),
        FromTarget::Leased(leased()),
        FromTarget::Data(Data {
            id: 7,
            facts: Facts {
                crc: None,
                stored: Some(1),
                ..FACTS
            },
        }),
        FromTarget::TooLong(TooLong {
            id: 7,
            length: 10,
            needle_size: 11,
        }),
        FromTarget::Failed(Failed {
            id: 7,
            code: error.code.as_str().into(),
            message: error.message,
        }),
        FromTarget::Pong(Pong { id: 1 }),
        FromTarget::Volumes(volumes(3, "")),
    ]
}

#[test]
fn every_message_is_read_back_whole() {
    for message in from_engine() {
        assert_eq!(FromEngine::decode(&payload(&message)), Ok(message));
    }
    for message in from_target() {
        assert_eq!(FromTarget::decode(&payload(&message)), Ok(message));
    }
}

#[test]
fn kinds_are_the_names_on_the_wire() {
    let name = |payload: &[u8]| kind(payload).unwrap();
    for message in from_engine() {
        assert_eq!(name(&payload(&message)), message.kind());
    }
    for message in from_target() {
        assert_eq!(name(&payload(&message)), message.kind());
    }
}

#[test]
fn messages_are_maps_with_nonces_and_proofs_as_bin() {
    let ping = payload(&FromEngine::Ping(Ping { id: 1 }));
    assert_eq!(ping, b"\x82\xa4type\xa4Ping\xa4data\x81\xa2id\x01");
    let proof = payload(&FromEngine::Proof(Proof {
        mac: Some(Mac([0xaa; PROOF_BYTES])),
    }));
    let head = b"\x82\xa4type\xa5Proof\xa4data\x81\xa3mac\xc4\x20";
    assert_eq!(proof, [head.as_slice(), &[0xaa; PROOF_BYTES]].concat());
}

#[test]
fn frames_follow_each_other_in_one_buffer() {
    let mut out = Vec::new();
    encode(&FromEngine::Ping(Ping { id: 1 }), &mut out);
    encode(&FromEngine::Ping(Ping { id: 2 }), &mut out);
    let Ok(Next::Frame(first, taken)) = frame::next_frame(&out) else {
        panic!("no frame in {out:?}");
    };
    assert_eq!(
        FromEngine::decode(first),
        Ok(FromEngine::Ping(Ping { id: 1 }))
    );
    let Ok(Next::Frame(second, _)) = frame::next_frame(&out[taken..]) else {
        panic!("no second frame in {out:?}");
    };
    assert_eq!(
        FromEngine::decode(second),
        Ok(FromEngine::Ping(Ping { id: 2 }))
    );
}

#[test]
fn a_frame_of_the_handshake_is_refused_by_its_announced_length_alone() {
    let limit = HANDSHAKE_FRAME_BYTES_MAX;
    let prefix = |length: usize| (length as u32).to_le_bytes();
    assert_eq!(
        next_handshake_frame(&prefix(limit)),
        Ok(Next::Need(LENGTH_BYTES + limit))
    );
    let refused = next_handshake_frame(&prefix(limit + 1)).unwrap_err();
    assert_eq!((refused.announced, refused.limit), (limit + 1, limit));
    assert!(refused.to_string().contains("1025"), "{refused}");
}

#[test]
fn every_message_of_the_handshake_fits_its_frame_at_its_largest() {
    for message in from_engine().iter().take(3) {
        assert!(payload(message).len() <= HANDSHAKE_FRAME_BYTES_MAX);
    }
    let refused = Refused {
        code: Code::MemoryRegistrationFailed.as_str().into(),
        message: "r".repeat(REFUSED_BYTES_MAX),
    };
    for message in [FromTarget::Welcome(welcome()), FromTarget::Refused(refused)] {
        let bytes = payload(&message);
        assert!(bytes.len() <= HANDSHAKE_FRAME_BYTES_MAX, "{}", bytes.len());
        assert_eq!(FromTarget::decode(&bytes), Ok(message));
    }
}

#[test]
fn the_longest_announcement_of_volumes_fits_a_frame() {
    let longest = "c".repeat(NAME_BYTES_MAX);
    let mut most = volumes(VOLUMES_MAX, &longest);
    let fits = FromTarget::Volumes(most.clone());
    let bytes = payload(&fits);
    assert!(bytes.len() <= MAX_FRAME_BYTES, "{}", bytes.len());
    assert_eq!(FromTarget::decode(&bytes), Ok(fits));

    most.removed.extend(most.added.first().cloned());
    let one_more = payload(&FromTarget::Volumes(most));
    let failed = FromTarget::decode(&one_more).unwrap_err();
    assert_eq!(failed.error.code, Code::InvalidRequest);
}

#[test]
fn fields_may_come_in_any_order_and_unknown_ones_are_skipped() {
    let message = json!({
        "more": [1, {"x": [2]}],
        "data": {"later": {"x": [null]}, "id": 5},
        "type": "Ping",
    });
    let expected = Ok(FromEngine::Ping(Ping { id: 5 }));
    assert_eq!(FromEngine::decode(&packed(&message)), expected);
}

#[test]
fn an_unknown_type_and_one_of_the_other_side_are_unsupported_and_named() {
    for kind in ["Frobnicate", "Data", "Leased", ""] {
        let message = json!({"type": kind, "data": {"id": 7}});
        let failed = FromEngine::decode(&packed(&message)).unwrap_err();
        assert_eq!(
            (failed.error.code, failed.id),
            (Code::UnsupportedMessage, Some(7))
        );
        assert!(failed.error.message.contains(kind), "{failed}");
    }
    let fetch = payload(&FromEngine::Fetch(read()));
    let failed = FromTarget::decode(&fetch).unwrap_err();
    assert_eq!(failed.error.code, Code::UnsupportedMessage);
}

#[test]
fn wrong_types_and_missing_fields_are_malformed_and_keep_the_id() {
    for data in [
        json!({"id": 3}),
        json!({"id": 3, "endpoint": 4}),
        json!({"id": 3, "endpoint": []}),
    ] {
        let message = json!({"type": "Connect", "data": data});
        let failed = FromEngine::decode(&packed(&message)).unwrap_err();
        assert_eq!(
            (failed.error.code, failed.id),
            (Code::MalformedMessage, Some(3))
        );
        assert!(failed.error.message.contains("Connect"), "{failed}");
    }
    let no_id = json!({"type": "Ping", "data": {"id": "soon"}});
    assert_eq!(FromEngine::decode(&packed(&no_id)).unwrap_err().id, None);
}

#[test]
fn a_number_too_large_for_its_field_is_malformed() {
    let too_large = json!({"type": "Hello", "data": {
        "magic": MAGIC, "version_min": 1, "version_max": 65536, "nonce": [], "secret": false,
    }});
    assert_eq!(code(&packed(&too_large)), Code::MalformedMessage);
}

#[test]
fn a_nonce_of_another_length_is_malformed() {
    for length in [0, NONCE_BYTES - 1, NONCE_BYTES + 1] {
        let mut bytes = b"\x82\xa4type\xa5Proof\xa4data\x81\xa3mac\xc4".to_vec();
        bytes.push(length as u8);
        bytes.extend(std::iter::repeat_n(1, length));
        assert_eq!(code(&bytes), Code::MalformedMessage, "{length}");
    }
}

#[test]
fn values_out_of_bounds_are_invalid_and_keep_the_id() {
    let invalid = [
        FromEngine::Lease(Read {
            collection: Some("c".repeat(NAME_BYTES_MAX + 1)),
            ..read()
        }),
        FromEngine::Fetch(Read {
            patience_ms: MILLIS_MAX + 1,
            ..read()
        }),
        FromEngine::Connect(Connect {
            id: 7,
            lane: LANES,
            endpoint: endpoint(),
        }),
    ];
    for message in invalid {
        let failed = FromEngine::decode(&payload(&message)).unwrap_err();
        assert_eq!(
            (failed.error.code, failed.id),
            (Code::InvalidRequest, Some(7)),
            "{failed}"
        );
    }
}

#[test]
fn an_endpoint_that_can_be_none_is_refused_and_keeps_the_id() {
    let connect = FromEngine::Connect(Connect {
        id: 7,
        lane: 0,
        endpoint: Endpoint {
            qpn: 1 << 24,
            ..endpoint()
        },
    });
    let failed = FromEngine::decode(&payload(&connect)).unwrap_err();
    assert_eq!(failed.id, Some(7), "{failed}");
}

#[test]
fn what_a_target_can_not_mean_is_invalid() {
    let long = Facts {
        length: FACTS.needle_size + 1,
        ..FACTS
    };
    let failed = |message: String| Failed {
        id: 1,
        code: Code::IoError.as_str().into(),
        message,
    };
    let invalid = [
        FromTarget::Welcome(Welcome {
            silence_ms: 0,
            ..welcome()
        }),
        FromTarget::Welcome(Welcome {
            lease_ms: MILLIS_MAX + 1,
            ..welcome()
        }),
        FromTarget::Welcome(Welcome {
            build: "b".repeat(NAME_BYTES_MAX + 1),
            ..welcome()
        }),
        FromTarget::Leased(Leased {
            facts: long,
            ..leased()
        }),
        FromTarget::Leased(Leased {
            addr: u64::MAX,
            ..leased()
        }),
        FromTarget::Data(Data { id: 1, facts: long }),
        FromTarget::TooLong(TooLong {
            id: 1,
            length: 2,
            needle_size: 1,
        }),
        FromTarget::Failed(failed("m".repeat(TEXT_BYTES_MAX + 1))),
        FromTarget::Refused(Refused {
            code: String::new(),
            message: "m".repeat(REFUSED_BYTES_MAX + 1),
        }),
        FromTarget::Volumes(volumes(1, &"c".repeat(NAME_BYTES_MAX + 1))),
    ];
    for message in invalid {
        let failed = FromTarget::decode(&payload(&message)).unwrap_err();
        assert_eq!(failed.error.code, Code::InvalidRequest, "{message:?}");
    }
}

#[test]
fn garbage_nothing_and_trailing_bytes_are_malformed() {
    assert_eq!(code(b""), Code::MalformedMessage);
    assert_eq!(code(&[0xc1; 64]), Code::MalformedMessage);
    assert_eq!(code(b"GET / HTTP/1.1\r\n\r\n"), Code::MalformedMessage);
    let mut ping = payload(&FromEngine::Ping(Ping { id: 1 }));
    ping.push(0xc0);
    assert_eq!(code(&ping), Code::MalformedMessage);
}

#[test]
fn every_truncation_of_a_message_is_malformed() {
    let refused = |bytes: &[u8]| {
        for end in 0..bytes.len() {
            assert_eq!(code(&bytes[..end]), Code::MalformedMessage, "{end}");
            let target = FromTarget::decode(&bytes[..end]).unwrap_err();
            assert_eq!(target.error.code, Code::MalformedMessage, "{end}");
        }
    };
    from_engine().iter().for_each(|m| refused(&payload(m)));
    from_target().iter().for_each(|m| refused(&payload(m)));
}

#[test]
fn random_bytes_and_damaged_messages_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        // xorshift64: the same bytes in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let whole: Vec<Vec<u8>> = from_engine()
        .iter()
        .map(payload)
        .chain(from_target().iter().map(payload))
        .collect();
    let mut still_messages = 0;
    for round in 0..20_000 {
        let mut bytes = match whole.get(round % (whole.len() + 1)) {
            Some(message) => message.clone(),
            None => (0..random() % 200).map(|_| random() as u8).collect(),
        };
        for _ in 0..=random() % 3 {
            if let Some(byte) = bytes.get_mut(random() as usize % 256) {
                *byte = random() as u8;
            }
        }
        let decoded = (FromEngine::decode(&bytes), FromTarget::decode(&bytes));
        still_messages += usize::from(decoded.0.is_ok() || decoded.1.is_ok());
    }
    assert!(still_messages > 100, "the damage hid what is behind it");
}

#[test]
fn nesting_and_length_bombs_are_malformed_and_do_no_harm() {
    for open in [0x91, 0x81] {
        assert_eq!(code(&[open; 1000]), Code::MalformedMessage);
        let mut ping = b"\x82\xa4type\xa4Ping\xa4data\x82\xa2id\x01\xa5extra".to_vec();
        ping.extend(std::iter::repeat_n(0x91, 1000));
        ping.push(0xc0);
        assert_eq!(code(&ping), Code::MalformedMessage);
    }
    for bomb in [0xdd, 0xdf, 0xdb, 0xc6] {
        let mut volumes = b"\x82\xa4type\xa7Volumes\xa4data\x82\xa7removed\x90\xa5added".to_vec();
        volumes.extend([bomb, 0xff, 0xff, 0xff, 0xff]);
        let failed = FromTarget::decode(&volumes).unwrap_err();
        assert_eq!(failed.error.code, Code::MalformedMessage);
    }
}

#[test]
fn no_error_quotes_more_than_a_little_of_what_was_sent() {
    for message in [
        json!({"type": "x".repeat(500_000), "data": {"id": 1}}),
        json!({"type": "Ping", "data": {"id": "x".repeat(500_000)}}),
    ] {
        let failed = FromEngine::decode(&packed(&message)).unwrap_err();
        assert!(failed.error.message.len() <= TEXT_BYTES_MAX);
    }
}
