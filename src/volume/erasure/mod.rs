//! Erasure-coded volumes: the bytes of a `.dat` dealt in blocks to data shards, and parity
//! shards from which any missing ones can be computed.
//!
//! [`Geometry`] says which byte is where, [`Shards`] has the files that are here,
//! [`Recipe`] how a missing shard's bytes come from others'. `.ecx` is the index, `.ecj` the
//! journal of what has been deleted since.

mod geometry;
mod index;
mod journal;
mod recipe;
mod set;
mod shards;
mod volume;

pub use geometry::{Block, Geometry};
pub use recipe::Recipe;
pub use set::ShardSet;
pub use shards::{Shards, Survivors};
pub use volume::ErasureVolume;

pub(super) use shards::{shard_extension, shard_number};
