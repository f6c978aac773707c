//! Volumes that weed has erasure-coded are read from their shards, whichever of them are there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use common::client::{range, whole};
use common::payload::{bytes, gzip, text};
use common::reader::{MIB, Reader};
use common::through::engine_on;
use common::weed::{Stored, Weed};
use common::{Needle, Setup, TargetSetup, eventually};
use tempfile::TempDir;

/// Room for the largest needle and what a missing shard of it is computed from.
const POOL_BYTES: u64 = 64 << 20;
const TRANSFER_BYTES: u64 = 32 << 20;

/// A volume that weed has encoded: its files, and what is in it.
struct Dealt {
    files: TempDir,
    /// With the logical bytes as data, and whether they are stored compressed.
    needles: Vec<(Needle, bool)>,
}

/// The tests that run at the same time share one.
fn dealt() -> Arc<Dealt> {
    static SHARED: Mutex<Weak<Dealt>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let dealt = Arc::new(Dealt::new());
        *shared = Arc::downgrade(&dealt);
        dealt
    })
}

impl Dealt {
    fn new() -> Self {
        let weed = Weed::with_room(60);
        let volume = weed.store(bytes(1, 10)).volume;
        let mut needles = Vec::new();
        // The large one ends in the third row of blocks; others lie across the ends of blocks.
        for length in [0, 1, 100, 4096, 65_536, 20 * MIB, 3 * MIB, MIB, 2 * MIB + 5] {
            let data = bytes(length as u64, length);
            needles.push((weed.store_in(volume, data, "").needle, false));
        }
        for length in [5000, 4 * MIB] {
            let plain = text(length as u64, length);
            let stored = weed.store_in(volume, gzip(&plain), "Content-Encoding: gzip\r\n");
            let needle = Needle {
                data: plain,
                ..stored.needle
            };
            needles.push((needle, true));
        }
        weed.encode(volume);
        let files = tempfile::Builder::new().prefix("rdma").tempdir().unwrap();
        for entry in fs::read_dir(weed.volumes()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_stem().unwrap() == volume.to_string().as_str() {
                let extension = path.extension().unwrap().to_str().unwrap();
                fs::copy(&path, files.path().join(extension)).unwrap();
            }
        }
        assert!(files.path().join("ec13").exists() && !files.path().join("dat").exists());
        Self { files, needles }
    }

    /// Puts the volume into `dir` as volume `id`, without these shards.
    fn put(&self, dir: &Path, id: u32, without: &[usize]) {
        for entry in fs::read_dir(self.files.path()).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.file_name().unwrap().to_str().unwrap();
            let is_missing = |&number: &usize| extension == shard(number);
            if !without.iter().any(is_missing) {
                fs::hard_link(&path, dir.join(format!("{id}.{extension}"))).unwrap();
            }
        }
    }

    fn check(&self, reader: &mut Reader, volume: u32) {
        for (needle, is_compressed) in &self.needles {
            let length = needle.data.len();
            if length > 8 * MIB {
                let ranges = [(0, 0), (MIB - 1, 2), (5, 3 * MIB), (length - 7, 7)];
                reader.check_ranges(volume, needle, &needle.data, false, &ranges);
            } else {
                reader.check(volume, needle, &needle.data, *is_compressed);
            }
        }
    }

    fn of_length(&self, length: usize) -> &Needle {
        let mut needles = self.needles.iter().map(|(needle, _)| needle);
        needles.find(|needle| needle.data.len() == length).unwrap()
    }
}

fn shard(number: usize) -> String {
    format!("ec{number:02}")
}

/// A file of its own with the same bytes, to be changed.
fn own(path: &Path) -> fs::File {
    let copy = path.with_extension("copy");
    fs::copy(path, &copy).unwrap();
    fs::rename(&copy, path).unwrap();
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

fn flip(file: &fs::File, offset: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[!byte[0]], offset).unwrap();
}

fn setup() -> Setup {
    let mut setup = Setup::new().set("max_transfer_size", &TRANSFER_BYTES.to_string());
    setup.buffer_size = POOL_BYTES;
    setup
}

#[test]
fn a_volume_is_read_whichever_four_shards_are_missing() {
    let dealt = dealt();
    let mut setup = setup();
    let missing: [&[usize]; 6] = [
        &[],
        &[0, 1, 2, 3],
        &[4, 9, 10, 13],
        &[10, 11, 12, 13],
        &[0, 5, 7, 9],
        &[3],
    ];
    for (without, id) in missing.iter().zip(101..) {
        dealt.put(setup.volumes(), id, without);
    }
    // One that does not say how long it was, and one in two directories.
    dealt.put(setup.volumes(), 111, &[]);
    fs::remove_file(setup.volumes().join("111.vif")).unwrap();
    let second = setup.dir.path().join("second");
    fs::create_dir(&second).unwrap();
    dealt.put(setup.volumes(), 112, &[1, 3, 5, 7, 9]);
    for number in [1, 3, 5, 9] {
        let file = dealt.files.path().join(shard(number));
        fs::hard_link(file, second.join(format!("112.{}", shard(number)))).unwrap();
    }
    setup.also_volumes(&second);
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for id in (101..107).chain([111, 112]) {
        dealt.check(&mut reader, id);
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_volume_with_too_few_shards_is_refused_and_says_which_are_missing() {
    let dealt = dealt();
    let setup = setup();
    dealt.put(setup.volumes(), 101, &[0, 2, 4, 10, 12]);
    dealt.put(setup.volumes(), 102, &[0, 2, 4, 10]);
    own(&setup.volumes().join("102.ec13"))
        .set_len(MIB as u64)
        .unwrap();
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    for (id, code, missing) in [
        (101, "VOLUME_NOT_FOUND", "0, 2, 4, 10, 12"),
        (102, "CORRUPT_VOLUME", "0, 2, 4, 10, 13"),
    ] {
        for (needle, _) in &dealt.needles {
            let read = whole(id, needle);
            let error = reader.client.fetch(&reader.pool, &read).unwrap_err();
            assert_eq!(error.code, code, "{error:?}");
            assert!(error.message.contains(missing), "{error:?}");
        }
    }
    // A shard that comes back is used.
    dealt.put(&engine.setup.volumes().join(".."), 101, &[]);
    let back = engine.setup.dir.path().join("101.ec04");
    fs::rename(back, engine.setup.volumes().join("101.ec04")).unwrap();
    let needle = dealt.of_length(20 * MIB);
    eventually("the volume is read again", || {
        reader.try_read(101, needle).ok()
    });
    dealt.check(&mut reader, 101);
}

#[test]
fn bit_rot_is_a_checksum_mismatch_in_what_is_read_and_in_what_is_computed_from_it() {
    let dealt = dealt();
    let setup = setup();
    dealt.put(setup.volumes(), 101, &[]);
    dealt.put(setup.volumes(), 102, &[4]);
    // In the fourteenth mebibyte of the volume, which is the large needle's.
    for id in [101, 102] {
        let file = own(&setup.volumes().join(format!("{id}.ec03")));
        flip(&file, MIB as u64 + 500_000);
    }
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for id in [101, 102] {
        for (needle, is_compressed) in &dealt.needles {
            if needle.data.len() == 20 * MIB {
                assert_eq!(reader.try_read(id, needle), Err("CHECKSUM_MISMATCH".into()));
            } else {
                reader.check(id, needle, &needle.data, *is_compressed);
            }
        }
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_damaged_index_is_refused_and_harms_no_other_volume() {
    let dealt = dealt();
    let setup = setup();
    for id in 101..=104 {
        dealt.put(setup.volumes(), id, &[]);
    }
    let ecx = |id| setup.volumes().join(format!("{id}.ecx"));
    let len = fs::metadata(ecx(101)).unwrap().len();
    own(&ecx(101)).set_len(len - 3).unwrap();
    own(&ecx(102))
        .write_all_at(&bytes(7, len as usize), 0)
        .unwrap();
    // Each needle where the one before it is.
    let file = own(&ecx(103));
    let mut entries = vec![0; len as usize];
    file.read_exact_at(&mut entries, 0).unwrap();
    let offsets: Vec<_> = entries
        .chunks(17)
        .map(|entry| entry[8..13].to_vec())
        .collect();
    for (entry, offset) in entries.chunks_mut(17).skip(1).zip(&offsets) {
        entry[8..13].copy_from_slice(offset);
    }
    file.write_all_at(&entries, 0).unwrap();
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    for (needle, _) in dealt.needles.iter().skip(1) {
        for id in [101, 102] {
            assert_eq!(reader.try_read(id, needle), Err("CORRUPT_VOLUME".into()));
        }
        let code = reader.try_read(103, needle).unwrap_err();
        assert!(
            ["CORRUPT_NEEDLE", "CORRUPT_VOLUME"].contains(&code.as_str()),
            "{code}"
        );
    }
    dealt.check(&mut reader, 104);
    // One that comes later than the shards, as when a volume is copied.
    let home = engine.setup.volumes().join("101.ecx");
    fs::remove_file(&home).unwrap();
    let needle = dealt.of_length(MIB);
    reader.await_refusal(101, needle, "CORRUPT_VOLUME");
    let copy = engine.setup.dir.path().join("copy");
    fs::copy(dealt.files.path().join("ecx"), &copy).unwrap();
    fs::rename(copy, home).unwrap();
    eventually("the volume is read", || reader.try_read(101, needle).ok());
    dealt.check(&mut reader, 101);
}

#[test]
fn shards_cut_off_while_they_are_served_are_read_around_until_too_few_are_left() {
    let dealt = dealt();
    let setup = setup();
    dealt.put(setup.volumes(), 101, &[]);
    let path = |number| setup.volumes().join(format!("101.{}", shard(number)));
    let mut files: Vec<_> = (0..5).map(|number| own(&path(number))).collect();
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    let last = files.pop().unwrap();
    for file in &files {
        dealt.check(&mut reader, 101);
        file.set_len(1000).unwrap();
    }
    dealt.check(&mut reader, 101);
    last.set_len(1000).unwrap();
    let needle = dealt.of_length(20 * MIB);
    let read = range(101, needle, 0, 0);
    let error = reader.client.fetch(&reader.pool, &read).unwrap_err();
    assert!(
        ["IO_ERROR", "CORRUPT_VOLUME"].contains(&error.code.as_str()),
        "{error:?}"
    );
    assert!(error.message.contains("0, 1, 2, 3, 4"), "{error:?}");
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn missing_shards_are_computed_in_however_little_room_a_transfer_may_have() {
    let dealt = dealt();
    let setup = setup().set("max_transfer_size", "65536");
    dealt.put(setup.volumes(), 101, &[0, 1, 2, 3]);
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    let ranges = [(0, 65_536), (MIB - 5, 65_536), (2 * MIB, 1), (5, 60_000)];
    let needle = dealt.of_length(3 * MIB);
    reader.check_ranges(101, needle, &needle.data, false, &ranges);
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_target_serves_shards_as_it_does_any_volume() {
    let dealt = dealt();
    let target = TargetSetup::new()
        .set("buffer_size", &POOL_BYTES.to_string())
        .set("max_transfer_size", &TRANSFER_BYTES.to_string());
    dealt.put(&target.volumes(), 101, &[]);
    dealt.put(&target.volumes(), 102, &[0, 6, 8, 11]);
    let target = target.start();
    let engine = engine_on(setup(), &target);
    let mut reader = Reader::over_tcp(&engine);
    for id in [101, 102] {
        dealt.check(&mut reader, id);
    }
}

#[test]
fn a_volume_is_read_through_encoding_deletions_and_decoding() {
    let weed = Weed::with_room(60);
    let mut setup = setup();
    setup.also_volumes(&weed.volumes());
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    let first = weed.store(bytes(1, 5000));
    let volume = first.volume;
    let mut stored: Vec<Stored> = (2..20)
        .map(|seed| weed.store_in(volume, bytes(seed, seed as usize * 150_000), ""))
        .collect();
    stored.push(first);
    let read_all = |reader: &mut Reader, stored: &[Stored]| {
        for stored in stored {
            eventually(&format!("needle {:x} is read", stored.needle.id), || {
                reader.try_read(volume, &stored.needle).ok()
            });
        }
    };
    read_all(&mut reader, &stored);
    weed.encode(volume);
    read_all(&mut reader, &stored);
    let gone: Vec<Stored> = stored.drain(3..9).collect();
    for gone in &gone {
        weed.delete(gone);
        reader.await_refusal(volume, &gone.needle, "NEEDLE_NOT_FOUND");
    }
    read_all(&mut reader, &stored);
    let away = |number| {
        let name = format!("{volume}.{}", shard(number));
        (
            weed.volumes().join(&name),
            engine.setup.dir.path().join(&name),
        )
    };
    for (home, away) in [0, 5].map(away) {
        fs::rename(home, away).unwrap();
    }
    read_all(&mut reader, &stored);
    for (home, away) in [0, 5].map(away) {
        fs::rename(away, home).unwrap();
    }
    weed.shell(&format!("ec.decode -volumeId={volume}"));
    let dat = weed.volumes().join(format!("{volume}.dat"));
    eventually("weed has decoded it", || dat.exists().then_some(()));
    read_all(&mut reader, &stored);
    for gone in &gone {
        reader.await_refusal(volume, &gone.needle, "NEEDLE_NOT_FOUND");
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}
