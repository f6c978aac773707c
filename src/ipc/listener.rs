//! The listening socket, and who may connect to it.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Code, Error};
use crate::protocol::Response;
use crate::telemetry::{Metrics, RateLimited, Refusal};

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 1024;
/// How long to wait when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the engine can not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another engine does.
    #[error(
        "{0}: another process is listening on this socket; stop it, or choose another --ipc-socket"
    )]
    Live(PathBuf),
    /// Something else is there.
    #[error("{0}: exists and is not a socket; remove it, or choose another --ipc-socket")]
    NotASocket(PathBuf),
    /// The kernel says no.
    #[error("{path}: {doing}: {source}; does the directory exist, and may this user write to it?")]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Who may connect, and how many.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Users that may, besides root and the engine's own.
    pub allowed_uids: Vec<u32>,
    /// Connections at once; for processes that have less than half as many, an eighth more.
    pub max_connections: u64,
}

/// A connection that may be served.
#[derive(Debug)]
pub struct Accepted {
    /// Its socket, in blocking mode, as io_uring wants it.
    pub stream: UnixStream,
    /// The client's process, where the kernel can name it.
    pub pid: Option<i32>,
    /// The client's user.
    pub uid: u32,
    /// Counts the connection until dropped.
    pub counted: Counted,
}

/// One of the open connections.
#[derive(Debug)]
pub struct Counted {
    open: Arc<AtomicU64>,
    by_process: Arc<ByProcess>,
    /// 0 where the kernel can not name it.
    pid: i32,
}

/// Open connections, by process.
type ByProcess = Mutex<HashMap<i32, u64>>;

impl Counted {
    /// Counts one more of process `pid`, unless there are `limit` already; for a process that has
    /// less than half as many, an eighth more, so that nobody keeps the others out by holding all.
    fn one_more(
        open: &Arc<AtomicU64>,
        by_process: &Arc<ByProcess>,
        pid: Option<i32>,
        limit: u64,
    ) -> Option<Self> {
        let pid = pid.unwrap_or(0);
        let mut known = lock(by_process);
        let own = known.get(&pid).copied().unwrap_or(0);
        let limit = match own < limit.div_ceil(2) {
            true => limit + limit.div_ceil(8),
            false => limit,
        };
        if open.fetch_add(1, Ordering::Relaxed) >= limit {
            open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        known.insert(pid, own + 1);
        Some(Self {
            open: Arc::clone(open),
            by_process: Arc::clone(by_process),
            pid,
        })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let mut known = lock(&self.by_process);
        if let Some(own) = known.get_mut(&self.pid) {
            *own -= 1;
            if *own == 0 {
                known.remove(&self.pid);
            }
        }
    }
}

fn lock(by_process: &ByProcess) -> MutexGuard<'_, HashMap<i32, u64>> {
    by_process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The engine's socket; its path is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Option<OwnedFd>,
    path: PathBuf,
    /// Device and inode of the path, so that another's is never removed.
    identity: (u64, u64),
}

impl Listener {
    /// Listens at `path`, with mode 0660. What a dead engine left there is replaced.
    ///
    /// # Errors
    /// When another engine listens there, or something else is there.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |doing| {
            move |source: io::Error| BindError::Io {
                path: path.to_owned(),
                doing,
                source,
            }
        };
        clear(path)?;
        let address =
            SocketAddrUnix::new(path).map_err(|e| failed("naming the socket")(e.into()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
            .map_err(|e| failed("making a socket")(e.into()))?;
        rustix::net::bind(&socket, &address).map_err(|e| failed("binding")(e.into()))?;
        let facts = std::fs::symlink_metadata(path).map_err(failed("looking at the socket"))?;
        let identity = (facts.dev(), facts.ino());
        let listener = Self {
            socket: Some(socket),
            path: path.to_owned(),
            identity,
        };
        // Nobody can connect before listen(), so nobody can with the wider mode.
        rustix::fs::chmod(path, Mode::from_raw_mode(0o660))
            .map_err(|e| failed("setting the socket's mode")(e.into()))?;
        if let Some(socket) = &listener.socket {
            rustix::net::listen(socket, BACKLOG).map_err(|e| failed("listening")(e.into()))?;
        }
        Ok(listener)
    }

    /// Accepts connections and hands those that may be served to `deal`; never ends by itself.
    ///
    /// # Errors
    /// When the socket can not be watched.
    pub async fn accept(
        &mut self,
        policy: &Policy,
        open: &Arc<AtomicU64>,
        metrics: &Metrics,
        mut deal: impl FnMut(Accepted),
    ) -> io::Result<()> {
        let Some(socket) = self.socket.take() else {
            return Ok(());
        };
        let listener = tokio::net::UnixListener::from_std(socket.into())?;
        let trouble = RateLimited::new(Duration::from_secs(10));
        let by_process = Arc::default();
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if let Some(suppressed) = trouble.pass(std::time::Instant::now()) {
                        tracing::warn!(%error, suppressed, "accepting a connection failed; raise LimitNOFILE if descriptors are short");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            match policy.admit(stream, open, &by_process) {
                Ok(Ok(accepted)) => deal(accepted),
                Ok(Err((reason, why))) => {
                    metrics.connection_refused(reason);
                    if let Some(suppressed) = trouble.pass(std::time::Instant::now()) {
                        tracing::warn!(suppressed, "connection refused: {why}");
                    }
                }
                Err(error) => tracing::debug!(%error, "a connection ended before it was served"),
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|facts| (facts.dev(), facts.ino()) == self.identity);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "removing the socket failed");
        }
    }
}

/// Makes room at `path`: what is there must be a socket nobody listens on.
fn clear(path: &Path) -> Result<(), BindError> {
    let io = |doing| {
        move |source| BindError::Io {
            path: path.to_owned(),
            doing,
            source,
        }
    };
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io("looking at what is there")(e)),
        Ok(facts) if !facts.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    // One that has just been bound refuses until it listens, so the first refusal is not enough.
    for attempt in 0..3 {
        match connect(path) {
            Ok(()) | Err(Errno::AGAIN) => return Err(BindError::Live(path.to_owned())),
            Err(Errno::CONNREFUSED) if attempt < 2 => {
                std::thread::sleep(Duration::from_millis(30));
            }
            Err(Errno::CONNREFUSED | Errno::NOENT) => break,
            Err(e) => return Err(io("asking whether anybody listens")(e.into())),
        }
    }
    tracing::info!(path = %path.display(), "replacing the socket of an engine that is gone");
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io("removing the old socket")(e)),
        _ => Ok(()),
    }
}

/// Connects without waiting: a listener whose backlog is full says EAGAIN.
fn connect(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)
}

impl Policy {
    /// Decides on a new connection; the inner error is a refusal that the client has been told.
    fn admit(
        &self,
        stream: tokio::net::UnixStream,
        open: &Arc<AtomicU64>,
        by_process: &Arc<ByProcess>,
    ) -> io::Result<Result<Accepted, (Refusal, String)>> {
        let peer = stream.peer_cred()?;
        let (pid, uid) = (peer.pid().filter(|&pid| pid > 0), peer.uid());
        let stream = stream.into_std()?;
        if !self.allows(uid) {
            let why = format!("uid {uid} may not connect; add it to allowed_uids to let it");
            refuse(&stream, &Error::new(Code::PermissionDenied, why.as_str()));
            return Ok(Err((Refusal::Uid, why)));
        }
        let Some(counted) = Counted::one_more(open, by_process, pid, self.max_connections) else {
            let why = format!(
                "{} connections are open, which is the limit; close some or raise max_connections",
                self.max_connections
            );
            refuse(&stream, &Error::new(Code::ResourceExhausted, why.as_str()));
            return Ok(Err((Refusal::Limit, why)));
        };
        // io_uring fails reads of a non-blocking socket at once instead of waiting for data.
        stream.set_nonblocking(false)?;
        Ok(Ok(Accepted {
            stream,
            pid,
            uid,
            counted,
        }))
    }

    fn allows(&self, uid: u32) -> bool {
        uid == 0 || uid == rustix::process::geteuid().as_raw() || self.allowed_uids.contains(&uid)
    }
}

/// Tells a client why it is not served. One that can not take the few bytes at once is not told.
fn refuse(mut stream: &UnixStream, error: &Error) {
    let mut frame = Vec::new();
    if Response::error(error).encode(&mut frame).is_ok() {
        let _ = stream.write(&frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_has_mode_0660_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.sock");
        let listener = Listener::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o660);
        assert!(matches!(Listener::bind(&path), Err(BindError::Live(_))));
        drop(listener);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_what_is_no_socket_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(Listener::bind(&path).unwrap());
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(
            Listener::bind(&path),
            Err(BindError::NotASocket(_))
        ));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn a_listener_never_removes_the_socket_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("e.sock");
        let old = Listener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = Listener::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }
}
