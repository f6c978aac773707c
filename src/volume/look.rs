//! Following live volumes: comparing what is open with what is on disk, and swapping what has
//! been replaced.
//!
//! A volume's files are those that are open as long as their names lead to the same inodes and
//! the `.dat` begins as it did. Vacuum gives both names to other files, one after the other;
//! between the two renames they do not belong together. So a volume that is served is replaced
//! only by files that fit each other, for which the old ones, still right, are kept a while.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::error::VolumeError;
use super::listing::{Listing, Place};
use super::registry::{Opened, Registry, Slot};
use super::stamp::Stamp;
use super::vif::VolumeInfo;

/// How long files that replace those of an open volume may not fit each other before they are
/// taken for what they are: damaged.
const SETTLE_TIME: Duration = Duration::from_millis(400);

/// What a look at the disk came to.
#[derive(Debug, Default)]
pub struct Look {
    /// Volumes opened, or opened anew.
    pub opened: usize,
    /// Volumes that are no longer there.
    pub gone: usize,
    /// Some volume's files are just being replaced: another look soon will find them in place.
    pub unsettled: bool,
    /// A directory could not be listed.
    pub error: Option<VolumeError>,
}

/// What earlier looks have come across, so that it is neither tried nor logged again.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Volumes that could not be read, by their `.dat`.
    failed: HashMap<PathBuf, Failure>,
    /// The `.dat` files not used because another of the same volume is.
    passed_over: HashSet<PathBuf>,
    /// Erasure-coded volumes that could not be read.
    pub(super) shut: HashMap<u32, Failure>,
    /// Since when the files of an open volume are others that can not be taken yet.
    unsettled: HashMap<u32, Instant>,
}

#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What the files were then.
    pub(super) stamp: Stamp,
    pub(super) error: VolumeError,
}

impl Failure {
    /// Whether there is no use in trying again while the files are as `stamp` says. (What the
    /// system refused may be granted next time: descriptors, memory.)
    pub(super) fn stands(&self, stamp: &Stamp) -> bool {
        self.stamp == *stamp && !matches!(self.error, VolumeError::Io { .. })
    }
}

/// A volume to be opened, or opened anew.
struct Job {
    id: u32,
    /// Where to try, in this order.
    places: Vec<Place>,
    /// What is served now, if it may still be served.
    used: Option<Opened>,
    /// Whether to keep what is served for a while rather than to take what does not fit.
    is_patient: bool,
}

enum Outcome {
    /// At this `.dat`.
    Opened(PathBuf),
    Unsettled,
    /// Could be read at none of its places.
    Shut(Vec<(PathBuf, Failure)>),
}

impl Registry {
    /// Looks at all volumes on disk: opens those that have appeared and those that could not be
    /// read and have changed, opens anew those whose files have been replaced, forgets those
    /// that are gone, and reads what was appended to indexes. Reads go on meanwhile, those
    /// under way with the files they began with.
    ///
    /// Blocks, for as long as reading new indexes takes; one look at a time.
    pub fn look(&self) -> Look {
        self.look_at(None)
    }

    /// The same, for the volume `id` alone.
    pub fn look_for(&self, id: u32) -> Look {
        self.look_at(Some(id))
    }

    fn look_at(&self, only: Option<u32>) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        let mut listing = Listing::of(&self.dirs, only);
        let mut look = Look {
            error: listing.error.take(),
            gone: self.forget(&listing, only, &mut seen),
            ..Look::default()
        };
        let mut jobs = Vec::new();
        let listed = std::mem::take(&mut listing.places);
        for (id, places) in listed {
            jobs.extend(self.compare(id, places, &listing, &mut seen));
        }
        for (id, outcome) in self.run(&jobs, &seen) {
            match outcome {
                Outcome::Unsettled => {
                    seen.unsettled.entry(id).or_insert(begun);
                    look.unsettled = true;
                    continue;
                }
                Outcome::Opened(path) => {
                    seen.failed.remove(&path);
                    look.opened += 1;
                }
                Outcome::Shut(failures) => seen.take_down(id, failures),
            }
            seen.unsettled.remove(&id);
        }
        self.look_at_erasure(&listing, only, &mut seen, &mut look);
        if only.is_none() && listing.unknown.is_empty() {
            self.looked(begun);
        }
        look
    }

    /// Forgets what is no longer there; how many volumes were served and are not any more.
    fn forget(&self, listing: &Listing, only: Option<u32>, seen: &mut Seen) -> usize {
        let known = only.map_or_else(|| self.known_ids(), |id| vec![id]);
        let mut gone = 0;
        for id in known {
            if listing.places.contains_key(&id) {
                continue;
            }
            let is_coded = listing.sharded.contains_key(&id);
            match self.slot(id) {
                Some(Slot::Open(opened)) if !listing.unknown.contains(&opened.place.dir) => {
                    let path = opened.place.dat_path();
                    tracing::info!("volume {id} is gone: {} is not there", path.display());
                    gone += 1;
                }
                Some(Slot::Shut(_)) if listing.unknown.is_empty() && !is_coded => {}
                _ => continue,
            }
            self.put(id, None);
            seen.unsettled.remove(&id);
        }
        if only.is_none() {
            seen.keep(&listing.places);
        }
        gone
    }

    /// Compares what is known of volume `id` with what is on disk; what there is to do.
    fn compare(
        &self,
        id: u32,
        mut places: Vec<Place>,
        listing: &Listing,
        seen: &mut Seen,
    ) -> Option<Job> {
        let mut is_patient = false;
        let used = match self.slot(id) {
            Some(Slot::Open(opened)) => Some(opened),
            _ => None,
        };
        if let Some(used) = &used {
            if listing.unknown.contains(&used.place.dir) {
                return None;
            }
            if let Some(at) = places.iter().position(|place| *place == used.place) {
                seen.pass_over(used, &places);
                if self.is_unchanged(used) {
                    seen.unsettled.remove(&id);
                    // What it could not read, lookups will say.
                    let _ = used.volume.catch_up();
                    return None;
                }
                places.swap(0, at);
                let since = seen.unsettled.get(&id);
                is_patient = since.is_none_or(|since| since.elapsed() < SETTLE_TIME);
            }
        }
        Some(Job {
            id,
            places,
            used,
            is_patient,
        })
    }

    /// Whether nothing about a volume's files has changed that matters to reading it.
    fn is_unchanged(&self, used: &Opened) -> bool {
        let now = used.place.stamp(self.index_dir.as_deref());
        if used.is_current(&now) {
            return true;
        }
        // A `.vif` is written anew for many a reason.
        let vif = || VolumeInfo::read(&used.place.name.path(&used.place.dir, "vif"));
        let stays = used.stamp.has_same_data(&now)
            && !used.volume.is_rewritten()
            && !used.place.has_note()
            && vif().is_ok_and(|info| info.unwrap_or_default() == used.volume.info());
        if stays {
            let stamp = now.into();
            let used = used.clone();
            self.put(used.volume.id(), Some(Slot::Open(Opened { stamp, ..used })));
        }
        stays
    }

    /// Does what there is to do, on as many threads as there are cores. Each volume is served
    /// as soon as it is open.
    fn run(&self, jobs: &[Job], seen: &Seen) -> Vec<(u32, Outcome)> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let next = AtomicUsize::new(0);
        let work = || {
            let jobs = std::iter::from_fn(|| jobs.get(next.fetch_add(1, Ordering::Relaxed)));
            let done = jobs.map(|job| (job.id, self.open_one(job, seen)));
            done.collect::<Vec<_>>()
        };
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..cores.min(jobs.len()))
                // Where there can be no more threads, fewer do it.
                .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut done = work();
            for helper in helpers {
                match helper.join() {
                    Ok(by_helper) => done.extend(by_helper),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })
    }

    fn open_one(&self, job: &Job, seen: &Seen) -> Outcome {
        let mut failures = Vec::new();
        // While a volume is decoded its `.dat` is not whole yet.
        let coded = match self.slot(job.id) {
            Some(Slot::Erasure(opened)) => Some(opened.volume),
            _ => None,
        };
        let is_coded = coded.is_some();
        for place in &job.places {
            let path = place.dat_path();
            let stamp = place.stamp(self.index_dir.as_deref());
            if let Some(known) = seen.failed.get(&path).filter(|known| known.stands(&stamp)) {
                failures.push((path, known.clone()));
                continue;
            }
            let replaces = job.used.as_ref().filter(|_| job.is_patient);
            let opened = match replaces {
                Some(used) if used.place == *place => match self.replacement(used, &stamp) {
                    Ok(Some(opened)) => Ok(opened),
                    Ok(None) => return Outcome::Unsettled,
                    Err(error) => Err(error),
                },
                _ => self.open_at(place),
            };
            let whole = |opened: Opened| {
                let fits = !is_coded || opened.volume.fits_together()?;
                opened.volume.catch_up()?;
                let needles = coded.as_ref().map_or(0, |coded| coded.needles());
                match fits && opened.volume.needles() >= needles {
                    true => Ok(opened),
                    false => Err(VolumeError::CorruptVolume(format!(
                        "{}: does not fit its index yet",
                        path.display()
                    ))),
                }
            };
            let read = opened.and_then(whole);
            match read {
                Ok(opened) => {
                    announce(&opened, job.used.as_ref());
                    self.put(job.id, Some(Slot::Open(opened)));
                    return Outcome::Opened(path);
                }
                Err(error) => failures.push((path, Failure { stamp, error })),
            }
        }
        if let Some((_, first)) = failures.first().filter(|_| !is_coded) {
            self.put(job.id, Some(Slot::Shut(first.error.clone())));
        }
        Outcome::Shut(failures)
    }

    /// Opens what has taken the place of the files of `used`; None while it may not be all
    /// there. Its index has not been read.
    fn replacement(&self, used: &Opened, now: &Stamp) -> Result<Option<Opened>, VolumeError> {
        if used.stamp.is_half_replaced(now) {
            return Ok(None);
        }
        let fits = |opened: Opened| Ok(opened.volume.fits_together()?.then_some(opened));
        match self.open_at(&used.place).and_then(fits) {
            // It has been moved away, or another copy of it is on its way here.
            Err(error @ VolumeError::VolumeNotFound(_)) => Err(error),
            // Half written, perhaps.
            Err(_) => Ok(None),
            opened => opened,
        }
    }
}

/// Says that a volume is served, or served anew.
fn announce(opened: &Opened, before: Option<&Opened>) {
    let volume = &opened.volume;
    let (id, path) = (volume.id(), volume.dat_path().display());
    let revision = volume.superblock().compaction_revision;
    match before {
        Some(_) => tracing::info!(revision, "volume {id}: {path} was replaced; opened anew"),
        None => tracing::debug!(revision, "volume {id}: {path} opened"),
    }
}

impl Seen {
    /// Remembers why volume `id` can not be read, and says so where that is new.
    fn take_down(&mut self, id: u32, failures: Vec<(PathBuf, Failure)>) {
        for (path, failure) in failures {
            let text = failure.error.to_string();
            let before = self.failed.insert(path, failure);
            if before.is_none_or(|before| before.error.to_string() != text) {
                tracing::warn!("volume {id} can not be read: {text}");
            }
        }
    }

    /// Says which of `places` are not used.
    fn pass_over(&mut self, used: &Opened, places: &[Place]) {
        for place in places.iter().filter(|place| **place != used.place) {
            let (id, path) = (place.name.id, place.dat_path());
            let using = used.place.dat_path();
            let (using, other) = (using.display(), path.display());
            if !self.passed_over.contains(&path) {
                tracing::warn!("volume {id} is there twice: {using} is used, {other} is not");
                self.passed_over.insert(path);
            }
        }
    }

    /// Keeps what it knows of `places` alone.
    fn keep(&mut self, places: &BTreeMap<u32, Vec<Place>>) {
        let there: HashSet<PathBuf> = places.values().flatten().map(Place::dat_path).collect();
        self.failed.retain(|path, _| there.contains(path));
        self.passed_over.retain(|path| there.contains(path));
    }
}
