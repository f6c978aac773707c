use std::fs;

use tempfile::TempDir;

use super::super::decode::Decoder;
use super::super::needle::Header;
use super::super::tail::Tail;
use super::super::testing::{Needle, VolumeWriter};
use super::*;
use crate::crc::{crc32c, stored_matches};

/// A directory with the volume 7 in it, written as far as `writer` says.
fn saved(writer: &mut VolumeWriter) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    writer.save(dir.path(), "7");
    dir
}

fn open_in(dir: &Path, stem: &str) -> Result<Volume, VolumeError> {
    let volume = Volume::open(dir, None, &VolumeName::parse(stem).unwrap(), false)?;
    volume.catch_up()?;
    Ok(volume)
}

fn open(dir: &TempDir) -> Result<Volume, VolumeError> {
    open_in(dir.path(), "7")
}

/// Reads a needle as a reader does: head, data, tail; its stored data and its tail.
fn read(volume: &Volume, id: u64, cookie: u32) -> Result<(Vec<u8>, Tail), VolumeError> {
    let located = volume.lookup(id)?;
    let layout = Layout::new(volume.version(), located);
    let bytes = |offset, len| {
        let mut buffer = vec![0; len];
        let count = read_at(volume.dat(), &mut buffer, offset).unwrap();
        buffer.truncate(count);
        buffer
    };
    let head = bytes(layout.header_offset(), layout.head_len());
    Header::parse(&head)?.check(id, cookie, located)?;
    let data_size = layout.data_size(&head)?;
    assert!(u64::from(data_size) <= layout.max_data_bytes());
    let data = bytes(layout.data_offset(), data_size as usize);
    let tail = bytes(layout.tail_offset(data_size), layout.tail_len(data_size));
    let tail = Tail::parse(volume.version(), &tail)?;
    if !stored_matches(tail.stored_crc, crc32c(&data)) {
        return Err(VolumeError::CorruptNeedle("checksum".into()));
    }
    Ok((data, tail))
}

fn data_of(volume: &Volume, id: u64, cookie: u32) -> Result<Vec<u8>, VolumeError> {
    read(volume, id, cookie).map(|(data, _)| data)
}

fn is_not_found(result: Result<impl Sized, VolumeError>) -> bool {
    matches!(result, Err(VolumeError::NeedleNotFound(_)))
}

#[test]
fn a_real_volume_reads_back_with_every_checksum_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let copy = tempfile::tempdir().unwrap();
    for extension in ["dat", "idx"] {
        let from = dir.join(format!("healthy_volume.{extension}"));
        fs::copy(from, copy.path().join(format!("7.{extension}"))).unwrap();
    }
    let volume = open(&copy).unwrap();
    assert_eq!(volume.version(), Version::V3);
    // Without a .vif: that its offsets have 4 bytes was found out.
    assert_eq!(volume.needles(), 7);
    for (id, cookie, len) in [
        (0x03, 0x06bf_d555, 75_634),
        (0x04, 0xb29c_8a84, 4_395),
        (0x08, 0x5786_34e1, 83_590),
        (0x09, 0xfd03_4397, 65_424),
        (0x15, 0x9d9a_9497, 74_594),
        (0x27, 0x3b63_06d2, 5_459),
        (0x30, 0x436c_9573, 29_267),
    ] {
        let (data, tail) = read(&volume, id, cookie).unwrap();
        assert_eq!(data.len(), len, "{id:x}");
        assert_eq!(tail.last_modified, Some(0x6989_dbb3));
        assert!(!tail.compressed() && !tail.chunk_manifest());
    }
    for deleted in [0x14, 0x1f, 0x19, 0x0b, 0x21, 0x2d, 0x12, 0x1d, 0x23, 0x2e] {
        assert!(is_not_found(volume.lookup(deleted)), "{deleted:x}");
    }
}

#[test]
fn needles_of_every_version_width_and_length_read_back() {
    for version in 1..=3 {
        for offset_bytes in [4, 5] {
            let mut writer = VolumeWriter::new(version, offset_bytes);
            let needles: Vec<_> = (0..40_u64)
                .map(|n| Needle {
                    last_modified: (n % 2 == 0).then_some(1_700_000_000),
                    name: (n % 3 == 0).then_some("file name"),
                    mime: (n % 5 == 0).then_some("text/plain"),
                    pairs: (n % 7 == 0).then_some(r#"{"Seaweed-a":"b"}"#),
                    append_at_ns: n,
                    masked_crc: n % 4 == 0,
                    ..Needle::new(n + 1, 0xc00c_1e00 + n as u32, vec![n as u8; n as usize])
                })
                .collect();
            needles.iter().for_each(|needle| {
                writer.put(needle);
            });
            let dir = saved(&mut writer);
            let volume = open(&dir).unwrap();
            for needle in &needles {
                let (data, tail) = read(&volume, needle.id, needle.cookie).unwrap();
                assert_eq!(data, needle.data, "version {version}");
                if version > 1 && !data.is_empty() {
                    assert_eq!(tail.last_modified, needle.last_modified);
                }
                assert_eq!(tail.append_at_ns, (version == 3).then(|| needle.id - 1));
            }
        }
    }
}

#[test]
fn a_compressed_needle_decodes_to_what_was_stored() {
    let text = b"seaweed ".repeat(1_000);
    let mut writer = VolumeWriter::new(3, 4);
    writer.put(&Needle {
        flags: 0x01,
        ..Needle::new(1, 2, zstd::bulk::compress(&text, 3).unwrap())
    });
    let dir = saved(&mut writer);
    let (stored, tail) = read(&open(&dir).unwrap(), 1, 2).unwrap();
    assert!(tail.compressed());
    let mut decoded = vec![0; text.len() + 1];
    let count = Decoder::new(&stored).unwrap().read(&mut decoded).unwrap();
    assert_eq!(&decoded[..count], text);
}

#[test]
fn the_last_entry_wins() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "old"));
    writer.put(&Needle::new(2, 9, "gone"));
    writer.put(&Needle::new(3, 9, "back again"));
    writer.delete(3);
    writer.put(&Needle::new(1, 9, "new"));
    writer.delete(2);
    writer.put(&Needle::new(3, 9, "again"));
    writer.put(&Needle::new(4, 9, ""));
    let dir = saved(&mut writer);
    let volume = open(&dir).unwrap();
    assert_eq!(data_of(&volume, 1, 9).unwrap(), b"new");
    assert!(is_not_found(data_of(&volume, 2, 9)));
    assert_eq!(data_of(&volume, 3, 9).unwrap(), b"again");
    assert_eq!(data_of(&volume, 4, 9).unwrap(), b"");
    assert!(is_not_found(data_of(&volume, 5, 9)));
    assert_eq!(volume.needles(), 3);
}

#[test]
fn what_is_appended_is_seen_at_the_next_lookup() {
    for offset_bytes in [4, 5] {
        let mut writer = VolumeWriter::new(3, offset_bytes);
        let dir = saved(&mut writer);
        // Nothing to tell the width by yet.
        let volume = open(&dir).unwrap();
        assert!(is_not_found(volume.lookup(1)));
        writer.put(&Needle::new(1, 9, "first"));
        writer.save(dir.path(), "7");
        assert_eq!(data_of(&volume, 1, 9).unwrap(), b"first");
        writer.put(&Needle::new(1, 9, "second"));
        writer.put(&Needle::new(2, 9, "other"));
        writer.save(dir.path(), "7");
        assert_eq!(
            data_of(&volume, 1, 9).unwrap(),
            b"second",
            "not the old one"
        );
        writer.delete(1);
        writer.save(dir.path(), "7");
        assert!(is_not_found(volume.lookup(1)), "not the deleted one");
        assert_eq!(data_of(&volume, 2, 9).unwrap(), b"other");
    }
}

#[test]
fn an_index_that_was_cut_off_and_has_grown_again_is_read_anew() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "first"));
    writer.put(&Needle::new(2, 9, "lost"));
    let dir = saved(&mut writer);
    let volume = open(&dir).unwrap();
    assert_eq!(data_of(&volume, 2, 9).unwrap(), b"lost");
    writer.idx.truncate(17);
    writer.put(&Needle::new(3, 9, "third"));
    writer.put(&Needle::new(4, 9, "fourth"));
    fs::write(dir.path().join("7.dat"), &writer.dat).unwrap();
    fs::write(dir.path().join("7.idx"), &writer.idx).unwrap();
    for (id, data) in [(1, "first"), (3, "third"), (4, "fourth")] {
        assert_eq!(data_of(&volume, id, 9).unwrap(), data.as_bytes());
    }
    assert!(is_not_found(volume.lookup(2)));
}

#[test]
fn an_entry_half_written_waits_for_its_other_half() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "first"));
    let dir = saved(&mut writer);
    let path = dir.path().join("7.idx");
    writer.put(&Needle::new(2, 9, "second"));
    fs::write(dir.path().join("7.dat"), &writer.dat).unwrap();
    fs::write(dir.path().join("7.vif"), writer.vif()).unwrap();
    fs::write(&path, &writer.idx[..17]).unwrap();
    let volume = open(&dir).unwrap();
    for half in 18..34 {
        fs::write(&path, &writer.idx[..half]).unwrap();
        assert!(is_not_found(volume.lookup(2)), "{half}");
    }
    fs::write(&path, &writer.idx).unwrap();
    assert_eq!(data_of(&volume, 2, 9).unwrap(), b"second");
    fs::write(&path, &writer.idx[..20]).unwrap();
    assert!(is_not_found(volume.lookup(2)), "cut off again");
    assert_eq!(data_of(&volume, 1, 9).unwrap(), b"first");
}

#[test]
fn the_width_is_found_out_where_lengths_do_not_tell() {
    // 17 entries of 16 bytes are 16 entries of 17 bytes.
    for (offset_bytes, entries) in [(4, 17), (5, 16), (4, 1), (5, 1), (4, 2), (5, 2)] {
        for data in ["", "data"] {
            let mut writer = VolumeWriter::new(3, offset_bytes);
            for id in 1..=entries {
                writer.put(&Needle::new(id, 9, data));
            }
            let dir = saved(&mut writer);
            let volume = open(&dir).unwrap();
            assert_eq!(volume.needles() as u64, entries, "{offset_bytes} bytes");
            assert_eq!(data_of(&volume, entries, 9).unwrap(), data.as_bytes());
        }
    }
}

#[test]
fn the_width_is_found_out_from_deletions_alone() {
    for offset_bytes in [4, 5] {
        for offset in [None, Some(0)] {
            let mut writer = VolumeWriter::new(3, offset_bytes);
            for id in 1..=3 {
                match offset {
                    None => writer.delete(id),
                    Some(offset) => writer.index(id, offset, -1),
                }
            }
            let dir = saved(&mut writer);
            let volume = open(&dir).unwrap();
            writer.put(&Needle::new(1, 9, "back"));
            writer.save(dir.path(), "7");
            assert_eq!(data_of(&volume, 1, 9).unwrap(), b"back");
        }
    }
}

#[test]
fn the_vif_decides_the_width_whatever_the_entries_look_like() {
    let mut writer = VolumeWriter::new(3, 5);
    // Past 32 GiB: the fifth byte counts. The .dat is a sparse file.
    let needle = Needle::new(1, 9, "far out");
    let mut far = VolumeWriter::new(3, 5);
    far.put(&needle);
    let offset = 3 * (32_u64 << 30) + 8;
    writer.index(1, offset, 4 + 7 + 1);
    let dir = saved(&mut writer);
    let dat = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("7.dat"))
        .unwrap();
    std::os::unix::fs::FileExt::write_all_at(&dat, &far.dat[8..], offset).unwrap();
    fs::write(dir.path().join("7.vif"), writer.vif()).unwrap();
    let volume = open(&dir).unwrap();
    assert_eq!(volume.lookup(1).unwrap().offset, offset);
    assert_eq!(data_of(&volume, 1, 9).unwrap(), b"far out");
}

#[test]
fn an_index_that_fits_no_width_is_corrupt() {
    let mut writer = VolumeWriter::new(3, 4);
    writer.put(&Needle::new(1, 9, "data"));
    let dir = saved(&mut writer);
    fs::write(dir.path().join("7.idx"), [0x5a; 32]).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
    assert!(error.to_string().contains("7.idx"), "{error}");
}

#[test]
fn an_index_beside_the_dat_wins_over_the_index_directory() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "data"));
    let dir = saved(&mut writer);
    let index_dir = tempfile::tempdir().unwrap();
    let name = VolumeName::parse("7").unwrap();
    let open = || {
        let volume = Volume::open(dir.path(), Some(index_dir.path()), &name, false)?;
        volume.catch_up().map(|()| volume)
    };
    fs::write(index_dir.path().join("7.idx"), b"").unwrap();
    assert_eq!(open().unwrap().needles(), 1);
    let beside = dir.path().join("7.idx");
    fs::copy(&beside, index_dir.path().join("7.idx")).unwrap();
    fs::remove_file(&beside).unwrap();
    assert_eq!(open().unwrap().needles(), 1);
    fs::remove_file(index_dir.path().join("7.idx")).unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
}

#[test]
fn a_damaged_file_is_corrupt_and_named() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "data"));
    let dir = saved(&mut writer);
    let damage = |extension: &str, bytes: &[u8]| {
        let path = dir.path().join(format!("7.{extension}"));
        let before = fs::read(&path).ok();
        fs::write(&path, bytes).unwrap();
        let error = open(&dir).unwrap_err();
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
        let named = format!("7.{extension}");
        assert!(error.to_string().contains(&named), "{error}");
    };
    damage("dat", b"");
    damage("dat", &writer.dat[..7]);
    damage("dat", &[9, 0, 0, 0, 0, 0, 0, 0]);
    damage("vif", b"{");
    assert!(open(&dir).is_ok());
}

#[test]
fn data_that_is_elsewhere_is_not_found_and_says_why() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "data"));
    for (extension, text, why) in [
        ("vif", r#"{"files":[{"backendType":"s3"}]}"#, "tiered"),
        ("note", "copying from another server", "copied"),
    ] {
        let dir = saved(&mut writer.clone());
        fs::write(dir.path().join(format!("7.{extension}")), text).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(matches!(error, VolumeError::VolumeNotFound(_)), "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn an_index_that_points_outside_of_the_dat_is_corrupt() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "data"));
    writer.index(2, 1 << 42, 10);
    writer.index(3, !7, i32::MAX);
    let last = writer.put(&Needle::new(4, 9, "cut off"));
    let dir = saved(&mut writer);
    fs::write(dir.path().join("7.vif"), writer.vif()).unwrap();
    let volume = open(&dir).unwrap();
    let dat = fs::OpenOptions::new()
        .write(true)
        .open(dir.path().join("7.dat"))
        .unwrap();
    dat.set_len(last + 16 + 12 + 11).unwrap();
    for id in [2, 3, 4] {
        let error = volume.lookup(id).unwrap_err();
        assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
    }
    assert_eq!(data_of(&volume, 1, 9).unwrap(), b"data");
    // The footer is enough: padding may be missing.
    dat.set_len(last + 16 + 12 + 12).unwrap();
    assert!(volume.lookup(4).is_ok());
}

#[test]
fn needles_in_the_superblocks_extra_data_are_corrupt() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "data"));
    writer.dat[7] = 16;
    let dir = saved(&mut writer);
    let error = open(&dir).unwrap().lookup(1).unwrap_err();
    assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
}

#[test]
fn every_flipped_byte_of_a_needle_is_an_error_or_outside_of_its_content() {
    for version in 1..=3 {
        let mut writer = VolumeWriter::new(version, 5);
        let needle = Needle {
            name: Some("n"),
            last_modified: Some(1_700_000_000),
            ttl: Some([3, 6]),
            ..Needle::new(1, 9, "the content")
        };
        writer.put(&needle);
        let dir = saved(&mut writer);
        fs::write(dir.path().join("7.vif"), writer.vif()).unwrap();
        let volume = open(&dir).unwrap();
        let path = dir.path().join("7.dat");
        for at in 8..writer.dat.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut dat = writer.dat.clone();
                dat[at] ^= flip;
                fs::write(&path, &dat).unwrap();
                match data_of(&volume, 1, 9) {
                    Ok(data) => assert_eq!(data, needle.data, "byte {at}"),
                    Err(VolumeError::CookieMismatch(_)) => assert!((8..12).contains(&at)),
                    Err(VolumeError::CorruptNeedle(_)) => {}
                    Err(error) => panic!("byte {at}: {error}"),
                }
            }
        }
    }
}

#[test]
fn an_index_that_points_to_another_needle_is_corrupt() {
    let mut writer = VolumeWriter::new(3, 5);
    let offset = writer.put(&Needle::new(1, 9, "data"));
    writer.index(2, offset, 4 + 4 + 1);
    writer.index(1, offset, 4 + 4 + 2);
    let dir = saved(&mut writer);
    fs::write(dir.path().join("7.vif"), writer.vif()).unwrap();
    let volume = open(&dir).unwrap();
    for id in [1, 2] {
        let error = data_of(&volume, id, 9).unwrap_err();
        assert!(matches!(error, VolumeError::CorruptNeedle(_)), "{error}");
    }
}

#[test]
fn direct_io_is_a_second_descriptor_where_there_is_any() {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, "data"));
    let dir = saved(&mut writer);
    let name = VolumeName::parse("7").unwrap();
    assert!(open(&dir).unwrap().direct().is_none());
    let volume = Volume::open(dir.path(), None, &name, true).unwrap();
    let flags = |file: &Arc<File>| rustix::fs::fcntl_getfl(file.as_ref()).unwrap();
    assert!(!flags(volume.dat()).contains(OFlags::DIRECT));
    if let Some(direct) = volume.direct() {
        assert!(flags(direct).contains(OFlags::DIRECT));
    }
    assert_eq!(data_of(&volume, 1, 9).unwrap(), b"data");
}

#[test]
fn many_threads_look_up_while_one_appends() {
    let mut writer = VolumeWriter::new(3, 4);
    let dir = saved(&mut writer);
    let volume = open(&dir).unwrap();
    let written = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut newest = 0;
                while newest < 300 {
                    newest = written.load(Ordering::Acquire);
                    for id in newest.saturating_sub(3) + 1..=newest {
                        assert_eq!(data_of(&volume, id, 9).unwrap(), id.to_be_bytes());
                    }
                }
            });
        }
        for id in 1..=300_u64 {
            writer.put(&Needle::new(id, 9, id.to_be_bytes()));
            writer.save(dir.path(), "7");
            written.store(id, Ordering::Release);
        }
    });
    assert_eq!(volume.needles(), 300);
}
