//! A raw client: frames and bytes over the engine's socket, and the pool by its descriptor.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rdma_engine::protocol::frame::{Next, next_frame};
use rdma_engine::protocol::message::{
    AttachPool, AttachPoolResponse, CompleteRead, CompleteReadResponse, ErrorResponse,
    GetCapabilities, GetCapabilitiesResponse, Ping, StartRead, StartReadResponse,
};
use rdma_engine::protocol::{Request, Response};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::{Needle, PATIENCE, crc32c};

/// One connection.
pub struct Client {
    pub stream: UnixStream,
    inbox: Vec<u8>,
}

impl Client {
    /// Connects; every later read and write is bounded, so that a test can not hang.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            stream,
            inbox: Vec::new(),
        })
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the engine reads");
    }

    /// Writes a payload with its length before it.
    pub fn send_payload(&mut self, payload: &[u8]) {
        self.write(&framed(payload));
    }

    /// Sends a request and does not wait.
    pub fn send(&mut self, request: impl Into<Message>) {
        self.write(&frame(request));
    }

    /// The next reply's payload, or `None` when the connection is closed.
    pub fn receive_payload(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Next::Frame(payload, taken) = next_frame(&self.inbox).expect("a legal reply") {
                let payload = payload.to_vec();
                self.inbox.drain(..taken);
                return Some(payload);
            }
            let mut chunk = [0; 64 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.inbox.extend_from_slice(&chunk[..n]),
                // What a Unix socket says when its peer closes it without having read all.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("no reply within {PATIENCE:?}: {e}"),
            }
        }
    }

    /// The next reply.
    pub fn receive(&mut self) -> Response {
        let payload = self.receive_payload().expect("the connection lives");
        Response::decode(&payload).expect("a reply")
    }

    /// Sends a request and returns its reply.
    pub fn call(&mut self, request: impl Into<Message>) -> Response {
        self.send(request);
        self.receive()
    }

    /// The next reply, which must be an error.
    pub fn receive_error(&mut self) -> ErrorResponse {
        match self.receive() {
            Response::Error(error) => error,
            other => panic!("an error was expected, not {other:?}"),
        }
    }

    /// Sends a payload and returns the error it gets.
    pub fn refused(&mut self, payload: &[u8]) -> ErrorResponse {
        self.send_payload(payload);
        self.receive_error()
    }

    /// Checks that the engine closes the connection without another reply.
    pub fn assert_closed(&mut self) {
        if let Some(payload) = self.receive_payload() {
            panic!("not closed, but {:?}", Response::decode(&payload));
        }
    }

    /// Checks that the connection is served.
    pub fn ping(&mut self) {
        let timestamp_ns = super::now_ns();
        let ping = Ping {
            timestamp_ns,
            ..Ping::default()
        };
        match self.call(ping) {
            Response::Pong(pong) => assert_eq!(pong.client_timestamp_ns, timestamp_ns),
            other => panic!("a Pong was expected, not {other:?}"),
        }
    }

    /// Whether the connection is served, when it may as well be turned away.
    pub fn answers(&mut self) -> bool {
        let written = self.stream.write_all(&frame(Ping::default()));
        let payload = written.ok().and_then(|()| self.receive_payload());
        payload.is_some_and(|p| matches!(Response::decode(&p), Ok(Response::Pong(_))))
    }

    /// Starts a read.
    pub fn start(&mut self, read: &StartRead) -> Result<StartReadResponse, ErrorResponse> {
        match self.call(read.clone()) {
            Response::StartReadResponse(started) => Ok(started),
            Response::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Starts a read; the code it is refused with, or None where it is served, and completed.
    pub fn refusal_or_read(&mut self, read: &StartRead) -> Option<String> {
        match self.start(read) {
            Ok(started) => {
                self.complete(&started);
                None
            }
            Err(error) => Some(error.code),
        }
    }

    /// The code a read is refused with.
    pub fn refusal(&mut self, read: &StartRead) -> String {
        match self.start(read) {
            Err(error) => error.code,
            Ok(started) => panic!("{read:?} was to be refused, not {started:?}"),
        }
    }

    /// Ends a session in any way.
    pub fn complete_with(
        &mut self,
        complete: CompleteRead,
    ) -> Result<CompleteReadResponse, ErrorResponse> {
        match self.call(complete) {
            Response::CompleteReadResponse(completed) => Ok(completed),
            Response::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    /// Ends a session as a client does that got what it was promised.
    pub fn complete(&mut self, started: &StartReadResponse) {
        let completed = self.complete_with(completion(started));
        let expected = CompleteReadResponse {
            success: true,
            server_crc: Some(started.expected_crc),
            ..CompleteReadResponse::default()
        };
        assert_eq!(completed, Ok(expected));
    }

    /// What the engine says of itself.
    pub fn capabilities(&mut self) -> GetCapabilitiesResponse {
        match self.call(GetCapabilities::default()) {
            Response::GetCapabilitiesResponse(capabilities) => capabilities,
            other => panic!("{other:?}"),
        }
    }

    /// Asks for the pool; the reply, and every descriptor that came with it.
    pub fn attach_raw(&mut self, attach: AttachPool) -> (Response, Vec<OwnedFd>) {
        self.send(attach);
        self.receive_with_descriptors()
    }

    /// The next reply, and every descriptor that came with it.
    pub fn receive_with_descriptors(&mut self) -> (Response, Vec<OwnedFd>) {
        let mut descriptors = Vec::new();
        loop {
            if let Next::Frame(payload, taken) = next_frame(&self.inbox).unwrap() {
                let reply = Response::decode(payload).expect("a reply");
                self.inbox.drain(..taken);
                return (reply, descriptors);
            }
            let mut chunk = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC;
            let mut parts = [IoSliceMut::new(&mut chunk)];
            let got = rustix::net::recvmsg(&self.stream, &mut parts, &mut control, flags).unwrap();
            assert_ne!(got.bytes, 0, "the connection lives");
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    descriptors.extend(rights);
                }
            }
            self.inbox.extend_from_slice(&chunk[..got.bytes]);
        }
    }

    /// Attaches the pool.
    pub fn attach(&mut self) -> Pool {
        let (reply, mut descriptors) = self.attach_raw(AttachPool::default());
        let Response::AttachPoolResponse(facts) = reply else {
            panic!("the pool was expected, not {reply:?}");
        };
        assert_eq!(descriptors.len(), 1, "exactly one descriptor");
        Pool {
            memory: File::from(descriptors.remove(0)),
            facts,
        }
    }

    /// Reads a range through `pool`, checks the bytes against their checksum and ends the session.
    pub fn fetch(
        &mut self,
        pool: &Pool,
        read: &StartRead,
    ) -> Result<(Vec<u8>, StartReadResponse), ErrorResponse> {
        let started = self.start(read)?;
        let data = pool.landed(&started);
        assert_eq!(crc32c(&data), started.expected_crc, "{read:?}");
        self.complete(&started);
        Ok((data, started))
    }
}

/// The engine's pool, by its descriptor: read without being mapped.
pub struct Pool {
    pub memory: File,
    pub facts: AttachPoolResponse,
}

impl Pool {
    /// The bytes of a session.
    pub fn landed(&self, started: &StartReadResponse) -> Vec<u8> {
        let mut data = vec![0; usize::try_from(started.transfer_size).unwrap()];
        self.memory
            .read_exact_at(&mut data, started.pool_offset)
            .unwrap();
        data
    }
}

/// A request, wrapped or not yet.
pub struct Message(pub Request);

macro_rules! message_from {
    ($($name:ident),*) => {$(
        impl From<$name> for Message {
            fn from(request: $name) -> Self {
                Self(Request::$name(request))
            }
        }
    )*};
}
message_from!(StartRead, CompleteRead, GetCapabilities, Ping, AttachPool);

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Self(request)
    }
}

/// A request as it goes over the wire.
pub fn frame(request: impl Into<Message>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.into().0.encode(&mut bytes).unwrap();
    bytes
}

/// A payload with its length before it.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_le_bytes(), payload].concat()
}

/// Asks for a whole needle.
pub fn whole(volume_id: u32, needle: &Needle) -> StartRead {
    StartRead {
        volume_id,
        needle_id: needle.id,
        cookie: needle.cookie,
        ..StartRead::default()
    }
}

/// Asks for a range of a needle.
pub fn range(volume_id: u32, needle: &Needle, offset: u64, size: u64) -> StartRead {
    StartRead {
        offset,
        size,
        ..whole(volume_id, needle)
    }
}

/// The completion of a client that got what it was promised.
pub fn completion(started: &StartReadResponse) -> CompleteRead {
    CompleteRead {
        session_id: started.session_id.clone(),
        success: true,
        bytes_transferred: started.transfer_size,
        client_crc: Some(started.expected_crc),
        ..CompleteRead::default()
    }
}
