//! Needles of every kind come back as they were written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{completion, whole};
use common::payload::crc32c_old_form;
use common::reader::{MIB, Reader};
use common::volume::read_back;
use common::{Needle, Setup, Spec, Volume, bytes, crc32c, engine_with};

#[test]
fn the_checksums_of_the_tests_are_those_of_the_format() {
    assert_eq!(crc32c(b"hello"), 0x9a71_bb4c);
    assert_eq!(crc32c_old_form(b"hello"), 0x191c_1fbb);
}

/// Stores a needle of each size in one volume, reads them back, in ranges too.
fn sizes_come_back(version: u8, wide: bool, vif: bool, direct_io: bool) {
    let mut setup = Setup::new().set("direct_io", if direct_io { "true" } else { "false" });
    setup.buffer_size = 32 << 20;
    // Where the build is, because not every temporary directory can do direct reads.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    setup.also_volumes(dir.path());
    let spec = Spec {
        version,
        wide,
        vif,
        ..Spec::default()
    };
    let mut volume = Volume::create(dir.path(), 7, &spec);
    let lengths = [0, 1, 2, 511, 4096, 4097, MIB, MIB + 1, 8 * MIB];
    let needles = lengths.iter().zip(1..).map(|(&length, id)| {
        let mut needle = Needle::new(id, bytes(id, length));
        if version > 1 {
            needle.name = (id % 2 == 0).then(|| b"a name.bin".to_vec());
            needle.mime = (id % 3 == 0).then(|| b"application/octet-stream".to_vec());
            needle.last_modified = Some(1_700_000_000);
        }
        volume.put(&needle);
        needle
    });
    let needles: Vec<Needle> = needles.collect();
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    for needle in &needles {
        reader.check(7, needle, &needle.data, false);
    }
    drop(reader);
    engine.assert_nothing_lost(&before);
}

#[test]
fn needles_of_every_size_in_version_1_volumes_come_back() {
    sizes_come_back(1, false, true, false);
    sizes_come_back(1, true, true, false);
}

#[test]
fn needles_of_every_size_in_version_2_volumes_come_back() {
    sizes_come_back(2, false, true, false);
    sizes_come_back(2, true, true, false);
}

#[test]
fn needles_of_every_size_in_version_3_volumes_come_back() {
    sizes_come_back(3, false, true, false);
    sizes_come_back(3, true, true, false);
}

#[test]
fn the_width_of_an_index_is_found_without_a_vif() {
    for version in 1..=3 {
        sizes_come_back(version, false, false, false);
        sizes_come_back(version, true, false, false);
    }
}

#[test]
fn direct_reads_give_the_same_bytes() {
    for version in 1..=3 {
        sizes_come_back(version, version == 2, true, true);
    }
}

#[test]
fn needles_with_every_combination_of_flags_come_back() {
    let mut needles = Vec::new();
    for flags in 0..32u64 {
        let has = |bit: u64| flags & bit != 0;
        let mut needle = Needle::new(flags + 1, bytes(flags, 5000));
        needle.name = has(1).then(|| vec![b'n'; 255]);
        needle.mime = has(2).then(|| b"text/plain".to_vec());
        needle.last_modified = has(4).then_some(common::now_ns() / 1_000_000_000);
        needle.ttl = has(8).then_some([3, 6]);
        needle.pairs = has(16).then(|| br#"{"Seaweed-k":"v"}"#.repeat(2000));
        needles.push(needle);
    }
    let engine = engine_with(&needles);
    let mut reader = Reader::of(&engine);
    for needle in &needles {
        reader.check(7, needle, &needle.data, false);
    }
}

#[test]
fn checksums_in_the_old_form_are_accepted_in_every_version() {
    let setup = Setup::new();
    let mut needle = Needle::new(1, bytes(1, 10_000));
    needle.old_crc = true;
    for version in 1..=3 {
        let spec = Spec {
            version,
            ..Spec::default()
        };
        Volume::create(setup.volumes(), version.into(), &spec).put(&needle);
    }
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    for volume in 1..=3 {
        reader.check(volume, &needle, &needle.data, false);
    }
}

#[test]
fn a_volume_written_by_seaweedfs_comes_back() {
    let dat = include_bytes!("data/healthy_volume.dat");
    let idx = include_bytes!("data/healthy_volume.idx");
    let (live, deleted) = read_back(dat, idx);
    assert_eq!((live.len(), deleted.len()), (7, 10));
    let setup = Setup::new();
    std::fs::write(setup.volumes().join("1.dat"), dat).unwrap();
    std::fs::write(setup.volumes().join("1.idx"), idx).unwrap();
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    for stored in live {
        let mut needle = Needle::new(stored.id, stored.data);
        needle.cookie = stored.cookie;
        reader.check(1, &needle, &needle.data, false);
    }
    for (id, cookie) in deleted {
        let mut needle = Needle::new(id, []);
        needle.cookie = cookie;
        assert_eq!(
            reader.client.refusal(&whole(1, &needle)),
            "NEEDLE_NOT_FOUND"
        );
    }
}

#[test]
fn sessions_held_together_have_buffers_of_their_own() {
    let needles: Vec<Needle> = (1..=40)
        .map(|id| Needle::new(id, bytes(id, 100_000)))
        .collect();
    let engine = engine_with(&needles);
    let mut reader = Reader::of(&engine);
    let mut held = Vec::new();
    for needle in &needles {
        held.push(reader.client.start(&whole(7, needle)).unwrap());
    }
    // Each landed where it says, and none over another.
    let base = held[0].local_addr - held[0].pool_offset;
    for (needle, session) in needles.iter().zip(&held) {
        assert_eq!(reader.pool.landed(session), needle.data);
        assert_eq!(session.local_addr - session.pool_offset, base);
        assert_eq!(session.local_key, 0, "no RDMA device");
    }
    let mut ids: Vec<&str> = held.iter().map(|s| s.session_id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), needles.len());
    for session in &held {
        let completed = reader.client.complete_with(completion(session));
        assert!(completed.unwrap().success);
    }
}
