//! The IPC protocol: frames and messages. Pure: bytes in, types out, no I/O.
//!
//! A frame is a 4-byte little-endian length and that many bytes of MessagePack; the payload is
//! `{"type": NAME, "data": {…}}`. Structs are accepted as maps and as arrays and always written
//! as maps, because Go's decoder refuses an array whose length differs from its struct's.

pub mod decode;
pub mod frame;
pub mod message;

pub use decode::DecodeError;
pub use frame::{FrameError, LENGTH_BYTES, MAX_FRAME_BYTES, next_frame};
pub use message::{Request, Response};

/// Version of the additions this build speaks, reported by `GetCapabilities`.
pub const PROTOCOL_VERSION: u32 = 1;
