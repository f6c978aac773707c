//! `.ecx`: what is in an erasure-coded volume, in ascending order of ids.

use std::fs::File;
use std::path::Path;

use super::super::error::VolumeError;
use super::super::files::read_at;
use super::super::index::Index;
use super::super::index_file::{Entry, OffsetWidth};

/// How many entries are read at a time.
const ENTRIES_READ_MAX: u64 = 1 << 16;

/// Reads the first `len` bytes of a `.ecx`. Where `width` is not known it is the one in which
/// ids ascend and entries lie inside the `.dat`.
///
/// CorruptVolume if it has a part of an entry, its ids do not ascend, or the width can not be told.
pub(super) fn read_index(
    file: &File,
    path: &Path,
    len: u64,
    width: Option<OffsetWidth>,
    dat_len: u64,
) -> Result<Index, VolumeError> {
    let corrupt = |what: &str| {
        VolumeError::CorruptVolume(format!(
            "{}: {what}; weed shell's ec.decode and ec.encode, or a copy from another server, \
             makes it anew",
            path.display()
        ))
    };
    if let Some(width) = width {
        let read = read_with(file, path, len, width, None)?;
        return read.ok_or_else(|| corrupt("is cut off, or its ids do not ascend"));
    }
    let four = read_with(file, path, len, OffsetWidth::Four, Some(dat_len))?;
    let five = read_with(file, path, len, OffsetWidth::Five, Some(dat_len))?;
    match (four, five) {
        (Some(index), None) | (None, Some(index)) => Ok(index),
        (Some(index), Some(_)) if len == 0 => Ok(index),
        (Some(_), Some(_)) => Err(corrupt(
            "can not tell whether its offsets have 4 or 5 bytes",
        )),
        (None, None) => Err(corrupt(
            "is cut off, or its ids do not ascend, with neither 4-byte nor 5-byte offsets",
        )),
    }
}

/// None if it is not an index of this width.
fn read_with(
    file: &File,
    path: &Path,
    len: u64,
    width: OffsetWidth,
    dat_len: Option<u64>,
) -> Result<Option<Index>, VolumeError> {
    let entry_len = width.entry_len();
    if !len.is_multiple_of(entry_len as u64) {
        return Ok(None);
    }
    let mut index = Index::default();
    let (mut done, mut last) = (0, None);
    let mut buffer = Vec::new();
    while done < len {
        let bytes = (len - done).min(ENTRIES_READ_MAX * entry_len as u64);
        buffer.resize(bytes as usize, 0);
        let count = read_at(file, &mut buffer, done)
            .map_err(|error| VolumeError::io("read", path, error))?;
        if count < buffer.len() {
            return Ok(None);
        }
        let entries = buffer.chunks_exact(entry_len);
        for entry in entries.filter_map(|bytes| Entry::parse(width, bytes)) {
            let inside = dat_len.is_none_or(|len| entry.located().is_none_or(|l| l.offset < len));
            if last.is_some_and(|last| last >= entry.id) || !inside {
                return Ok(None);
            }
            last = Some(entry.id);
            index.apply(entry.id, entry.located());
        }
        done += bytes;
    }
    Ok(Some(index))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn entry(width: OffsetWidth, id: u64, units: u32, size: i32) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend(units.to_be_bytes());
        if width == OffsetWidth::Five {
            bytes.push(0);
        }
        bytes.extend(size.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8], width: Option<OffsetWidth>) -> Result<Index, VolumeError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let path = Path::new("7.ecx");
        read_index(&file, path, bytes.len() as u64, width, 1 << 20)
    }

    fn ascending(width: OffsetWidth, count: u64) -> Vec<u8> {
        let entries = (1..=count).map(|n| entry(width, n * 0x1_0000_0001, n as u32, n as i32));
        entries.flatten().collect()
    }

    #[test]
    fn either_width_is_recognised() {
        for width in [OffsetWidth::Four, OffsetWidth::Five] {
            for count in [1, 2, 16, 17, 272, 1000] {
                let bytes = ascending(width, count);
                for told in [None, Some(width)] {
                    let index = read(&bytes, told).unwrap();
                    assert_eq!(index.len() as u64, count);
                    let last = index.get(count * 0x1_0000_0001).unwrap();
                    assert_eq!((last.offset, u64::from(last.size)), (count * 8, count));
                }
            }
        }
        assert_eq!(read(b"", None).unwrap().len(), 0);
    }

    #[test]
    fn tombstones_are_no_needles() {
        let width = OffsetWidth::Five;
        let entries = [(1, 1, 5), (2, 2, -1), (3, 0, 5), (4, 4, 0)];
        let bytes = entries.map(|(id, units, size)| entry(width, id, units, size));
        let index = read(&bytes.concat(), None).unwrap();
        let live = (0..9).filter(|&id| index.get(id).is_some());
        assert_eq!(live.collect::<Vec<_>>(), [1, 4]);
    }

    #[test]
    fn what_is_cut_off_or_out_of_order_is_corrupt() {
        let bytes = ascending(OffsetWidth::Five, 40);
        let swapped = [&bytes[17 * 20..], &bytes[..17 * 20]].concat();
        let twice = [&bytes[..17], &bytes[..17]].concat();
        let garbage: Vec<u8> = (0..16 * 17 * 4_u32)
            .map(|i| ((i * i * 31) >> 3) as u8)
            .collect();
        for bad in [&bytes[..17 * 40 - 3], &swapped, &twice, &garbage] {
            for told in [None, Some(OffsetWidth::Five)] {
                let error = read(bad, told).unwrap_err();
                assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
                assert!(error.to_string().contains("7.ecx"), "{error}");
            }
        }
    }
}
