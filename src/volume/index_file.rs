//! A volume's `.idx`: an append-only log of where needles were put and which were deleted.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use rustix::fs::{SeekFrom, seek};

use super::error::VolumeError;
use super::files::read_at;
use super::index::Index;
use super::needle::{ALIGNMENT, Header, Located};

/// How many entries are read, sorted and taken into the index at a time. Some 10 MiB while a
/// large index is read; sorted, they find their places in it several times faster.
const ENTRIES_READ_MAX: u64 = 1 << 18;
/// How many of them under one lock, for which lookups wait.
const ENTRIES_LOCKED_MAX: usize = 1 << 12;
/// How many entries at either end of the file are tried against the needles they point to.
const ENTRIES_TRIED: u64 = 8;

/// How wide the offsets in an index are. SeaweedFS comes in builds of either kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetWidth {
    /// 4 bytes: 16-byte entries, volumes of up to 32 GiB.
    Four,
    /// 5 bytes: 17-byte entries, volumes of up to 8 TiB.
    Five,
}

impl OffsetWidth {
    /// The length of an index entry in bytes.
    pub const fn entry_len(self) -> usize {
        match self {
            Self::Four => 16,
            Self::Five => 17,
        }
    }
}

/// One entry as it stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: u64,
    /// In bytes; 0 is none.
    offset: u64,
    /// Of the body in bytes; negative for a deletion.
    size: i32,
}

impl Entry {
    /// From exactly [`OffsetWidth::entry_len`] bytes.
    pub(super) fn parse(width: OffsetWidth, bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (low, rest) = rest.split_first_chunk()?;
        // Not a 40-bit integer: the low 32 bits, big-endian, and after them the high byte.
        let (high, rest) = match width {
            OffsetWidth::Four => (0, rest),
            OffsetWidth::Five => rest.split_first().map(|(high, rest)| (*high, rest))?,
        };
        let units = u64::from(u32::from_be_bytes(*low)) | u64::from(high) << 32;
        Some(Self {
            id: u64::from_be_bytes(*id),
            offset: units * ALIGNMENT,
            size: i32::from_be_bytes(rest.try_into().ok()?),
        })
    }

    /// Where the needle was put; None if this is a deletion.
    pub(super) fn located(self) -> Option<Located> {
        let size = u32::try_from(self.size).ok()?;
        (self.offset != 0).then_some(Located {
            offset: self.offset,
            size,
        })
    }

    /// Whether the entry points to what it should: the needle itself, or for a deletion its
    /// tombstone, which is an empty needle (older writers wrote none).
    fn fits(self, dat: &File) -> std::io::Result<bool> {
        if self.offset == 0 {
            return Ok(self.size == -1);
        }
        let mut bytes = [0; Header::LEN];
        let count = read_at(dat, &mut bytes, self.offset)?;
        let header = bytes.get(..count).map(Header::parse);
        Ok(matches!(header, Some(Ok(header))
            if header.id == self.id && header.size == self.size.max(0)))
    }
}

/// An open `.idx` and how far it has been read.
#[derive(Debug)]
pub(super) struct IndexFile {
    file: File,
    path: PathBuf,
    /// The file's length when it was last read to its end: as long as it stays so, there is
    /// nothing to do and no lock to take.
    followed_len: AtomicU64,
    progress: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// None until there are entries to tell it by.
    width: Option<OffsetWidth>,
    /// The bytes of complete entries that are in the index.
    consumed: u64,
    /// The last of them, to tell a file that was cut off and has grown again.
    last: Vec<u8>,
}

impl IndexFile {
    /// A file of which nothing has been read yet. `width` is None if it has to be found out.
    pub(super) fn new(file: File, path: PathBuf, width: Option<OffsetWidth>) -> Self {
        Self {
            file,
            path,
            followed_len: AtomicU64::new(0),
            progress: Mutex::new(Progress {
                width,
                consumed: 0,
                last: Vec::new(),
            }),
        }
    }

    /// How many bytes the next [`Self::follow`] would read.
    pub(super) fn behind(&self) -> Result<u64, VolumeError> {
        let (len, followed) = (self.len()?, self.followed_len.load(Ordering::Acquire));
        Ok(len.checked_sub(followed).unwrap_or(len))
    }

    /// Takes into `index` what has been appended since the last call. Costs one lseek where
    /// that is nothing. An entry that is not complete yet is left for later.
    ///
    /// A file that has become shorter (the volume server cuts off what a crash left behind), even
    /// if it has grown again since, is read again from its start. `dat` is only looked at to find out the offset width.
    pub(super) fn follow(&self, index: &RwLock<Index>, dat: &File) -> Result<(), VolumeError> {
        if self.len()? == self.followed_len.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut progress = self.progress();
        // Again, since another thread may just have done it.
        let len = self.len()?;
        match progress.width {
            None => progress.width = self.find_width(len, dat)?,
            Some(stated) if progress.consumed == 0 => self.check_width(stated, len, dat)?,
            Some(_) => {}
        }
        if let Some(width) = progress.width {
            if len < progress.consumed || !self.continues(&progress)? {
                let fresh = RwLock::default();
                progress.consumed = self.read_on(0, len, width, &fresh)?;
                let fresh = fresh.into_inner().unwrap_or_else(PoisonError::into_inner);
                *index.write().unwrap_or_else(PoisonError::into_inner) = fresh;
            } else {
                progress.consumed = self.read_on(progress.consumed, len, width, index)?;
            }
            progress.last = self.last_entry(progress.consumed, width)?;
        }
        self.followed_len.store(len, Ordering::Release);
        Ok(())
    }

    /// Whether what has been read is still what the file begins with, as its last entry shows.
    fn continues(&self, progress: &Progress) -> Result<bool, VolumeError> {
        let Some(width) = progress.width.filter(|_| !progress.last.is_empty()) else {
            return Ok(true);
        };
        Ok(self.last_entry(progress.consumed, width)? == progress.last)
    }

    /// The bytes of the entry that ends at `end`; none if none does.
    fn last_entry(&self, end: u64, width: OffsetWidth) -> Result<Vec<u8>, VolumeError> {
        let Some(start) = end.checked_sub(width.entry_len() as u64) else {
            return Ok(Vec::new());
        };
        let mut bytes = vec![0; width.entry_len()];
        let count = read_at(&self.file, &mut bytes, start)
            .map_err(|error| VolumeError::io("read", &self.path, error))?;
        bytes.truncate(count);
        Ok(bytes)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's length. The descriptor's position, which nothing uses, is moved for it:
    /// that takes a quarter of the time of an fstat, and every lookup asks.
    fn len(&self) -> Result<u64, VolumeError> {
        seek(&self.file, SeekFrom::End(0))
            .map_err(|error| VolumeError::io("look for the end of", &self.path, error.into()))
    }

    /// Takes the complete entries from `start` to `len` into `index`; where the last one ends.
    /// If it fails midway, the entries taken are taken again next time, to the same effect.
    fn read_on(
        &self,
        start: u64,
        len: u64,
        width: OffsetWidth,
        index: &RwLock<Index>,
    ) -> Result<u64, VolumeError> {
        let entry_len = width.entry_len();
        let mut consumed = start;
        let mut buffer = Vec::new();
        loop {
            let entries = len.saturating_sub(consumed) / entry_len as u64;
            let entries = entries.min(ENTRIES_READ_MAX) as usize;
            buffer.resize(entries * entry_len, 0);
            let count = read_at(&self.file, &mut buffer, consumed)
                .map_err(|error| VolumeError::io("read", &self.path, error))?;
            let complete = count - count % entry_len;
            if complete == 0 {
                return Ok(consumed);
            }
            let entries = buffer.get(..complete).unwrap_or_default();
            let mut entries: Vec<Entry> = entries
                .chunks_exact(entry_len)
                .filter_map(|bytes| Entry::parse(width, bytes))
                .collect();
            // Stable: of entries with the same id the last still wins.
            entries.sort_by_key(|entry| entry.id);
            for part in entries.chunks(ENTRIES_LOCKED_MAX) {
                let mut index = index.write().unwrap_or_else(PoisonError::into_inner);
                for entry in part {
                    index.apply(entry.id, entry.located());
                }
            }
            consumed += complete as u64;
        }
    }

    /// Finds out how wide the offsets are, by trying entries of both widths against the
    /// needles they point to. None while there is no entry.
    ///
    /// CorruptVolume if the entries fit neither width, or both alike.
    fn find_width(&self, len: u64, dat: &File) -> Result<Option<OffsetWidth>, VolumeError> {
        if len < OffsetWidth::Four.entry_len() as u64 {
            return Ok(None);
        }
        let four = self.fitting_entries(OffsetWidth::Four, len, dat)?;
        let five = self.fitting_entries(OffsetWidth::Five, len, dat)?;
        let divides = |width: OffsetWidth| len.is_multiple_of(width.entry_len() as u64);
        match four.cmp(&five) {
            std::cmp::Ordering::Greater => Ok(Some(OffsetWidth::Four)),
            std::cmp::Ordering::Less => Ok(Some(OffsetWidth::Five)),
            std::cmp::Ordering::Equal if four == 0 => Err(VolumeError::CorruptVolume(format!(
                "{}: its entries fit the volume's needles neither with 4-byte nor with 5-byte \
                 offsets; rebuild it with weed fix",
                self.path.display()
            ))),
            // An empty needle's entry may look right in both; then the length tells.
            std::cmp::Ordering::Equal => {
                match (divides(OffsetWidth::Four), divides(OffsetWidth::Five)) {
                    (true, false) => Ok(Some(OffsetWidth::Four)),
                    (false, true) => Ok(Some(OffsetWidth::Five)),
                    _ => Err(VolumeError::CorruptVolume(format!(
                        "{}: can not tell whether its offsets have 4 or 5 bytes; set \
                         bytesOffset in the .vif file",
                        self.path.display()
                    ))),
                }
            }
        }
    }

    /// CorruptVolume if the entries are plainly not of the `stated` width but of the other.
    fn check_width(&self, stated: OffsetWidth, len: u64, dat: &File) -> Result<(), VolumeError> {
        let (bytes, other) = match stated {
            OffsetWidth::Four => (4, OffsetWidth::Five),
            OffsetWidth::Five => (5, OffsetWidth::Four),
        };
        if len == 0
            || self.fitting_entries(stated, len, dat)? > 0
            || self.fitting_entries(other, len, dat)? == 0
        {
            return Ok(());
        }
        Err(VolumeError::CorruptVolume(format!(
            "{}: its offsets do not have the {bytes} bytes that the .vif file's bytesOffset says",
            self.path.display()
        )))
    }

    /// Whether the last few entries all point to their needles in `dat`.
    pub(super) fn fits(&self, dat: &File) -> Result<bool, VolumeError> {
        let len = self.len()?;
        let width = self.progress().width;
        let Some(width) = width.map_or_else(|| self.find_width(len, dat), |w| Ok(Some(w)))? else {
            return Ok(true);
        };
        let entries = len / width.entry_len() as u64;
        let last = entries.saturating_sub(ENTRIES_TRIED)..entries;
        let tried = entries.min(ENTRIES_TRIED) as usize;
        Ok(self.fitting(width, last, dat)? == tried)
    }

    /// How many of the first and last few entries point to their needles, read with `width`.
    fn fitting_entries(
        &self,
        width: OffsetWidth,
        len: u64,
        dat: &File,
    ) -> Result<usize, VolumeError> {
        let entries = len / width.entry_len() as u64;
        let first = 0..entries.min(ENTRIES_TRIED);
        let last = entries.saturating_sub(ENTRIES_TRIED).max(first.end)..entries;
        self.fitting(width, first.chain(last), dat)
    }

    /// How many of the entries with these numbers point to their needles.
    fn fitting(
        &self,
        width: OffsetWidth,
        numbers: impl Iterator<Item = u64>,
        dat: &File,
    ) -> Result<usize, VolumeError> {
        let mut fitting = 0;
        for number in numbers {
            let mut bytes = [0; 17];
            let Some(bytes) = bytes.get_mut(..width.entry_len()) else {
                continue;
            };
            let offset = number * width.entry_len() as u64;
            let count = read_at(&self.file, bytes, offset)
                .map_err(|error| VolumeError::io("read", &self.path, error))?;
            let entry = bytes.get(..count).and_then(|b| Entry::parse(width, b));
            if let Some(entry) = entry {
                let fits = entry
                    .fits(dat)
                    .map_err(|error| VolumeError::io("try entries of", &self.path, error))?;
                fitting += usize::from(fits);
            }
        }
        Ok(fitting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: [u8; 17] = [0, 0, 0, 0, 0, 0, 1, 2, 0x92, 0x88, 0, 1, 0x05, 0, 0, 0, 7];

    #[test]
    fn the_fifth_byte_of_an_offset_is_the_highest() {
        let entry = Entry::parse(OffsetWidth::Five, &ENTRY).unwrap();
        assert_eq!(entry.id, 0x0102);
        assert_eq!(entry.offset, 0x05_9288_0001 * 8);
        assert_eq!(entry.size, 7);
    }

    #[test]
    fn four_byte_offsets_reach_to_32_gib() {
        let mut bytes = ENTRY;
        bytes[12..16].copy_from_slice(&[0, 0, 0, 9]);
        let entry = Entry::parse(OffsetWidth::Four, &bytes[..16]).unwrap();
        assert_eq!((entry.offset, entry.size), (0x9288_0001 * 8, 9));
        bytes[8..12].fill(0xff);
        let last = Entry::parse(OffsetWidth::Four, &bytes[..16]).unwrap();
        assert_eq!(last.offset, (32 << 30) - 8);
    }

    #[test]
    fn entries_of_another_length_are_none() {
        for len in (0..16).chain([17]) {
            assert_eq!(Entry::parse(OffsetWidth::Four, &ENTRY[..len]), None);
        }
        for len in 0..17 {
            assert_eq!(Entry::parse(OffsetWidth::Five, &ENTRY[..len]), None);
        }
    }

    #[test]
    fn only_an_offset_and_no_negative_size_make_a_put() {
        let located = |offset, size| {
            Entry {
                id: 1,
                offset,
                size,
            }
            .located()
        };
        assert_eq!(located(8, 7), Some(Located { offset: 8, size: 7 }));
        assert_eq!(located(8, 0), Some(Located { offset: 8, size: 0 }));
        for (offset, size) in [(8, -1), (8, -7), (8, i32::MIN), (0, 7), (0, 0), (0, -1)] {
            assert_eq!(located(offset, size), None, "{offset} {size}");
        }
    }
}
