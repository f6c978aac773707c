//! A blocking client: the commands' side of the protocol.
//!
//! [`Connection`] asks and receives, one request at a time or pipelined; [`Pool`] is the engine's
//! buffers, mapped read-only; [`FileId`] is what a user calls a needle.

mod connection;
mod descriptors;
mod error;
mod file_id;
mod pool;

pub(crate) use connection::out_of_step;
pub use connection::{Connection, DEFAULT_TIMEOUT};
pub use descriptors::DescriptorError;
pub use error::{ClientError, EngineError};
pub use file_id::{FileId, FileIdError};
pub use pool::{Landed, Pool};
