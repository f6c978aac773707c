//! The first bytes of a `.dat`.

use super::error::VolumeError;
use super::ttl::Ttl;

/// The layout of a volume's needles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Data and nothing else.
    V1,
    /// Data, flags and what they announce.
    V2,
    /// V2 and the time of writing.
    V3,
}

/// What a volume says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuperBlock {
    /// The needles' layout.
    pub version: Version,
    /// Replica placement, SeaweedFS's "xyz" as a number of three decimal digits.
    pub replica_placement: u8,
    /// The time to live needles of this volume are written with. Each carries it itself.
    pub ttl: Option<Ttl>,
    /// How often the volume has been compacted.
    pub compaction_revision: u16,
    /// How many bytes of extra data follow; 0 in version 1.
    pub extra_bytes: u16,
}

impl SuperBlock {
    /// The fixed part, in bytes.
    pub const LEN: usize = 8;

    /// From the first bytes of a `.dat`.
    ///
    /// CorruptVolume if there are fewer than [`Self::LEN`] or the version is unknown.
    pub fn parse(bytes: &[u8]) -> Result<Self, VolumeError> {
        let Some(
            &[
                version,
                replica_placement,
                ttl0,
                ttl1,
                rev0,
                rev1,
                extra0,
                extra1,
            ],
        ) = bytes.first_chunk()
        else {
            return Err(VolumeError::CorruptVolume(format!(
                "the superblock is cut off: {} of {} bytes",
                bytes.len(),
                Self::LEN
            )));
        };
        let version = match version {
            1 => Version::V1,
            2 => Version::V2,
            3 => Version::V3,
            other => {
                return Err(VolumeError::CorruptVolume(format!(
                    "the superblock says version {other}; 1, 2 and 3 can be read"
                )));
            }
        };
        Ok(Self {
            version,
            replica_placement,
            ttl: Ttl::parse([ttl0, ttl1]),
            compaction_revision: u16::from_be_bytes([rev0, rev1]),
            extra_bytes: match version {
                Version::V1 => 0,
                Version::V2 | Version::V3 => u16::from_be_bytes([extra0, extra1]),
            },
        })
    }

    /// Where the first needle may begin, in bytes.
    pub const fn block_len(&self) -> u64 {
        Self::LEN as u64 + self.extra_bytes as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_where_the_format_puts_it() {
        let block = SuperBlock::parse(&[3, 110, 7, 3, 1, 2, 0, 16, 99]).unwrap();
        assert_eq!(block.version, Version::V3);
        assert_eq!(block.replica_placement, 110);
        assert_eq!(block.ttl, Ttl::parse([7, 3]));
        assert_eq!(block.compaction_revision, 0x0102);
        assert_eq!(block.extra_bytes, 16);
        assert_eq!(block.block_len(), 24);
    }

    #[test]
    fn version_1_has_no_extra_data() {
        let block = SuperBlock::parse(&[1, 0, 0, 0, 0, 0, 0xff, 0xff]).unwrap();
        assert_eq!((block.version, block.block_len()), (Version::V1, 8));
    }

    #[test]
    fn a_short_one_and_an_unknown_version_are_corrupt() {
        for bytes in [&[][..], &[3, 0, 0, 0, 0, 0, 0]] {
            let error = SuperBlock::parse(bytes).unwrap_err();
            assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
        }
        for version in [0, 4, 255] {
            let error = SuperBlock::parse(&[version, 0, 0, 0, 0, 0, 0, 0]).unwrap_err();
            assert!(error.to_string().contains(&version.to_string()), "{error}");
        }
    }
}
