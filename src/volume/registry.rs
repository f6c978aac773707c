//! All volumes of the configured directories.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use super::error::VolumeError;
use super::listing::Place;
use super::look_erasure::OpenedErasure;
use super::open;
use super::opening::Opening;
use super::seen::Seen;
use super::stamp::Stamp;
use super::stored::Volume;

/// The volumes of some directories, by id. Shared by all workers.
///
/// What it knows is what the last look at the disk found ([`Self::look`]).
#[derive(Debug)]
pub struct Registry {
    pub(super) dirs: Vec<PathBuf>,
    pub(super) index_dir: Option<PathBuf>,
    direct_io: bool,
    slots: RwLock<HashMap<u32, Slot>>,
    /// Held while disk and memory are compared.
    pub(super) looking: Mutex<()>,
    pub(super) seen: Mutex<Seen>,
    pub(super) opening: Arc<Opening>,
    started: Instant,
    /// When the last complete look began, in nanoseconds after `started`.
    looked_ns: AtomicU64,
    told_no_direct_io: AtomicBool,
}

#[derive(Clone, Debug)]
pub(super) enum Slot {
    Open(Opened),
    /// Erasure-coded, and open.
    Erasure(OpenedErasure),
    /// There, but not to be read, and why.
    Shut(VolumeError),
    /// Some shards of it, as servers of a cluster have them, but too few to read it.
    Partial(VolumeError),
}

/// An open volume, and what its files were when it was opened.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub(super) volume: Arc<Volume>,
    pub(super) place: Place,
    pub(super) stamp: Arc<Stamp>,
}

impl Slot {
    fn volume(&self) -> Option<&Arc<Volume>> {
        match self {
            Self::Open(opened) => Some(&opened.volume),
            Self::Erasure(opened) => Some(&opened.volume),
            Self::Shut(_) | Self::Partial(_) => None,
        }
    }
}

impl Opened {
    /// Whether its files are those that are there now.
    pub(super) fn is_current(&self, now: &Stamp) -> bool {
        self.stamp.is_current(now) && !self.volume.is_rewritten()
    }
}

impl Registry {
    /// Opens every volume in `dirs`, in that order; of a volume found twice the first that can
    /// be read. Indexes that are not beside their `.dat` are looked for in `index_dir`. With
    /// `direct_io` each is also opened for direct I/O where the filesystem has it.
    ///
    /// An error, naming it, if a directory can not be listed. A volume that can not be read is
    /// logged, and its reads will get the reason; it does not keep the others from opening.
    pub fn open(
        dirs: &[PathBuf],
        index_dir: Option<&Path>,
        direct_io: bool,
    ) -> Result<Self, VolumeError> {
        if let Some(dir) = index_dir {
            fs::read_dir(dir).map_err(|e| VolumeError::io("list index directory", dir, e))?;
        }
        let registry = Self {
            dirs: dirs.to_vec(),
            index_dir: index_dir.map(Path::to_path_buf),
            direct_io,
            slots: RwLock::default(),
            looking: Mutex::default(),
            seen: Mutex::default(),
            opening: Arc::default(),
            started: Instant::now(),
            looked_ns: AtomicU64::new(0),
            told_no_direct_io: AtomicBool::new(false),
        };
        match registry.look().error {
            None => Ok(registry),
            Some(error) => Err(error),
        }
    }

    /// The directories whose entries say which volumes there are and when they are replaced.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        let dirs = self.dirs.iter().chain(&self.index_dir);
        dirs.map(PathBuf::as_path)
    }

    /// The volume `id`, if it is of `collection` or no collection is asked for.
    ///
    /// VolumeNotFound if there is none; if it is there but can not be read, the reason.
    pub fn find(&self, id: u32, collection: Option<&str>) -> Result<Arc<Volume>, VolumeError> {
        let slots = self.slots();
        let volume = match slots.get(&id) {
            Some(Slot::Open(opened)) => &opened.volume,
            Some(Slot::Erasure(opened)) => &opened.volume,
            Some(Slot::Shut(error) | Slot::Partial(error)) => return Err(error.clone()),
            None => {
                return Err(VolumeError::VolumeNotFound(format!(
                    "volume {id} is not on this host"
                )));
            }
        };
        match collection {
            Some(asked) if asked != volume.collection() => Err(VolumeError::VolumeNotFound(
                format!("volume {id} is of another collection than {asked:?}"),
            )),
            _ => Ok(volume.clone()),
        }
    }

    /// Whether `volume` is what is served, and its files are still those on disk. Costs a stat
    /// for each of its files.
    pub fn is_current(&self, volume: &Arc<Volume>) -> bool {
        let slot = self.slot(volume.id());
        let opened = match slot.filter(|slot| slot.volume().is_some_and(|v| Arc::ptr_eq(v, volume)))
        {
            Some(Slot::Open(opened)) => opened,
            Some(Slot::Erasure(opened)) => return self.is_erasure_current(&opened),
            _ => return false,
        };
        opened.is_current(&opened.place.stamp(self.index_dir.as_deref()))
    }

    /// How long ago the last complete look at the volumes' files began: with all read and open
    /// that it came across.
    pub fn follow_lag(&self) -> Duration {
        let looked = Duration::from_nanos(self.looked_ns.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(looked)
    }

    /// Takes down that a look that began at `begun` was complete.
    pub(super) fn looked(&self, begun: Instant) {
        let since = begun.saturating_duration_since(self.started).as_nanos();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.looked_ns.fetch_max(since, Ordering::Relaxed);
    }

    /// Opens the files of the volume at `place`; what they were just before.
    pub(super) fn open_at(&self, place: &Place) -> Result<Opened, VolumeError> {
        // Before: should a file be replaced meanwhile, the next look will see that it was.
        let stamp = place.stamp(self.index_dir.as_deref());
        let index_dir = self.index_dir.as_deref();
        let volume = open::Volume::open(&place.dir, index_dir, &place.name, self.direct_io)?;
        if self.direct_io
            && volume.direct().is_none()
            && !self.told_no_direct_io.swap(true, Ordering::Relaxed)
        {
            let path = volume.dat_path().display();
            tracing::warn!("{path}: its filesystem has no direct I/O; reads are cached");
        }
        Ok(Opened {
            volume: Arc::new(Volume::Plain(volume)),
            place: place.clone(),
            stamp: Arc::new(stamp),
        })
    }

    /// What is known of volume `id`.
    pub(super) fn slot(&self, id: u32) -> Option<Slot> {
        self.slots().get(&id).cloned()
    }

    /// Serves `slot` from now on, or nothing. What was served before lives on in reads under way.
    pub(super) fn put(&self, id: u32, slot: Option<Slot>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let before = match slot {
            Some(slot) => slots.insert(id, slot),
            None => slots.remove(&id),
        };
        drop(slots);
        // Freeing a large index takes its time; lookups do not wait for it.
        drop(before);
    }

    /// The volumes that are known, open or not.
    pub(super) fn known_ids(&self) -> Vec<u32> {
        self.slots().keys().copied().collect()
    }

    /// How many volumes are open.
    pub fn len(&self) -> usize {
        self.open_volumes(|_| 1)
    }

    /// Whether no volume is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The open volumes: id and collection.
    pub fn open_ids(&self) -> Vec<(u32, String)> {
        let slots = self.slots();
        let open = slots.iter().filter_map(|(id, slot)| {
            let volume = slot.volume()?;
            Some((*id, volume.collection().to_owned()))
        });
        open.collect()
    }

    /// How many volumes are there but can not be read.
    pub fn unreadable(&self) -> usize {
        let slots = self.slots();
        slots
            .values()
            .filter(|slot| matches!(slot, Slot::Shut(_)))
            .count()
    }

    /// How many needles are live in all open volumes.
    pub fn needles(&self) -> usize {
        self.open_volumes(Volume::needles)
    }

    /// The bytes of memory all indexes take.
    pub fn index_bytes(&self) -> usize {
        self.open_volumes(Volume::index_bytes)
    }

    fn open_volumes(&self, count: impl Fn(&Volume) -> usize) -> usize {
        // Counting may wait for an index; nobody is to wait for this meanwhile.
        let open: Vec<Arc<Volume>> = self
            .slots()
            .values()
            .filter_map(Slot::volume)
            .cloned()
            .collect();
        open.iter().map(|volume| count(volume)).sum()
    }

    fn slots(&self) -> RwLockReadGuard<'_, HashMap<u32, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
