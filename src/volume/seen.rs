//! What looks at the disk have come across, so that it is neither tried nor logged again.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Instant;

use super::error::VolumeError;
use super::listing::{Listing, Place};
use super::registry::Opened;
use super::stamp::Stamp;

/// What earlier looks have come across.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Volumes that could not be read, by their `.dat`.
    pub(super) failed: HashMap<PathBuf, Failure>,
    /// The `.dat` files not used because another of the same volume is.
    passed_over: HashSet<PathBuf>,
    /// Erasure-coded volumes that could not be read.
    pub(super) shut: HashMap<u32, Failure>,
    /// Since when the files of an open volume are others that can not be taken yet.
    pub(super) unsettled: HashMap<u32, Instant>,
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

impl Seen {
    /// Remembers why volume `id` can not be read, and says so where that is new.
    pub(super) fn take_down(&mut self, id: u32, failures: Vec<(PathBuf, Failure)>) {
        for (path, failure) in failures {
            let text = failure.error.to_string();
            let before = self.failed.insert(path, failure);
            if before.is_none_or(|before| before.error.to_string() != text) {
                tracing::warn!("volume {id} can not be read: {text}");
            }
        }
    }

    /// Says which of `places` are not used.
    pub(super) fn pass_over(&mut self, used: &Opened, places: &[Place]) {
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
    pub(super) fn keep(&mut self, listing: &Listing) {
        let places = listing.places.values().flatten();
        let there: HashSet<PathBuf> = places.map(Place::dat_path).collect();
        self.failed.retain(|path, _| there.contains(path));
        self.passed_over.retain(|path| there.contains(path));
        self.shut.retain(|id, _| listing.sharded.contains_key(id));
    }
}
