//! The pool, as it is handed over and as the host allows it to be.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use common::client::{frame, whole};
use common::{Bystander, Needle, Setup, Spec, Volume, bytes, note};
use rdma_engine::protocol::message::{AttachPool, Ping};
use rdma_engine::protocol::{PROTOCOL_VERSION, Response};
use rustix::fs::SealFlags;

const MIB: u64 = 1 << 20;

/// A user that owns nothing.
const NOBODY: u32 = 65534;

#[test]
fn the_pool_is_handed_over_sealed_and_for_reading_only() {
    let engine = Setup::new().start();
    let before = engine.baseline();
    let mut client = engine.client();
    let pool = client.attach();
    assert_eq!(pool.facts.pool_bytes, 16 * MIB);
    assert_eq!(
        pool.memory.metadata().unwrap().size(),
        pool.facts.pool_bytes
    );
    assert_eq!(pool.facts.page_size, 4096);
    let seals = rustix::fs::fcntl_get_seals(&pool.memory).unwrap();
    let wanted = SealFlags::SHRINK | SealFlags::GROW | SealFlags::FUTURE_WRITE | SealFlags::SEAL;
    assert!(seals.contains(wanted), "{seals:?}");
    // What the seals are for.
    assert!(pool.memory.write_at(b"x", 0).is_err());
    assert!(pool.memory.set_len(MIB).is_err());
    assert!(pool.memory.set_len(32 * MIB).is_err());
    assert!(rustix::fs::fcntl_add_seals(&pool.memory, SealFlags::WRITE).is_err());
    let map = memmap2::MmapOptions::new();
    assert!(map.map_raw(&pool.memory).is_err(), "a writable mapping");
    assert!(map.map_raw_read_only(&pool.memory).is_ok());
    // Even for who opens it anew.
    let path = format!("/proc/self/fd/{}", pool.memory.as_raw_fd());
    if let Ok(again) = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
    {
        assert!(map.map_raw(&again).is_err(), "a writable mapping");
        assert!(again.write_at(b"x", 0).is_err());
    }
    let another = engine.client().attach();
    assert_eq!(another.facts.boot_id, pool.facts.boot_id);
    let elsewhere = Setup::new().start().client().attach();
    assert_ne!(elsewhere.facts.boot_id, pool.facts.boot_id);
    let capabilities = client.capabilities();
    assert_eq!(capabilities.pool_bytes, pool.facts.pool_bytes);
    assert_eq!(capabilities.pool_page_size, pool.facts.page_size);
    drop((client, pool));
    engine.assert_nothing_lost(&before);
}

#[test]
fn a_descriptor_comes_no_later_than_its_reply_among_other_replies() {
    let engine = Setup::new().start();
    let mut client = engine.client();
    let mut bytes = frame(Ping::default());
    bytes.extend(frame(AttachPool::default()));
    bytes.extend(frame(Ping::default()));
    bytes.extend(frame(AttachPool {
        request_id: Some(7),
        ..AttachPool::default()
    }));
    bytes.extend(frame(Ping::default()));
    client.write(&bytes);
    let (mut attached, mut received) = (0, 0);
    for _ in 0..5 {
        let (reply, descriptors) = client.receive_with_descriptors();
        // The kernel may hand what came before over together with a descriptor's own reply.
        received += descriptors.len();
        if matches!(reply, Response::AttachPoolResponse(_)) {
            attached += 1;
            assert!(received >= attached, "{reply:?}");
        }
    }
    assert_eq!((attached, received), (2, 2));
}

#[test]
fn descriptors_that_nobody_takes_leave_nothing_behind() {
    let engine = Setup::new().start();
    let before = engine.baseline();
    for _ in 0..50 {
        let mut client = engine.client();
        client.write(&frame(AttachPool::default()).repeat(10));
    }
    engine.assert_nothing_lost(&before);
}

#[test]
fn capabilities_are_the_truth() {
    let mut setup = Setup::new().set("max_transfer_size", "2097152");
    setup.max_sessions = 17;
    let engine = setup.start();
    let mut client = engine.client();
    let held = client.start(&Bystander::whole()).unwrap();
    let told = client.capabilities();
    assert!(!told.real_rdma);
    assert_eq!((told.device_name.as_str(), told.vendor_id), ("none", 0));
    assert_eq!((told.port_gid.as_str(), told.port_lid), ("", 0));
    assert_eq!((told.max_sessions, told.active_sessions), (17, 1));
    assert_eq!(told.max_transfer_size, 2 * MIB);
    assert_eq!(told.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(told.protocol_version, PROTOCOL_VERSION);
    assert!(told.transports.contains(&"local".to_owned()));
    assert!(!told.transports.contains(&"verbs".to_owned()));
    client.complete(&held);
    assert_eq!(client.capabilities().active_sessions, 0);
}

#[test]
fn where_too_little_memory_may_be_locked_reads_go_on_and_one_line_says_what_to_do() {
    let mut setup = Setup::new();
    if !common::is_root() {
        return note("not root: an engine that may lock too little memory was not tried");
    }
    setup.uid = Some(NOBODY);
    setup.memlock = Some(8 * MIB);
    setup.buffer_size = 32 * MIB;
    let needle = Needle::new(1, bytes(1, 5 * MIB as usize));
    Volume::create(setup.volumes(), 7, &Spec::default()).put(&needle);
    let engine = setup.start();
    let before = engine.baseline();
    let mut client = engine.client();
    let told = client.capabilities();
    assert!(!told.pool_registered);
    let step = told
        .steps_down
        .iter()
        .find(|s| s.to_lowercase().contains("memlock"));
    assert!(step.is_some(), "{:?}", told.steps_down);
    let log = engine.log();
    let lines: Vec<&str> = log
        .lines()
        .filter(|l| l.to_lowercase().contains("memlock"))
        .collect();
    assert_eq!(lines.len(), 1, "{log}");
    let commands = ["ulimit -l", "prlimit", "LimitMEMLOCK"];
    assert!(
        commands.iter().any(|c| lines[0].contains(c)),
        "{}",
        lines[0]
    );
    let pool = client.attach();
    let (data, _) = client.fetch(&pool, &whole(7, &needle)).unwrap();
    assert!(data == needle.data);
    drop(client);
    engine.assert_nothing_lost(&before);
}

#[test]
fn where_memory_may_be_locked_the_pool_is_registered() {
    let engine = Setup::new().start();
    let told = engine.client().capabilities();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    if common::is_root() || limit.is_none_or(|l| l >= 64 * MIB) {
        assert!(told.pool_registered, "{:?}", told.steps_down);
    } else {
        note("too little memory may be locked here: a registered pool was not tried");
    }
}

/// Size and free count of the host's huge pages.
fn hugepages() -> (u64, u64) {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let number = |key: &str| {
        let line = meminfo.lines().find(|l| l.starts_with(key));
        let number = line.and_then(|l| l.split_whitespace().nth(1));
        number.map_or(0, |n| n.parse().unwrap())
    };
    let reserved: u64 = number("HugePages_Rsvd:");
    (
        number("Hugepagesize:") * 1024,
        number("HugePages_Free:") - reserved,
    )
}

#[test]
fn hugepages_are_used_where_they_are_free_and_asked_for_where_they_are_not() {
    let mut setup = Setup::new().set("hugepages", r#""auto""#);
    setup.buffer_size = 8 * MIB;
    let (size, free) = hugepages();
    let enough = size > 0 && size * free >= setup.buffer_size;
    let engine = setup.start();
    let before = engine.baseline();
    let mut client = engine.client();
    let told = client.capabilities();
    let pool = client.attach();
    assert_eq!(pool.facts.page_size, told.pool_page_size);
    if enough {
        note("hugepages are free: the pool was checked to lie on them");
        assert_eq!(told.pool_page_size, size);
        assert!(pool.memory.write_at(b"x", 0).is_err());
        assert!(memmap2::MmapOptions::new().map_raw(&pool.memory).is_err());
    } else {
        note("no hugepages are free: the step down to ordinary pages was checked");
        assert_eq!(told.pool_page_size, 4096);
        assert!(
            told.steps_down
                .iter()
                .any(|s| s.contains("vm.nr_hugepages")),
            "{:?}",
            told.steps_down
        );
        let log = engine.log();
        let lines = log.lines().filter(|l| l.contains("vm.nr_hugepages"));
        assert_eq!(lines.count(), 1, "{log}");
    }
    drop((client, pool));
    engine.bystander().served();
    engine.assert_nothing_lost(&before);
}
