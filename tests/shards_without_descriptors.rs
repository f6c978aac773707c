//! Shards when the process has run out of file descriptors. The limit is the whole process's, so
//! this test has a program of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs::{self, File};
use std::path::Path;

use rdma_engine::volume::{Registry, VolumeError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Shards of 1 MiB that hold a volume of less than that: all of it is in the first.
fn deal(dir: &Path) {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/healthy_volume");
    let mut first = fs::read(real.with_extension("dat")).unwrap();
    first.resize(1 << 20, 0);
    fs::write(dir.join("7.ec00"), first).unwrap();
    for number in 1..10 {
        let shard = File::create(dir.join(format!("7.ec{number:02}"))).unwrap();
        shard.set_len(1 << 20).unwrap();
    }
    // The deletions after these would be in a journal.
    let index = fs::read(real.with_extension("idx")).unwrap();
    fs::write(dir.join("7.ecx"), &index[..17 * 16]).unwrap();
}

#[test]
fn shards_that_no_descriptor_was_left_for_are_read_when_there_are_some_again() {
    let dir = tempfile::tempdir().unwrap();
    deal(dir.path());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = Some(64);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(taken.len() < 64);
    taken.truncate(taken.len() - 6);

    let registry = Registry::open(&[dir.path().to_path_buf()], None, false).unwrap();
    let refused = registry.find(7, None).unwrap_err();
    assert!(matches!(refused, VolumeError::Io { .. }), "{refused}");
    assert!(
        refused.to_string().contains("Too many open files"),
        "{refused}"
    );
    assert_eq!((registry.look().opened, registry.unreadable()), (0, 1));

    drop(taken);
    assert_eq!(registry.look().opened, 1);
    let volume = registry.find(7, None).unwrap();
    assert!(volume.needles() > 0 && volume.lookup(3).is_ok());
}
