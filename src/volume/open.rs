//! An open volume.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::error::VolumeError;
use super::files::{VolumeName, open_regular, read_at};
use super::index::Index;
use super::index_file::IndexFile;
use super::needle::{Layout, Located};
use super::superblock::{SuperBlock, Version};
use super::vif::VolumeInfo;

/// Bytes of index a lookup may read on the way: about 60,000 entries.
const LOOKUP_READ_MAX: u64 = 1 << 20;

/// An open volume: its files' descriptors and its index in memory. Shared by all workers.
#[derive(Debug)]
pub struct Volume {
    name: VolumeName,
    superblock: SuperBlock,
    dat: Arc<File>,
    dat_path: PathBuf,
    direct: Option<Arc<File>>,
    /// The `.dat`'s length when it was last looked at; it may have grown since.
    dat_len: AtomicU64,
    index: RwLock<Index>,
    index_file: IndexFile,
    info: VolumeInfo,
}

impl Volume {
    /// Opens the files of the volume called `name` in `dir`; [`Self::catch_up`] reads the
    /// index. An index beside the `.dat` wins over one in `index_dir`.
    ///
    /// VolumeNotFound if its data is not here (tiered, or still being copied here);
    /// CorruptVolume if a file is missing or is not what SeaweedFS writes.
    pub(super) fn open(
        dir: &Path,
        index_dir: Option<&Path>,
        name: &VolumeName,
        direct_io: bool,
    ) -> Result<Self, VolumeError> {
        let dat_path = name.path(dir, "dat");
        if name.path(dir, "note").exists() {
            // SeaweedFS's mark of a copy in progress.
            return Err(VolumeError::VolumeNotFound(format!(
                "{}: has not been copied here completely",
                dat_path.display()
            )));
        }
        let info = VolumeInfo::read(&name.path(dir, "vif"))?.unwrap_or_default();
        if info.tiered {
            return Err(VolumeError::VolumeNotFound(format!(
                "{}: the data is tiered to remote storage and can not be read from here",
                dat_path.display()
            )));
        }
        let open = |path: &Path, flags: OFlags| open_regular(path, flags.bits().cast_signed());
        let dat = open(&dat_path, OFlags::empty())
            .map_err(|error| VolumeError::io("open", &dat_path, error))?;
        let superblock = read_superblock(&dat, &dat_path)?;
        let direct = match direct_io.then(|| open(&dat_path, OFlags::DIRECT)) {
            Some(Ok(file)) => Some(Arc::new(file)),
            Some(Err(error)) if !is_unsupported(&error) => {
                return Err(VolumeError::io("open for direct I/O", &dat_path, error));
            }
            // The filesystem has no direct I/O.
            Some(Err(_)) | None => None,
        };
        let index_path = index_path(dir, index_dir, name)?;
        let index_file = open(&index_path, OFlags::empty())
            .map_err(|error| VolumeError::io("open", &index_path, error))?;
        Ok(Self {
            name: name.clone(),
            superblock,
            dat: Arc::new(dat),
            dat_path,
            direct,
            dat_len: AtomicU64::new(0),
            index: RwLock::default(),
            index_file: IndexFile::new(index_file, index_path, info.offset_width),
            info,
        })
    }

    /// Whether the index is that of this `.dat`, as far as the needles show that its last
    /// entries point to. What is damaged does not fit either.
    pub(super) fn fits_together(&self) -> Result<bool, VolumeError> {
        self.index_file.fits(&self.dat)
    }

    /// Whether the `.dat` begins otherwise than when it was opened: another has been written in
    /// its place, in the same file.
    pub(super) fn is_rewritten(&self) -> bool {
        read_superblock(&self.dat, &self.dat_path).ok().as_ref() != Some(&self.superblock)
    }

    /// What its `.vif` said when it was opened.
    pub(super) fn info(&self) -> VolumeInfo {
        self.info
    }

    /// The volume's id.
    pub fn id(&self) -> u32 {
        self.name.id
    }

    /// The collection it belongs to; empty for none.
    pub fn collection(&self) -> &str {
        &self.name.collection
    }

    /// How its needles are laid out.
    pub fn version(&self) -> Version {
        self.superblock.version
    }

    /// What it says of itself, as it was when the volume was opened.
    pub fn superblock(&self) -> &SuperBlock {
        &self.superblock
    }

    /// The `.dat`, open for reading by way of the page cache.
    pub fn dat(&self) -> &Arc<File> {
        &self.dat
    }

    /// The `.dat`, open for direct I/O; None if that was not asked for or the filesystem has
    /// none.
    pub fn direct(&self) -> Option<&Arc<File>> {
        self.direct.as_ref()
    }

    /// Where the `.dat` is, for messages.
    pub fn dat_path(&self) -> &Path {
        &self.dat_path
    }

    /// How many needles are live, as of the last look at the index.
    pub fn needles(&self) -> usize {
        self.read_index(Index::len)
    }

    /// The bytes of memory its index takes.
    pub fn index_bytes(&self) -> usize {
        self.read_index(Index::memory_bytes)
    }

    /// Whether so much has been appended to the index that a lookup would take noticeable time;
    /// [`Self::catch_up`], on a thread that may take it, comes before it then.
    pub fn is_far_behind(&self) -> bool {
        // Where the file can not be asked, the lookup will say so.
        self.index_file
            .behind()
            .is_ok_and(|bytes| bytes > LOOKUP_READ_MAX)
    }

    /// Reads what has been appended to the index.
    pub fn catch_up(&self) -> Result<(), VolumeError> {
        self.index_file.follow(&self.index, &self.dat)
    }

    /// Where needle `needle_id` is, now: entries appended to the index since the last look are
    /// read first (one lseek if there are none), so a needle just written is found, and one
    /// overwritten or deleted is not read in its old state.
    ///
    /// NeedleNotFound if there is none or it has been deleted; CorruptVolume if the index
    /// points outside of the `.dat`. Whether the right needle is there, only its header tells.
    pub fn lookup(&self, needle_id: u64) -> Result<Located, VolumeError> {
        self.index_file.follow(&self.index, &self.dat)?;
        let located = self.read_index(|index| index.get(needle_id));
        let located = located.ok_or_else(|| {
            VolumeError::NeedleNotFound(format!("volume {} has no needle {needle_id:x}", self.id()))
        })?;
        self.check_inside(needle_id, located)?;
        Ok(located)
    }

    fn check_inside(&self, needle_id: u64, located: Located) -> Result<(), VolumeError> {
        let end = Layout::new(self.version(), located).end();
        let mut dat_len = self.dat_len.load(Ordering::Relaxed);
        if end > dat_len {
            let metadata = self.dat.metadata();
            let metadata =
                metadata.map_err(|error| VolumeError::io("stat", &self.dat_path, error))?;
            dat_len = metadata.len();
            self.dat_len.store(dat_len, Ordering::Relaxed);
        }
        if located.offset >= self.superblock.block_len() && end <= dat_len {
            return Ok(());
        }
        Err(VolumeError::CorruptVolume(format!(
            "{}: the index has needle {needle_id:x} at bytes {} to {end}, outside of the file's \
             {dat_len}",
            self.dat_path.display(),
            located.offset
        )))
    }

    fn read_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read_superblock(dat: &File, path: &Path) -> Result<SuperBlock, VolumeError> {
    let mut bytes = [0; SuperBlock::LEN];
    let count =
        read_at(dat, &mut bytes, 0).map_err(|error| VolumeError::io("read", path, error))?;
    SuperBlock::parse(bytes.get(..count).unwrap_or_default())
        .map_err(|error| error.at(path.display()))
}

fn index_path(
    dir: &Path,
    index_dir: Option<&Path>,
    name: &VolumeName,
) -> Result<PathBuf, VolumeError> {
    let beside = name.path(dir, "idx");
    let elsewhere = index_dir.map(|dir| name.path(dir, "idx"));
    let found = [Some(beside), elsewhere].into_iter().flatten();
    found.into_iter().find(|path| path.exists()).ok_or_else(|| {
        VolumeError::CorruptVolume(format!(
            "{}: has no index file beside it{}; weed fix can rebuild one",
            name.path(dir, "dat").display(),
            index_dir.map_or_else(String::new, |dir| format!(" nor in {}", dir.display()))
        ))
    })
}

fn is_unsupported(error: &std::io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::OPNOTSUPP))
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
