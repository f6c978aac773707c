//! What a target sends: the bytes of needles, or the reason why not.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::payload::{gzip, text, zstd_sized, zstd_unsized};
use common::peer::{range, read};
use common::target::while_others_are_served;
use common::{Needle, Peer, Spec, Target, TargetSetup, bytes, eventually};
use rdma_engine::peer::message::{FromTarget, Read};

const MIB: usize = 1 << 20;
/// From here on a file's own pages may be sent.
const LARGE: usize = MIB;

/// Lengths at which something changes: nothing, one byte, a page, the index's unit, the length
/// from which files are sent, the largest transfer.
const LENGTHS: [usize; 13] = [
    0,
    1,
    2,
    7,
    8,
    4095,
    4096,
    4097,
    LARGE - 1,
    LARGE,
    LARGE + 1,
    3 * MIB + 5,
    4 * MIB,
];

/// Needles of these lengths, with ids from 1.
fn needles() -> Vec<Needle> {
    let numbered = LENGTHS.iter().zip(1..);
    numbered
        .map(|(&length, id)| Needle::new(id, bytes(id, length)))
        .collect()
}

/// Checks `check` on one connection to a target with these needles in its volume 7.
fn served(setup: TargetSetup, check: impl FnOnce(&Target, &mut Peer)) {
    while_others_are_served(setup, |target| check(target, &mut target.peer()));
}

#[test]
fn needles_of_every_length_come_whole() {
    for version in 1..=3 {
        let setup = TargetSetup::new();
        let spec = Spec {
            version,
            ..Spec::default()
        };
        setup.volume(7, &spec, &needles());
        served(setup, |_, peer| {
            for needle in needles() {
                let (facts, data) = peer.fetched_with_facts(read(7, &needle));
                assert!(data == needle.data, "{} bytes differ", needle.data.len());
                assert_eq!(facts.needle_size, needle.data.len() as u64);
                // Whoever sends a file's pages has not looked at them.
                assert!(facts.verified || facts.stored.is_some() || data.is_empty());
            }
        });
    }
}

#[test]
fn ranges_are_cut_at_the_needles_end() {
    served(TargetSetup::with(&needles()), |_, peer| {
        for needle in needles().iter().filter(|n| n.data.len() > 1) {
            let len = needle.data.len();
            let middle = len / 2;
            for (offset, size) in [
                (0, 1),
                (1, 1),
                (len - 1, 1),
                (len - 1, 0),
                (middle, 0),
                (middle, len),
                (0, len),
                (1, LARGE),
                (len - 1, usize::MAX >> 1),
            ] {
                let end = offset + if size == 0 { len } else { size };
                let expected = &needle.data[offset..end.min(len)];
                let asked = range(7, needle, offset as u64, size as u64);
                let (facts, data) = peer.fetched_with_facts(asked);
                assert!(data == expected, "{offset}+{size} of {len}");
                assert_eq!(facts.needle_size, len as u64);
            }
        }
    });
}

#[test]
fn compressed_needles_come_decompressed_whole_and_in_ranges() {
    let logical = text(1, 2 * MIB);
    let forms = [gzip, zstd_sized, zstd_unsized];
    let stored = forms.iter().zip(1..).map(|(compress, id)| Needle {
        compressed: true,
        ..Needle::new(id, compress(&logical))
    });
    let stored: Vec<Needle> = stored.collect();
    served(TargetSetup::with(&stored), |_, peer| {
        for needle in &stored {
            let (facts, data) = peer.fetched_with_facts(read(7, needle));
            assert!(data == logical);
            assert_eq!(facts.needle_size, logical.len() as u64);
            for (offset, size) in [(0, 1), (MIB, 4096), (100, LARGE + 1), (2 * MIB - 1, 9)] {
                let data = peer.fetched(range(7, needle, offset as u64, size as u64));
                assert!(data == logical[offset..(offset + size).min(2 * MIB)]);
            }
            let end = range(7, needle, 2 * MIB as u64, 1);
            assert_eq!(peer.fails(end), "INVALID_REQUEST");
        }
    });
}

#[test]
fn volumes_read_past_the_page_cache_are_sent_too() {
    let setup = TargetSetup::with(&needles()).set("direct_io", "true");
    served(setup, |_, peer| {
        for needle in needles() {
            assert!(peer.fetched(read(7, &needle)) == needle.data);
        }
    });
}

#[test]
fn what_is_not_there_fails_with_the_code_that_says_so() {
    let setup = TargetSetup::new();
    let (small, large) = (Needle::new(1, bytes(1, 9)), Needle::new(2, bytes(2, MIB)));
    let (gone, forgotten) = (Needle::new(3, bytes(3, MIB)), Needle::new(4, [1]));
    let all = [
        small.clone(),
        large.clone(),
        gone.clone(),
        forgotten.clone(),
    ];
    let mut volume = setup.volume(7, &Spec::default(), &all);
    volume.delete(&gone);
    volume.delete_without_tombstone(forgotten.id);
    served(setup, |_, peer| {
        for needle in [small, large] {
            let whole = read(7, &needle);
            let wrong = Read {
                cookie: needle.cookie ^ 1,
                ..whole.clone()
            };
            assert_eq!(peer.fails(wrong), "COOKIE_MISMATCH");
            let absent = Read {
                volume_id: 8,
                ..whole.clone()
            };
            assert_eq!(peer.fails(absent), "VOLUME_NOT_FOUND");
            let elsewhere = Read {
                collection: Some("pictures".into()),
                ..whole.clone()
            };
            assert_eq!(peer.fails(elsewhere), "VOLUME_NOT_FOUND");
            let unknown = Read {
                needle_id: 99,
                ..whole
            };
            assert_eq!(peer.fails(unknown), "NEEDLE_NOT_FOUND");
            for offset in [needle.data.len() as u64, u64::MAX] {
                for size in [0, 1, u64::MAX] {
                    let past = range(7, &needle, offset, size);
                    assert_eq!(peer.fails(past), "INVALID_REQUEST");
                }
            }
        }
        for deleted in [gone, forgotten] {
            assert_eq!(peer.fails(read(7, &deleted)), "NEEDLE_NOT_FOUND");
        }
    });
}

#[test]
fn a_collection_is_served_to_who_names_it_and_who_names_none() {
    let setup = TargetSetup::new();
    let needle = Needle::new(1, bytes(1, 1000));
    let spec = Spec {
        collection: "pictures".into(),
        ..Spec::default()
    };
    setup.volume(7, &spec, std::slice::from_ref(&needle));
    served(setup, |_, peer| {
        for collection in [None, Some("pictures".to_owned())] {
            let asked = Read {
                collection,
                ..read(7, &needle)
            };
            assert_eq!(peer.fetched(asked), needle.data);
        }
        let announced = peer.volumes.iter().find(|v| v.id == 7).unwrap();
        assert_eq!(announced.collection, "pictures");
    });
}

#[test]
fn what_is_longer_than_the_room_for_it_is_too_long_and_not_sent() {
    let logical = text(9, MIB);
    let packed = Needle {
        compressed: true,
        ..Needle::new(99, gzip(&logical))
    };
    let mut all = needles();
    all.push(packed.clone());
    served(TargetSetup::with(&all), |target, peer| {
        let sizes = needles().into_iter().map(|n| (n.data.len(), n));
        for (len, needle) in sizes.chain([(MIB, packed)]).filter(|(len, _)| *len > 0) {
            let len = len as u64;
            for room in [0, len - 1] {
                let tight = Read {
                    room,
                    ..read(7, &needle)
                };
                too_long(peer, tight, len, len);
            }
            let part = Read {
                room: len / 2,
                ..range(7, &needle, 0, len / 2 + 1)
            };
            too_long(peer, part, len / 2 + 1, len);
            let exact = Read {
                room: len,
                ..read(7, &needle)
            };
            assert_eq!(peer.fetched(exact).len() as u64, len);
        }
        let metrics = target.metrics();
        assert_eq!(metrics.pool_bytes_taken(), 0.0, "nothing stays staged");
    });
}

#[test]
fn an_empty_needle_needs_no_room() {
    served(TargetSetup::with(&needles()), |_, peer| {
        let none = Read {
            room: 0,
            ..read(7, &needles()[0])
        };
        assert!(peer.fetched(none).is_empty());
    });
}

#[test]
fn more_than_the_largest_transfer_is_refused_and_its_ranges_are_not() {
    let needle = Needle::new(1, bytes(1, 3 * MIB));
    let setup = TargetSetup::with(std::slice::from_ref(&needle));
    served(setup.set("max_transfer_size", "1048576"), |_, peer| {
        let mib = MIB as u64;
        for (offset, size) in [(0, 0), (0, mib + 1), (1, u64::MAX), (mib, 0)] {
            let code = peer.fails(range(7, &needle, offset, size));
            assert_eq!(code, "TRANSFER_TOO_LARGE", "{offset}+{size}");
        }
        for offset in [0, 1, 2 * mib] {
            let data = peer.fetched(range(7, &needle, offset, mib));
            let start = offset as usize;
            assert!(data == needle.data[start..start + MIB]);
        }
    });
}

#[test]
fn damage_on_the_disk_is_found_by_one_side_or_the_other() {
    let setup = TargetSetup::new();
    let (small, large) = (
        Needle::new(1, bytes(1, 5000)),
        Needle::new(2, bytes(2, MIB)),
    );
    let mut volume = setup.volume(7, &Spec::default(), &[]);
    for needle in [&small, &large] {
        let placed = volume.put(needle);
        volume.corrupt(placed.data + 4000);
    }
    served(setup, |_, peer| {
        assert_eq!(peer.fails(read(7, &small)), "CHECKSUM_MISMATCH");
        match peer.fetch(read(7, &large)) {
            // Staged, and so checked, by the target,
            (FromTarget::Failed(failed), _) => assert_eq!(failed.code, "CHECKSUM_MISMATCH"),
            // or sent as it is, to be checked by who receives it.
            (FromTarget::Data(data), bytes) => {
                let stored = data.facts.stored.expect("something to check it with");
                assert!(!data.facts.verified);
                assert_ne!(stored, common::crc32c(&bytes));
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn a_needle_whose_end_is_cut_off_fails_and_the_connection_lives() {
    let setup = TargetSetup::new();
    let (first, second) = (Needle::new(1, bytes(1, MIB)), Needle::new(2, bytes(2, MIB)));
    let mut volume = setup.volume(7, &Spec::default(), &[first]);
    let placed = volume.put(&second);
    while_others_are_served(setup, |target| {
        let mut peer = target.peer();
        assert!(peer.fetched(read(7, &second)) == second.data);
        volume.truncate(placed.data + 1000);
        let code = peer.fails(read(7, &second));
        assert!(
            ["CORRUPT_NEEDLE", "CORRUPT_VOLUME", "IO_ERROR"].contains(&code.as_str()),
            "{code}"
        );
        peer.ping();
    });
}

#[test]
fn a_volume_that_appears_is_announced_and_served() {
    let target = TargetSetup::new().start();
    let mut peer = target.peer();
    let needle = Needle::new(1, bytes(1, 1000));
    target
        .setup
        .volume(7, &Spec::default(), std::slice::from_ref(&needle));
    eventually("the new volume is announced", || {
        peer.ping();
        peer.volumes.iter().any(|v| v.id == 7).then_some(())
    });
    assert_eq!(peer.fetched(read(7, &needle)), needle.data);
}

#[test]
fn every_volume_is_announced_before_the_first_answer() {
    let setup = TargetSetup::new();
    for id in 1..=400 {
        setup.volume(id, &Spec::default(), &[]);
    }
    let target = setup.start();
    let mut peer = target.peer();
    peer.ping();
    assert_eq!(peer.volumes.len(), 401);
}

fn too_long(peer: &mut Peer, read: Read, length: u64, needle_size: u64) {
    match peer.fetch(read.clone()).0 {
        FromTarget::TooLong(answer) => {
            assert_eq!((answer.length, answer.needle_size), (length, needle_size));
        }
        other => panic!("{read:?} was to be too long, not {other:?}"),
    }
}
