//! One connection between an engine and a target: frames, and the bytes that follow some of them.
//!
//! Reading takes exactly a frame, never a byte more, so that what follows it can be received
//! straight into the pool. One task reads and one writes; each operation's future is awaited to
//! its end, because dropping one cancels nothing. Whoever wants an end shuts the connection down.

use std::cell::Cell;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use crate::protocol::frame::{LENGTH_BYTES, MAX_FRAME_BYTES};
use crate::source::local::FilePart;
use crate::uring::{Landing, Lent, Outgoing};

/// The most bytes that are asked for before some of a frame have come.
const FIRST_BYTES: usize = 4096;
/// The most bytes one sendfile takes: what it can not send at once counts as progress.
const SENDFILE_BYTES: usize = 1 << 20;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The other side has ended it between two frames.
    #[error("the other side closed the connection")]
    Closed,
    /// It has ended inside a frame or its bytes.
    #[error("the connection ended inside a message")]
    CutOff,
    /// A frame that is too long.
    #[error("a frame of {announced} bytes was announced; the limit is {limit}")]
    TooLong {
        /// Its length.
        announced: usize,
        /// What was allowed.
        limit: usize,
    },
    /// The volume file ends before what was promised of it.
    #[error("the volume file ended before what was to be sent of it")]
    FileEnded,
    /// The kernel says no.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// A connection.
pub struct Stream {
    socket: TcpStream,
    /// The same socket, for sendfile on a thread that may wait.
    blocking: Arc<OwnedFd>,
    heard: Cell<Instant>,
    writing_since: Cell<Option<Instant>>,
    shut: Cell<bool>,
}

impl Stream {
    /// Takes a connected socket over. A send that makes no progress for `patience` fails.
    ///
    /// # Errors
    /// Those of setting the socket's options.
    pub fn new(socket: std::net::TcpStream, patience: Duration) -> io::Result<Self> {
        // io_uring waits by itself, but not on a socket that says it must not be waited for.
        socket.set_nonblocking(false)?;
        socket.set_nodelay(true)?;
        socket.set_write_timeout(Some(patience))?;
        let blocking = Arc::new(OwnedFd::from(socket.try_clone()?));
        Ok(Self {
            socket: TcpStream::from_std(socket),
            blocking,
            heard: Cell::new(Instant::now()),
            writing_since: Cell::new(None),
            shut: Cell::new(false),
        })
    }

    /// When bytes last came.
    pub fn heard(&self) -> Instant {
        self.heard.get()
    }

    /// Since when what is being written makes no progress.
    pub fn writing_since(&self) -> Option<Instant> {
        self.writing_since.get()
    }

    /// Ends the connection, whatever its tasks wait for.
    pub fn shut_down(&self) {
        if !self.shut.replace(true) {
            // Fails only where the other side was faster.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }

    /// Whether this side has ended it.
    pub fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// Reads one frame's payload, of at most `limit` bytes, into `bytes`.
    ///
    /// # Errors
    /// When there is none, whatever the reason.
    pub async fn frame(&self, bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, StreamError> {
        let mut bytes = bytes;
        bytes.clear();
        let mut bytes = self.fill(bytes, LENGTH_BYTES).await?;
        let Some(prefix) = bytes.first_chunk::<LENGTH_BYTES>() else {
            return Err(StreamError::CutOff);
        };
        let announced = u32::from_le_bytes(*prefix) as usize;
        let limit = limit.min(MAX_FRAME_BYTES);
        if announced > limit {
            return Err(StreamError::TooLong { announced, limit });
        }
        bytes.clear();
        self.fill(bytes, announced).await.map_err(|e| match e {
            StreamError::Closed => StreamError::CutOff,
            other => other,
        })
    }

    /// Reads until `bytes` has `len`. A length that is only announced takes no memory.
    async fn fill(&self, mut bytes: Vec<u8>, len: usize) -> Result<Vec<u8>, StreamError> {
        while bytes.len() < len {
            let filled = bytes.len();
            let step = (len - filled).min(filled.max(FIRST_BYTES));
            bytes.reserve_exact(step);
            let (read, slice) = self.socket.read(bytes.slice(filled..filled + step)).await;
            bytes = slice.into_inner();
            match read {
                Ok(0) if filled == 0 => return Err(StreamError::Closed),
                Ok(0) => return Err(StreamError::CutOff),
                Ok(_) => self.heard.set(Instant::now()),
                Err(error) if again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    }

    /// Receives bytes until `landing` is complete; `look` is shown it whenever more have come.
    ///
    /// # Errors
    /// When they do not come.
    pub async fn land(
        &self,
        mut landing: Landing,
        mut look: impl FnMut(&Landing),
    ) -> Result<Landing, StreamError> {
        while !landing.is_complete() {
            let (read, back) = self.socket.read(landing).await;
            landing = back;
            match read {
                Ok(0) => return Err(StreamError::CutOff),
                Ok(bytes) => {
                    landing.advance(bytes);
                    self.heard.set(Instant::now());
                    look(&landing);
                }
                Err(error) if again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(landing)
    }

    /// Writes frames, and gives their memory back.
    ///
    /// # Errors
    /// When they can not be written.
    pub async fn write(&self, frames: Vec<u8>) -> Result<Vec<u8>, StreamError> {
        self.writing_since.set(Some(Instant::now()));
        let (written, frames) = self.socket.write_all(frames).await;
        self.writing_since.set(None);
        written?;
        Ok(frames)
    }

    /// Writes a frame and the bytes of the pool that follow it.
    ///
    /// # Errors
    /// When they can not be written.
    pub async fn write_with(&self, frame: Vec<u8>, bytes: Lent) -> Result<(), StreamError> {
        let mut left = vec![Outgoing::from(frame), Outgoing::from(bytes)];
        while !left.is_empty() {
            self.writing_since.set(Some(Instant::now()));
            let (written, back) = self.socket.writev(left).await;
            self.writing_since.set(None);
            left = back;
            match written {
                Ok(0) => return Err(StreamError::CutOff),
                Ok(written) => Outgoing::advance(&mut left, written),
                Err(error) if again(&error) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes a frame and the bytes of a file that follow it, which the kernel takes from the
    /// page cache itself.
    ///
    /// # Errors
    /// When they can not be written, or the file ends before them.
    pub async fn write_file(&self, frame: Vec<u8>, bytes: FilePart) -> Result<(), StreamError> {
        self.write(frame).await?;
        let socket = Arc::clone(&self.blocking);
        let sent = tokio::task::spawn_blocking(move || send_file(&socket, &bytes)).await;
        sent.map_err(|e| io::Error::other(format!("sending a file: {e}")))?
    }
}

fn send_file(socket: &OwnedFd, bytes: &FilePart) -> Result<(), StreamError> {
    let (mut offset, end) = (bytes.offset, bytes.offset + bytes.len);
    while offset < end {
        let count = usize::try_from(end - offset).unwrap_or(SENDFILE_BYTES);
        let count = count.min(SENDFILE_BYTES);
        match rustix::fs::sendfile(socket, &*bytes.file, Some(&mut offset), count) {
            Ok(0) => return Err(StreamError::FileEnded),
            Ok(_) | Err(Errno::INTR) => {}
            // The socket's write timeout.
            Err(Errno::AGAIN) => return Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(())
}

fn again(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}
