//! Why a client did not get what it asked for.

use std::io;
use std::path::{Path, PathBuf};

use super::DescriptorError;
use crate::pool::mapping::{MapError, OutOfPool};
use crate::protocol::FrameError;
use crate::protocol::message::ErrorResponse;

/// A request that got no answer, or not the one asked for. After anything but
/// [`ClientError::Engine`] the connection is out of step and is to be dropped.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no engine at the socket, or it lets nobody in.
    #[error("connecting to the engine at {}: {source}; {}", path.display(), connect_hint(source))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The engine hung up.
    #[error("the engine closed the connection: {}", closed_hint())]
    Closed,
    /// The engine neither answers nor hangs up.
    #[error(
        "{doing}: nothing came or went for {seconds} s; is the engine stuck or waiting for room in \
         its pool? Its log says; --timeout waits longer"
    )]
    TimedOut {
        /// What was waited for.
        doing: &'static str,
        /// The connection's timeout.
        seconds: u64,
    },
    /// The socket failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// What comes is not the protocol.
    #[error("reading a reply: {0}; is this the socket of another program?")]
    Frame(#[from] FrameError),
    /// What comes is framed but no reply.
    #[error("decoding a reply: {0}; is the engine of another version?")]
    Decode(#[from] rmp_serde::decode::Error),
    /// A request could not be written down.
    #[error("encoding a request: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// A reply to something else.
    #[error("{got} came where {expected} was expected; is the engine of another version?")]
    OutOfStep {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The engine refused the request and says why.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// AttachPool brought no descriptor, or more than one.
    #[error("attaching the pool: {0}")]
    Descriptors(#[from] DescriptorError),
    /// The descriptor is no pool.
    #[error("attaching the pool: {0}")]
    Map(#[from] MapError),
    /// The engine says the bytes are where no pool is.
    #[error("the engine's reply points outside the pool: {0}")]
    OutOfPool(#[from] OutOfPool),
}

/// The engine's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the engine answered {code} ({category}): {message}{}",
    if *.recoverable { " (the same request may succeed later)" } else { "" }
)]
pub struct EngineError {
    /// Name of the code; a text, because a newer engine may have more than we know.
    pub code: String,
    /// What was being done, to what, and what to try.
    pub message: String,
    /// Group of the code.
    pub category: String,
    /// The same request may succeed later.
    pub recoverable: bool,
}

impl From<ErrorResponse> for EngineError {
    fn from(reply: ErrorResponse) -> Self {
        Self {
            code: reply.code,
            message: reply.message,
            category: reply.category,
            recoverable: reply.recoverable,
        }
    }
}

impl ClientError {
    pub(super) fn connect(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Connect {
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

fn connect_hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "start rdma-engine server, or name its socket with --ipc-socket".to_owned()
        }
        io::ErrorKind::ConnectionRefused => "no engine listens there any more: start rdma-engine \
             server, or name its socket with --ipc-socket"
            .to_owned(),
        io::ErrorKind::PermissionDenied => format!(
            "user {} may not open it: run as the engine's user, in its socket's group, or as root",
            uid()
        ),
        io::ErrorKind::WouldBlock => {
            "the engine accepts no connections; is it stuck? Its log says".to_owned()
        }
        _ => "is this the --ipc-socket of an engine? Its path may have 107 bytes".to_owned(),
    }
}

fn closed_hint() -> String {
    format!(
        "it ended, is shutting down, or does not let user {} in (its log says)",
        uid()
    )
}

fn uid() -> u32 {
    rustix::process::geteuid().as_raw()
}
