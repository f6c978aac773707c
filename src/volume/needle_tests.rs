use super::*;

const V23: [Version; 2] = [Version::V2, Version::V3];

fn layout(version: Version, size: u32) -> Layout {
    Layout::new(version, Located { offset: 80, size })
}

fn head(data_size: u32) -> [u8; 20] {
    let mut head = [0; 20];
    head[16..].copy_from_slice(&data_size.to_be_bytes());
    head
}

#[test]
fn the_parts_follow_each_other() {
    let v1 = layout(Version::V1, 100);
    assert_eq!((v1.header_offset(), v1.data_offset()), (80, 96));
    assert_eq!((v1.body_end(), v1.end()), (196, 200));
    assert_eq!((v1.max_data_bytes(), v1.whole_len()), (100, 120));
    assert_eq!(v1.data_size(&[0; 16]).unwrap(), 100);
    assert_eq!((v1.tail_offset(100), v1.tail_len(100)), (196, 4));

    let v2 = layout(Version::V2, 100);
    assert_eq!((v2.data_offset(), v2.end()), (100, 200));
    assert_eq!(v2.max_data_bytes(), 95);
    assert_eq!((v2.tail_offset(90), v2.tail_len(90)), (190, 10));

    let v3 = layout(Version::V3, 100);
    assert_eq!((v3.data_offset(), v3.end()), (100, 208));
    assert_eq!(v3.tail_len(95), 13);
}

#[test]
fn an_empty_needle_is_a_header_and_a_footer() {
    for (version, footer) in [(Version::V1, 4), (Version::V2, 4), (Version::V3, 12)] {
        let empty = layout(version, 0);
        assert_eq!(empty.head_len(), 16);
        assert_eq!(empty.max_data_bytes(), 0);
        assert_eq!(empty.data_size(&[0; 16]).unwrap(), 0);
        assert_eq!((empty.tail_offset(0), empty.tail_len(0)), (96, footer));
    }
}

#[test]
fn a_data_size_must_leave_room_for_flags_and_not_more_than_they_can_fill() {
    for version in V23 {
        let needle = layout(version, 100);
        assert_eq!(needle.data_size(&head(95)).unwrap(), 95);
        assert_eq!(needle.data_size(&head(0)).unwrap(), 0);
        for size in [96, 100, 0x7fff_ffff, u32::MAX] {
            assert!(needle.data_size(&head(size)).is_err(), "{size}");
        }
        let large = layout(version, 1_000_000);
        let least = 1_000_000 - 4 - META_LEN_MAX;
        assert_eq!(large.data_size(&head(least)).unwrap(), least);
        assert!(large.tail_len(least) <= Layout::TAIL_LEN_MAX);
        assert!(large.data_size(&head(least - 1)).is_err());
        for size in 1..=4 {
            assert!(layout(version, size).data_size(&head(0)).is_err(), "{size}");
        }
    }
}

#[test]
fn a_head_cut_off_anywhere_is_corrupt() {
    for len in 0..16 {
        assert!(Header::parse(&[0; 16][..len]).is_err(), "{len}");
    }
    for len in 0..20 {
        let error = layout(Version::V3, 50).data_size(&head(3)[..len]);
        assert!(matches!(error, Err(VolumeError::CorruptNeedle(_))), "{len}");
    }
}

#[test]
fn id_and_size_are_checked_before_the_cookie() {
    let bytes = [
        0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 0, 0, 0x1f, 0x20, 0, 0, 0, 9,
    ];
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(
        (header.cookie, header.id, header.size),
        (0xdead_beef, 0x1f20, 9)
    );
    let at = |size| Located { offset: 8, size };
    let check = |id, cookie, size| header.check(id, cookie, at(size));
    assert!(check(0x1f20, 0xdead_beef, 9).is_ok());
    let mismatch = check(0x1f20, 1, 9).unwrap_err();
    assert!(matches!(mismatch, VolumeError::CookieMismatch(_)));
    assert!(!mismatch.to_string().contains("deadbeef"), "{mismatch}");
    for (id, size) in [(0x1f21, 9), (0x1f20, 8), (0x1f20, 0x8000_0009)] {
        let error = check(id, 1, size).unwrap_err();
        assert!(matches!(error, VolumeError::CorruptNeedle(_)), "{error}");
    }
}

#[test]
fn a_negative_size_never_passes_for_a_large_one() {
    let mut bytes = [0xff; 16];
    bytes[..12].fill(0);
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(header.size, -1);
    let located = Located {
        offset: 8,
        size: u32::MAX,
    };
    assert!(header.check(0, 0, located).is_err());
}
