//! What goes wrong with devices and queue pairs.

use std::io;

use super::endpoint::EndpointError;
use crate::error::Code;

/// Why the devices can not be told.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// There is no list.
    #[error("listing the RDMA devices: {source}; is the module ib_uverbs loaded?")]
    List {
        /// What the library says.
        source: io::Error,
    },
    /// A device is there and can not be asked.
    #[error(
        "opening the RDMA device {name}: {source}; run as a user who may open /dev/infiniband/uverbs*"
    )]
    Open {
        /// The device.
        name: String,
        /// What the library says.
        source: io::Error,
    },
}

/// Why there is no adapter.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "fields are what the message shows")]
pub enum OpenError {
    /// The devices can not be told.
    #[error(transparent)]
    List(#[from] ListError),
    /// No device has that name.
    #[error("there is no RDMA device {name}; this host has: {present}")]
    NoDevice { name: String, present: String },
    /// The device has no such port.
    #[error("RDMA device {device} has no port {port}; it has: {present}")]
    NoPort {
        device: String,
        port: u8,
        present: String,
    },
    /// No port that could be used is active.
    #[error("RDMA device {device} has no active port ({states}); bring its link up")]
    PortInactive { device: String, states: String },
    /// The port has no such GID.
    #[error(
        "port {port} of RDMA device {device} has no {wanted}; it has: {present}. Give its network \
         interface an address, or name one of these"
    )]
    NoGid {
        device: String,
        port: u8,
        wanted: String,
        present: String,
    },
    /// The device can not be opened.
    #[error("opening the RDMA device {device}: {source}")]
    Open { device: String, source: io::Error },
    /// The device does not take the pool.
    #[error(
        "registering the pool with the RDMA device {device}, region {region} of {regions} \
         ({bytes} bytes): {source}; raise the limit on locked memory (ulimit -l unlimited, or \
         LimitMEMLOCK=infinity in the systemd unit), or make the pool smaller"
    )]
    Register {
        device: String,
        /// From 1.
        region: usize,
        regions: usize,
        bytes: usize,
        source: io::Error,
    },
    /// Something of the device's could not be made.
    #[error(transparent)]
    Verbs(#[from] VerbsError),
}

impl OpenError {
    /// The code clients know it by.
    pub const fn code(&self) -> Code {
        match self {
            Self::Register { .. } => Code::MemoryRegistrationFailed,
            Self::NoDevice { .. }
            | Self::NoPort { .. }
            | Self::PortInactive { .. }
            | Self::NoGid { .. } => Code::DeviceNotFound,
            Self::List(_) | Self::Open { .. } | Self::Verbs(_) => Code::UnsupportedHardware,
        }
    }
}

/// Why there is no queue, queue pair or connection.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "fields are what the message shows")]
pub enum VerbsError {
    /// The device refuses to make one.
    #[error(
        "making {what} on the RDMA device {device}: {source}; `rdma-engine devices` shows its limits"
    )]
    Create {
        what: &'static str,
        device: String,
        source: io::Error,
    },
    /// The worker's completion queue has no room for what could be outstanding on one more.
    #[error(
        "one more queue pair with {reads} READs outstanding would overflow the worker's completion \
         queue of {entries} entries on {device}; run more workers, or connect to fewer peers"
    )]
    QueueFull {
        device: String,
        reads: u32,
        entries: u32,
    },
    /// A queue pair does not change its state.
    #[error(
        "moving queue pair {qpn} of the RDMA device {device} to {to}{towards}: {source}; check that \
         both sides' GIDs are of one kind and reach each other (`rdma-engine devices`)"
    )]
    Transition {
        qpn: u32,
        device: String,
        to: &'static str,
        /// Who it was to be connected to, if anybody.
        towards: String,
        source: io::Error,
    },
    /// The peer's endpoint makes no sense.
    #[error("connecting to a peer: {0}; the peer is not a healthy rdma-engine")]
    Endpoint(#[from] EndpointError),
    /// The operating system gives no random bytes.
    #[error("choosing a packet sequence number: {0}")]
    Random(#[from] getrandom::Error),
}
