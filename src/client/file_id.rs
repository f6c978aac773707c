//! SeaweedFS's name of a needle: `3,01637037d6`.

use std::fmt;
use std::str::FromStr;

/// Hex digits of the cookie, the last of a file id.
const COOKIE_DIGITS: usize = 8;
/// The most hex digits a needle id can have.
const NEEDLE_ID_DIGITS: usize = 16;

/// Volume, needle and cookie, as SeaweedFS writes them: the volume in decimal, a comma, the
/// needle id in hex, 8 hex digits of cookie, and optionally `_n`, which adds n to the needle id
/// (SeaweedFS's `needle.ParsePath`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Volume the needle is in.
    pub volume_id: u32,
    /// Id of the needle, `_n` already added.
    pub needle_id: u64,
    /// Cookie stored with the needle.
    pub cookie: u32,
}

/// A text that names no needle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what}; a file id looks like 3,01637037d6: volume, comma, needle id and 8 digits of cookie in hex"
)]
pub struct FileIdError {
    what: &'static str,
}

impl FromStr for FileId {
    type Err = FileIdError;

    fn from_str(text: &str) -> Result<Self, FileIdError> {
        let wrong = |what| FileIdError { what };
        let (volume, key) = text.split_once(',').ok_or(wrong("there is no comma"))?;
        let volume_id = decimal(volume)
            .and_then(|v| u32::try_from(v).ok())
            .ok_or(wrong("the volume is not a number of 32 bits"))?;
        let (key, added) = match key.split_once('_') {
            None => (key, 0),
            Some((key, n)) => {
                let n = decimal(n).ok_or(wrong("what follows _ is not a number of 64 bits"))?;
                (key, n)
            }
        };
        if !key.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(wrong("the needle id and cookie are not hex digits"));
        }
        let id_digits = key.len().saturating_sub(COOKIE_DIGITS);
        if !(1..=NEEDLE_ID_DIGITS).contains(&id_digits) {
            return Err(wrong("the needle id and cookie are not 9 to 24 digits"));
        }
        let (id, cookie) = key.split_at(id_digits);
        let hex = |digits| u64::from_str_radix(digits, 16).ok();
        let needle_id = hex(id)
            .and_then(|id| id.checked_add(added))
            .ok_or(wrong("the needle id is past 64 bits"))?;
        let cookie = hex(cookie)
            .and_then(|c| u32::try_from(c).ok())
            .ok_or(wrong("the cookie is not hex digits"))?;
        Ok(Self {
            volume_id,
            needle_id,
            cookie,
        })
    }
}

/// Digits and nothing else: `parse` alone would take a sign.
fn decimal(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl fmt::Display for FileId {
    /// As SeaweedFS writes it: the id's leading zero bytes dropped, but for the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = (u64::BITS - self.needle_id.leading_zeros())
            .div_ceil(8)
            .max(1);
        let digits = 2 * bytes as usize;
        let (volume, id, cookie) = (self.volume_id, self.needle_id, self.cookie);
        write!(f, "{volume},{id:0digits$x}{cookie:08x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fid(volume_id: u32, needle_id: u64, cookie: u32) -> FileId {
        FileId {
            volume_id,
            needle_id,
            cookie,
        }
    }

    #[test]
    fn file_ids_are_read_and_written_as_seaweedfs_does() {
        for (text, expected) in [
            ("3,01637037d6", fid(3, 1, 0x6370_37d6)),
            ("2,01f2aeac28", fid(2, 1, 0xf2ae_ac28)),
            ("4294967295,012300000007", fid(u32::MAX, 0x123, 7)),
            ("1,ffffffffffffffffffffffff", fid(1, u64::MAX, u32::MAX)),
            ("7,0000000000", fid(7, 0, 0)),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn leading_zeros_an_odd_digit_and_capitals_are_read() {
        for text in [
            "3,1637037d6",
            "03,0001637037D6",
            "3,000000000000000163703 7d6",
        ] {
            let text = text.replace(' ', "");
            assert_eq!(text.parse(), Ok(fid(3, 1, 0x6370_37d6)), "{text}");
        }
    }

    #[test]
    fn a_suffix_adds_to_the_needle_id() {
        assert_eq!("3,01637037d6_2".parse(), Ok(fid(3, 3, 0x6370_37d6)));
        assert_eq!("3,01637037d6_0".parse(), Ok(fid(3, 1, 0x6370_37d6)));
        assert_eq!("3,ff00000001_1".parse(), Ok(fid(3, 0x100, 1)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            ",",
            "3",
            "3,",
            "3,637037d6",
            ",01637037d6",
            "+3,01637037d6",
            "-3,01637037d6",
            " 3,01637037d6",
            "3, 1637037d6",
            "3,+1637037d6",
            "3,0x637037d6a",
            "3,01637037d6_",
            "3,01637037d6_x",
            "3,01637037d6_+1",
            "3,01637037d6_1_1",
            "3,01637037d6.jpg",
            "3/01637037d6",
            "3,01637037dé",
            "4294967296,01637037d6",
            "3,00ffffffffffffffffffffffff",
            "3,ffffffffffffffff00000001_1",
            "3,01637037d6_18446744073709551616",
        ] {
            assert!(text.parse::<FileId>().is_err(), "{text}");
        }
    }
}
