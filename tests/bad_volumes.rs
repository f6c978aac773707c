//! Damaged volumes are refused with the code that says why, and harm nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::os::unix::fs::symlink;

use common::case::{BAD_BYTES, Case, Cases, fetched, good, refused};
use common::client::whole;
use common::volume::HEADER;
use common::{bytes, eventually};
use rdma_engine::protocol::message::StartRead;
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Some reads of every case.
fn of_all(cases: &[Case], reads: impl Fn(&Case) -> Vec<StartRead>) -> Vec<StartRead> {
    cases.iter().flat_map(reads).collect()
}

#[test]
fn corrupt_data_is_a_checksum_mismatch() {
    let mut cases = Cases::new();
    for version in 1..=3 {
        for at in [0, BAD_BYTES / 2, BAD_BYTES - 1] {
            let case = cases.add(version);
            case.volume.corrupt(case.placed.data + at);
        }
    }
    cases.refused(&["CHECKSUM_MISMATCH"], |case| {
        vec![case.whole(), case.range(0, BAD_BYTES)]
    });
}

#[test]
fn a_range_beside_corrupt_data_is_served_and_not_called_verified() {
    let mut cases = Cases::new();
    let case = cases.add(3);
    case.volume.corrupt(case.placed.data + BAD_BYTES / 2);
    cases.each(|bystander, cases| {
        let read = cases[0].range(1000, 10_000);
        let (data, started) = bystander.client.fetch(&bystander.pool, &read).unwrap();
        assert_eq!(data, &cases[0].bad.data[1000..11_000]);
        assert!(!started.crc_verified);
    });
}

#[test]
fn a_corrupt_checksum_is_a_mismatch() {
    let mut cases = Cases::new();
    for version in 1..=3 {
        for byte in 0..4 {
            let case = cases.add(version);
            case.volume.corrupt(case.placed.footer + byte);
        }
    }
    cases.refused(&["CHECKSUM_MISMATCH"], |case| vec![case.whole()]);
}

#[test]
fn a_header_with_another_id_or_size_is_corrupt() {
    let mut cases = Cases::new();
    for version in 1..=3 {
        for byte in [4, 11, 12, 15] {
            let case = cases.add(version);
            case.volume.corrupt(case.placed.header + byte);
        }
    }
    cases.refused(&["CORRUPT_NEEDLE"], Case::whole_and_part);
}

#[test]
fn a_header_with_another_cookie_is_a_mismatch() {
    let mut cases = Cases::new();
    let case = cases.add(3);
    case.volume.corrupt(case.placed.header);
    cases.refused(&["COOKIE_MISMATCH"], Case::whole_and_part);
}

#[test]
fn a_data_size_that_does_not_fit_its_needle_is_corrupt() {
    let mut cases = Cases::new();
    for version in [2, 3] {
        for size in [50_001, 60_000, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let case = cases.add(version);
            let at = case.placed.header + HEADER;
            case.volume.overwrite(at, &u32::to_be_bytes(size));
        }
    }
    cases.refused(&["CORRUPT_NEEDLE"], Case::whole_and_part);
}

#[test]
fn an_index_that_leads_astray_is_corrupt() {
    type Entry = fn(&Case) -> (u64, i32);
    let entries: [Entry; 8] = [
        // Into another needle, into the middle of one, past the end, and far past it.
        |_| (8, 3005),
        |case| (case.placed.header + 64, case.placed.size),
        |case| (case.placed.header + (1 << 20), case.placed.size),
        |_| (0xffff_fff8, i32::MAX),
        // To the right one, with another size.
        |case| (case.placed.header, 1),
        |case| (case.placed.header, case.placed.size - 1),
        |case| (case.placed.header, 60_000),
        |case| (case.placed.header, i32::MAX),
    ];
    let mut cases = Cases::new();
    for entry in entries {
        let case = cases.add(3);
        let (offset, size) = entry(case);
        case.volume.index(case.bad.id, offset, size);
    }
    cases.refused(&["CORRUPT_NEEDLE", "CORRUPT_VOLUME"], Case::whole_and_part);
}

#[test]
fn an_index_that_points_outside_of_the_dat_file_is_a_corrupt_volume() {
    let mut cases = Cases::new();
    for beyond in [8, 1 << 20, 0xffff_fff8] {
        let case = cases.add(3);
        let end = std::fs::metadata(&case.volume.dat).unwrap().len();
        let offset = (end + beyond).min(0x7_ffff_fff8);
        case.volume.index(case.bad.id, offset, case.placed.size);
    }
    let case = cases.add(3);
    // Its superblock is no needle either.
    case.volume.index(case.bad.id, 0, case.placed.size);
    let [beyond @ .., zero] = [100, 101, 102, 103];
    cases.each(|bystander, cases| {
        let of = |ids: &[u32]| {
            of_all(cases, Case::whole_and_part)
                .into_iter()
                .filter(|read| ids.contains(&read.volume_id))
                .collect::<Vec<_>>()
        };
        refused(bystander, &["CORRUPT_VOLUME"], &of(&beyond));
        // An offset of 0 is how a deletion is written.
        refused(bystander, &["NEEDLE_NOT_FOUND"], &of(&[zero]));
        for case in cases {
            assert_eq!(fetched(bystander, &case.before()), good(1).data);
            assert_eq!(fetched(bystander, &case.after()), good(3).data);
        }
    });
}

#[test]
fn an_index_of_another_width_than_the_vif_says_is_a_corrupt_volume() {
    let mut cases = Cases::new();
    let case = cases.add(3);
    let vif = case.volume.dat.with_extension("vif");
    let text = std::fs::read_to_string(&vif).unwrap();
    let wrong = text.replace(r#""bytesOffset":4"#, r#""bytesOffset":5"#);
    assert_ne!(text, wrong);
    std::fs::write(&vif, wrong).unwrap();
    cases.each(|bystander, cases| {
        refused(
            bystander,
            &["CORRUPT_VOLUME"],
            &of_all(cases, Case::whole_and_part),
        );
        refused(bystander, &["CORRUPT_VOLUME"], &[cases[0].before()]);
    });
}

#[test]
fn bit_rot_in_an_index_entry_harms_only_its_own_needle() {
    let mut cases = Cases::new();
    for byte in 0..16 {
        let case = cases.add(3);
        let mut index = std::fs::read(&case.volume.idx).unwrap();
        assert_eq!(index.len(), 3 * 16);
        index[16 + byte] ^= 0xff;
        std::fs::write(&case.volume.idx, index).unwrap();
    }
    // Where the id or the sign is hit, there is nothing left that tells of the needle.
    let codes = ["CORRUPT_NEEDLE", "CORRUPT_VOLUME", "NEEDLE_NOT_FOUND"];
    cases.refused(&codes, Case::whole_and_part);
}

#[test]
fn bit_rot_in_the_flags_is_a_corrupt_needle() {
    let mut cases = Cases::new();
    for version in [2, 3] {
        let case = cases.add(version);
        case.volume.corrupt(case.placed.footer - 1);
    }
    cases.refused(&["CORRUPT_NEEDLE"], Case::whole_and_part);
}

#[test]
fn an_index_that_can_not_be_opened_harms_only_its_own_volume_until_it_can() {
    let mut cases = Cases::new();
    for _ in 0..4 {
        cases.add(3);
    }
    cases.each(|bystander, cases| {
        for case in cases {
            assert_eq!(fetched(bystander, &case.whole()), case.bad.data);
            std::fs::rename(&case.volume.idx, case.volume.idx.with_extension("away")).unwrap();
        }
        std::fs::create_dir(&cases[0].volume.idx).unwrap();
        symlink("/nonexistent", &cases[1].volume.idx).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        mknodat(CWD, &cases[2].volume.idx, FileType::Fifo, mode, 0).unwrap();
        if !common::is_root() {
            std::fs::write(&cases[3].volume.idx, b"").unwrap();
            let unreadable = std::os::unix::fs::PermissionsExt::from_mode(0o000);
            std::fs::set_permissions(&cases[3].volume.idx, unreadable).unwrap();
        }
        for (case, code) in cases.iter().zip(["IO_ERROR", "CORRUPT_VOLUME", "IO_ERROR"]) {
            eventually("the volume can not be read", || {
                (bystander.client.refusal_or_read(&case.whole())? == code).then_some(())
            });
        }
        bystander.served();
        std::fs::remove_dir(&cases[0].volume.idx).unwrap();
        for case in cases {
            std::fs::rename(case.volume.idx.with_extension("away"), &case.volume.idx).unwrap();
            eventually("the volume can be read again", || {
                let read = bystander.client.refusal_or_read(&case.whole());
                read.is_none().then_some(())
            });
            assert_eq!(fetched(bystander, &case.whole()), case.bad.data);
        }
    });
}

#[test]
fn an_index_of_garbage_harms_only_its_own_volume() {
    let mut cases = Cases::new();
    for vif in [true, false] {
        let case = cases.add(3);
        if !vif {
            std::fs::remove_file(case.volume.dat.with_extension("vif")).unwrap();
        }
        std::fs::write(&case.volume.idx, bytes(5, 16 * 17 * 10)).unwrap();
    }
    cases.each(|bystander, cases| {
        let unreadable = ["CORRUPT_VOLUME", "CORRUPT_NEEDLE", "NEEDLE_NOT_FOUND"];
        refused(bystander, &unreadable, &of_all(cases, Case::whole_and_part));
    });
}

#[test]
fn a_dat_file_that_is_cut_off_is_corrupt_where_it_is_cut() {
    let mut cases = Cases::new();
    for cut in [1, 4, 16, 20, 20_000] {
        let case = cases.add(3);
        case.volume.truncate(case.placed.header + cut);
    }
    cases.each(|bystander, cases| {
        let reads = of_all(cases, |case| vec![case.whole(), case.after()]);
        refused(bystander, &["CORRUPT_VOLUME"], &reads);
        for case in cases {
            assert_eq!(fetched(bystander, &case.before()), good(1).data);
        }
    });
}

#[test]
fn a_dat_file_cut_off_while_it_is_served_is_corrupt() {
    let mut cases = Cases::new();
    cases.add(3);
    cases.each(|bystander, cases| {
        let case = &cases[0];
        assert_eq!(fetched(bystander, &case.whole()), case.bad.data);
        case.volume.truncate(case.placed.data + 20_000);
        let reads = [case.whole(), case.range(30_000, 5)];
        refused(bystander, &["CORRUPT_VOLUME"], &reads);
        assert_eq!(fetched(bystander, &case.before()), good(1).data);
    });
}

#[test]
fn a_superblock_that_is_none_is_a_corrupt_volume() {
    let superblocks: [&[u8]; 5] = [b"", &[3, 0, 0], &[9; 8], &[0; 8], &[0xff; 8]];
    let mut cases = Cases::new();
    for superblock in superblocks {
        for extra in [0, 1000] {
            let case = cases.add(3);
            let dat = [superblock, &vec![0; extra]].concat();
            std::fs::write(&case.volume.dat, dat).unwrap();
        }
    }
    cases.each(|bystander, cases| {
        let codes = ["CORRUPT_VOLUME", "CORRUPT_NEEDLE"];
        refused(bystander, &codes, &of_all(cases, Case::whole_and_part));
    });
}

#[test]
fn a_vif_that_is_none_harms_only_its_own_volume() {
    let mut cases = Cases::new();
    for vif in [
        "",
        "{",
        "[]",
        r#"{"version":3,"bytesOffset":7}"#,
        r#"{"bytesOffset":"x"}"#,
        "\0\0\0",
    ] {
        let case = cases.add(3);
        std::fs::write(case.volume.dat.with_extension("vif"), vif).unwrap();
    }
    cases.each(|bystander, cases| {
        for case in cases {
            // Read all the same or refused; never wrong.
            match bystander.client.fetch(&bystander.pool, &case.whole()) {
                Ok((data, _)) => assert_eq!(data, case.bad.data),
                Err(error) => assert_eq!(error.code, "CORRUPT_VOLUME", "{error:?}"),
            }
        }
    });
}

#[test]
fn what_is_no_volume_file_is_passed_over() {
    let mut cases = Cases::new();
    cases.add(3);
    let dir = cases.setup.volumes();
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
    symlink("/nonexistent", dir.join("13.dat")).unwrap();
    let mode = Mode::from_raw_mode(0o600);
    mknodat(CWD, dir.join("14.dat"), FileType::Fifo, mode, 0).unwrap();
    cases.each(|bystander, cases| {
        let codes = ["VOLUME_NOT_FOUND", "CORRUPT_VOLUME", "IO_ERROR"];
        let reads = [12, 13, 14].map(|volume| whole(volume, &cases[0].bad));
        refused(bystander, &codes, &reads);
        assert_eq!(fetched(bystander, &cases[0].whole()), cases[0].bad.data);
    });
}
