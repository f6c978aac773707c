//! SeaweedFS's volumes as they are on disk.
//!
//! Opens directories of volumes, keeps their indexes in memory, and takes needles apart. It
//! reads no needle itself: [`Volume::lookup`] says where one is, [`Layout`] which bytes to
//! read, [`Header`] and [`Tail`] what those say, [`Decoder`] turns stored bytes into logical
//! ones. Reading is the data ring's work.
//!
//! Nothing on disk is trusted: whatever contradicts the format or another part of it becomes a
//! [`VolumeError`], at the latest when the needle in question is read.
//!
//! The format is that of SeaweedFS 3.x and 4.x (`weed/storage` in its source); integers are
//! big-endian.

mod decode;
pub mod erasure;
mod error;
mod files;
mod index;
mod index_file;
mod jobs;
mod listing;
mod look;
mod look_erasure;
mod needle;
mod open;
mod opening;
mod registry;
mod seen;
mod stamp;
mod stored;
mod superblock;
mod tail;
#[cfg(test)]
mod testing;
mod ttl;
mod vif;
mod watch;

pub use decode::{Decoder, Encoding, decoded_len_hint};
pub use error::VolumeError;
pub use index_file::OffsetWidth;
pub use look::Look;
pub use needle::{ALIGNMENT, Header, Layout, Located};
pub use registry::Registry;
pub use stored::{Data, Volume};
pub use superblock::{SuperBlock, Version};
pub use tail::Tail;
pub use ttl::Ttl;
pub use vif::VolumeInfo;
pub use watch::Watch;
