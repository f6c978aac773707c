//! Engine ⇄ target: the peer protocol. `PROTOCOL.md` beside this file is its whole text.
//!
//! [`message`] says what is in the messages, [`codec`] how bytes become them, and [`handshake`]
//! what both sides make sure of before the first request. Pure: bytes in, types out, no I/O.

mod backoff;
pub mod codec;
mod conn;
mod greeting;
pub mod handshake;
mod lane;
mod link;
mod links;
pub mod message;
mod path;
mod served;
mod status;
pub mod stream;

pub use conn::{Conn, Fetched, Lent, Loan, Lost};
pub use link::Link;
pub use links::{Links, PeerSettings, Verbs};
pub use path::{Fallback, NoPath, Path, Via};
pub use status::PeerStatus;
