//! A volume as it is stored: a `.dat`, or shards of one.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::erasure::{ErasureVolume, Shards};
use super::error::VolumeError;
use super::needle::Located;
use super::open;
use super::superblock::{SuperBlock, Version};
use super::vif::VolumeInfo;

/// An open volume. Shared by all workers.
#[derive(Debug)]
pub enum Volume {
    /// A `.dat` and its index.
    Plain(open::Volume),
    /// Shards of a `.dat`, and its index.
    Erasure(ErasureVolume),
}

/// Where the bytes of a volume's `.dat` are.
#[derive(Clone, Debug)]
pub enum Data {
    /// In the `.dat`.
    File {
        /// Open for reading by way of the page cache.
        cached: Arc<File>,
        /// Open for direct I/O, if that was asked for and the filesystem has it.
        direct: Option<Arc<File>>,
    },
    /// In shards.
    Shards(Arc<Shards>),
}

impl Volume {
    /// The volume's id.
    pub fn id(&self) -> u32 {
        match self {
            Self::Plain(volume) => volume.id(),
            Self::Erasure(volume) => volume.id(),
        }
    }

    /// The collection it belongs to; empty for none.
    pub fn collection(&self) -> &str {
        match self {
            Self::Plain(volume) => volume.collection(),
            Self::Erasure(volume) => volume.collection(),
        }
    }

    /// How its needles are laid out.
    pub fn version(&self) -> Version {
        match self {
            Self::Plain(volume) => volume.version(),
            Self::Erasure(volume) => volume.version(),
        }
    }

    /// Where its bytes are.
    pub fn data(&self) -> Data {
        match self {
            Self::Plain(volume) => Data::File {
                cached: Arc::clone(volume.dat()),
                direct: volume.direct().cloned(),
            },
            Self::Erasure(volume) => Data::Shards(Arc::clone(volume.shards())),
        }
    }

    /// What it says of itself, as it was when the volume was opened.
    pub fn superblock(&self) -> &SuperBlock {
        match self {
            Self::Plain(volume) => volume.superblock(),
            Self::Erasure(volume) => volume.superblock(),
        }
    }

    /// The `.dat`, open for direct I/O; None if that was not asked for or can not be had.
    pub fn direct(&self) -> Option<&Arc<File>> {
        match self {
            Self::Plain(volume) => volume.direct(),
            Self::Erasure(_) => None,
        }
    }

    /// Where its `.dat` is, for messages; where it has none, its index.
    pub fn dat_path(&self) -> &Path {
        match self {
            Self::Plain(volume) => volume.dat_path(),
            Self::Erasure(volume) => volume.index_path(),
        }
    }

    /// Whether the index is that of the `.dat`, as far as a few needles show.
    pub(super) fn fits_together(&self) -> Result<bool, VolumeError> {
        match self {
            Self::Plain(volume) => volume.fits_together(),
            Self::Erasure(_) => Ok(true),
        }
    }

    /// Whether the `.dat` begins otherwise than when it was opened.
    pub(super) fn is_rewritten(&self) -> bool {
        match self {
            Self::Plain(volume) => volume.is_rewritten(),
            Self::Erasure(_) => false,
        }
    }

    /// What its `.vif` said when it was opened.
    pub(super) fn info(&self) -> VolumeInfo {
        match self {
            Self::Plain(volume) => volume.info(),
            Self::Erasure(volume) => volume.info(),
        }
    }

    /// How many needles are live, as of the last look at the index.
    pub fn needles(&self) -> usize {
        match self {
            Self::Plain(volume) => volume.needles(),
            Self::Erasure(volume) => volume.needles(),
        }
    }

    /// The bytes of memory its index takes.
    pub fn index_bytes(&self) -> usize {
        match self {
            Self::Plain(volume) => volume.index_bytes(),
            Self::Erasure(volume) => volume.index_bytes(),
        }
    }

    /// Whether so much is new in the index that a lookup would take noticeable time;
    /// [`Self::catch_up`], on a thread that may take it, comes before it then.
    pub fn is_far_behind(&self) -> bool {
        match self {
            Self::Plain(volume) => volume.is_far_behind(),
            Self::Erasure(volume) => volume.is_far_behind(),
        }
    }

    /// Reads what is new in the index.
    ///
    /// # Errors
    /// When it can not be read, or is not an index.
    pub fn catch_up(&self) -> Result<(), VolumeError> {
        match self {
            Self::Plain(volume) => volume.catch_up(),
            Self::Erasure(volume) => volume.catch_up(),
        }
    }

    /// Where needle `needle_id` is, now.
    ///
    /// # Errors
    /// NeedleNotFound if there is none or it has been deleted; CorruptVolume if the index points
    /// outside of the volume. Whether the right needle is there, only its header tells.
    pub fn lookup(&self, needle_id: u64) -> Result<Located, VolumeError> {
        match self {
            Self::Plain(volume) => volume.lookup(needle_id),
            Self::Erasure(volume) => volume.lookup(needle_id),
        }
    }
}
