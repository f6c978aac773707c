//! Following live volumes: comparing what is open with what is on disk, and swapping what has
//! been replaced.
//!
//! A volume's files are those that are open as long as their names lead to the same inodes and
//! the `.dat` begins as it did. Vacuum gives both names to other files, one after the other;
//! between the two renames they do not belong together. So a volume that is served is replaced
//! only by files that fit each other, for which the old ones, still right, are kept a while.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use super::error::VolumeError;
use super::jobs::{Done, Job, Jobs, Wanted, Work};
use super::listing::{Listing, Place};
use super::registry::{Opened, Registry, Slot};
use super::seen::Seen;
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

/// A look whose jobs are still to be done.
struct Begun {
    look: Look,
    at: Instant,
    /// Whether there is nothing it did not look at.
    is_complete: bool,
    jobs: Jobs,
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
        if begun.jobs.len() == 0 {
            return self.end(begun, Some(Done::default()));
        }
        let (tell, told) = mpsc::channel();
        let (registry, jobs) = (Arc::clone(self), begun.jobs.clone());
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
        // Nothing that is being opened needs this: a directory that hangs keeps from nothing but
        // looking.
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        let mut listing = Listing::of(&self.dirs, only);
        let mut look = Look {
            error: listing.error.take(),
            ..Look::default()
        };
        if only.is_none() {
            self.seen().keep(&listing);
        }
        let mut ids: BTreeSet<u32> = match only {
            None => self.known_ids().into_iter().collect(),
            Some(id) => [id].into(),
        };
        ids.extend(listing.places.keys().chain(listing.sharded.keys()));
        let mut is_complete = only.is_none() && listing.unknown.is_empty();
        let mut jobs = Vec::new();
        for id in ids {
            // Nobody else can claim it before it is claimed below.
            if self.opening.contains(id) {
                is_complete = false;
                continue;
            }
            look.gone += usize::from(self.forget(id, &listing));
            if let Some(work) = self.compare(id, at, &mut listing) {
                let claim = self.opening.claim(id);
                jobs.push(Job { claim, work });
            }
        }
        Begun {
            look,
            at,
            is_complete,
            jobs: Jobs::new(jobs),
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
    fn forget(&self, id: u32, listing: &Listing) -> bool {
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
        self.seen().unsettled.remove(&id);
        was_served
    }

    /// Compares what is known of volume `id` with what is on disk; what there is to do.
    fn compare(&self, id: u32, since: Instant, listing: &mut Listing) -> Option<Work> {
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
                self.seen().pass_over(used, &places);
                if self.is_unchanged(used) {
                    self.seen().unsettled.remove(&id);
                    return catch_up(&used.volume);
                }
                places.swap(0, at);
                let since = self.seen().unsettled.get(&id).copied();
                is_patient = since.is_none_or(|since| since.elapsed() < SETTLE_TIME);
            }
        }
        let is_hopeless = |place: &Place| {
            let known = self.seen().failed.get(&place.dat_path()).cloned();
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
                Some(Slot::Shut(_) | Slot::Partial(_)) if self.is_shut_for_good(name) => {
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
