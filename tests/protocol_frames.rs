//! Frames, legal and not, as a client may write them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::io::Read;
use std::process::Command;

use common::abuse::{assert_malformed, packed, ping, while_others_are_served};
use common::client::frame;
use common::process::status_bytes;
use common::{Bystander, Client, Setup, eventually};
use rdma_engine::protocol::message::{GetCapabilities, StartRead};
use rdma_engine::protocol::{MAX_FRAME_BYTES, Response};
use serde_json::json;

#[test]
fn a_frame_longer_than_the_limit_is_refused_and_the_connection_closed() {
    for announced in [u32::try_from(MAX_FRAME_BYTES).unwrap() + 1, u32::MAX] {
        while_others_are_served(|_, client| {
            client.write(&announced.to_le_bytes());
            let error = client.receive_error();
            assert_eq!(error.code, "MESSAGE_TOO_LARGE");
            assert_eq!((error.category.as_str(), error.recoverable), ("ipc", true));
            client.assert_closed();
        });
    }
}

#[test]
fn replies_owed_come_before_the_refusal_of_a_frame_that_is_too_long() {
    while_others_are_served(|_, client| {
        let mut bytes = frame(ping(1));
        bytes.extend(frame(ping(2)));
        bytes.extend([0xff; 4]);
        bytes.extend([0x5a; 4096]);
        client.write(&bytes);
        for timestamp in [1, 2] {
            let Response::Pong(pong) = client.receive() else {
                panic!("a Pong was expected");
            };
            assert_eq!(pong.client_timestamp_ns, timestamp);
        }
        assert_eq!(client.receive_error().code, "MESSAGE_TOO_LARGE");
        client.assert_closed();
    });
}

#[test]
fn a_frame_at_the_limit_is_read() {
    while_others_are_served(|_, client| {
        let with = |filler: usize| {
            packed(
                &json!({"type": "Ping", "data": {"timestamp_ns": 7, "later": "x".repeat(filler)}}),
            )
        };
        let overhead = with(MAX_FRAME_BYTES / 2).len() - MAX_FRAME_BYTES / 2;
        let payload = with(MAX_FRAME_BYTES - overhead);
        assert_eq!(payload.len(), MAX_FRAME_BYTES);
        client.send_payload(&payload);
        assert!(matches!(client.receive(), Response::Pong(_)));
    });
}

#[test]
fn a_frame_cut_off_by_the_end_of_the_connection_leaves_nothing_behind() {
    let whole = frame(Bystander::whole());
    for length in [1, 3, 4, 5, whole.len() - 1] {
        while_others_are_served(|engine, client| {
            client.write(&whole[..length]);
            // One side only: the engine must close its own.
            client.stream.shutdown(std::net::Shutdown::Write).unwrap();
            client.assert_closed();
            // And both at once.
            let mut another = engine.client();
            another.write(&whole[..length]);
        });
    }
}

#[test]
fn a_client_gone_before_its_replies_leaves_nothing_behind() {
    while_others_are_served(|engine, client| {
        for _ in 0..10 {
            let mut another = engine.client();
            // Nobody will ever complete what it never hears of.
            let read = StartRead {
                timeout_secs: 1,
                ..Bystander::whole()
            };
            another.write(&frame(read).repeat(20));
        }
        client.ping();
    });
}

#[test]
fn garbage_is_malformed_and_the_connection_lives() {
    while_others_are_served(|_, client| {
        let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
        let mut trailing = packed(&json!({"type": "Ping", "data": {"timestamp_ns": 1}}));
        trailing.push(0xc0);
        let mut cases = vec![
            Vec::new(),
            vec![0xc1; 300],
            vec![0xff; 300],
            vec![0xc0],
            http,
            trailing,
        ];
        cases.push(common::bytes(1, 100_000));
        cases.push(packed(&json!({"type": "Ping"})));
        cases.push(packed(&json!({"data": {"timestamp_ns": 1}})));
        cases.push(packed(&json!({"type": 5, "data": {}})));
        cases.push(packed(&json!([])));
        for garbage in cases {
            assert_malformed(&client.refused(&garbage));
            client.ping();
        }
    });
}

#[test]
fn every_truncated_payload_is_malformed_and_the_connection_lives() {
    while_others_are_served(|_, client| {
        let whole = frame(Bystander::whole()).split_off(4);
        for end in 0..whole.len() {
            assert_malformed(&client.refused(&whole[..end]));
        }
        client.ping();
    });
}

#[test]
fn a_thousand_levels_of_nesting_are_malformed() {
    while_others_are_served(|_, client| {
        for open in [0x91, 0x81] {
            for levels in [1000, 500_000] {
                assert_malformed(&client.refused(&vec![open; levels]));
            }
            let mut hidden =
                b"\x82\xa4type\xa4Ping\xa4data\x82\xactimestamp_ns\x01\xa5extra".to_vec();
            hidden.extend(std::iter::repeat_n(open, 1000));
            hidden.push(0xc0);
            assert_malformed(&client.refused(&hidden));
        }
        client.ping();
    });
}

#[test]
fn length_bombs_are_malformed_and_allocate_nothing() {
    while_others_are_served(|engine, client| {
        let most = || status_bytes(engine.pid(), "VmHWM:");
        let before = most();
        for bomb in [0xdd, 0xdf, 0xdb, 0xc6, 0xc9] {
            let bomb = [bomb, 0xff, 0xff, 0xff, 0xff];
            assert_malformed(&client.refused(&bomb));
            for place in [
                b"\x82\xa4type\xa4Ping\xa4data".as_slice(),
                b"\x82\xa4type".as_slice(),
                b"\x82\xa4type\xa4Ping\xa4data\x82\xactimestamp_ns\x01\xa9client_id".as_slice(),
                b"\x82\xa4type\xa4Ping\xa4data\x82\xactimestamp_ns\x01\xa5extra".as_slice(),
            ] {
                assert_malformed(&client.refused(&[place, &bomb].concat()));
            }
        }
        client.ping();
        let grown = most() - before;
        assert!(grown < 16 << 20, "{grown} bytes more were resident");
    });
}

#[test]
fn a_request_may_be_split_at_every_byte() {
    while_others_are_served(|engine, client| {
        let bytes = frame(Bystander::whole());
        for at in 1..bytes.len() {
            client.write(&bytes[..at]);
            // Another round trip, so that the engine has seen the first piece alone.
            engine.client().ping();
            client.write(&bytes[at..]);
            let Response::StartReadResponse(started) = client.receive() else {
                panic!("split at {at}");
            };
            client.complete(&started);
        }
        for byte in frame(ping(5)).repeat(3) {
            client.write(&[byte]);
        }
        for _ in 0..3 {
            assert!(matches!(client.receive(), Response::Pong(_)));
        }
    });
}

#[test]
fn a_client_that_writes_length_and_body_apart_reads_replies_with_two_bare_reads() {
    while_others_are_served(|_, client| {
        let read = frame(Bystander::whole()).split_off(4);
        let capabilities = frame(GetCapabilities::default()).split_off(4);
        for payload in [&read, &capabilities].repeat(100) {
            client.write(&u32::try_from(payload.len()).unwrap().to_le_bytes());
            client.write(payload);
            let mut length = [0; 4];
            assert_eq!(client.stream.read(&mut length).unwrap(), 4);
            let mut body = vec![0; u32::from_le_bytes(length) as usize];
            assert_eq!(client.stream.read(&mut body).unwrap(), body.len());
            match Response::decode(&body).unwrap() {
                Response::StartReadResponse(started) => client.complete(&started),
                Response::GetCapabilitiesResponse(_) => {}
                other => panic!("{other:?}"),
            }
        }
    });
}

#[test]
fn connections_beyond_the_limit_are_turned_away_until_one_is_closed() {
    let engine = Setup::new().set("max_connections", "4").start();
    let before = engine.baseline();
    let mut clients: Vec<Client> = (0..4).map(|_| engine.client()).collect();
    clients.iter_mut().for_each(Client::ping);
    // Turned away: closed, with or without a word.
    let mut fifth = engine.client();
    let turned_away = fifth.receive_payload().is_none_or(|reply| {
        fifth.assert_closed();
        matches!(Response::decode(&reply), Ok(Response::Error(_)))
    });
    assert!(turned_away);
    // Another process gets one of the few that are kept for those who have less than half.
    let ping = Command::new(common::setup::binary())
        .args(["ping", "--ipc-socket"])
        .arg(engine.setup.socket())
        .output()
        .unwrap();
    assert!(ping.status.success(), "{ping:?}");
    clients.iter_mut().for_each(Client::ping);
    clients.pop();
    eventually("there is room again", || {
        engine.client().answers().then_some(())
    });
    drop((clients, fifth));
    engine.assert_nothing_lost(&before);
}
