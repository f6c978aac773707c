use tempfile::TempDir;

use super::super::testing::{Needle, VolumeWriter};
use super::*;

fn volume(data: &str) -> VolumeWriter {
    let mut writer = VolumeWriter::new(3, 5);
    writer.put(&Needle::new(1, 9, data));
    writer
}

fn dir_with(stems: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for stem in stems {
        volume(stem).save(dir.path(), stem);
    }
    dir
}

fn open(dirs: &[&TempDir]) -> Registry {
    let dirs: Vec<_> = dirs.iter().map(|dir| dir.path().to_path_buf()).collect();
    Registry::open(&dirs, None, false).unwrap()
}

fn is_unknown(result: Result<Arc<Volume>, VolumeError>) -> bool {
    matches!(result, Err(VolumeError::VolumeNotFound(_)))
}

#[test]
fn volumes_are_found_by_id_and_collection() {
    let dir = dir_with(&["1", "pics_2", "my_old_pics_3"]);
    for other in [
        "4.cpd",
        "4.dat.tmp",
        "5.idx",
        "x.dat",
        "_6.dat",
        "vol_dir.uuid",
    ] {
        fs::write(dir.path().join(other), b"").unwrap();
    }
    fs::create_dir(dir.path().join("sub")).unwrap();
    let registry = open(&[&dir]);
    assert_eq!((registry.len(), registry.needles()), (3, 3));
    assert_eq!(registry.unreadable(), 0);
    assert!(registry.index_bytes() > 0 && !registry.is_empty());
    let found = |id, collection| registry.find(id, collection);
    assert_eq!(found(1, None).unwrap().id(), 1);
    assert_eq!(found(1, Some("")).unwrap().collection(), "");
    assert_eq!(found(2, None).unwrap().collection(), "pics");
    assert_eq!(found(3, Some("my_old_pics")).unwrap().id(), 3);
    assert!(is_unknown(found(3, Some("pics"))));
    assert!(is_unknown(found(1, Some("pics"))));
    for absent in [0, 4, 5, 6] {
        assert!(is_unknown(found(absent, None)), "{absent}");
    }
}

#[test]
fn a_directory_that_can_not_be_listed_is_named() {
    let dir = dir_with(&["1"]);
    let missing = dir.path().join("missing");
    let file = dir.path().join("1.dat");
    for bad in [&missing, &file] {
        for (dirs, index_dir) in [(vec![bad.clone()], None), (vec![], Some(bad.as_path()))] {
            let error = Registry::open(&dirs, index_dir, false).unwrap_err();
            assert!(matches!(error, VolumeError::Io { .. }), "{error}");
            let named = bad.to_str().unwrap();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}

#[test]
fn a_broken_volume_gives_its_reason_and_stops_no_other() {
    let dir = dir_with(&["1", "2"]);
    fs::write(dir.path().join("1.dat"), b"short").unwrap();
    let registry = open(&[&dir]);
    assert_eq!((registry.len(), registry.unreadable()), (1, 1));
    let error = registry.find(1, None).unwrap_err();
    assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
    assert!(error.to_string().contains("1.dat"), "{error}");
    assert!(registry.find(2, None).is_ok());
    assert_eq!(registry.look().opened, 0, "nothing has changed");
    fs::write(dir.path().join("1.dat"), volume("1").dat).unwrap();
    assert_eq!(registry.look().opened, 1, "mended");
    assert!(registry.find(1, None).is_ok());
    assert_eq!(registry.unreadable(), 0);
}

#[test]
fn volumes_that_appear_are_found_by_a_rescan() {
    let dir = dir_with(&[]);
    let registry = open(&[&dir]);
    assert!(registry.is_empty());
    volume("5").save(dir.path(), "5");
    assert!(is_unknown(registry.find(5, None)));
    assert_eq!(registry.look().opened, 1);
    assert!(registry.find(5, None).is_ok());
    assert_eq!(registry.look().opened, 0);
    fs::remove_dir_all(dir.path()).unwrap();
    let look = registry.look();
    assert!(look.error.is_some() && look.gone == 1);
    assert!(is_unknown(registry.find(5, None)));
}

#[test]
fn a_volume_found_twice_is_the_first_that_can_be_read() {
    let (first, second) = (dir_with(&["1", "2"]), dir_with(&["1", "old_2", "3"]));
    let registry = open(&[&first, &second]);
    assert_eq!(registry.len(), 3);
    assert!(
        registry
            .find(1, None)
            .unwrap()
            .dat_path()
            .starts_with(first.path())
    );
    assert_eq!(registry.find(2, None).unwrap().collection(), "");
    assert!(
        registry
            .find(3, None)
            .unwrap()
            .dat_path()
            .starts_with(second.path())
    );

    fs::write(first.path().join("1.dat"), b"").unwrap();
    let registry = open(&[&first, &second]);
    assert!(
        registry
            .find(1, None)
            .unwrap()
            .dat_path()
            .starts_with(second.path())
    );
    assert_eq!(registry.unreadable(), 0);
}

#[test]
fn tiered_volumes_say_so_and_so_do_those_of_which_a_shard_is_here() {
    let dir = tempfile::tempdir().unwrap();
    let tiered = r#"{"files":[{"backendType":"s3"}],"version":3}"#;
    fs::write(dir.path().join("4.vif"), tiered).unwrap();
    fs::write(dir.path().join("4.idx"), b"").unwrap();
    fs::write(dir.path().join("5.vif"), r#"{"files":[],"version":3}"#).unwrap();
    fs::write(dir.path().join("5.ec00"), b"").unwrap();
    let registry = open(&[&dir]);
    assert_eq!((registry.len(), registry.unreadable()), (0, 1));
    let error = registry.find(4, None).unwrap_err();
    assert!(matches!(error, VolumeError::VolumeNotFound(_)), "{error}");
    assert!(error.to_string().contains("tiered"), "{error}");
    let error = registry.find(5, None).unwrap_err();
    assert!(matches!(error, VolumeError::VolumeNotFound(_)), "{error}");
    assert!(error.to_string().contains("only 1 can be read"), "{error}");
    fs::remove_file(dir.path().join("5.ec00")).unwrap();
    registry.look();
    let error = registry.find(5, None).unwrap_err();
    assert!(error.to_string().contains("not on this host"), "{error}");
}

#[test]
fn an_index_directory_is_searched_for_every_volume() {
    let (dir, index_dir) = (dir_with(&["1", "c_2"]), tempfile::tempdir().unwrap());
    for name in ["1.idx", "c_2.idx"] {
        let from = dir.path().join(name);
        fs::copy(&from, index_dir.path().join(name)).unwrap();
        fs::remove_file(from).unwrap();
    }
    let dirs = [dir.path().to_path_buf()];
    let registry = Registry::open(&dirs, Some(index_dir.path()), false).unwrap();
    assert_eq!((registry.len(), registry.needles()), (2, 2));
}

/// Writes another volume of that stem, with other files and needles, beside it; renames in turn.
fn compacted(dir: &TempDir, stem: &str, ids: std::ops::Range<u64>) {
    let mut writer = VolumeWriter::new(3, 5);
    for id in ids {
        writer.put(&Needle::new(id, 9, "left"));
    }
    fs::write(dir.path().join(format!("{stem}.cpd")), &writer.dat).unwrap();
    fs::write(dir.path().join(format!("{stem}.cpx")), &writer.idx).unwrap();
}

fn take(dir: &TempDir, from: &str, to: &str) {
    fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
}

#[test]
fn between_the_renames_of_a_vacuum_the_old_files_are_served() {
    for (first, second) in [
        (("1.cpd", "1.dat"), ("1.cpx", "1.idx")),
        (("1.cpx", "1.idx"), ("1.cpd", "1.dat")),
    ] {
        let dir = dir_with(&["1", "2"]);
        let registry = open(&[&dir]);
        let (old, other) = (
            registry.find(1, None).unwrap(),
            registry.find(2, None).unwrap(),
        );
        assert!(registry.is_current(&old));
        compacted(&dir, "1", 10..20);
        take(&dir, first.0, first.1);
        assert!(!registry.is_current(&old));
        let look = registry.look();
        assert!(look.unsettled && look.opened == 0);
        assert!(Arc::ptr_eq(&old, &registry.find(1, None).unwrap()));
        take(&dir, second.0, second.1);
        let look = registry.look();
        assert!(!look.unsettled && look.opened == 1);
        let new = registry.find(1, None).unwrap();
        assert!(new.lookup(10).is_ok() && new.lookup(1).is_err());
        assert!(old.lookup(1).is_ok(), "a read under way goes on");
        assert!(registry.is_current(&new) && !registry.is_current(&old));
        assert!(Arc::ptr_eq(&other, &registry.find(2, None).unwrap()));
    }
}

#[test]
fn files_that_never_fit_each_other_are_taken_as_they_are_in_the_end() {
    let dir = dir_with(&["1"]);
    let registry = open(&[&dir]);
    let old = registry.find(1, None).unwrap();
    compacted(&dir, "1", 10..20);
    take(&dir, "1.cpd", "1.dat");
    let mut looks = 0;
    while registry.look().unsettled {
        assert!(Arc::ptr_eq(&old, &registry.find(1, None).unwrap()));
        looks += 1;
    }
    assert!(looks > 0);
    let error = registry.find(1, None).unwrap_err();
    assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
    take(&dir, "1.cpx", "1.idx");
    assert_eq!(registry.look().opened, 1);
    assert!(registry.find(1, None).unwrap().lookup(10).is_ok());
}

#[test]
fn a_volume_rewritten_in_its_place_is_opened_anew() {
    let dir = dir_with(&["1"]);
    let registry = open(&[&dir]);
    let old = registry.find(1, None).unwrap();
    let mut bytes = fs::read(dir.path().join("1.dat")).unwrap();
    bytes[5] += 1;
    fs::write(dir.path().join("1.dat"), bytes).unwrap();
    assert_eq!(registry.look().opened, 1);
    let new = registry.find(1, None).unwrap();
    assert!(new.superblock() != old.superblock());
    assert_eq!(registry.look().opened, 0);
}

#[test]
fn an_index_that_takes_long_to_read_keeps_no_other_volume_waiting() {
    let dir = dir_with(&["1"]);
    let registry = Arc::new(open(&[&dir]));
    let begun = Instant::now();
    volume("5").save(dir.path(), "5");
    let index = fs::File::options()
        .write(true)
        .open(dir.path().join("5.idx"))
        .unwrap();
    let whole = index.metadata().unwrap().len();
    // All but its beginning is a hole, which would take hours.
    index.set_len(1 << 43).unwrap();
    registry.follow(None);
    assert!(is_unknown(registry.find(5, None)));
    for id in [2, 3] {
        let stem = id.to_string();
        volume(&stem).save(dir.path(), &stem);
        let only = (id == 3).then_some(3);
        while registry.find(id, None).is_err() {
            registry.follow(only);
        }
    }
    compacted(&dir, "1", 10..20);
    take(&dir, "1.cpd", "1.dat");
    take(&dir, "1.cpx", "1.idx");
    while registry.find(1, None).unwrap().lookup(10).is_err() {
        registry.follow(None);
    }
    fs::remove_file(dir.path().join("2.dat")).unwrap();
    while registry.find(2, None).is_ok() {
        registry.follow(None);
    }
    registry.follow(Some(5));
    assert!(is_unknown(registry.find(5, None)) && registry.opening.contains(5));
    let age = begun.elapsed();
    assert!(
        registry.follow_lag() >= age,
        "no look was complete meanwhile"
    );
    index.set_len(whole).unwrap();
    let waiting = tokio::runtime::Builder::new_current_thread().build();
    waiting.unwrap().block_on(registry.opened(5));
    assert!(registry.find(5, None).unwrap().lookup(1).is_ok());
    let begun = Instant::now();
    while registry.follow_lag() > begun.elapsed() {
        registry.follow(None);
    }
}

/// Puts the volume that was written into `dir` erasure-coded: what has data lies in the first shard.
fn deal(dir: &TempDir, stem: &str, writer: &VolumeWriter) {
    let mut first = writer.dat.clone();
    first.resize(1 << 20, 0);
    let shards = std::iter::once(first).chain((1..10).map(|_| vec![0; 1 << 20]));
    for (number, shard) in shards.enumerate() {
        fs::write(dir.path().join(format!("{stem}.ec{number:02}")), shard).unwrap();
    }
    fs::write(dir.path().join(format!("{stem}.ecx")), &writer.idx).unwrap();
}

#[test]
fn a_decoded_volume_is_read_from_its_shards_until_its_index_is_there_in_whole() {
    let dir = dir_with(&[]);
    let mut writer = VolumeWriter::new(3, 5);
    for id in 1..20 {
        writer.put(&Needle::new(id, 9, format!("needle {id}")));
    }
    deal(&dir, "1", &writer);
    let registry = open(&[&dir]);
    let coded = registry.find(1, None).unwrap();
    assert_eq!(coded.needles(), 19);
    fs::write(dir.path().join("1.dat"), &writer.dat).unwrap();
    for entries in [0, 1, 18] {
        fs::write(dir.path().join("1.idx"), &writer.idx[..entries * 17]).unwrap();
        registry.look();
        assert!(Arc::ptr_eq(&coded, &registry.find(1, None).unwrap()));
        assert!(coded.lookup(19).is_ok());
    }
    fs::write(dir.path().join("1.idx"), &writer.idx).unwrap();
    assert_eq!(registry.look().opened, 1);
    let decoded = registry.find(1, None).unwrap();
    assert!(matches!(*decoded, Volume::Plain(_)) && decoded.lookup(19).is_ok());
}
