//! Opening volumes that a look has come across, and opening them anew; on threads, since it may
//! take its time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::error::VolumeError;
use super::files::VolumeName;
use super::listing::Place;
use super::opening::Claim;
use super::registry::{Opened, Registry, Slot};
use super::seen::Failure;
use super::stamp::Stamp;
use super::stored::Volume;

/// What takes its time to do for one volume. While it lives no other is made for it.
pub(super) struct Job {
    pub(super) claim: Claim,
    pub(super) work: Work,
}

/// What there is to do.
pub(super) enum Work {
    /// Opening it, or opening it anew.
    Open(Wanted),
    /// Reading much that is new in its index.
    CatchUp(Arc<Volume>),
}

/// A volume to be opened, or opened anew.
pub(super) struct Wanted {
    /// When the look began that came across it.
    pub(super) since: Instant,
    /// Where to try, in this order.
    pub(super) places: Vec<Place>,
    /// What is served now, if it may still be served.
    pub(super) used: Option<Opened>,
    /// Whether to keep what is served for a while rather than to take what does not fit.
    pub(super) is_patient: bool,
    /// What its shards are called, to be tried if no place will do.
    pub(super) shards: Option<VolumeName>,
}

/// What trying to open a volume came to.
enum Outcome {
    /// At this `.dat`.
    Opened(PathBuf),
    Unsettled,
    /// Could be read at none of its places.
    Shut(Vec<(PathBuf, Failure)>),
}

/// Jobs to be done, by whoever takes one.
#[derive(Clone)]
pub(super) struct Jobs(Arc<Mutex<Vec<Job>>>);

/// What came of jobs.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Volumes opened.
    pub(super) opened: usize,
    /// Volumes whose files are just being replaced.
    pub(super) unsettled: usize,
}

impl Jobs {
    pub(super) fn new(jobs: Vec<Job>) -> Self {
        Self(Arc::new(Mutex::new(jobs)))
    }

    /// How many nobody has taken yet.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn take(&self) -> Option<Job> {
        self.lock().pop()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Does what there is to do, on as many threads as there are cores. Each volume is served
    /// as soon as it is open.
    pub(super) fn run(&self, jobs: &Jobs) -> Done {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = cores.min(jobs.len()).saturating_sub(1);
        let work = || {
            let mut done = Done::default();
            while let Some(job) = jobs.take() {
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
