//! All volumes of the configured directories.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::error::VolumeError;
use super::files::VolumeName;
use super::open::Volume;
use super::vif::VolumeInfo;

/// The volumes of some directories, by id. Shared by all workers.
#[derive(Debug)]
pub struct Registry {
    dirs: Vec<PathBuf>,
    index_dir: Option<PathBuf>,
    direct_io: bool,
    slots: RwLock<HashMap<u32, Slot>>,
    /// Held by the one scan at a time.
    seen: Mutex<Seen>,
}

#[derive(Debug)]
enum Slot {
    Open(Arc<Volume>),
    /// There, but not to be read, and why.
    Shut(VolumeError),
}

/// What earlier scans have come across, so that it is neither tried nor logged again.
#[derive(Debug, Default)]
struct Seen {
    /// Volumes that could not be read, by their `.dat`, and what their files were like.
    unreadable: HashMap<PathBuf, Stamp>,
    /// The `.dat` files not used because another of the same volume is.
    passed_over: HashSet<PathBuf>,
    no_direct_io: bool,
}

/// Path, inode, length and time of change of each of a volume's files that there is.
type Stamp = Vec<(PathBuf, u64, u64, i64, i64)>;

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
            seen: Mutex::default(),
        };
        registry.rescan()?;
        Ok(registry)
    }

    /// The volume `id`, if it is of `collection` or no collection is asked for.
    ///
    /// VolumeNotFound if there is none; if it is there but can not be read, the reason.
    pub fn find(&self, id: u32, collection: Option<&str>) -> Result<Arc<Volume>, VolumeError> {
        let slots = self.slots();
        let volume = match slots.get(&id) {
            Some(Slot::Open(volume)) => volume,
            Some(Slot::Shut(error)) => return Err(error.clone()),
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

    /// Looks for volumes that have appeared, and tries again those that could not be read and
    /// have changed. How many have been opened. Blocks, for as long as reading their indexes
    /// takes; reads of the others go on meanwhile.
    ///
    /// An error if a directory can not be listed, after the others have been.
    pub fn rescan(&self) -> Result<usize, VolumeError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = 0;
        let mut outcome = Ok(());
        for dir in &self.dirs {
            match volumes_in(dir) {
                Ok(names) => {
                    let new = names
                        .iter()
                        .filter(|name| self.consider(dir, name, &mut seen));
                    opened += new.count();
                }
                Err(error) => {
                    outcome = outcome.and(Err(VolumeError::io("list directory", dir, error)));
                }
            }
        }
        outcome.map(|()| opened)
    }

    /// Opens the volume called `name` in `dir` unless it is open already; whether it did.
    fn consider(&self, dir: &Path, name: &VolumeName, seen: &mut Seen) -> bool {
        let id = name.id;
        let path = name.path(dir, "dat");
        if let Some(Slot::Open(volume)) = self.slots().get(&id) {
            let used = volume.dat_path();
            if used != path && seen.passed_over.insert(path.clone()) {
                let (used, path) = (used.display(), path.display());
                tracing::warn!("volume {id} is there twice: {used} is used, {path} is not");
            }
            return false;
        }
        let stamp = self.stamp(dir, name);
        if seen.unreadable.get(&path) == Some(&stamp) {
            return false;
        }
        let volume = Volume::open(dir, self.index_dir.as_deref(), name, self.direct_io);
        let is_open = volume.is_ok();
        let slot = match volume {
            Ok(volume) => {
                if self.direct_io && volume.direct().is_none() && !seen.no_direct_io {
                    seen.no_direct_io = true;
                    let path = path.display();
                    tracing::warn!("{path}: its filesystem has no direct I/O; reads are cached");
                }
                seen.unreadable.remove(&path);
                Slot::Open(Arc::new(volume))
            }
            Err(error) => {
                tracing::warn!("volume {id} can not be read: {error}");
                // What the system refused may be granted next time (descriptors, memory).
                if !matches!(error, VolumeError::Io { .. }) {
                    seen.unreadable.insert(path, stamp);
                }
                Slot::Shut(error)
            }
        };
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.insert(id, slot);
        is_open
    }

    fn stamp(&self, dir: &Path, name: &VolumeName) -> Stamp {
        let beside = ["dat", "idx", "vif", "note"].map(|extension| name.path(dir, extension));
        let index = self.index_dir.as_deref().map(|dir| name.path(dir, "idx"));
        let of = |path: PathBuf| {
            let m = fs::metadata(&path).ok()?;
            Some((path, m.ino(), m.len(), m.mtime(), m.mtime_nsec()))
        };
        beside.into_iter().chain(index).filter_map(of).collect()
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
        let open = |(id, slot): (&u32, &Slot)| match slot {
            Slot::Open(volume) => Some((*id, volume.collection().to_owned())),
            Slot::Shut(_) => None,
        };
        self.slots().iter().filter_map(open).collect()
    }

    /// How many volumes are there but can not be read.
    pub fn unreadable(&self) -> usize {
        let slots = self.slots();
        slots.len()
            - slots
                .values()
                .filter(|s| matches!(s, Slot::Open(_)))
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
        let slots = self.slots();
        let open = slots.values().filter_map(|slot| match slot {
            Slot::Open(volume) => Some(count(volume)),
            Slot::Shut(_) => None,
        });
        open.sum()
    }

    fn slots(&self) -> RwLockReadGuard<'_, HashMap<u32, Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The volumes whose `.dat` is in `dir`, and those that say in their `.vif` that it is in
/// remote storage. (A `.vif` alone is otherwise an erasure-coded volume's.)
fn volumes_in(dir: &Path) -> io::Result<BTreeSet<VolumeName>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = stem.and_then(VolumeName::parse) else {
            continue;
        };
        let is_volume = match path.extension().and_then(|extension| extension.to_str()) {
            Some("dat") => true,
            Some("vif") => {
                matches!(
                    VolumeInfo::read(&path),
                    Ok(Some(VolumeInfo { tiered: true, .. }))
                )
            }
            _ => false,
        };
        if is_volume {
            names.insert(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
