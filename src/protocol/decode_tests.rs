use serde::Serialize;

use super::*;
use crate::protocol::frame;
use crate::protocol::message::{
    CompleteReadResponse, ErrorResponse, Ping, Pong, Response, StartRead,
};

const VECTORS: &str = include_str!("../../tests/data/wire-vectors.json");

#[derive(DeserializeDerive)]
struct Vector {
    name: String,
    hex: String,
}

fn vectors(group: &str) -> Vec<(String, Vec<u8>)> {
    let all: serde_json::Value = serde_json::from_str(VECTORS).unwrap();
    let group: Vec<Vector> = serde_json::from_value(all[group].clone()).unwrap();
    let bytes = |hex: &str| {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    };
    group.into_iter().map(|v| (v.name, bytes(&v.hex))).collect()
}

fn vector(group: &str, name: &str) -> Vec<u8> {
    vectors(group).into_iter().find(|v| v.0 == name).unwrap().1
}

fn code(payload: &[u8]) -> Code {
    Request::decode(payload).unwrap_err().error.code
}

fn payload(response: &Response) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(&mut out).unwrap();
    out.split_off(frame::LENGTH_BYTES)
}

fn packed<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).unwrap()
}

#[test]
fn every_recorded_request_of_a_go_client_decodes() {
    for (name, bytes) in vectors("go_requests") {
        Request::decode(&bytes).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    }
}

#[test]
fn a_go_start_read_has_every_field() {
    let bytes = vector("go_requests", "StartRead range with token and remote key");
    let expected = StartRead {
        volume_id: u32::MAX,
        needle_id: u64::MAX,
        cookie: u32::MAX,
        offset: 4096,
        size: 1 << 20,
        remote_addr: 0x7f12_0000_0000,
        remote_key: 0x1234,
        timeout_secs: 300,
        auth_token: Some("s3cret".into()),
        ..StartRead::default()
    };
    assert_eq!(Request::decode(&bytes), Ok(Request::StartRead(expected)));
}

#[test]
fn arrays_are_read_as_structs() {
    let ping = vector("rust_array", "Ping timestamp 12345, client id 'test'");
    let expected = Ping {
        timestamp_ns: 12345,
        client_id: Some("test".into()),
        request_id: None,
    };
    assert_eq!(Request::decode(&ping), Ok(Request::Ping(expected)));
    let read = vector(
        "rust_array",
        "StartRead volume 3 needle 1 cookie 0x037037d6, size 0, timeout 30, no token",
    );
    let expected = StartRead {
        volume_id: 3,
        needle_id: 1,
        cookie: 0x0370_37d6,
        timeout_secs: 30,
        ..StartRead::default()
    };
    assert_eq!(Request::decode(&read), Ok(Request::StartRead(expected)));
}

#[test]
fn replies_are_maps_as_recorded() {
    let pong = Pong {
        client_timestamp_ns: 1,
        server_timestamp_ns: 2,
        server_rtt_ns: 1,
        request_id: None,
    };
    assert_eq!(
        payload(&Response::Pong(pong)),
        vector("rust_named", "Pong 1,2,1")
    );
    let error = ErrorResponse {
        code: "SESSION_NOT_FOUND".into(),
        message: "m".into(),
        category: "session".into(),
        recoverable: true,
        request_id: None,
    };
    assert_eq!(
        payload(&Response::Error(error)),
        vector("rust_named", "Error SESSION_NOT_FOUND")
    );
    let done = CompleteReadResponse {
        success: true,
        server_crc: Some(0xe306_9283),
        ..Default::default()
    };
    assert_eq!(
        payload(&Response::CompleteReadResponse(done)),
        vector(
            "rust_named",
            "CompleteReadResponse ok, crc 0xe3069283, no message"
        )
    );
}

#[test]
fn requests_written_by_our_client_are_read_back_whole() {
    let read = StartRead {
        volume_id: 1,
        request_id: Some(9),
        collection: Some("pictures".into()),
        ..StartRead::default()
    };
    let mut out = Vec::new();
    Request::StartRead(read.clone()).encode(&mut out).unwrap();
    assert_eq!(Request::decode(&out[4..]), Ok(Request::StartRead(read)));
}

#[test]
fn unknown_fields_are_skipped_in_maps_and_in_arrays() {
    let map = serde_json::json!({"data": {"later": [1, {"x": 2}], "timestamp_ns": 5}, "type": "Ping", "more": 1});
    let array = serde_json::json!(["Ping", [5, null, null, "later", [1]], "more"]);
    let expected = Ok(Request::Ping(Ping {
        timestamp_ns: 5,
        ..Ping::default()
    }));
    assert_eq!(Request::decode(&packed(&map)), expected);
    assert_eq!(Request::decode(&packed(&array)), expected);
}

#[test]
fn an_unknown_type_and_a_reply_are_unsupported() {
    for kind in ["Frobnicate", "Pong", "StartReadResponse", "Error"] {
        let message = serde_json::json!({"type": kind, "data": {"request_id": 7}});
        let failed = Request::decode(&packed(&message)).unwrap_err();
        assert_eq!(
            (failed.error.code, failed.request_id),
            (Code::UnsupportedMessage, Some(7)),
            "{kind}"
        );
    }
}

#[test]
fn wrong_types_are_malformed_and_keep_the_request_id() {
    let message =
        serde_json::json!({"type": "Ping", "data": {"timestamp_ns": "soon", "request_id": 3}});
    let failed = Request::decode(&packed(&message)).unwrap_err();
    assert_eq!(
        (failed.error.code, failed.request_id),
        (Code::MalformedMessage, Some(3))
    );
    assert!(
        failed.error.message.contains("Ping"),
        "{}",
        failed.error.message
    );
}

#[test]
fn a_number_too_large_for_its_field_is_malformed() {
    let mut read = serde_json::to_value(StartRead::default()).unwrap();
    read["volume_id"] = serde_json::json!(1u64 << 32);
    assert_eq!(
        code(&packed(
            &serde_json::json!({"type": "StartRead", "data": read})
        )),
        Code::MalformedMessage
    );
}

#[test]
fn garbage_nothing_and_trailing_bytes_are_malformed() {
    assert_eq!(code(b""), Code::MalformedMessage);
    assert_eq!(code(&[0xc1; 64]), Code::MalformedMessage);
    assert_eq!(code(b"GET / HTTP/1.1\r\n\r\n"), Code::MalformedMessage);
    let mut ping = vector("go_requests", "Ping without client id");
    ping.push(0xc0);
    assert_eq!(code(&ping), Code::MalformedMessage);
}

#[test]
fn an_envelope_that_lacks_a_part_or_has_one_twice_is_malformed() {
    let of = |parts: &[&[u8]]| {
        let mut map = vec![0x80 | parts.len() as u8];
        parts.iter().for_each(|part| map.extend_from_slice(part));
        map
    };
    let (kind, data) = (
        b"\xa4type\xa4Ping".as_slice(),
        b"\xa4data\x81\xactimestamp_ns\x05".as_slice(),
    );
    for order in [[kind, data], [data, kind]] {
        assert!(Request::decode(&of(&order)).is_ok());
    }
    for parts in [
        vec![kind],
        vec![data],
        vec![kind, kind, data],
        vec![data, kind, kind],
        vec![kind, data, data],
        vec![data, data, kind],
    ] {
        assert_eq!(code(&of(&parts)), Code::MalformedMessage, "{parts:x?}");
    }
    for array in [b"\x90".as_slice(), b"\x91\xa4Ping"] {
        assert_eq!(code(array), Code::MalformedMessage);
    }
}

#[test]
fn every_truncation_of_a_request_is_malformed() {
    for (name, bytes) in vectors("go_requests") {
        for end in 0..bytes.len() {
            assert_eq!(
                code(&bytes[..end]),
                Code::MalformedMessage,
                "{name} cut at {end}"
            );
        }
    }
}

#[test]
fn length_bombs_are_malformed() {
    let head = |kind: &str| {
        let mut bytes = vec![0x82, 0xa4];
        bytes.extend_from_slice(b"type\xa4");
        bytes.extend_from_slice(kind.as_bytes());
        bytes.extend_from_slice(b"\xa4data");
        bytes
    };
    for bomb in [
        [0xdd, 0xff, 0xff, 0xff, 0xff],
        [0xdf, 0xff, 0xff, 0xff, 0xff],
        [0xdb, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(code(&bomb), Code::MalformedMessage);
        let inside = [head("Ping").as_slice(), &bomb].concat();
        assert_eq!(code(&inside), Code::MalformedMessage);
    }
}

#[test]
fn a_thousand_levels_of_nesting_are_malformed_and_do_no_harm() {
    for open in [0x91, 0x81] {
        assert_eq!(code(&[open; 1000]), Code::MalformedMessage);
        let mut ping = b"\x82\xa4type\xa4Ping\xa4data\x82\xactimestamp_ns\x01\xa5extra".to_vec();
        ping.extend(std::iter::repeat_n(0x91, 1000));
        ping.push(0xc0);
        assert_eq!(code(&ping), Code::MalformedMessage);
    }
}

#[test]
fn texts_longer_than_any_real_one_are_invalid() {
    let read = |collection: usize| StartRead {
        collection: Some("c".repeat(collection)),
        request_id: Some(4),
        ..StartRead::default()
    };
    let decode = |read| {
        let mut out = Vec::new();
        Request::StartRead(read).encode(&mut out).unwrap();
        Request::decode(&out[4..])
    };
    assert!(decode(read(NAME_BYTES_MAX)).is_ok());
    let failed = decode(read(NAME_BYTES_MAX + 1)).unwrap_err();
    assert_eq!(
        (failed.error.code, failed.request_id),
        (Code::InvalidRequest, Some(4))
    );
    let token = StartRead {
        auth_token: Some("t".repeat(TEXT_BYTES_MAX + 1)),
        ..StartRead::default()
    };
    assert_eq!(decode(token).unwrap_err().error.code, Code::InvalidRequest);
}

#[test]
fn no_error_quotes_more_than_a_little_of_what_was_sent() {
    let message =
        serde_json::json!({"type": "Ping", "data": {"timestamp_ns": "x".repeat(500_000)}});
    let failed = Request::decode(&packed(&message)).unwrap_err();
    assert!(payload(&Response::error(&failed.error)).len() < 2048);
}
