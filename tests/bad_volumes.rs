//! Damaged volumes are refused with the code that says why, and harm nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::case::{AFTER, BEFORE, Case, bad_one, good, only_whole, refused, whole_and_part};
use common::client::{range, whole};
use common::volume::HEADER;
use common::{Setup, bytes};

const INTEGRITY: [&str; 3] = ["CORRUPT_NEEDLE", "CORRUPT_VOLUME", "CHECKSUM_MISMATCH"];

#[test]
fn corrupt_data_is_a_checksum_mismatch() {
    for version in 1..=3 {
        for at in [0, 25_000, 49_999] {
            let case = Case::new(version, bad_one());
            case.volume.corrupt(case.placed.data + at);
            case.refused(&["CHECKSUM_MISMATCH"], |needle| {
                vec![whole(7, needle), range(7, needle, 0, 50_000)]
            });
        }
    }
}

#[test]
fn a_range_beside_corrupt_data_is_served_and_not_called_verified() {
    let case = Case::new(3, bad_one());
    case.volume.corrupt(case.placed.data + 25_000);
    let needle = case.bad.clone();
    case.others_served(true, |engine| {
        let mut client = engine.client();
        let pool = client.attach();
        let (data, started) = client
            .fetch(&pool, &range(7, &needle, 1000, 10_000))
            .unwrap();
        assert_eq!(data, &needle.data[1000..11_000]);
        assert!(!started.crc_verified);
    });
}

#[test]
fn a_corrupt_checksum_is_a_mismatch() {
    for version in 1..=3 {
        for byte in 0..4 {
            let case = Case::new(version, bad_one());
            case.volume.corrupt(case.placed.footer + byte);
            case.refused(&["CHECKSUM_MISMATCH"], only_whole);
        }
    }
}

#[test]
fn a_header_with_another_id_or_size_is_corrupt() {
    for version in 1..=3 {
        for byte in [4, 11, 12, 15] {
            let case = Case::new(version, bad_one());
            case.volume.corrupt(case.placed.header + byte);
            case.refused(&["CORRUPT_NEEDLE"], whole_and_part);
        }
    }
}

#[test]
fn a_header_with_another_cookie_is_a_mismatch() {
    let case = Case::new(3, bad_one());
    case.volume.corrupt(case.placed.header);
    case.refused(&["COOKIE_MISMATCH"], whole_and_part);
}

#[test]
fn a_data_size_that_does_not_fit_its_needle_is_corrupt() {
    for version in [2, 3] {
        for size in [50_001, 60_000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let case = Case::new(version, bad_one());
            case.volume
                .overwrite(case.placed.header + HEADER, &u32::to_be_bytes(size));
            case.refused(&["CORRUPT_NEEDLE"], whole_and_part);
        }
    }
}

#[test]
fn an_index_that_leads_astray_is_corrupt() {
    type Entry = fn(&Case) -> (u64, i32);
    let entries: [Entry; 4] = [
        // Into another needle, into the middle of one, past the end, and far past it.
        |_| (8, 3005),
        |case| (case.placed.header + 64, case.placed.size),
        |case| (case.placed.header + (1 << 20), case.placed.size),
        |_| (0xffff_fff8, i32::MAX),
    ];
    for entry in entries {
        let case = Case::new(3, bad_one());
        let (offset, size) = entry(&case);
        case.volume.index(case.bad.id, offset, size);
        case.refused(&["CORRUPT_NEEDLE", "CORRUPT_VOLUME"], whole_and_part);
    }
}

#[test]
fn an_index_with_another_size_is_corrupt() {
    for size in [1, 49_999, 60_000, i32::MAX] {
        let case = Case::new(3, bad_one());
        case.volume.index(case.bad.id, case.placed.header, size);
        case.refused(&["CORRUPT_NEEDLE", "CORRUPT_VOLUME"], whole_and_part);
    }
}

#[test]
fn an_index_of_garbage_harms_only_its_own_volume() {
    let unreadable = ["CORRUPT_VOLUME", "CORRUPT_NEEDLE", "NEEDLE_NOT_FOUND"];
    for vif in [true, false] {
        let setup = Setup::new();
        let case = Case::in_setup(setup, 3, bad_one());
        if !vif {
            std::fs::remove_file(case.volume.dat.with_extension("vif")).unwrap();
        }
        std::fs::write(&case.volume.idx, bytes(5, 16 * 17 * 10)).unwrap();
        let reads = whole_and_part(&case.bad);
        case.others_served(false, |engine| refused(engine, &unreadable, &reads));
    }
}

#[test]
fn a_dat_file_that_is_cut_off_is_corrupt_where_it_is_cut() {
    for cut in [1, 4, 16, 20, 20_000] {
        let case = Case::new(3, bad_one());
        let (header, needle) = (case.placed.header, case.bad.clone());
        case.volume.truncate(header + cut);
        case.others_served(false, |engine| {
            refused(engine, &INTEGRITY, &[whole(7, &needle)]);
            let mut client = engine.client();
            let pool = client.attach();
            let fetched = client.fetch(&pool, &whole(7, &good(BEFORE)));
            assert_eq!(fetched.unwrap().0, good(BEFORE).data, "before the cut");
            refused(engine, &INTEGRITY, &[whole(7, &good(AFTER))]);
        });
    }
}

#[test]
fn a_dat_file_cut_off_while_it_is_served_is_corrupt() {
    let case = Case::new(3, bad_one());
    let (cut, needle) = (case.placed.data + 20_000, case.bad.clone());
    let dat = case.volume.dat.clone();
    case.others_served(false, |engine| {
        let mut client = engine.client();
        let pool = client.attach();
        client.fetch(&pool, &whole(7, &needle)).unwrap();
        let dat = std::fs::OpenOptions::new().write(true).open(&dat).unwrap();
        dat.set_len(cut).unwrap();
        refused(
            engine,
            &INTEGRITY,
            &[whole(7, &needle), range(7, &needle, 30_000, 5)],
        );
    });
}

#[test]
fn a_superblock_that_is_none_is_a_corrupt_volume() {
    let superblocks: [&[u8]; 5] = [b"", &[3, 0, 0], &[9; 8], &[0; 8], &[0xff; 8]];
    for superblock in superblocks {
        for extra in [0, 1000] {
            let case = Case::new(3, bad_one());
            let dat = [superblock, &vec![0; extra]].concat();
            std::fs::write(&case.volume.dat, dat).unwrap();
            let reads = whole_and_part(&case.bad);
            let codes = ["CORRUPT_VOLUME", "CORRUPT_NEEDLE"];
            case.others_served(false, |engine| refused(engine, &codes, &reads));
        }
    }
}

#[test]
fn a_vif_that_is_none_harms_only_its_own_volume() {
    for vif in [
        "",
        "{",
        "[]",
        r#"{"version":3,"bytesOffset":7}"#,
        r#"{"bytesOffset":"x"}"#,
        "\0\0\0",
    ] {
        let case = Case::new(3, bad_one());
        std::fs::write(case.volume.dat.with_extension("vif"), vif).unwrap();
        let needle = case.bad.clone();
        case.others_served(false, |engine| {
            // Read all the same or refused; never wrong.
            let mut client = engine.client();
            let pool = client.attach();
            match client.fetch(&pool, &whole(7, &needle)) {
                Ok((data, _)) => assert_eq!(data, needle.data),
                Err(error) => assert_eq!(error.code, "CORRUPT_VOLUME", "{vif}"),
            }
        });
    }
}

#[test]
fn what_is_no_volume_file_is_passed_over() {
    let case = Case::new(3, bad_one());
    let dir = case.setup.volumes().to_owned();
    for name in [
        "x.dat",
        ".dat",
        "-1.dat",
        "99999999999.dat",
        "7_.dat",
        "notes.txt",
    ] {
        std::fs::write(dir.join(name), b"junk").unwrap();
    }
    std::fs::create_dir(dir.join("12.dat")).unwrap();
    std::os::unix::fs::symlink("/nonexistent", dir.join("13.dat")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        dir.join("14.dat"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let needle = case.bad.clone();
    case.others_served(true, |engine| {
        let mut client = engine.client();
        for volume in [12, 13, 14] {
            let error = client
                .start(&whole(volume, &needle))
                .expect_err("no volume");
            let codes = ["VOLUME_NOT_FOUND", "CORRUPT_VOLUME", "IO_ERROR"];
            assert!(codes.contains(&error.code.as_str()), "{error:?}");
        }
    });
}
