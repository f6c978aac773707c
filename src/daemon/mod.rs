//! What both daemons, engine and target, are made of: memory, threads, signals, and the reasons
//! for which they do not start.

mod boxed;
pub mod pages;
mod signals;
mod worker;

use std::io;
use std::net::SocketAddr;

pub use boxed::boxed;
pub use signals::Signals;
pub use worker::WorkerThread;

use crate::ipc::BindError;
use crate::telemetry::{AlreadyInstalled, ListenError};
use crate::verbs::OpenError;
use crate::volume::VolumeError;

/// Why a daemon does not run.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what it is")]
pub enum StartError {
    #[error("{0}")]
    Bind(#[from] BindError),
    #[error("{0}")]
    Listen(#[from] ListenError),
    #[error("listening for peers on {address}: {source}; choose another address with --listen")]
    Peers {
        address: SocketAddr,
        source: io::Error,
    },
    #[error("opening the volumes: {0}")]
    Volumes(#[from] VolumeError),
    #[error("the buffer pool of {bytes} bytes: {source}; {hint}")]
    Pool {
        bytes: u64,
        source: io::Error,
        hint: String,
    },
    #[error("{code}: {0}", code = .0.code())]
    Device(#[from] OpenError),
    #[error(
        "there is no RDMA device to use (rdma-engine devices lists what there is), and --transport verbs refuses to do without"
    )]
    NoDevice,
    #[error(transparent)]
    Metrics(#[from] AlreadyInstalled),
    #[error("{doing}: {source}")]
    Io {
        doing: &'static str,
        source: io::Error,
    },
}

impl StartError {
    /// Something the kernel refused.
    pub fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }
}

/// What starting a worker fails with.
pub const STARTING_A_WORKER: &str =
    "starting a worker's io_uring (is it disabled? see kernel.io_uring_disabled)";
/// What starting to follow the volumes fails with.
pub const FOLLOWING: &str = "starting the thread that follows the volumes";
