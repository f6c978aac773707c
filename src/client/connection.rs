//! One connection to the engine, blocking, with a timeout on every wait.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::descriptors::Descriptors;
use super::{ClientError, DescriptorError, Pool};
use crate::protocol::frame::{Next, next_frame};
use crate::protocol::message::{
    AttachPool, CompleteRead, CompleteReadResponse, GetCapabilities, GetCapabilitiesResponse, Ping,
    Pong, StartRead, StartReadResponse,
};
use crate::protocol::{Request, Response};

/// How long a connection waits for the socket, unless told otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes asked of the socket at once, at least.
const READ_BYTES: usize = 64 << 10;

/// A connection to the engine.
///
/// Either [`call`](Self::call) and the functions named like requests, one at a time; or
/// [`queue`](Self::queue), [`flush`](Self::flush), [`receive`](Self::receive) with many requests
/// under way, each with a `request_id` of the caller's. Not both at once.
#[derive(Debug)]
pub struct Connection {
    socket: UnixStream,
    timeout: Duration,
    incoming: Incoming,
    outgoing: Vec<u8>,
    next_id: u64,
}

impl Connection {
    /// Connects to the engine's socket; no wait of this connection is longer than `timeout`,
    /// which is at least 1 ms.
    ///
    /// # Errors
    /// When nobody listens there, or lets this user in.
    pub fn open(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let timeout = timeout.max(Duration::from_millis(1));
        let failed = |e: rustix::io::Errno| ClientError::connect(path, e);
        let address = SocketAddrUnix::new(path).map_err(failed)?;
        let flags = SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(failed)?;
        // Before connecting, because a full backlog makes connect wait as a send does.
        for direction in [Timeout::Send, Timeout::Recv] {
            set_socket_timeout(&socket, direction, Some(timeout)).map_err(failed)?;
        }
        rustix::io::retry_on_intr(|| connect(&socket, &address)).map_err(failed)?;
        Ok(Self {
            socket: socket.into(),
            timeout,
            incoming: Incoming::default(),
            outgoing: Vec::new(),
            next_id: 0,
        })
    }

    /// Appends a request to those the next [`flush`](Self::flush) sends.
    ///
    /// # Errors
    /// When it can not be encoded: never for these types.
    pub fn queue(&mut self, request: &Request) -> Result<(), ClientError> {
        Ok(request.encode(&mut self.outgoing)?)
    }

    /// Sends what is queued, in one write where the socket takes it.
    ///
    /// # Errors
    /// When the engine is gone or takes nothing for as long as the timeout. An error it sent
    /// before it hung up is returned in place of the bare fact.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        let sent = self.socket.write_all(&self.outgoing);
        self.outgoing.clear();
        let Err(e) = sent else { return Ok(()) };
        match self.failed("sending a request", e) {
            ClientError::Closed => Err(self.last_words()),
            other => Err(other),
        }
    }

    /// The next reply, waited for.
    ///
    /// # Errors
    /// When the engine is gone, sends nothing for as long as the timeout, or what comes is no
    /// reply. An [`Response::Error`] is a reply.
    pub fn receive(&mut self) -> Result<Response, ClientError> {
        loop {
            if let Some(response) = self.received()? {
                return Ok(response);
            }
            let read = self.incoming.fill(|into| (&self.socket).read(into));
            self.arrived(read)?;
        }
    }

    /// The next reply, if it is already here.
    ///
    /// # Errors
    /// When what came is no reply.
    pub fn received(&mut self) -> Result<Option<Response>, ClientError> {
        self.incoming.take()
    }

    /// Sends a request and waits for its reply. A `request_id` of its own replaces that of the
    /// request, and tells the reply from any other.
    ///
    /// # Errors
    /// As [`flush`](Self::flush) and [`receive`](Self::receive); and [`ClientError::Engine`] for
    /// an error the engine answered.
    pub fn call(&mut self, request: Request) -> Result<Response, ClientError> {
        let id = self.ask(request)?;
        let response = self.receive()?;
        answer_to(id, response)
    }

    /// Sends a Ping and waits for its Pong.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn ping(&mut self, ping: Ping) -> Result<Pong, ClientError> {
        match self.call(Request::Ping(ping))? {
            Response::Pong(pong) => Ok(pong),
            other => Err(out_of_step("Pong", &other)),
        }
    }

    /// What the engine can do.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn capabilities(&mut self) -> Result<GetCapabilitiesResponse, ClientError> {
        match self.call(Request::GetCapabilities(GetCapabilities::default()))? {
            Response::GetCapabilitiesResponse(reply) => Ok(reply),
            other => Err(out_of_step("GetCapabilitiesResponse", &other)),
        }
    }

    /// Has a range of a needle landed in the pool.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn start_read(&mut self, read: StartRead) -> Result<StartReadResponse, ClientError> {
        match self.call(Request::StartRead(read))? {
            Response::StartReadResponse(reply) => Ok(reply),
            other => Err(out_of_step("StartReadResponse", &other)),
        }
    }

    /// Gives the buffer of a read back.
    ///
    /// # Errors
    /// As [`call`](Self::call). `success: false` in the reply is not an error here.
    pub fn complete_read(
        &mut self,
        done: CompleteRead,
    ) -> Result<CompleteReadResponse, ClientError> {
        match self.call(Request::CompleteRead(done))? {
            Response::CompleteReadResponse(reply) => Ok(reply),
            other => Err(out_of_step("CompleteReadResponse", &other)),
        }
    }

    /// Maps the engine's pool. Descriptors are taken in here only; at any other time the kernel
    /// drops what comes.
    ///
    /// # Errors
    /// As [`call`](Self::call), and when what comes is not exactly one sealed memfd of the length
    /// announced.
    pub fn attach(&mut self, auth_token: Option<String>) -> Result<Pool, ClientError> {
        let id = self.ask(Request::AttachPool(AttachPool {
            auth_token,
            ..AttachPool::default()
        }))?;
        let mut descriptors = Descriptors::default();
        let response = loop {
            if let Some(response) = self.received()? {
                break response;
            }
            let read = self
                .incoming
                .fill(|into| descriptors.receive(&self.socket, into));
            self.arrived(read)?;
            if descriptors.are_many() {
                return Err(DescriptorError::Many.into());
            }
        };
        match answer_to(id, response)? {
            Response::AttachPoolResponse(reply) => Pool::map(reply, descriptors),
            other => Err(out_of_step("AttachPoolResponse", &other)),
        }
    }

    /// Sends one request under a new id.
    fn ask(&mut self, mut request: Request) -> Result<u64, ClientError> {
        self.next_id += 1;
        let field = match &mut request {
            Request::StartRead(r) => &mut r.request_id,
            Request::CompleteRead(r) => &mut r.request_id,
            Request::GetCapabilities(r) => &mut r.request_id,
            Request::Ping(r) => &mut r.request_id,
            Request::AttachPool(r) => &mut r.request_id,
        };
        *field = Some(self.next_id);
        self.queue(&request)?;
        self.flush()?;
        Ok(self.next_id)
    }

    /// Why the engine hung up, if it said so before.
    fn last_words(&mut self) -> ClientError {
        loop {
            match self.receive() {
                Ok(Response::Error(error)) => return ClientError::Engine(error.into()),
                Ok(_) => {}
                Err(_) => return ClientError::Closed,
            }
        }
    }

    fn arrived(&self, read: io::Result<usize>) -> Result<(), ClientError> {
        match read {
            Ok(0) => Err(ClientError::Closed),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(self.failed("waiting for a reply", e)),
        }
    }

    fn failed(&self, doing: &'static str, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::WouldBlock => ClientError::TimedOut {
                doing,
                seconds: self.timeout.as_secs(),
            },
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
            _ => ClientError::Io { doing, source },
        }
    }
}

/// The reply if it answers request `id`. An error without an id is the engine giving up on the
/// connection, and answers anything.
fn answer_to(id: u64, response: Response) -> Result<Response, ClientError> {
    match (response.request_id(), response) {
        (Some(answered), Response::Error(error)) if answered == id => {
            Err(ClientError::Engine(error.into()))
        }
        (None, Response::Error(error)) => Err(ClientError::Engine(error.into())),
        (Some(answered), response) if answered == id => Ok(response),
        (_, other) => Err(out_of_step("the reply to this request", &other)),
    }
}

/// A reply that answers nothing asked.
pub(crate) fn out_of_step(expected: &'static str, got: &Response) -> ClientError {
    let kind = match got {
        Response::StartReadResponse(_) => "StartReadResponse",
        Response::CompleteReadResponse(_) => "CompleteReadResponse",
        Response::GetCapabilitiesResponse(_) => "GetCapabilitiesResponse",
        Response::Pong(_) => "Pong",
        Response::AttachPoolResponse(_) => "AttachPoolResponse",
        Response::Error(_) => "Error",
    };
    let got = match got.request_id() {
        Some(id) => format!("{kind} to request {id}"),
        None => format!("{kind} to no request"),
    };
    ClientError::OutOfStep { expected, got }
}

/// Bytes read from the socket and not yet taken as replies: at most one frame beyond
/// [`READ_BYTES`].
#[derive(Debug, Default)]
struct Incoming {
    buffer: Vec<u8>,
    /// The bytes not yet taken are `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl Incoming {
    /// Takes the first reply out, if it is whole.
    fn take(&mut self) -> Result<Option<Response>, ClientError> {
        let bytes = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Next::Frame(payload, taken) = next_frame(bytes)? else {
            return Ok(None);
        };
        let response = Response::decode(payload)?;
        self.start += taken;
        Ok(Some(response))
    }

    /// Makes room and has `read` fill it.
    fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + READ_BYTES {
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        let bytes = read(room)?;
        self.end += bytes;
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
