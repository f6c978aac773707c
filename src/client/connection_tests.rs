use super::*;
use crate::error::{Code, Error};
use std::os::unix::net::UnixListener;

const SHORT: Duration = Duration::from_millis(20);

fn open_error(path: &Path) -> String {
    Connection::open(path, SHORT).unwrap_err().to_string()
}

fn pong(id: u64) -> Response {
    Response::Pong(Pong {
        request_id: Some(id),
        ..Pong::default()
    })
}

/// A socket somebody listens on who is no engine.
fn listener() -> (tempfile::TempDir, UnixListener, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    (dir, listener, path)
}

#[test]
fn replies_come_out_whole_and_in_order_however_the_bytes_are_cut() {
    let mut bytes = Vec::new();
    for id in 0..3000 {
        pong(id).encode(&mut bytes).unwrap();
    }
    for piece in [1, 7, 1000, READ_BYTES - 1, READ_BYTES] {
        let mut incoming = Incoming::default();
        let mut expected = 0;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let take = |into: &mut [u8]| rest.read(&mut into[..piece]);
            incoming.fill(take).unwrap();
            while let Some(response) = incoming.take().unwrap() {
                assert_eq!(response, pong(expected));
                expected += 1;
            }
        }
        assert_eq!(expected, 3000);
        assert!(incoming.buffer.len() <= 2 * READ_BYTES);
    }
}

#[test]
fn a_frame_longer_than_the_protocol_allows_is_refused_before_it_is_read() {
    let mut incoming = Incoming::default();
    incoming
        .fill(|into| (&[0xff, 0xff, 0xff, 0x7f][..]).read(into))
        .unwrap();
    assert!(matches!(incoming.take(), Err(ClientError::Frame(_))));
}

#[test]
fn a_reply_answers_only_the_request_it_names() {
    assert_eq!(answer_to(4, pong(4)).unwrap(), pong(4));
    let other = answer_to(4, pong(5)).unwrap_err().to_string();
    assert!(other.contains("Pong to request 5"), "{other}");
    let nameless = answer_to(4, pong(4).answering(None)).unwrap_err();
    assert!(matches!(nameless, ClientError::OutOfStep { .. }));
}

#[test]
fn an_error_is_told_with_its_code_category_and_message() {
    let error = Error::new(Code::ResourceExhausted, "the pool has no room");
    for id in [Some(4), None] {
        let reply = Response::error(&error).answering(id);
        let told = answer_to(4, reply).unwrap_err();
        let ClientError::Engine(engine) = &told else {
            panic!("{told:?}")
        };
        assert_eq!(engine.code, "RESOURCE_EXHAUSTED");
        assert_eq!(
            (engine.category.as_str(), engine.recoverable),
            ("resource", true)
        );
        assert_eq!(
            told.to_string(),
            "the engine answered RESOURCE_EXHAUSTED (resource): the pool has no room \
             (the same request may succeed later)"
        );
    }
    let elses = Response::error(&error).answering(Some(5));
    let told = answer_to(4, elses).unwrap_err();
    assert!(matches!(told, ClientError::OutOfStep { .. }));
}

#[test]
fn a_socket_that_is_not_there_or_not_listened_on_says_what_to_try() {
    let (dir, listener, path) = listener();
    drop(listener);
    let refused = open_error(&path);
    assert!(refused.contains("no engine listens"), "{refused}");
    let missing = open_error(&dir.path().join("missing"));
    assert!(missing.contains("start rdma-engine server"), "{missing}");
    let long = open_error(&dir.path().join("x".repeat(120)));
    assert!(long.contains("107 bytes"), "{long}");
}

#[test]
fn a_listener_that_says_nothing_is_given_up_on() {
    let (_dir, _listener, path) = listener();
    let mut connection = Connection::open(&path, SHORT).unwrap();
    let failed = connection.ping(Ping::default()).unwrap_err();
    assert!(matches!(failed, ClientError::TimedOut { .. }), "{failed}");
}

#[test]
fn a_listener_that_takes_nothing_in_is_given_up_on() {
    let (_dir, _listener, path) = listener();
    let mut connection = Connection::open(&path, SHORT).unwrap();
    for _ in 0..100_000 {
        connection.queue(&Request::Ping(Ping::default())).unwrap();
    }
    let failed = connection.flush().unwrap_err();
    assert!(matches!(failed, ClientError::TimedOut { .. }), "{failed}");
}

#[test]
fn a_listener_that_hangs_up_is_said_to_have() {
    let (_dir, listener, path) = listener();
    let mut connection = Connection::open(&path, SHORT).unwrap();
    drop(listener.accept().unwrap());
    for attempt in 0..2 {
        let failed = connection.ping(Ping::default()).unwrap_err();
        assert!(matches!(failed, ClientError::Closed), "{attempt}: {failed}");
    }
}

#[test]
fn the_error_sent_before_hanging_up_is_told() {
    let (_dir, listener, path) = listener();
    let mut connection = Connection::open(&path, SHORT).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let mut frame = Vec::new();
    let error = Error::new(Code::PermissionDenied, "user 7 is not allowed");
    Response::error(&error).encode(&mut frame).unwrap();
    accepted.write_all(&frame).unwrap();
    drop(accepted);
    let failed = connection.ping(Ping::default()).unwrap_err();
    assert!(failed.to_string().contains("user 7"), "{failed}");
}

#[test]
fn attaching_to_something_that_hands_nothing_over_fails() {
    let (_dir, listener, path) = listener();
    let mut connection = Connection::open(&path, SHORT).unwrap();
    let (mut accepted, _) = listener.accept().unwrap();
    let reply = Response::AttachPoolResponse(Default::default());
    let mut frame = Vec::new();
    reply.answering(Some(1)).encode(&mut frame).unwrap();
    accepted.write_all(&frame).unwrap();
    let failed = connection.attach(None).unwrap_err();
    assert!(
        matches!(failed, ClientError::Descriptors(DescriptorError::None)),
        "{failed}"
    );
}
