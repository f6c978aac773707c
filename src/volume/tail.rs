//! What stands after a needle's data: flags, what they announce, and the footer.

use super::error::VolumeError;
use super::superblock::Version;
use super::ttl::Ttl;

const COMPRESSED: u8 = 0x01;
const HAS_NAME: u8 = 0x02;
const HAS_MIME: u8 = 0x04;
const HAS_LAST_MODIFIED: u8 = 0x08;
const HAS_TTL: u8 = 0x10;
const HAS_PAIRS: u8 = 0x20;
const CHUNK_MANIFEST: u8 = 0x80;

/// The parts of a tail that decide how its data is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// All flags as stored; 0 for version 1 and for an empty needle.
    pub flags: u8,
    /// When the writer says the content last changed, in seconds since the Unix epoch.
    pub last_modified: Option<u64>,
    /// How long the needle lives; None if for ever.
    pub ttl: Option<Ttl>,
    /// The checksum over the stored data, in either of its forms
    /// (see [`stored_matches`](crate::crc::stored_matches)).
    pub stored_crc: u32,
    /// When the needle was written, in nanoseconds since the Unix epoch; version 3 only.
    pub append_at_ns: Option<u64>,
}

impl Tail {
    /// From `bytes`, everything from the end of the data to the end of the footer: exactly
    /// [`Layout::tail_len`](super::Layout::tail_len) of them. Of an empty needle, and in
    /// version 1, that is the footer alone.
    ///
    /// CorruptNeedle if a flag announces more than there is. Bytes that no known flag
    /// announces are passed over, as SeaweedFS does.
    pub fn parse(version: Version, bytes: &[u8]) -> Result<Self, VolumeError> {
        let footer_len = match version {
            Version::V1 | Version::V2 => 4,
            Version::V3 => 12,
        };
        let Some((meta, mut footer)) = bytes
            .len()
            .checked_sub(footer_len)
            .and_then(|meta_len| bytes.split_at_checked(meta_len))
        else {
            return Err(cut_off("footer"));
        };
        let mut tail = Self {
            flags: 0,
            last_modified: None,
            ttl: None,
            stored_crc: u32::from_be_bytes(take(&mut footer, "checksum")?),
            append_at_ns: None,
        };
        if version == Version::V3 {
            tail.append_at_ns = Some(u64::from_be_bytes(take(&mut footer, "time of writing")?));
        }
        if version != Version::V1 && !meta.is_empty() {
            tail.parse_meta(meta)?;
        }
        Ok(tail)
    }

    fn parse_meta(&mut self, mut rest: &[u8]) -> Result<(), VolumeError> {
        let rest = &mut rest;
        [self.flags] = take(rest, "flags")?;
        if self.has(HAS_NAME) {
            let [len] = take(rest, "name")?;
            skip(rest, len.into(), "name")?;
        }
        if self.has(HAS_MIME) {
            let [len] = take(rest, "MIME type")?;
            skip(rest, len.into(), "MIME type")?;
        }
        if self.has(HAS_LAST_MODIFIED) {
            let [a, b, c, d, e] = take(rest, "last modified time")?;
            self.last_modified = Some(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]));
        }
        if self.has(HAS_TTL) {
            self.ttl = Ttl::parse(take(rest, "TTL")?);
        }
        if self.has(HAS_PAIRS) {
            let len = u16::from_be_bytes(take(rest, "pairs")?);
            skip(rest, len.into(), "pairs")?;
        }
        Ok(())
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether the data is stored compressed (see [`Encoding`](super::Encoding) for how).
    pub const fn compressed(&self) -> bool {
        self.has(COMPRESSED)
    }

    /// Whether the data is a list of the needles that hold the content.
    pub const fn chunk_manifest(&self) -> bool {
        self.has(CHUNK_MANIFEST)
    }

    /// Whether the needle has outlived its TTL at `now_ns` (since the Unix epoch), and counts
    /// as not found.
    ///
    /// Only a needle that has both a TTL and a last modified time expires. Its life begins
    /// when it was written (version 3); version 2 does not record that, and there it begins at
    /// the last modified time, as it did in SeaweedFS when that was the format.
    pub fn expired(&self, now_ns: u64) -> bool {
        let (Some(ttl), Some(last_modified)) = (self.ttl, self.last_modified) else {
            return false;
        };
        let written_ns = self
            .append_at_ns
            .unwrap_or(last_modified.saturating_mul(1_000_000_000));
        ttl.expired(written_ns, now_ns)
    }
}

fn take<const N: usize>(rest: &mut &[u8], what: &str) -> Result<[u8; N], VolumeError> {
    let (taken, left) = rest.split_first_chunk().ok_or_else(|| cut_off(what))?;
    *rest = left;
    Ok(*taken)
}

fn skip(rest: &mut &[u8], len: usize, what: &str) -> Result<(), VolumeError> {
    *rest = rest.get(len..).ok_or_else(|| cut_off(what))?;
    Ok(())
}

fn cut_off(what: &str) -> VolumeError {
    VolumeError::CorruptNeedle(format!("the {what} does not fit the needle's size"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOOTER: [u8; 12] = [1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 42];

    fn parse(meta: &[u8]) -> Result<Tail, VolumeError> {
        Tail::parse(Version::V3, &[meta, &FOOTER].concat())
    }

    /// Flags for everything, then: name "ab", MIME "x/y", last modified 0x0102030405, TTL of
    /// 5 minutes, pairs of 3 bytes.
    const ALL: [u8; 1 + 3 + 4 + 5 + 2 + 5] = [
        0x3f, 2, b'a', b'b', 3, b'x', b'/', b'y', 1, 2, 3, 4, 5, 5, 1, 0, 3, b'{', b' ', b'}',
    ];

    #[test]
    fn everything_that_flags_announce_is_found() {
        let tail = parse(&ALL).unwrap();
        assert!(tail.compressed() && !tail.chunk_manifest());
        assert_eq!(tail.last_modified, Some(0x01_0203_0405));
        assert_eq!(tail.ttl, Ttl::parse([5, 1]));
        assert_eq!(tail.stored_crc, 0x0102_0304);
        assert_eq!(tail.append_at_ns, Some(42));
        assert!(parse(&[0x80]).unwrap().chunk_manifest());
    }

    #[test]
    fn an_empty_needle_has_a_footer_alone() {
        for (version, footer) in [(Version::V1, 4), (Version::V2, 4), (Version::V3, 12)] {
            let tail = Tail::parse(version, &FOOTER[..footer]).unwrap();
            assert_eq!((tail.flags, tail.stored_crc), (0, 0x0102_0304));
            assert_eq!(
                tail.append_at_ns,
                (version == Version::V3).then_some(42),
                "{version:?}"
            );
            for len in 0..footer {
                assert!(Tail::parse(version, &FOOTER[..len]).is_err(), "{len}");
            }
        }
    }

    #[test]
    fn a_tail_cut_off_anywhere_is_corrupt() {
        for len in 1..ALL.len() {
            let error = parse(&ALL[..len]).unwrap_err();
            assert!(matches!(error, VolumeError::CorruptNeedle(_)), "{len}");
        }
    }

    #[test]
    fn a_length_past_the_body_is_corrupt() {
        for (at, what) in [(1, "name"), (4, "MIME"), (15, "pairs")] {
            let mut meta = ALL;
            meta[at] = 0xff;
            let error = parse(&meta).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn bytes_no_flag_announces_are_passed_over() {
        let tail = parse(&[0x40, 9, 9, 9]).unwrap();
        assert_eq!((tail.flags, tail.last_modified), (0x40, None));
    }

    #[test]
    fn expiry_needs_ttl_and_last_modified_and_counts_from_the_write() {
        const MINUTE_NS: u64 = 60_000_000_000;
        let tail = Tail {
            flags: 0x18,
            last_modified: Some(1_000_000),
            ttl: Ttl::parse([1, 1]),
            stored_crc: 0,
            append_at_ns: Some(7_000),
        };
        assert!(!tail.expired(7_000 + MINUTE_NS - 1));
        assert!(tail.expired(7_000 + MINUTE_NS));
        let v2 = Tail {
            append_at_ns: None,
            ..tail
        };
        let modified_ns = 1_000_000_000_000_000;
        assert!(!v2.expired(modified_ns + MINUTE_NS - 1));
        assert!(v2.expired(modified_ns + MINUTE_NS));
        let without = |tail: Tail| !tail.expired(u64::MAX);
        assert!(without(Tail { ttl: None, ..tail }));
        assert!(without(Tail {
            last_modified: None,
            ..tail
        }));
    }
}
