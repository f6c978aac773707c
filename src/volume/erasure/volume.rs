//! An open erasure-coded volume.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, TryLockError};

use super::super::error::VolumeError;
use super::super::files::{VolumeName, open_regular};
use super::super::index::Index;
use super::super::needle::{Layout, Located};
use super::super::superblock::{SuperBlock, Version};
use super::super::vif::VolumeInfo;
use super::index::read_index;
use super::journal::{Stamp, remove, replay};
use super::shards::Shards;

/// Bytes of index and journal that a lookup may read on the way.
const LOOKUP_READ_MAX: u64 = 1 << 20;

/// An open erasure-coded volume: its shards' descriptors and its index in memory. Shared by all
/// workers.
#[derive(Debug)]
pub struct ErasureVolume {
    name: VolumeName,
    superblock: SuperBlock,
    shards: Arc<Shards>,
    info: VolumeInfo,
    ecx: PathBuf,
    /// Wherever a server may write one: it keeps it where its index is.
    journals: Vec<PathBuf>,
    index: RwLock<Index>,
    seen: Mutex<Seen>,
}

/// Index and journals as they were when they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    ecx: Option<Stamp>,
    journals: Vec<Option<Stamp>>,
}

impl ErasureVolume {
    /// Opens the volume called `name`, whose shards are in `dirs`, and its index in one of them
    /// or in `index_dir`.
    ///
    /// VolumeNotFound if too few of its shards are here; CorruptVolume if a file is missing or is
    /// not what SeaweedFS writes.
    pub(in super::super) fn open(
        dirs: &[PathBuf],
        index_dir: Option<&Path>,
        name: &VolumeName,
    ) -> Result<Self, VolumeError> {
        let info = dirs.iter().find_map(|dir| {
            let info = VolumeInfo::read(&name.path(dir, "vif"));
            info.transpose()
        });
        let info = info.transpose()?.unwrap_or_default();
        let shards = Shards::open(name, dirs, &info)?;
        let mut start = [0; SuperBlock::LEN];
        shards.read_start(&mut start)?;
        let superblock = SuperBlock::parse(&start).map_err(|e| e.at(format!("volume {name}")))?;
        let homes = || dirs.iter().map(PathBuf::as_path).chain(index_dir);
        let ecx = homes().map(|dir| name.path(dir, "ecx"));
        let ecx = ecx.into_iter().find(|path| path.exists()).ok_or_else(|| {
            VolumeError::CorruptVolume(format!("volume {name}: its shards have no .ecx file"))
        })?;
        let volume = Self {
            superblock,
            shards: Arc::new(shards),
            info,
            ecx,
            journals: homes().map(|dir| name.path(dir, "ecj")).collect(),
            index: RwLock::default(),
            seen: Mutex::default(),
            name: name.clone(),
        };
        volume.catch_up()?;
        Ok(volume)
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

    /// What it says of itself.
    pub fn superblock(&self) -> &SuperBlock {
        &self.superblock
    }

    /// Where its index is, for messages.
    pub fn index_path(&self) -> &Path {
        &self.ecx
    }

    /// What its `.vif` said when it was opened.
    pub(in super::super) fn info(&self) -> VolumeInfo {
        self.info
    }

    /// Where its bytes are.
    pub fn shards(&self) -> &Arc<Shards> {
        &self.shards
    }

    /// How many needles are live, as of the last look at index and journal.
    pub fn needles(&self) -> usize {
        self.read_index(Index::len)
    }

    /// The bytes of memory its index takes.
    pub fn index_bytes(&self) -> usize {
        self.read_index(Index::memory_bytes)
    }

    /// Whether so much is new in index and journal that a lookup would take noticeable time;
    /// [`Self::catch_up`], on a thread that may take it, comes before it then.
    pub fn is_far_behind(&self) -> bool {
        let now = self.look();
        let seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Another thread is reading, which may take its time.
            Err(TryLockError::WouldBlock) => return true,
        };
        now != *seen && self.behind(&seen, &now) > LOOKUP_READ_MAX
    }

    /// Reads what is new in index and journal.
    pub fn catch_up(&self) -> Result<(), VolumeError> {
        let now = self.look();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now == *seen {
            return Ok(());
        }
        // Again, since another thread may have read on meanwhile.
        let now = self.look();
        if now.is_appended_to(&seen) {
            // Locked only once they are here: whoever asks for a needle does not wait for a disk.
            return self.replay(&mut seen, &now, |ids| {
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                remove(ids, &mut index);
            });
        }
        // While a volume is taken away its files go one by one; what is known is still true.
        let Some(ecx) = now.ecx else {
            return match seen.ecx {
                Some(_) => Ok(()),
                None => Err(VolumeError::CorruptVolume(format!(
                    "{}: is gone",
                    self.ecx.display()
                ))),
            };
        };
        let file = open_regular(&self.ecx, 0)
            .map_err(|error| VolumeError::io("open", &self.ecx, error))?;
        let dat_len = self.shards.geometry().dat_len();
        let mut index = read_index(&file, &self.ecx, ecx.len, self.info.offset_width, dat_len)?;
        let mut fresh = Seen {
            ecx: Some(ecx),
            journals: vec![None; self.journals.len()],
        };
        self.replay(&mut fresh, &now, |ids| remove(ids, &mut index))?;
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        *seen = fresh;
        Ok(())
    }

    /// Where needle `needle_id` is, now: what has been deleted since the last look is not found.
    ///
    /// NeedleNotFound if there is none or it has been deleted; CorruptVolume if the index points
    /// outside of the volume. Whether the right needle is there, only its header tells.
    pub fn lookup(&self, needle_id: u64) -> Result<Located, VolumeError> {
        self.catch_up()?;
        let located = self.read_index(|index| index.get(needle_id));
        let located = located.ok_or_else(|| {
            VolumeError::NeedleNotFound(format!("volume {} has no needle {needle_id:x}", self.id()))
        })?;
        let end = Layout::new(self.version(), located).end();
        let dat_len = self.shards.geometry().dat_len();
        if located.offset >= self.superblock.block_len() && end <= dat_len {
            return Ok(located);
        }
        Err(VolumeError::CorruptVolume(format!(
            "{}: has needle {needle_id:x} at bytes {} to {end}, outside of the volume's {dat_len}",
            self.ecx.display(),
            located.offset
        )))
    }

    fn look(&self) -> Seen {
        Seen {
            ecx: Stamp::of(&self.ecx),
            journals: self.journals.iter().map(|path| Stamp::of(path)).collect(),
        }
    }

    /// Bytes to read to get from what was `seen` to what is there `now`.
    fn behind(&self, seen: &Seen, now: &Seen) -> u64 {
        let lens = |seen: &Seen| -> u64 { seen.journals.iter().flatten().map(|s| s.len).sum() };
        if now.is_appended_to(seen) {
            return lens(now).saturating_sub(lens(seen));
        }
        now.ecx.map_or(0, |ecx| ecx.len) + lens(now)
    }

    /// Takes what journals have that they had not when they were `seen`.
    fn replay(
        &self,
        seen: &mut Seen,
        now: &Seen,
        mut take: impl FnMut(&[[u8; 8]]),
    ) -> Result<(), VolumeError> {
        let journals = self.journals.iter().zip(&now.journals);
        for ((path, now), seen) in journals.zip(&mut seen.journals) {
            if let Some(now) = now {
                replay(path, seen.map_or(0, |seen| seen.len), now.len, &mut take)?;
            }
            *seen = *now;
        }
        Ok(())
    }

    fn read_index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Seen {
    /// Whether nothing but the ends of journals is new.
    fn is_appended_to(&self, earlier: &Self) -> bool {
        let continued = |(now, earlier): (&Option<Stamp>, &Option<Stamp>)| match (now, earlier) {
            (Some(now), Some(earlier)) => now.continues(*earlier),
            (_, None) => true,
            (None, Some(_)) => false,
        };
        self.ecx == earlier.ecx
            && self.journals.len() == earlier.journals.len()
            && self.journals.iter().zip(&earlier.journals).all(continued)
    }
}
