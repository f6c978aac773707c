//! Messages, legal and not, and the order of their replies.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::abuse::{assert_malformed, packed, ping, while_others_are_served};
use common::client::{frame, framed};
use common::{Bystander, Needle, Setup, Spec, Volume};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{GetCapabilities, Ping, StartRead};
use serde_json::{Value, json};

#[test]
fn an_unknown_message_is_unsupported_and_the_connection_lives() {
    while_others_are_served(|_, client| {
        for name in ["Frobnicate", "", "ping", &"N".repeat(10_000)] {
            let message = packed(&json!({"type": name, "data": {"request_id": 7}}));
            let error = client.refused(&message);
            assert_eq!(error.code, "UNSUPPORTED_MESSAGE");
            assert_eq!(
                (error.category.as_str(), error.recoverable),
                ("request", true)
            );
            assert_eq!(error.request_id, Some(7));
            assert!(
                error.message.len() < 1000,
                "{} bytes of message",
                error.message.len()
            );
        }
        client.ping();
    });
}

#[test]
fn a_reply_sent_as_a_request_is_unsupported_and_the_connection_lives() {
    while_others_are_served(|_, client| {
        for name in [
            "StartReadResponse",
            "CompleteReadResponse",
            "GetCapabilitiesResponse",
            "Pong",
            "AttachPoolResponse",
            "Error",
        ] {
            let message = packed(&json!({"type": name, "data": {"request_id": 8}}));
            let error = client.refused(&message);
            assert_eq!(error.code, "UNSUPPORTED_MESSAGE", "{name}");
            assert_eq!(error.request_id, Some(8));
        }
        client.ping();
    });
}

#[test]
fn wrong_types_are_malformed_and_the_request_id_comes_back() {
    let read = || serde_json::to_value(StartRead::default()).unwrap();
    let start = |field: &str, value: Value| {
        let mut data = read();
        data[field] = value;
        data["request_id"] = json!(11);
        json!({"type": "StartRead", "data": data})
    };
    while_others_are_served(|_, client| {
        for message in [
            start("volume_id", json!("three")),
            start("volume_id", json!(1u64 << 32)),
            start("volume_id", json!(-1)),
            start("needle_id", json!(1.5)),
            start("needle_id", json!(null)),
            start("cookie", json!([1])),
            start("size", json!({"a": 1})),
            start("auth_token", json!(5)),
            json!({"type": "Ping", "data": {"timestamp_ns": "soon", "request_id": 11}}),
            json!({"type": "Ping", "data": {"request_id": 11}}),
            json!({"type": "CompleteRead", "data": {"session_id": 5, "success": true, "bytes_transferred": 0, "request_id": 11}}),
            json!({"type": "CompleteRead", "data": {"session_id": "", "success": 1, "bytes_transferred": 0, "request_id": 11}}),
            json!({"type": "GetCapabilities", "data": {"client_id": [], "request_id": 11}}),
        ] {
            let error = client.refused(&packed(&message));
            assert_malformed(&error);
            assert_eq!(error.request_id, Some(11), "{message}");
        }
        for message in [
            json!({"type": "Ping", "data": 5}),
            json!({"type": "Ping", "data": null}),
            json!({"type": "Ping", "data": "x"}),
            json!({"type": "Ping", "data": {"timestamp_ns": 1, "request_id": "x"}}),
        ] {
            assert_malformed(&client.refused(&packed(&message)));
        }
        client.ping();
    });
}

fn vectors(group: &str) -> Vec<(String, Vec<u8>)> {
    let all: Value = serde_json::from_str(include_str!("data/wire-vectors.json")).unwrap();
    let hex = |hex: &str| {
        let digits = |i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digits).collect()
    };
    let vectors = all[group].as_array().unwrap().iter();
    vectors
        .map(|v| {
            (
                v["name"].as_str().unwrap().to_owned(),
                hex(v["hex"].as_str().unwrap()),
            )
        })
        .collect()
}

/// The needle the recorded requests ask for.
fn recorded_needle() -> Needle {
    let mut needle = Needle::new(1, common::bytes(3, 5000));
    needle.cookie = 0x0370_37d6;
    needle
}

#[test]
fn recorded_requests_of_deployed_clients_are_answered_with_maps() {
    let setup = Setup::new();
    Volume::create(setup.volumes(), 3, &Spec::default()).put(&recorded_needle());
    let engine = setup.start();
    let mut client = engine.client();
    let mut answer = |group: &str, name: &str| {
        let (_, request) = vectors(group).into_iter().find(|v| v.0 == name).unwrap();
        client.send_payload(&request);
        let payload = client.receive_payload().unwrap();
        let tree: Value = rmp_serde::from_slice(&payload).unwrap();
        assert!(
            tree["type"].is_string() && tree["data"].is_object(),
            "{name}: {tree}"
        );
        let reply = Response::decode(&payload).unwrap();
        if let Response::StartReadResponse(started) = &reply {
            assert_eq!(started.transfer_size, 5000);
            assert_eq!(
                started.expected_crc,
                common::crc32c(&recorded_needle().data)
            );
            client.complete(started);
        }
        reply
    };
    let code = |reply: Response| match reply {
        Response::Error(error) => error.code,
        other => panic!("{other:?}"),
    };
    for (group, name) in [
        ("go_requests", "StartRead full needle, no token"),
        (
            "rust_array",
            "StartRead volume 3 needle 1 cookie 0x037037d6, size 0, timeout 30, no token",
        ),
    ] {
        assert!(
            matches!(answer(group, name), Response::StartReadResponse(_)),
            "{name}"
        );
    }
    for (group, name) in [
        ("go_requests", "Ping with client id"),
        ("go_requests", "Ping without client id"),
        ("rust_array", "Ping timestamp 12345, client id 'test'"),
    ] {
        assert!(matches!(answer(group, name), Response::Pong(_)), "{name}");
    }
    for name in [
        "GetCapabilities with client id",
        "GetCapabilities without client id",
    ] {
        let reply = answer("go_requests", name);
        assert!(
            matches!(reply, Response::GetCapabilitiesResponse(_)),
            "{name}"
        );
    }
    for name in ["CompleteRead ok with crc", "CompleteRead failed with error"] {
        assert_eq!(
            code(answer("go_requests", name)),
            "SESSION_NOT_FOUND",
            "{name}"
        );
    }
    // Remote memory, and nothing here that could reach it.
    let remote = code(answer(
        "go_requests",
        "StartRead range with token and remote key",
    ));
    let cannot = [
        "PEER_UNAVAILABLE",
        "NO_ROUTE",
        "DEVICE_NOT_FOUND",
        "UNSUPPORTED_HARDWARE",
    ];
    assert!(cannot.contains(&remote.as_str()), "{remote}");
}

#[test]
fn a_pong_tells_the_truth_about_time() {
    let engine = Setup::new().start();
    let mut client = engine.client();
    let before = common::now_ns();
    for asked in [0, before, u64::MAX] {
        let Response::Pong(pong) = client.call(ping(asked)) else {
            panic!("a Pong was expected");
        };
        let server = pong.server_timestamp_ns;
        assert!((before..=common::now_ns()).contains(&server), "{server}");
        assert_eq!(pong.server_rtt_ns, server.saturating_sub(asked));
    }
}

#[test]
fn replies_without_a_request_id_come_in_the_order_of_the_requests() {
    while_others_are_served(|_, client| {
        let mut bytes = Vec::new();
        for round in 0..200 {
            bytes.extend(frame(ping(round)));
            bytes.extend(frame(Bystander::whole()));
            bytes.extend(framed(&[0xc1]));
            bytes.extend(frame(GetCapabilities::default()));
        }
        client.write(&bytes);
        let mut started = Vec::new();
        for round in 0..200 {
            match client.receive() {
                Response::Pong(pong) => assert_eq!(pong.client_timestamp_ns, round),
                other => panic!("round {round}: {other:?}"),
            }
            match client.receive() {
                Response::StartReadResponse(s) => started.push(s),
                other => panic!("round {round}: {other:?}"),
            }
            assert_malformed(&client.receive_error());
            assert!(matches!(
                client.receive(),
                Response::GetCapabilitiesResponse(_)
            ));
        }
        for session in &started {
            client.complete(session);
        }
    });
}

#[test]
fn every_pipelined_request_id_comes_back_once() {
    while_others_are_served(|_, client| {
        let mut bytes = Vec::new();
        for id in 0..300 {
            bytes.extend(frame(StartRead {
                request_id: Some(id),
                ..Bystander::whole()
            }));
            bytes.extend(frame(Ping {
                request_id: Some(1000 + id),
                ..ping(id)
            }));
        }
        client.write(&bytes);
        let mut seen = std::collections::BTreeSet::new();
        let mut started = Vec::new();
        for _ in 0..600 {
            let reply = client.receive();
            let id = reply.request_id().expect("the id comes back");
            assert!(seen.insert(id), "{id} twice");
            match reply {
                Response::Pong(pong) => assert_eq!(pong.client_timestamp_ns + 1000, id),
                Response::StartReadResponse(s) => started.push(s),
                other => panic!("{other:?}"),
            }
        }
        for session in &started {
            client.complete(session);
        }
    });
}
