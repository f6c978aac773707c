//! Safe wrappers over libibverbs: remote memory read into the pool by one-sided RDMA READ.
//!
//! ```text
//! Adapter (all workers)     context → protection domain → the pool's memory regions
//!   ├─ ReadQueue (a worker)   completion channel → completion queue, READs in flight
//!   │    └─ Requester           a queue pair, ready to send
//!   │         └─ ReadFlight       one read: its pieces, its buffer
//!   └─ Responder (a target)   a queue pair peers READ through
//! ```
//!
//! Its users are the engine's peers (read), the target (lend) and `rdma-engine devices` (list).
//! It keeps these promises: a buffer leaves the device only when its last completion has been
//! seen; a queue pair is not destroyed before; a completion queue can not overflow, because what
//! may be outstanding is bounded when a queue pair is made; a completion is never trusted, its id
//! indexes a table. Parents live as long as their children, which hold them by `Arc`.

mod adapter;
mod choice;
mod completion;
mod context;
mod counters;
mod device;
mod endpoint;
mod error;
mod events;
mod flight;
mod gid;
mod in_flight;
mod memory;
mod pairs;
mod plan;
mod queue;
mod queue_pair;
mod rate;
mod requester;
mod responder;
mod status;
mod table;
mod transfer;
mod transition;

pub use adapter::{Access, Adapter};
pub use choice::{Chosen, DeviceChoice, PortChoice, auto};
pub use counters::Counters;
pub use device::{DeviceInfo, Limits, LinkLayer, PortInfo, PortState, devices};
pub use endpoint::{Endpoint, EndpointError, NUMBERS};
pub use error::{ListError, OpenError, VerbsError};
pub use flight::ReadFlight;
pub use gid::{Gid, GidInfo, GidKind};
pub use plan::PIECE_BYTES;
pub use queue::ReadQueue;
pub use requester::{RemoteMemory, Requester, Unconnected};
pub use responder::Responder;
pub use status::{ReadFailure, WcStatus};
