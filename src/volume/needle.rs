//! A needle's place and its header: pure arithmetic and parsing, no I/O.
//!
//! ```text
//! header_offset   data_offset                    body_end        end
//! │ cookie id size │ data size │ data … │ flags … │ crc [time] │ padding
//! │ 4      8  4    │ 4         │        │         │ 4     8    │ 1 to 8
//! ```
//! Version 1 has no data size and no flags; an empty needle (size 0) has neither, nor data.
//! A reader takes the head (`head_len` bytes), the data, and the tail: everything after the
//! data through the footer.

use super::error::VolumeError;
use super::superblock::Version;

/// Needles begin at multiples of this many bytes.
pub const ALIGNMENT: u64 = 8;

/// Where the index says a needle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Where its header begins in the `.dat`, in bytes: a multiple of 8 below 2⁴³.
    pub offset: u64,
    /// The size of its body in bytes, below 2³¹.
    pub size: u32,
}

/// The most bytes that flags and what they announce can take: flags, name, MIME type, last
/// modified, TTL, pairs.
const META_LEN_MAX: u32 = 1 + 256 + 256 + 5 + 2 + 2 + 65_535;
/// Data size and flags: what a body of versions 2 and 3 has at the least.
const BODY_LEN_MIN: u32 = 5;

/// Where the parts of one needle are, as far as its index entry tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    version: Version,
    located: Located,
}

impl Layout {
    /// The most bytes a tail can take; a longer one is corrupt.
    pub const TAIL_LEN_MAX: usize = META_LEN_MAX as usize + 12;

    /// The layout of a needle of a volume of `version`.
    pub const fn new(version: Version, located: Located) -> Self {
        Self { version, located }
    }

    /// Whether a data size stands between header and data.
    const fn has_data_size(&self) -> bool {
        !matches!(self.version, Version::V1) && self.located.size > 0
    }

    /// Where the header begins.
    pub const fn header_offset(&self) -> u64 {
        self.located.offset
    }

    /// The bytes before the data: 16, or 20 where a data size follows the header.
    pub const fn head_len(&self) -> usize {
        if self.has_data_size() {
            20
        } else {
            Header::LEN
        }
    }

    /// Where the data begins.
    pub const fn data_offset(&self) -> u64 {
        self.located.offset + self.head_len() as u64
    }

    /// Where the body ends and the footer begins.
    pub const fn body_end(&self) -> u64 {
        self.located.offset + Header::LEN as u64 + self.located.size as u64
    }

    /// The footer's bytes: the checksum, and in version 3 the time of writing.
    pub const fn footer_len(&self) -> usize {
        match self.version {
            Version::V1 | Version::V2 => 4,
            Version::V3 => 12,
        }
    }

    /// Where the footer ends (padding follows, which says nothing).
    pub const fn end(&self) -> u64 {
        self.body_end() + self.footer_len() as u64
    }

    /// All bytes from the header through the footer: for a reader that takes a small needle in
    /// one piece.
    pub const fn whole_len(&self) -> u64 {
        self.end() - self.header_offset()
    }

    /// The most bytes of data there can be, known before the needle is read.
    pub const fn max_data_bytes(&self) -> u64 {
        let size = self.located.size;
        match self.version {
            Version::V1 => size as u64,
            Version::V2 | Version::V3 => size.saturating_sub(BODY_LEN_MIN) as u64,
        }
    }

    /// How many bytes of data the needle stores, from its `head` (at least
    /// [`Self::head_len`] bytes from its header on).
    ///
    /// CorruptNeedle if they do not fit the body, or leave more of it than flags and names
    /// can fill.
    pub fn data_size(&self, head: &[u8]) -> Result<u32, VolumeError> {
        if !self.has_data_size() {
            return Ok(self.located.size);
        }
        let Some(bytes) = head.get(Header::LEN..).and_then(<[u8]>::first_chunk) else {
            return Err(cut_off("the data size", head.len(), self.head_len()));
        };
        let data_size = u32::from_be_bytes(*bytes);
        // What is left for the flags and what they announce.
        let meta = self.located.size.checked_sub(data_size.saturating_add(4));
        match meta {
            Some(1..=META_LEN_MAX) => Ok(data_size),
            _ => Err(VolumeError::CorruptNeedle(format!(
                "a data size of {data_size} bytes does not fit a body of {}",
                self.located.size
            ))),
        }
    }

    /// Where the tail begins: right after the data. For a `data_size` of [`Self::data_size`].
    pub const fn tail_offset(&self, data_size: u32) -> u64 {
        self.data_offset() + data_size as u64
    }

    /// The bytes of the tail, footer included; at most [`Self::TAIL_LEN_MAX`].
    pub const fn tail_len(&self, data_size: u32) -> usize {
        self.end().saturating_sub(self.tail_offset(data_size)) as usize
    }
}

/// The 16 bytes every needle begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The random number that makes a file id unguessable.
    pub cookie: u32,
    /// The needle's id.
    pub id: u64,
    /// The size of the body in bytes; 0 in the tombstone of a deletion.
    pub size: i32,
}

impl Header {
    /// Its length in bytes.
    pub const LEN: usize = 16;

    /// From the first bytes of a needle; CorruptNeedle if there are too few.
    pub fn parse(bytes: &[u8]) -> Result<Self, VolumeError> {
        let Some(
            &[
                c0,
                c1,
                c2,
                c3,
                i0,
                i1,
                i2,
                i3,
                i4,
                i5,
                i6,
                i7,
                s0,
                s1,
                s2,
                s3,
            ],
        ) = bytes.first_chunk()
        else {
            return Err(cut_off("the header", bytes.len(), Self::LEN));
        };
        Ok(Self {
            cookie: u32::from_be_bytes([c0, c1, c2, c3]),
            id: u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]),
            size: i32::from_be_bytes([s0, s1, s2, s3]),
        })
    }

    /// Whether this is the header of the needle that was asked for.
    ///
    /// CorruptNeedle if another needle is where the index pointed, or one of another size;
    /// after that, CookieMismatch (whose message keeps the right cookie to itself).
    pub fn check(&self, id: u64, cookie: u32, located: Located) -> Result<(), VolumeError> {
        if self.id != id {
            return Err(VolumeError::CorruptNeedle(format!(
                "the index points to offset {}, where needle {:x} is and not {id:x}",
                located.offset, self.id
            )));
        }
        if i64::from(self.size) != i64::from(located.size) {
            return Err(VolumeError::CorruptNeedle(format!(
                "needle {id:x} has a size of {} bytes in its header and of {} in the index",
                self.size, located.size
            )));
        }
        if self.cookie != cookie {
            return Err(VolumeError::CookieMismatch(format!(
                "needle {id:x} has another cookie than {cookie:08x}"
            )));
        }
        Ok(())
    }
}

fn cut_off(what: &str, have: usize, want: usize) -> VolumeError {
    VolumeError::CorruptNeedle(format!("{what} is cut off: {have} of {want} bytes"))
}

#[cfg(test)]
#[path = "needle_tests.rs"]
mod tests;
