//! The data ring: file reads into the pool, over an io_uring of the worker's own.
//!
//! One per worker thread. tokio-uring drives the worker's sockets; data reads need one large
//! registered buffer with concurrent sub-ranges, which it does not offer.

mod counters;
mod locate;
mod plan;
mod ring;
mod socket;
mod transfer;

pub use counters::{Counters, Rings};
pub use locate::Locate;
pub use plan::{Extent, PIECE_BYTES, Plan};
pub use ring::{DataRing, Registration};
pub use socket::{Landing, Lent, Outgoing};
pub use transfer::{Flight, ReadError};
