//! Which volumes there are on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::erasure::shard_number;
use super::error::VolumeError;
use super::files::VolumeName;
use super::stamp::{Growth, Stamp};
use super::vif::VolumeInfo;

/// Where a volume is, by the names of its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) name: VolumeName,
}

impl Place {
    /// Its `.dat`.
    pub(super) fn dat_path(&self) -> PathBuf {
        self.name.path(&self.dir, "dat")
    }

    /// Whether it bears SeaweedFS's mark of a copy in progress.
    pub(super) fn has_note(&self) -> bool {
        self.name.path(&self.dir, "note").exists()
    }

    /// What its files are now.
    pub(super) fn stamp(&self, index_dir: Option<&Path>) -> Stamp {
        let beside = [
            ("dat", Growth::Appended),
            ("idx", Growth::Appended),
            ("vif", Growth::Rewritten),
            ("note", Growth::Rewritten),
        ];
        let beside =
            beside.map(|(extension, growth)| (self.name.path(&self.dir, extension), growth));
        let index = index_dir.map(|dir| (self.name.path(dir, "idx"), Growth::Appended));
        Stamp::of(beside.into_iter().chain(index))
    }
}

/// The volumes of some directories at one moment.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// By id; of each, in the order of the directories.
    pub(super) places: BTreeMap<u32, Vec<Place>>,
    /// The erasure-coded volumes some of whose shards are there, by id.
    pub(super) sharded: BTreeMap<u32, VolumeName>,
    /// Directories that are there but could not be listed: what is in them is not known.
    pub(super) unknown: BTreeSet<PathBuf>,
    /// The first thing that went wrong.
    pub(super) error: Option<VolumeError>,
}

impl Listing {
    /// What is in `dirs`; with `only`, of that volume.
    pub(super) fn of(dirs: &[PathBuf], only: Option<u32>) -> Self {
        let mut listing = Self::default();
        for dir in dirs {
            match volumes_in(dir, only) {
                Ok((names, sharded)) => {
                    for name in sharded {
                        listing.sharded.entry(name.id).or_insert(name);
                    }
                    for name in names {
                        let dir = dir.clone();
                        let places = listing.places.entry(name.id).or_default();
                        places.push(Place { dir, name });
                    }
                }
                Err(error) => listing.failed(dir, error),
            }
        }
        listing
    }

    fn failed(&mut self, dir: &Path, error: io::Error) {
        if !is_gone(&error) {
            self.unknown.insert(dir.to_path_buf());
        }
        let error = VolumeError::io("list directory", dir, error);
        self.error.get_or_insert(error);
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

type Names = BTreeSet<VolumeName>;

/// The volumes whose `.dat` is in `dir`, and those that say in their `.vif` that it is in
/// remote storage; and those of which shards are there.
fn volumes_in(dir: &Path, only: Option<u32>) -> io::Result<(Names, Names)> {
    let (mut names, mut sharded) = (Names::new(), Names::new());
    let mut infos = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let kind = match extension {
            Some("dat") => Kind::Data,
            Some("vif") => Kind::Info,
            Some(other) if shard_number(other).is_some() => Kind::Shard,
            _ => continue,
        };
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let Some(name) = stem.and_then(VolumeName::parse) else {
            continue;
        };
        if only.is_some_and(|id| id != name.id) {
            continue;
        }
        match kind {
            Kind::Data => drop(names.insert(name)),
            Kind::Shard => drop(sharded.insert(name)),
            Kind::Info => infos.push((name, path)),
        }
    }
    for (name, path) in infos {
        let is_tiered = || matches!(VolumeInfo::read(&path), Ok(Some(info)) if info.tiered);
        if !names.contains(&name) && is_tiered() {
            names.insert(name);
        }
    }
    Ok((names, sharded))
}

enum Kind {
    Data,
    Info,
    Shard,
}
