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
    assert_eq!(registry.rescan().unwrap(), 0, "nothing has changed");
    fs::write(dir.path().join("1.dat"), volume("1").dat).unwrap();
    assert_eq!(registry.rescan().unwrap(), 1, "mended");
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
    assert_eq!(registry.rescan().unwrap(), 1);
    assert!(registry.find(5, None).is_ok());
    assert_eq!(registry.rescan().unwrap(), 0);
    fs::remove_dir_all(dir.path()).unwrap();
    assert!(registry.rescan().is_err());
    assert!(registry.find(5, None).is_ok(), "its descriptors are open");
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
fn tiered_volumes_say_so_and_erasure_coded_ones_are_not_volumes_here() {
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
