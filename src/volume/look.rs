//! Following live volumes: comparing what is open with what is on disk, and swapping what has
//! been replaced.
//!
//! A volume's files are those that are open as long as their names lead to the same inodes and
//! the `.dat` begins as it did. Vacuum gives both names to other files, one after the other;
//! between the two renames they do not belong together. So a volume that is served is replaced
//! only by files that fit each other, for which the old ones, still right, are kept a while.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::VolumeError;
use super::files::VolumeName;
use super::listing::{Listing, Place};
use super::opening::Claim;
use super::registry::{Opened, Registry, Slot};
use super::stamp::Stamp;
use super::stored::Volume;
use super::vif::VolumeInfo;

/// How long [`Registry::follow`] waits for what it opens: for almost any volume long enough.
const OPENING_TIME: Duration = Duration::from_millis(100);
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

/// What takes its time to do for one volume. While it lives no other is made for it.
pub(super) struct Job {
    claim: Claim,
    work: Work,
}

enum Work {
    /// Opening it, or opening it anew.
    Open(Wanted),
    /// Reading much that is new in its index.
    CatchUp(Arc<Volume>),
}

/// A volume to be opened, or opened anew.
struct Wanted {
    /// When the look began that came across it.
    since: Instant,
    /// Where to try, in this order.
    places: Vec<Place>,
    /// What is served now, if it may still be served.
    used: Option<Opened>,
    /// Whether to keep what is served for a while rather than to take what does not fit.
    is_patient: bool,
    /// What its shards are called, to be tried if no place will do.
    shards: Option<VolumeName>,
}

enum Outcome {
    /// At this `.dat`.
    Opened(PathBuf),
    Unsettled,
    /// Could be read at none of its places.
    Shut(Vec<(PathBuf, Failure)>),
}

/// A look whose jobs are still to be done.
struct Begun {
    look: Look,
    at: Instant,
    /// Whether there is nothing it did not look at.
    is_complete: bool,
    jobs: Jobs,
}

type Jobs = Arc<Mutex<Vec<Job>>>;

/// What came of jobs.
#[derive(Debug, Default)]
struct Done {
    /// Volumes opened.
    opened: usize,
    /// Volumes whose files are just being replaced.
    unsettled: usize,
}

impl Registry {
    /// Looks at all volumes on disk: opens those that have appeared and those that could not be
    /// read and have changed, opens anew those whose files have been replaced, forgets those
    /// that are gone, and reads what was appended to indexes. Reads go on meanwhile, those
    /// under way with the files they began with.
    ///
    /// Blocks, for as long as reading new indexes takes. What another look has begun to open it
    /// passes over.
    pub fn look(&self) -> Look {
        let begun = self.begin(None);
        let done = self.run(&begun.jobs);
        self.end(begun, Some(done))
    }

    /// The same, of volume `only` if one is given; but what takes longer than 0.1 s to open is
    /// opened beside, and keeps nobody from looking at other volumes. [`Self::opened`] awaits it.
    pub fn follow(self: &Arc<Self>, only: Option<u32>) -> Look {
        let begun = self.begin(only);
        if lock(&begun.jobs).is_empty() {
            return self.end(begun, Some(Done::default()));
        }
        let (tell, told) = mpsc::channel();
        let (registry, jobs) = (Arc::clone(self), Arc::clone(&begun.jobs));
        let opener = std::thread::Builder::new().name("rdma-opener".into());
        let done = match opener.spawn(move || tell.send(registry.run(&jobs))) {
            Ok(_) => told.recv_timeout(OPENING_TIME).ok(),
            // Where there can be no more threads, this one does it.
            Err(_) => Some(self.run(&begun.jobs)),
        };
        self.end(begun, done)
    }

    /// Waits until nobody is opening volume `id`.
    pub async fn opened(&self, id: u32) {
        self.opening.ended(id).await;
    }

    fn begin(&self, only: Option<u32>) -> Begun {
        let mut seen = self.seen();
        let at = Instant::now();
        let mut listing = Listing::of(&self.dirs, only);
        let mut look = Look {
            error: listing.error.take(),
            ..Look::default()
        };
        if only.is_none() {
            seen.keep(&listing);
        }
        let mut ids: BTreeSet<u32> = match only {
            None => self.known_ids().into_iter().collect(),
            Some(id) => [id].into(),
        };
        ids.extend(listing.places.keys().chain(listing.sharded.keys()));
        let mut is_complete = only.is_none() && listing.unknown.is_empty();
        let mut jobs = Vec::new();
        for id in ids {
            // Under the lock of `seen`, so that between this and the claim there is no other.
            if self.opening.contains(id) {
                is_complete = false;
                continue;
            }
            look.gone += usize::from(self.forget(id, &listing, &mut seen));
            if let Some(work) = self.compare(id, at, &mut listing, &mut seen) {
                let claim = self.opening.claim(id);
                jobs.push(Job { claim, work });
            }
        }
        Begun {
            look,
            at,
            is_complete,
            jobs: Arc::new(Mutex::new(jobs)),
        }
    }

    /// What came of the look `begun`, whose jobs came to `done`; None if they go on.
    fn end(&self, begun: Begun, done: Option<Done>) -> Look {
        if begun.is_complete && done.is_some() {
            self.looked(begun.at);
        }
        let done = done.unwrap_or_default();
        Look {
            opened: done.opened,
            unsettled: done.unsettled > 0,
            ..begun.look
        }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets volume `id` if it is no longer there; whether it was served and is not any more.
    fn forget(&self, id: u32, listing: &Listing, seen: &mut Seen) -> bool {
        let is_there = listing.places.contains_key(&id);
        let are_all_known = listing.unknown.is_empty();
        let has_shards = listing.sharded.contains_key(&id);
        let was_served = match self.slot(id) {
            Some(Slot::Open(opened))
                if !is_there && !listing.unknown.contains(&opened.place.dir) =>
            {
                let path = opened.place.dat_path();
                tracing::info!("volume {id} is gone: {} is not there", path.display());
                true
            }
            Some(Slot::Erasure(_)) if !has_shards && are_all_known => {
                tracing::info!("volume {id} is gone: none of its shards are there");
                true
            }
            Some(Slot::Shut(_)) if !is_there && !has_shards && are_all_known => false,
            Some(Slot::Partial(_)) if !has_shards && are_all_known => false,
            _ => return false,
        };
        self.put(id, None);
        seen.unsettled.remove(&id);
        was_served
    }

    /// Compares what is known of volume `id` with what is on disk; what there is to do.
    fn compare(
        &self,
        id: u32,
        since: Instant,
        listing: &mut Listing,
        seen: &mut Seen,
    ) -> Option<Work> {
        let mut places = listing.places.remove(&id).unwrap_or_default();
        let shards = listing.sharded.remove(&id);
        let slot = self.slot(id);
        let mut is_patient = false;
        let used = match &slot {
            Some(Slot::Open(opened)) => Some(opened.clone()),
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
                    return catch_up(&used.volume);
                }
                places.swap(0, at);
                let since = seen.unsettled.get(&id);
                is_patient = since.is_none_or(|since| since.elapsed() < SETTLE_TIME);
            }
        }
        let is_hopeless = |place: &Place| {
            let known = seen.failed.get(&place.dat_path());
            known.is_some_and(|known| known.stands(&place.stamp(self.index_dir.as_deref())))
        };
        let is_shut = !matches!(slot, None | Some(Slot::Open(_)));
        if is_shut && places.iter().all(is_hopeless) {
            places.clear();
        }
        if places.is_empty() {
            let name = shards.as_ref()?;
            match &slot {
                Some(Slot::Erasure(opened))
                    if !listing.unknown.is_empty() || self.is_erasure_current(opened) =>
                {
                    return catch_up(&opened.volume);
                }
                Some(Slot::Shut(_) | Slot::Partial(_)) if self.is_shut_for_good(name, seen) => {
                    return None;
                }
                _ => {}
            }
        }
        Some(Work::Open(Wanted {
            since,
            places,
            used,
            is_patient,
            shards,
        }))
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
    fn run(&self, jobs: &Jobs) -> Done {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = cores.min(lock(jobs).len()).saturating_sub(1);
        let next = || lock(jobs).pop();
        let work = || {
            let mut done = Done::default();
            while let Some(job) = next() {
                self.run_one(&job, &mut done);
            }
            done
        };
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (0..helpers)
                // Where there can be no more threads, fewer do it.
                .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let mut done = work();
            for helper in helpers {
                match helper.join() {
                    Ok(by_helper) => {
                        done.opened += by_helper.opened;
                        done.unsettled += by_helper.unsettled;
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            done
        })
    }

    fn run_one(&self, job: &Job, done: &mut Done) {
        let id = job.claim.id();
        let wanted = match &job.work {
            Work::Open(wanted) => wanted,
            Work::CatchUp(volume) => {
                // What it could not read, lookups will say.
                let _ = volume.catch_up();
                return;
            }
        };
        if !wanted.places.is_empty() {
            let outcome = self.open_one(id, wanted);
            let mut seen = self.seen();
            match outcome {
                Outcome::Unsettled => {
                    seen.unsettled.entry(id).or_insert(wanted.since);
                    done.unsettled += 1;
                    return;
                }
                Outcome::Opened(path) => {
                    seen.failed.remove(&path);
                    seen.unsettled.remove(&id);
                    done.opened += 1;
                    return;
                }
                Outcome::Shut(failures) => {
                    seen.take_down(id, failures);
                    seen.unsettled.remove(&id);
                }
            }
        }
        if let Some(name) = &wanted.shards {
            done.opened += usize::from(self.look_at_shards(name));
        }
    }

    fn open_one(&self, id: u32, wanted: &Wanted) -> Outcome {
        let mut failures = Vec::new();
        // While a volume is decoded its `.dat` is not whole yet.
        let coded = match self.slot(id) {
            Some(Slot::Erasure(opened)) => Some(opened.volume),
            _ => None,
        };
        let is_coded = coded.is_some();
        for place in &wanted.places {
            let path = place.dat_path();
            let stamp = place.stamp(self.index_dir.as_deref());
            let known = self.seen().failed.get(&path).cloned();
            if let Some(known) = known.filter(|known| known.stands(&stamp)) {
                failures.push((path, known));
                continue;
            }
            let replaces = wanted.used.as_ref().filter(|_| wanted.is_patient);
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
                    announce(&opened, wanted.used.as_ref());
                    self.put(id, Some(Slot::Open(opened)));
                    return Outcome::Opened(path);
                }
                Err(error) => failures.push((path, Failure { stamp, error })),
            }
        }
        if let Some((_, first)) = failures.first().filter(|_| !is_coded) {
            self.put(id, Some(Slot::Shut(first.error.clone())));
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

/// Reads what is new in the index of `volume`, unless there is so much that it is work.
fn catch_up(volume: &Arc<Volume>) -> Option<Work> {
    if volume.is_far_behind() {
        return Some(Work::CatchUp(Arc::clone(volume)));
    }
    // What it could not read, lookups will say.
    let _ = volume.catch_up();
    None
}

fn lock(jobs: &Jobs) -> MutexGuard<'_, Vec<Job>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Keeps what it knows of what is in `listing` alone.
    fn keep(&mut self, listing: &Listing) {
        let places = listing.places.values().flatten();
        let there: HashSet<PathBuf> = places.map(Place::dat_path).collect();
        self.failed.retain(|path, _| there.contains(path));
        self.passed_over.retain(|path| there.contains(path));
        self.shut.retain(|id, _| listing.sharded.contains_key(id));
    }
}
