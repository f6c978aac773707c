//! Volumes that change under the reader: vacuumed, moved away, back again.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdma_engine::protocol::message::Response;

use common::client::whole;
use common::reader::{MIB, Reader};
use common::through::engine_of;
use common::{Engine, Needle, Setup, Spec, TargetSetup, Volume, bytes};

/// What a read may say while a volume's files do not belong together.
const PASSING: [&str; 4] = [
    "CORRUPT_NEEDLE",
    "CORRUPT_VOLUME",
    "NEEDLE_NOT_FOUND",
    "COOKIE_MISMATCH",
];

fn needles(ids: std::ops::Range<u64>) -> Vec<Needle> {
    let lengths = [0, 1, 5000, 70_000];
    ids.map(|id| Needle::new(id, bytes(id, lengths[id as usize % 4])))
        .collect()
}

/// An engine with `stored` in its volume 7, which is returned too.
fn engine_with(stored: &[Needle], wide: bool) -> (Engine, Volume) {
    let setup = Setup::new();
    let volume = volume_with(&setup, 7, stored, wide);
    (setup.start(), volume)
}

fn volume_with(setup: &Setup, id: u32, stored: &[Needle], wide: bool) -> Volume {
    let spec = Spec {
        wide,
        ..Spec::default()
    };
    let mut volume = Volume::create(setup.volumes(), id, &spec);
    for needle in stored {
        volume.put(needle);
    }
    volume
}

#[test]
fn what_is_written_after_a_vacuum_is_found_at_once_and_what_it_removed_is_not() {
    for wide in [false, true] {
        let stored = needles(1..40);
        let (deleted, kept) = stored.split_at(20);
        let (engine, mut volume) = engine_with(&stored, wide);
        let before = engine.baseline();
        let mut reader = Reader::of(&engine);
        reader.await_exactly(7, &stored, &[]);
        deleted.iter().for_each(|needle| volume.delete(needle));
        volume.vacuum(kept);
        let later = Needle::new(99, bytes(99, 5000));
        volume.put(&later);
        // At the first time of asking: not finding it makes the engine look at the files.
        assert_eq!(reader.fetch(&whole(7, &later)).0, later.data);
        for needle in deleted {
            let code = reader.client.refusal(&whole(7, needle));
            assert_eq!(code, "NEEDLE_NOT_FOUND");
        }
        reader.await_exactly(7, kept, deleted);
        let gone = &kept[0];
        volume.delete(gone);
        assert_eq!(reader.client.refusal(&whole(7, gone)), "NEEDLE_NOT_FOUND");
        drop(reader);
        engine.assert_nothing_lost(&before);
    }
}

#[test]
fn a_vacuum_is_noticed_without_being_asked_for_what_is_missing() {
    let stored = needles(1..40);
    let (engine, mut volume) = engine_with(&stored, true);
    let mut reader = Reader::of(&engine);
    volume.vacuum(&stored);
    volume.delete(&stored[5]);
    // Its bytes are still in the old files, and the index of those says that it is there.
    reader.await_refusal(7, &stored[5], "NEEDLE_NOT_FOUND");
}

#[test]
fn an_index_that_takes_long_to_read_keeps_no_other_volume_waiting() {
    let stored = needles(1..40);
    let setup = Setup::new();
    let mut seventh = volume_with(&setup, 7, &stored, true);
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);

    let elsewhere = tempfile::tempdir_in(engine.setup.dir.path()).unwrap();
    let mut ninth = Volume::create(elsewhere.path(), 9, &Spec::default());
    stored.iter().for_each(|needle| _ = ninth.put(needle));
    let index = fs::File::options().write(true).open(&ninth.idx).unwrap();
    let whole_index = index.metadata().unwrap().len();
    // All but its beginning is a hole, which would take hours.
    index.set_len(1 << 43).unwrap();
    for path in [&ninth.idx, &ninth.dat] {
        let name = path.file_name().unwrap();
        fs::rename(path, engine.setup.volumes().join(name)).unwrap();
    }
    let mut waiting = engine.client();
    let pool = waiting.attach();
    waiting.send(whole(9, &stored[3]));

    seventh.vacuum(&stored);
    seventh.delete(&stored[5]);
    // Its bytes are still in the old files, and the index of those says that it is there.
    reader.await_refusal(7, &stored[5], "NEEDLE_NOT_FOUND");
    let added = setup_another(engine.setup.volumes());
    reader.await_exactly(8, &added, &[]);

    index.set_len(whole_index).unwrap();
    let answer = waiting.receive();
    let Response::StartReadResponse(started) = answer else {
        panic!("{answer:?}");
    };
    assert!(pool.landed(&started) == stored[3].data);
    waiting.complete(&started);
    reader.await_exactly(9, &stored, &[]);
    drop((reader, waiting, pool));
    engine.assert_nothing_lost(&before);
}

#[test]
fn between_the_two_renames_of_a_vacuum_no_byte_is_wrong() {
    for dat_first in [true, false] {
        let stored = needles(1..40);
        let (deleted, kept) = stored.split_at(20);
        let (engine, mut volume) = engine_with(&stored, false);
        let before = engine.baseline();
        let mut reader = Reader::of(&engine);
        for round in 0..3 {
            let left = if round == 0 { kept } else { &kept[round..] };
            // The needles in another order, so that every one of them is elsewhere.
            let mut order = left.to_vec();
            order.reverse();
            let compacted = volume.compact(&order);
            if dat_first {
                volume.take_dat_of(&compacted);
            } else {
                volume.take_idx_of(&compacted);
            }
            // For longer than the engine takes the files to be on their way.
            let torn = Instant::now();
            while torn.elapsed() < Duration::from_secs(1) {
                for needle in left {
                    if let Err(code) = reader.try_read(7, needle) {
                        assert!(PASSING.contains(&code.as_str()), "{code}");
                    }
                }
            }
            if dat_first {
                volume.take_idx_of(&compacted);
            } else {
                volume.take_dat_of(&compacted);
            }
            reader.await_exactly(7, left, deleted);
        }
        drop(reader);
        engine.assert_nothing_lost(&before);
    }
}

#[test]
fn reads_under_way_survive_many_vacuums_in_a_row_and_nothing_is_lost() {
    let large: Vec<Needle> = (1..6)
        .map(|id| Needle::new(id, bytes(id, 3 * MIB)))
        .collect();
    let (engine, mut volume) = engine_with(&large, true);
    let before = engine.baseline();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut reader = Reader::of(&engine);
                while !done.load(Ordering::Relaxed) {
                    for needle in &large {
                        if let Err(code) = reader.try_read(7, needle) {
                            assert!(PASSING.contains(&code.as_str()), "{code}");
                        }
                    }
                }
            });
        }
        let mut order = large.clone();
        let mut reader = Reader::of(&engine);
        for id in 100..130 {
            order.rotate_left(1);
            volume.vacuum(&order);
            let later = Needle::new(id, bytes(id, 100));
            volume.put(&later);
            reader.await_exactly(7, &[later], &[]);
        }
        done.store(true, Ordering::Relaxed);
    });
    engine.assert_nothing_lost(&before);
    let metrics = engine.metrics();
    assert_eq!(metrics.get("rdma_volumes"), 2.0);
}

#[test]
fn a_directory_that_is_moved_away_is_not_served_until_it_is_back() {
    let stored = needles(1..10);
    let mut setup = Setup::new();
    let (dir, away) = (setup.dir.path().join("more"), setup.dir.path().join("away"));
    fs::create_dir(&dir).unwrap();
    setup.also_volumes(&dir);
    let mut volume = Volume::create(&dir, 7, &Spec::default());
    for needle in &stored {
        volume.put(needle);
    }
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    let mut bystander = engine.bystander();
    for _ in 0..3 {
        reader.await_exactly(7, &stored, &[]);
        fs::rename(&dir, &away).unwrap();
        reader.await_refusal(7, &stored[0], "VOLUME_NOT_FOUND");
        engine.await_metrics("one volume is served", |m| m.get("rdma_volumes") == 1.0);
        bystander.served();
        fs::rename(&away, &dir).unwrap();
    }
    reader.await_exactly(7, &stored, &[]);
    fs::remove_dir_all(&dir).unwrap();
    reader.await_refusal(7, &stored[0], "VOLUME_NOT_FOUND");
    fs::create_dir(&dir).unwrap();
    let another = needles(20..30);
    let mut volume = Volume::create(&dir, 7, &Spec::default());
    for needle in &another {
        volume.put(needle);
    }
    reader.await_exactly(7, &another, &stored);
    bystander.served();
}

#[test]
fn a_volume_that_is_gone_costs_no_descriptor() {
    let stored = needles(1..10);
    let (engine, volume) = engine_with(&stored, false);
    let mut reader = Reader::of(&engine);
    reader.await_exactly(7, &stored, &[]);
    fs::remove_file(&volume.dat).unwrap();
    reader.await_refusal(7, &stored[0], "VOLUME_NOT_FOUND");
    common::eventually("its files are closed", || {
        let open = common::process::descriptors(engine.pid());
        (!open.iter().any(|link| link.contains("/7."))).then_some(())
    });
}

#[test]
fn a_volume_that_moves_to_another_directory_is_read_from_there() {
    let stored = needles(1..10);
    let mut setup = Setup::new();
    let other = setup.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    setup.also_volumes(&other);
    let volume = volume_with(&setup, 7, &stored, false);
    let engine = setup.start();
    let mut reader = Reader::of(&engine);
    reader.await_exactly(7, &stored, &[]);
    for file in [&volume.idx, &volume.dat, &volume.dat.with_extension("vif")] {
        fs::rename(file, other.join(file.file_name().unwrap())).unwrap();
    }
    common::eventually("it is open there", || {
        let open = common::process::descriptors(engine.pid());
        let there = other.join("7.dat");
        open.contains(&there.to_string_lossy().into_owned())
            .then_some(())
    });
    reader.await_exactly(7, &stored, &[]);
}

#[test]
fn a_volume_that_is_tiered_or_being_copied_is_refused_until_it_is_not() {
    let stored = needles(1..10);
    let (engine, volume) = engine_with(&stored, false);
    let mut reader = Reader::of(&engine);
    reader.await_exactly(7, &stored, &[]);
    let (vif, note) = (
        volume.dat.with_extension("vif"),
        volume.dat.with_extension("note"),
    );
    let local = fs::read(&vif).unwrap();
    fs::write(&vif, br#"{"files":[{"backendType":"s3"}],"version":3}"#).unwrap();
    reader.await_refusal(7, &stored[0], "VOLUME_NOT_FOUND");
    fs::write(&vif, local).unwrap();
    reader.await_exactly(7, &stored, &[]);
    fs::write(&note, b"copying").unwrap();
    reader.await_refusal(7, &stored[0], "VOLUME_NOT_FOUND");
    fs::remove_file(&note).unwrap();
    reader.await_exactly(7, &stored, &[]);
    // Moved to remote storage, and no longer here.
    fs::write(&vif, br#"{"files":[{"backendType":"s3"}],"version":3}"#).unwrap();
    fs::remove_file(&volume.dat).unwrap();
    reader.await_refusal(7, &stored[0], "VOLUME_NOT_FOUND");
}

#[test]
fn a_vif_that_is_written_anew_interrupts_no_reads() {
    let stored = needles(1..10);
    let (engine, volume) = engine_with(&stored, false);
    let mut reader = Reader::of(&engine);
    let vif = volume.dat.with_extension("vif");
    let text = fs::read_to_string(&vif).unwrap();
    for round in 0..20 {
        let read_only = text.replace(r#""readOnly":false"#, r#""readOnly":true"#);
        assert_ne!(text, read_only);
        // First half of it, as a writer is seen that does not rename.
        let half = Instant::now();
        fs::write(&vif, &text[..text.len() / 2]).unwrap();
        fs::write(&vif, if round % 2 == 0 { &read_only } else { &text }).unwrap();
        // Unless this test was kept from running, so that it looked like damage.
        let is_short = half.elapsed() < Duration::from_millis(200);
        for needle in &stored {
            match reader.try_read(7, needle) {
                Err(code) if is_short => panic!("{code}"),
                Err(_) => reader.await_exactly(7, &stored, &[]),
                Ok(()) => {}
            }
        }
    }
}

#[test]
fn a_target_follows_its_volumes_for_the_engines_that_read_from_it() {
    let stored = needles(1..40);
    let (deleted, kept) = stored.split_at(20);
    let setup = TargetSetup::new();
    let mut volume = setup.volume(7, &Spec::default(), &stored);
    let target = setup.start();
    let at_target = target.baseline();
    let engine = engine_of(&target);
    let before = engine.baseline();
    let mut reader = Reader::over_tcp(&engine);
    reader.await_exactly(7, &stored, &[]);
    deleted.iter().for_each(|needle| volume.delete(needle));
    volume.vacuum(kept);
    let later = Needle::new(99, bytes(99, MIB));
    volume.put(&later);
    assert_eq!(reader.fetch(&whole(7, &later)).0, later.data);
    reader.await_exactly(7, kept, deleted);

    let (dir, away) = (target.setup.volumes(), target.setup.dir.path().join("away"));
    for _ in 0..2 {
        fs::rename(&dir, &away).unwrap();
        reader.await_refusal(7, &kept[0], "VOLUME_NOT_FOUND");
        fs::rename(&away, &dir).unwrap();
        reader.await_exactly(7, kept, deleted);
    }
    let added = setup_another(&dir);
    reader.await_exactly(8, &added, &[]);
    drop(reader);
    engine.assert_nothing_lost(&before);
    drop(engine);
    target.assert_nothing_lost(&at_target);
}

/// Volume 8 in `dir`; what is in it.
fn setup_another(dir: &std::path::Path) -> Vec<Needle> {
    let stored = needles(50..60);
    let mut volume = Volume::create(dir, 8, &Spec::default());
    for needle in &stored {
        volume.put(needle);
    }
    stored
}
