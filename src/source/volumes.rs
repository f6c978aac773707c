//! Finding a volume, looking once more before saying that there is none, and reading from it,
//! looking once more at its files before saying that a needle is not there or damaged.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::error::{Code, Error, Result};
use crate::volume::{Look, Registry, Volume, VolumeError};

use super::follower::complain;

/// The least time between two looks at the directories, so that requests for volumes that do
/// not exist cost little.
const RESCAN_INTERVAL: Duration = Duration::from_millis(200);

/// The least time between two looks at the files of a volume that readers ask for.
const RECHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Volumes that may be gone and are still remembered to have been looked at.
const FORGOTTEN_MAX: usize = 64;

/// The volumes of this host.
#[derive(Debug)]
pub struct Volumes {
    registry: Arc<Registry>,
    /// By volume; of those of which a reader has asked for it.
    turns: std::sync::Mutex<HashMap<u32, Arc<Turns>>>,
    /// When the last look at the directories began.
    scanned: Mutex<Instant>,
}

/// What is done for one reader at a time, of all that want it of a volume just then.
#[derive(Debug, Default)]
struct Turns {
    /// A look at its files; when the last one began that came to its end.
    look: Mutex<Option<Instant>>,
    /// Reading what is new in its index.
    catch_up: Mutex<()>,
}

impl Volumes {
    /// Those `registry` has found.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            turns: std::sync::Mutex::default(),
            scanned: Mutex::new(Instant::now()),
        }
    }

    /// Volumes being served.
    pub fn count(&self) -> usize {
        self.registry.len()
    }

    /// Live needles in them.
    pub fn needles(&self) -> usize {
        self.registry.needles()
    }

    /// The volumes being served: id and collection.
    pub fn served(&self) -> Vec<(u32, String)> {
        self.registry.open_ids()
    }

    /// Volumes that are there but can not be read.
    pub fn unreadable(&self) -> usize {
        self.registry.unreadable()
    }

    /// How long ago the last complete look at the volumes' files began.
    pub fn follow_lag(&self) -> Duration {
        self.registry.follow_lag()
    }

    pub(super) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Reads from the volume `id` with `read`. Where that finds the needle missing or damaged
    /// and the volume's files have been replaced since they were opened, it reads once more,
    /// from what is there now.
    ///
    /// # Errors
    /// Those of [`Self::find`] and of `read`.
    pub async fn read<T>(
        &self,
        id: u32,
        collection: Option<&str>,
        read: impl AsyncFn(&Volume) -> Result<T>,
    ) -> Result<T> {
        let volume = self.find(id, collection).await?;
        let asked = Instant::now();
        match read(&volume).await {
            Err(error) if may_be_outdated(error.code) => {
                if self.is_still_current(&volume, asked).await? {
                    return Err(error);
                }
                read(&*self.find(id, collection).await?).await
            }
            done => done,
        }
    }

    /// Whether `volume`, as it was open at `asked`, is what is on disk; if not, what is there is
    /// opened. Whoever asks meanwhile gets the same answer, and looks are [`RECHECK_INTERVAL`]
    /// apart.
    async fn is_still_current(&self, volume: &Arc<Volume>, asked: Instant) -> Result<bool> {
        let id = volume.id();
        // What is being opened may be as old as what was read.
        self.registry.opened(id).await;
        let turns = self.turns(id);
        let mut last = turns.look.lock().await;
        if last.is_none_or(|last| last < asked) {
            if let Some(last) = *last {
                tokio::time::sleep_until(last + RECHECK_INTERVAL).await;
            }
            let begun = Instant::now();
            let volume = Arc::clone(volume);
            self.look(move |registry| {
                (!registry.is_current(&volume)).then(|| registry.follow(Some(id)))
            })
            .await?;
            // Not before: if who asked has gone meanwhile, it is the next one's to look.
            *last = Some(begun);
        }
        drop(last);
        self.registry.opened(id).await;
        let now = self.registry.find(id, None);
        Ok(now.is_ok_and(|now| Arc::ptr_eq(&now, volume)))
    }

    /// Looks at the disk, on a thread that may wait for it.
    async fn look(
        &self,
        look: impl FnOnce(&Arc<Registry>) -> Option<Look> + Send + 'static,
    ) -> Result<()> {
        let registry = Arc::clone(&self.registry);
        let looked = tokio::task::spawn_blocking(move || look(&registry)).await;
        let failed = |e| Error::new(Code::Internal, format!("looking for volumes: {e}"));
        if let Some(look) = looked.map_err(failed)? {
            complain(&look);
        }
        Ok(())
    }

    fn turns(&self, id: u32) -> Arc<Turns> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.len() > self.registry.len() + FORGOTTEN_MAX {
            turns.retain(|id, _| self.registry.find(*id, None).is_ok());
        }
        Arc::clone(turns.entry(id).or_default())
    }

    /// The volume `id`, with its index read up to now. One that is not known is looked for on
    /// disk, so that a volume that was there when the request came is found.
    ///
    /// # Errors
    /// When it is not there, not of that collection, or can not be read.
    pub async fn find(&self, id: u32, collection: Option<&str>) -> Result<Arc<Volume>> {
        let volume = self.look_for(id, collection).await?;
        if volume.is_far_behind() {
            let turns = self.turns(id);
            let _turn = turns.catch_up.lock().await;
            if volume.is_far_behind() {
                let volume = Arc::clone(&volume);
                tokio::task::spawn_blocking(move || volume.catch_up())
                    .await
                    .map_err(|e| Error::new(Code::Internal, format!("reading the index: {e}")))??;
            }
        }
        Ok(volume)
    }

    /// Whether the volume is known, without looking at the disk.
    pub fn knows(&self, id: u32) -> bool {
        !matches!(
            self.registry.find(id, None),
            Err(VolumeError::VolumeNotFound(_))
        )
    }

    async fn look_for(&self, id: u32, collection: Option<&str>) -> Result<Arc<Volume>> {
        let asked = Instant::now();
        let missing = match self.registry.find(id, collection) {
            Err(VolumeError::VolumeNotFound(_)) => true,
            Err(VolumeError::CorruptVolume(_) | VolumeError::Io { .. }) => false,
            found => return Ok(found?),
        };
        let mut scanned = self.scanned.lock().await;
        // A volume that can not be read is looked at again no sooner than the interval allows.
        if *scanned < asked && (missing || scanned.elapsed() >= RESCAN_INTERVAL) {
            tokio::time::sleep_until(*scanned + RESCAN_INTERVAL).await;
            let begun = Instant::now();
            self.look(|registry| Some(registry.follow(None))).await?;
            *scanned = begun;
        }
        drop(scanned);
        self.registry.opened(id).await;
        Ok(self.registry.find(id, collection)?)
    }
}

/// Whether a read may have failed so because the volume's files have been replaced.
fn may_be_outdated(code: Code) -> bool {
    matches!(
        code,
        Code::NeedleNotFound
            | Code::CookieMismatch
            | Code::ChecksumMismatch
            | Code::CorruptNeedle
            | Code::CorruptVolume
            | Code::IoError
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Writes volume `id` with this compaction revision, in the place of what is there.
    fn write(dir: &Path, id: usize, revision: u8) {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/healthy_volume");
        let mut bytes = std::fs::read(real.with_extension("dat")).unwrap();
        bytes[5] = revision;
        let path = dir.join(id.to_string());
        std::fs::write(path.with_extension("cpd"), bytes).unwrap();
        std::fs::copy(real.with_extension("idx"), path.with_extension("cpx")).unwrap();
        for (from, to) in [("cpd", "dat"), ("cpx", "idx")] {
            std::fs::rename(path.with_extension(from), path.with_extension(to)).unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_missing_is_looked_for_in_new_files_whoever_else_looks_just_then() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (7, 71);
        let write_both = |revision| {
            for id in [one, other] {
                write(dir.path(), id, revision);
            }
        };
        write_both(1);
        let dirs = [dir.path().to_path_buf()];
        let volumes = Volumes::new(Registry::open(&dirs, None, false).unwrap());
        for revision in 2..20 {
            write_both(revision);
            let find = async |volume: &Volume| {
                let found = volume.superblock().compaction_revision == u16::from(revision);
                let missing = || Error::new(Code::NeedleNotFound, "it is not there");
                found.then_some(()).ok_or_else(missing)
            };
            let read = |id: usize| volumes.read(id as u32, None, find);
            let (a, b, c) = tokio::join!(read(one), read(other), read(one));
            assert!(a.is_ok() && b.is_ok() && c.is_ok(), "{revision}");
        }
    }
}
