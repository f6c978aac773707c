//! Needles of every kind come back through a peer as they were written.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{range, whole};
use common::payload::{bytes, compressed, gzip, text};
use common::reader::{MIB, Reader};
use common::through::{engine_on, through_a_peer};
use common::{Needle, Setup, Spec, TargetSetup};

#[test]
fn needles_of_every_size_come_back_from_volumes_of_every_version() {
    // On both sides of what is sent from the file, and of what is reserved for a needle whose
    // length only the peer knows.
    let lengths = [0, 1, 2, 511, 4097, 256 << 10, (256 << 10) + 1];
    let lengths = lengths.into_iter().chain([MIB - 1, MIB, MIB + 1, 4 * MIB]);
    let needles: Vec<Needle> = lengths
        .zip(1..)
        .map(|(length, id)| Needle {
            name: (id % 2 == 0).then(|| b"a name.bin".to_vec()),
            last_modified: Some(1_700_000_000),
            old_crc: id % 3 == 0,
            ..Needle::new(id, bytes(id, length))
        })
        .collect();
    let target = TargetSetup::new();
    for version in 1..=3 {
        let wide = version == 2;
        let spec = Spec {
            version,
            wide,
            ..Spec::default()
        };
        let mut plain = needles.clone();
        if version == 1 {
            plain
                .iter_mut()
                .for_each(|n| (n.name, n.last_modified) = (None, None));
        }
        target.volume(version.into(), &spec, &plain);
    }
    through_a_peer(target, |reader| {
        for volume in 1..=3 {
            for needle in &needles {
                reader.check(volume, needle, &needle.data, false);
            }
        }
    });
}

#[test]
fn needles_past_the_page_cache_come_back_too() {
    let needles = [1, 4096, MIB + 1].map(|length| Needle::new(length as u64, bytes(9, length)));
    // Where the build is, because not every temporary directory can do direct reads.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut volume = common::Volume::create(dir.path(), 7, &Spec::default());
    for needle in &needles {
        volume.put(needle);
    }
    let both = TargetSetup::new().set("direct_io", "true");
    let volumes = both.volumes();
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let file = entry.unwrap();
        std::os::unix::fs::symlink(file.path(), volumes.join(file.file_name())).unwrap();
    }
    through_a_peer(both, |reader| {
        for needle in &needles {
            reader.check(7, needle, &needle.data, false);
        }
    });
}

#[test]
fn compressed_needles_come_back_decompressed() {
    let contents = [
        text(1, 1),
        text(2, 4096),
        text(3, 300_000),
        bytes(4, 70_000),
        text(5, 4 * MIB),
    ];
    let stored = compressed(&contents);
    through_a_peer(TargetSetup::with(&stored.concat()), |reader| {
        for (needles, logical) in stored.iter().zip(&contents) {
            for needle in needles {
                // All that is stored is read for any range of it, so its checksum can be checked.
                reader.check(7, needle, logical, true);
            }
        }
    });
}

#[test]
fn a_needle_of_64_mib_comes_back_in_one_read_from_its_file_and_decompressed() {
    let plain = Needle::new(1, bytes(1, 64 * MIB));
    let logical = text(2, 64 * MIB);
    let stored = Needle {
        compressed: true,
        ..Needle::new(2, gzip(&logical))
    };
    let target = TargetSetup::with(&[plain.clone(), stored.clone()])
        .set("buffer_size", "268435456")
        .set("max_transfer_size", "67108864")
        .start();
    let at_target = target.baseline();
    let mut setup = Setup::new().set("max_transfer_size", "67108864");
    setup.buffer_size = 256 << 20;
    let engine = engine_on(setup, &target);
    let before = engine.baseline();
    let mut reader = Reader::over_tcp(&engine);
    let ranges = [
        (0, 0),
        (0, 64 * MIB),
        (64 * MIB - 1, 0),
        (MIB + 1, 62 * MIB),
    ];
    reader.check_ranges(7, &plain, &plain.data, false, &ranges);
    reader.check_ranges(7, &stored, &logical, true, &ranges);
    drop(reader);
    engine.assert_nothing_lost(&before);
    drop(engine);
    target.assert_nothing_lost(&at_target);
}

#[test]
fn what_can_not_be_read_is_refused_as_it_is_on_this_host() {
    let large = Needle::new(1, bytes(1, 5 * MIB));
    let packed = Needle {
        compressed: true,
        ..Needle::new(2, gzip(&text(2, 5 * MIB)))
    };
    let deleted = Needle::new(3, bytes(3, 5000));
    let spoilt = Needle::new(4, bytes(4, 5000));
    let spoilt_large = Needle::new(5, bytes(5, MIB));
    let target = TargetSetup::new();
    let stored = [&large, &packed, &deleted, &spoilt, &spoilt_large].map(Clone::clone);
    let mut volume = target.volume(7, &Spec::default(), &stored);
    volume.delete(&deleted);
    for needle in [&spoilt, &spoilt_large] {
        let placed = volume.put(needle);
        volume.corrupt(placed.data + 77);
    }
    let wrong_cookie = Needle {
        cookie: 1,
        ..large.clone()
    };
    let absent = Needle::new(99, []);
    through_a_peer(target, |reader| {
        for (read, code) in [
            (whole(7, &large), "TRANSFER_TOO_LARGE"),
            (whole(7, &packed), "TRANSFER_TOO_LARGE"),
            (
                range(7, &large, 10, 4 * MIB as u64 + 1),
                "TRANSFER_TOO_LARGE",
            ),
            (range(7, &large, 10, u64::MAX), "TRANSFER_TOO_LARGE"),
            (whole(7, &deleted), "NEEDLE_NOT_FOUND"),
            (whole(7, &absent), "NEEDLE_NOT_FOUND"),
            (range(7, &wrong_cookie, 5, 5), "COOKIE_MISMATCH"),
            (whole(7, &wrong_cookie), "COOKIE_MISMATCH"),
            (whole(8, &large), "VOLUME_NOT_FOUND"),
            (whole(7, &spoilt), "CHECKSUM_MISMATCH"),
            (whole(7, &spoilt_large), "CHECKSUM_MISMATCH"),
        ] {
            assert_eq!(reader.client.refusal(&read), code, "{read:?}");
        }
        // What is longer than one transfer is read in ranges.
        let part = 4 * MIB;
        let ranges = [(0, part), (part, 0), (MIB, part)];
        reader.check_ranges(7, &large, &large.data, false, &ranges);
    });
}
