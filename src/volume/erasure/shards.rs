//! The shard files of a volume that are on this host.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::error::VolumeError;
use super::super::files::{VolumeName, open_regular, read_at};
use super::super::vif::VolumeInfo;
use super::geometry::Geometry;
use super::recipe::Recipe;
use super::set::ShardSet;
use crate::uring::Locate;

/// A volume's shards, as far as they are here: enough of them to read every byte.
#[derive(Debug)]
pub struct Shards {
    /// Of the volume, for messages.
    name: String,
    geometry: Geometry,
    /// By number.
    files: Vec<Option<File>>,
}

/// A shard file as it was found.
struct Found {
    number: usize,
    file: File,
    len: u64,
    path: PathBuf,
}

/// The number of the shard whose file has this extension.
pub(in super::super) fn shard_number(extension: &str) -> Option<usize> {
    let digits = extension.strip_prefix("ec").filter(|d| d.len() == 2)?;
    let number = digits.parse().ok().filter(|&n| n < ShardSet::MAX)?;
    (shard_extension(number) == extension).then_some(number)
}

/// The extension of a shard's file.
pub(in super::super) fn shard_extension(number: usize) -> String {
    format!("ec{number:02}")
}

impl Shards {
    /// Opens the shards of volume `name` that are in `dirs`. Of one that is there twice the first
    /// that has the right length is used.
    ///
    /// VolumeNotFound if they are too few to read from, Io if that is because some could not be
    /// opened, CorruptVolume if it is because of their lengths, or the volume can not be what it says
    /// it is.
    pub(super) fn open(
        name: &VolumeName,
        dirs: &[PathBuf],
        info: &VolumeInfo,
    ) -> Result<Self, VolumeError> {
        let (found, refused) = find(name, dirs, info.erasure.total())?;
        let longest = found.iter().map(|shard| shard.len).max().unwrap_or(0);
        let geometry = Geometry::new(info.erasure, info.dat_len, longest)?;
        let mut files: Vec<Option<File>> = (0..geometry.total()).map(|_| None).collect();
        let mut bad = ShardSet::default();
        for shard in found {
            let Some(place) = files.get_mut(shard.number) else {
                continue;
            };
            if shard.len == geometry.shard_len() {
                place.get_or_insert(shard.file);
                continue;
            }
            bad = bad.with(shard.number);
            tracing::warn!(
                "{}: is not used: it has {} bytes, the volume's shards have {}",
                shard.path.display(),
                shard.len,
                geometry.shard_len()
            );
        }
        let shards = Self {
            name: format!("volume {}", name.id),
            geometry,
            files,
        };
        let bad = bad.without(shards.there());
        if shards.there().len() >= geometry.data() {
            return Ok(shards);
        }
        // What the system refused it may grant the next time.
        if let Some(error) = refused {
            return Err(error);
        }
        let too_few = shards.too_few(ShardSet::default());
        Err(match bad.is_empty() {
            true => VolumeError::VolumeNotFound(format!("{too_few}; the others are elsewhere")),
            false => VolumeError::CorruptVolume(format!(
                "{too_few}; shards {bad} are here, but are not of {} bytes; \
                 weed shell's ec.rebuild makes them anew",
                geometry.shard_len()
            )),
        })
    }

    /// The volume they are of, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where bytes are in them.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The shards that can be read here.
    pub fn there(&self) -> ShardSet {
        let there = self.files.iter().enumerate().filter(|(_, f)| f.is_some());
        there.map(|(number, _)| number).collect()
    }

    /// Says that without those in `failed` the shards here are too few.
    pub fn too_few(&self, failed: ShardSet) -> String {
        let there = self.there().without(failed);
        let all: ShardSet = (0..self.geometry.total()).collect();
        format!(
            "{}: of its {} shards only {} can be read here, and {} are needed: {} are missing",
            self.name,
            self.geometry.total(),
            there.len(),
            self.geometry.data(),
            all.without(there)
        )
    }

    /// Reads the first bytes of the `.dat`, within its first block.
    pub(super) fn read_start(&self, bytes: &mut [u8]) -> Result<(), VolumeError> {
        let failed = |error| VolumeError::io("read shards of", self.name.as_ref(), error);
        let first = self.file(0).map(|file| read_at(file, bytes, 0));
        if matches!(first, Some(Ok(count)) if count == bytes.len()) {
            return Ok(());
        }
        let others = self.there().without(ShardSet::default().with(0));
        let recipe = Recipe::new(&self.geometry, others, 0)
            .ok_or_else(|| VolumeError::VolumeNotFound(self.too_few(ShardSet::default())))?;
        let mut sources = Vec::new();
        for file in recipe.sources().filter_map(|number| self.file(number)) {
            let start = sources.len();
            sources.resize(start + bytes.len(), 0);
            let part = sources.get_mut(start..).unwrap_or_default();
            read_at(file, part, 0).map_err(failed)?;
        }
        recipe.cook(&sources, bytes);
        Ok(())
    }

    fn file(&self, number: usize) -> Option<&File> {
        self.files.get(number)?.as_ref()
    }
}

impl Locate for Shards {
    fn locate(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        let block = self.geometry.locate(offset)?;
        Some((self.file(block.shard)?.as_fd(), block.offset))
    }
}

/// The same range of several shards, one after the other.
#[derive(Debug)]
pub struct Survivors {
    shards: Arc<Shards>,
    numbers: Vec<usize>,
    offset: u64,
    len: u64,
}

impl Survivors {
    /// `len` bytes from `offset` on of each of the shards `numbers`.
    pub fn new(shards: &Arc<Shards>, numbers: Vec<usize>, offset: u64, len: usize) -> Self {
        Self {
            shards: Arc::clone(shards),
            numbers,
            offset,
            len: len as u64,
        }
    }

    /// The shard that byte `at` is of.
    pub fn shard(&self, at: u64) -> Option<usize> {
        let place = at.checked_div(self.len)?;
        self.numbers.get(usize::try_from(place).ok()?).copied()
    }
}

impl Locate for Survivors {
    fn locate(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        let file = self.shards.file(self.shard(offset)?)?;
        Some((file.as_fd(), self.offset + offset.checked_rem(self.len)?))
    }
}

/// The shard files that there are; and the first error, if some could not be opened.
fn find(
    name: &VolumeName,
    dirs: &[PathBuf],
    total: usize,
) -> Result<(Vec<Found>, Option<VolumeError>), VolumeError> {
    let (mut found, mut refused) = (Vec::new(), None);
    for number in 0..total.min(ShardSet::MAX) {
        for dir in dirs {
            let path = name.path(dir, &shard_extension(number));
            let file = match open_regular(&path, 0) {
                Ok(file) => file,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    tracing::warn!("open {}: {error}; the shard is not used", path.display());
                    refused.get_or_insert(VolumeError::io("open", &path, error));
                    continue;
                }
            };
            let metadata = file.metadata();
            let metadata = metadata.map_err(|error| VolumeError::io("stat", &path, error))?;
            found.push(Found {
                number,
                file,
                len: metadata.len(),
                path,
            });
        }
    }
    Ok((found, refused))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_their_extensions() {
        assert_eq!(shard_number("ec00"), Some(0));
        assert_eq!(shard_number("ec31"), Some(31));
        for other in ["ec32", "ec7", "ecx", "ecj", "ec007", "ec+1", "ecsum", "dat"] {
            assert_eq!(shard_number(other), None, "{other}");
        }
    }
}
