//! Which needle is found: collections, indexes, deletion, expiry, and what is written meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{range, whole};
use common::reader::{MIB, Reader};
use common::volume::append;
use common::{Needle, Setup, Spec, Volume, bytes, engine_with};
use rdma_engine::protocol::message::StartRead;

#[test]
fn an_expired_needle_is_not_found_and_others_are() {
    let now_ns = common::now_ns();
    let now = now_ns / 1_000_000_000;
    let minutes_ago = |minutes: u64| now_ns - minutes * 60_000_000_000;
    let needle = |id: u64, ttl: Option<[u8; 2]>, last_modified, appended_at_ns, length| Needle {
        ttl,
        last_modified,
        appended_at_ns,
        ..Needle::new(id, bytes(id, length))
    };
    let expired = [
        needle(1, Some([3, 1]), Some(now - 300), minutes_ago(5), 100),
        needle(2, Some([2, 2]), Some(now), minutes_ago(121), 2 * MIB),
        needle(3, Some([1, 3]), Some(now), minutes_ago(25 * 60), 100),
        needle(4, Some([1, 6]), Some(0), minutes_ago(366 * 24 * 60), 100),
    ];
    let alive = [
        // Not over yet, in every unit.
        needle(11, Some([30, 1]), Some(0), minutes_ago(5), 100),
        needle(12, Some([2, 2]), Some(0), minutes_ago(100), 2 * MIB),
        needle(13, Some([2, 3]), Some(0), minutes_ago(25 * 60), 100),
        needle(14, Some([1, 4]), Some(0), minutes_ago(6 * 24 * 60), 100),
        needle(15, Some([1, 5]), Some(0), minutes_ago(29 * 24 * 60), 100),
        needle(16, Some([1, 6]), Some(0), minutes_ago(364 * 24 * 60), 100),
        // One of the two flags alone says nothing.
        needle(17, Some([1, 1]), None, minutes_ago(600), 100),
        needle(18, None, Some(1), minutes_ago(600), 100),
    ];
    let engine = engine_with(&[expired.as_slice(), alive.as_slice()].concat());
    let mut reader = Reader::of(&engine);
    for needle in &expired {
        for read in [whole(7, needle), range(7, needle, 10, 10)] {
            assert_eq!(
                reader.client.refusal(&read),
                "NEEDLE_NOT_FOUND",
                "{:x}",
                needle.id
            );
        }
    }
    for needle in &alive {
        reader.check(7, needle, &needle.data, false);
    }
}

#[test]
fn the_last_entry_of_an_index_wins() {
    let setup = Setup::new();
    let mut volume = Volume::create(setup.volumes(), 7, &Spec::default());
    let needle = |id, seed| Needle::new(id, bytes(seed, 3000));
    for seed in 1..4 {
        volume.put(&needle(1, seed));
    }
    let (deleted, deleted_long_ago, restored) = (needle(2, 5), needle(3, 6), needle(4, 7));
    for needle in [&deleted, &deleted_long_ago, &restored] {
        volume.put(needle);
    }
    volume.delete(&deleted);
    volume.delete_without_tombstone(deleted_long_ago.id);
    volume.delete(&restored);
    volume.put(&restored);
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    reader.check(7, &needle(1, 3), &needle(1, 3).data, false);
    reader.check(7, &restored, &restored.data, false);
    for needle in [&deleted, &deleted_long_ago] {
        assert_eq!(reader.client.refusal(&whole(7, needle)), "NEEDLE_NOT_FOUND");
        assert_eq!(
            reader.client.refusal(&range(7, needle, 5, 5)),
            "NEEDLE_NOT_FOUND"
        );
    }
}

#[test]
fn a_collection_is_matched_when_it_is_named() {
    let setup = Setup::new();
    let needle = Needle::new(1, bytes(1, 500));
    let named = ["pictures", "my_photos_2021", "a-b.c"];
    for (collection, id) in named.iter().zip(70..) {
        let spec = Spec {
            collection: (*collection).to_owned(),
            ..Spec::default()
        };
        Volume::create(setup.volumes(), id, &spec).put(&needle);
    }
    Volume::create(setup.volumes(), 7, &Spec::default()).put(&needle);
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    let of = |volume, collection: Option<&str>| StartRead {
        collection: collection.map(str::to_owned),
        ..whole(volume, &needle)
    };
    for (collection, id) in named.iter().zip(70..) {
        assert_eq!(reader.fetch(&of(id, Some(collection))).0, needle.data);
        assert_eq!(reader.fetch(&of(id, None)).0, needle.data);
        assert_eq!(
            reader.client.refusal(&of(id, Some("others"))),
            "VOLUME_NOT_FOUND"
        );
    }
    assert_eq!(reader.fetch(&of(7, None)).0, needle.data);
    assert_eq!(
        reader.client.refusal(&of(7, Some("pictures"))),
        "VOLUME_NOT_FOUND"
    );
}

#[test]
fn an_index_in_a_directory_of_its_own_is_used_unless_one_is_beside_the_data() {
    let setup = Setup::new();
    let index_dir = setup.dir.path().join("idx");
    std::fs::create_dir(&index_dir).unwrap();
    let setup = setup.set("index_dir", &format!("{index_dir:?}"));
    let needle = Needle::new(1, bytes(1, 5000));
    for (id, wide) in [(70, false), (71, true)] {
        let spec = Spec {
            wide,
            index_dir: Some(index_dir.clone()),
            ..Spec::default()
        };
        Volume::create(setup.volumes(), id, &spec).put(&needle);
    }
    let beside = Volume::create(setup.volumes(), 72, &Spec::default());
    let misleading = beside.entry(needle.id, 8, 77);
    std::fs::write(index_dir.join("72.idx"), misleading).unwrap();
    let mut beside = beside;
    beside.put(&needle);
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    for volume in 70..=72 {
        reader.check(volume, &needle, &needle.data, false);
    }
}

#[test]
fn needles_and_volumes_written_after_the_start_are_found() {
    for wide in [false, true] {
        let setup = Setup::new();
        let spec = Spec {
            wide,
            ..Spec::default()
        };
        let mut volume = Volume::create(setup.volumes(), 7, &spec);
        let needle = |id| Needle::new(id, bytes(id, 5000));
        volume.put(&needle(1));
        let engine = setup.start();
        let before = engine.baseline();
        let mut reader = Reader::of(&engine);
        reader.check(7, &needle(1), &needle(1).data, false);
        for id in 2..20 {
            assert_eq!(
                reader.client.refusal(&whole(7, &needle(id))),
                "NEEDLE_NOT_FOUND"
            );
            volume.put(&needle(id));
            reader.check(7, &needle(id), &needle(id).data, false);
        }
        assert_eq!(
            reader.client.refusal(&whole(8, &needle(1))),
            "VOLUME_NOT_FOUND"
        );
        let mut later = Volume::create(engine.setup.volumes(), 8, &spec);
        later.put(&needle(1));
        reader.check(8, &needle(1), &needle(1).data, false);
        drop(reader);
        engine.assert_nothing_lost(&before);
    }
}

#[test]
fn a_partial_entry_at_the_end_of_an_index_is_a_write_in_progress() {
    for wide in [false, true] {
        let setup = Setup::new();
        let spec = Spec {
            wide,
            ..Spec::default()
        };
        let mut volume = Volume::create(setup.volumes(), 7, &spec);
        let (first, second) = (Needle::new(1, bytes(1, 900)), Needle::new(2, bytes(2, 900)));
        volume.put(&first);
        let placed = volume.append_needle(&second);
        let entry = volume.entry(second.id, placed.header, placed.size);
        append(&volume.idx, &entry[..7]);
        let engine = setup.start();
        let mut reader = Reader::of(&engine);
        reader.check(7, &first, &first.data, false);
        assert_eq!(
            reader.client.refusal(&whole(7, &second)),
            "NEEDLE_NOT_FOUND"
        );
        append(&volume.idx, &entry[7..]);
        reader.check(7, &second, &second.data, false);
    }
}
