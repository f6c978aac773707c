//! The Unix socket: who may connect, and what goes over a connection.
//!
//! Connections are accepted on the control thread and dealt to the workers in turn; a worker
//! drives its connections' sockets with tokio-uring. Each connection has one task that reads
//! and one that writes. No tokio-uring future is ever dropped before it is done: what is to end
//! early is ended by shutting the socket down.

mod connection;
mod descriptor;
mod link;
mod listener;
mod outbox;

pub use connection::serve;
pub use link::{Link, Links};
pub use listener::{Accepted, BindError, Listener, Policy};
