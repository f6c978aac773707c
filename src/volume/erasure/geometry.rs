//! Which byte of a `.dat` is where in the shards. Pure.
//!
//! The bytes are dealt in rows: a block to each data shard in turn. Rows are of large blocks as
//! long as a whole such row remains, then of small ones, the last padded with zeros
//! (`weed/storage/erasure_coding` in SeaweedFS's source). Older writers made a row of small
//! blocks of what is left when that is exactly a large row; where they did, the needles' checks
//! fail.

use super::super::error::VolumeError;
use super::super::vif::ErasureConfig;
use super::set::ShardSet;
use crate::uring::PIECE_BYTES;

/// Bytes of a large block, unless the volume says otherwise.
const LARGE_BYTES: u64 = 1 << 30;
/// Bytes of a small block, unless the volume says otherwise. All blocks are multiples of what
/// the data ring reads at a time.
const SMALL_BYTES: u64 = PIECE_BYTES as u64;
/// More than any volume has: 8 TiB is what an index can reach.
const DAT_BYTES_MAX: u64 = 1 << 44;

/// The layout of a volume's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    data: usize,
    parity: usize,
    large: u64,
    small: u64,
    large_rows: u64,
    shard_len: u64,
    dat_len: u64,
}

/// Where a byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The data shard's number.
    pub shard: usize,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Bytes from there to the end of the block.
    pub left: u64,
}

impl Geometry {
    /// From what the volume's `.vif` says and, where that leaves out the length of the `.dat`,
    /// the length of its shards.
    ///
    /// CorruptVolume if there can be no such volume.
    pub fn new(
        config: ErasureConfig,
        dat_len: Option<u64>,
        shard_len: u64,
    ) -> Result<Self, VolumeError> {
        let (large, small) = match config.block_bytes {
            0 => (LARGE_BYTES, SMALL_BYTES),
            block if block.is_multiple_of(SMALL_BYTES) && block <= DAT_BYTES_MAX => (block, block),
            block => {
                return Err(VolumeError::CorruptVolume(format!(
                    "its blocks are said to have {block} bytes, not a multiple of {SMALL_BYTES}"
                )));
            }
        };
        let (data, parity) = (config.data as usize, config.parity as usize);
        if data == 0 || parity == 0 || data.saturating_add(parity) > ShardSet::MAX {
            return Err(VolumeError::CorruptVolume(format!(
                "{data} data and {parity} parity shards are said to make it up; there can be {} in all",
                ShardSet::MAX
            )));
        }
        let len = dat_len.unwrap_or(shard_len);
        if len > DAT_BYTES_MAX {
            return Err(VolumeError::CorruptVolume(format!(
                "a length of {len} bytes is more than a volume can have"
            )));
        }
        Ok(match dat_len {
            Some(dat_len) => Self::of_dat(data, parity, (large, small), dat_len),
            None => Self::of_shards(data, parity, (large, small), shard_len),
        })
    }

    fn of_dat(data: usize, parity: usize, (large, small): (u64, u64), dat_len: u64) -> Self {
        let width = data as u64;
        let large_rows = dat_len / (large * width);
        let rest = dat_len - large_rows * large * width;
        Self {
            data,
            parity,
            large,
            small,
            large_rows,
            shard_len: large_rows * large + rest.div_ceil(small * width) * small,
            dat_len,
        }
    }

    /// Where only the shards' length is known, a row of small blocks as long as a large one could
    /// also be that; as SeaweedFS does, it is taken for small blocks.
    fn of_shards(data: usize, parity: usize, (large, small): (u64, u64), shard_len: u64) -> Self {
        Self {
            data,
            parity,
            large,
            small,
            large_rows: shard_len.saturating_sub(1) / large,
            shard_len,
            dat_len: shard_len * data as u64,
        }
    }

    /// How many shards have data.
    pub const fn data(&self) -> usize {
        self.data
    }

    /// How many shards there are in all.
    pub const fn total(&self) -> usize {
        self.data + self.parity
    }

    /// Bytes of every shard.
    pub const fn shard_len(&self) -> u64 {
        self.shard_len
    }

    /// Bytes of the `.dat`; where that is not known, with the padding after it.
    pub const fn dat_len(&self) -> u64 {
        self.dat_len
    }

    /// Where byte `offset` of the `.dat` is; None past its end.
    pub fn locate(&self, offset: u64) -> Option<Block> {
        if offset >= self.dat_len {
            return None;
        }
        let width = self.data as u64;
        let large_end = self.large_rows * self.large * width;
        let (base, block_len, within) = match offset.checked_sub(large_end) {
            None => (0, self.large, offset),
            Some(within) => (self.large_rows * self.large, self.small, within),
        };
        let (number, inside) = (within / block_len, within % block_len);
        Some(Block {
            shard: (number % width) as usize,
            offset: base + number / width * block_len + inside,
            left: block_len - inside,
        })
    }
}

#[cfg(test)]
#[path = "geometry_tests.rs"]
mod tests;
