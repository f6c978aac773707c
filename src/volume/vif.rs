//! The `.vif` beside a volume: what the volume server knows of it, as protobuf's JSON.

use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::error::VolumeError;
use super::files::open_regular;
use super::index_file::OffsetWidth;

/// A `.vif` is a few hundred bytes; one with many remote files is still far below this.
const BYTES_MAX: u64 = 1 << 20;

/// What reading a volume needs of its `.vif`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VolumeInfo {
    /// The index's offset width; None where the file does not say (older writers did not).
    pub offset_width: Option<OffsetWidth>,
    /// Whether the data has been moved to remote storage.
    pub tiered: bool,
    /// The length of the `.dat` in bytes; of an erasure-coded volume, when it was encoded.
    pub dat_len: Option<u64>,
    /// How the volume is erasure-coded, if it is.
    pub erasure: ErasureConfig,
}

/// How a volume is dealt to shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErasureConfig {
    /// Shards with data.
    pub data: u32,
    /// Shards with parity.
    pub parity: u32,
    /// Bytes of every block; 0 for SeaweedFS's usual large and small ones.
    pub block_bytes: u64,
}

impl ErasureConfig {
    /// All shards.
    pub const fn total(&self) -> usize {
        self.data.saturating_add(self.parity) as usize
    }
}

impl Default for ErasureConfig {
    /// What SeaweedFS does unless told otherwise.
    fn default() -> Self {
        Self {
            data: 10,
            parity: 4,
            block_bytes: 0,
        }
    }
}

/// Protobuf's JSON names a field in either of two ways and writes 0, [] or null for "not set".
#[derive(Deserialize)]
struct Json {
    #[serde(default, rename = "bytesOffset", alias = "bytes_offset")]
    bytes_offset: Option<u32>,
    #[serde(default)]
    files: Option<Vec<IgnoredAny>>,
    #[serde(default, rename = "datFileSize", alias = "dat_file_size")]
    dat_file_size: Option<Number>,
    #[serde(default, rename = "ecShardConfig", alias = "ec_shard_config")]
    ec_shard_config: Option<ShardConfig>,
}

#[derive(Deserialize)]
struct ShardConfig {
    #[serde(default, rename = "dataShards", alias = "data_shards")]
    data_shards: u32,
    #[serde(default, rename = "parityShards", alias = "parity_shards")]
    parity_shards: u32,
    #[serde(default, rename = "blockSize", alias = "block_size")]
    block_size: Option<Number>,
}

/// A 64-bit integer: protobuf's JSON has them as strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Number(u64),
}

impl Number {
    /// None if it is not set.
    fn parse(self) -> Result<Option<u64>, VolumeError> {
        let number = match self {
            Self::Number(number) => number,
            Self::Text(text) => text.parse().map_err(|_| {
                VolumeError::CorruptVolume(format!("{text:?} is not a number of bytes"))
            })?,
        };
        Ok(Some(number).filter(|&number| number > 0))
    }
}

impl ShardConfig {
    fn parse(self) -> Result<ErasureConfig, VolumeError> {
        let block_size = self.block_size.map(Number::parse).transpose()?.flatten();
        let counts = match (self.data_shards, self.parity_shards) {
            (0, 0) => ErasureConfig::default(),
            (data, parity) => ErasureConfig {
                data,
                parity,
                block_bytes: 0,
            },
        };
        Ok(ErasureConfig {
            block_bytes: block_size.unwrap_or(0),
            ..counts
        })
    }
}

impl VolumeInfo {
    /// Reads the file at `path`; None if there is none.
    ///
    /// CorruptVolume, naming the file, if it is not what SeaweedFS writes.
    pub fn read(path: &Path) -> Result<Option<Self>, VolumeError> {
        let file = match open_regular(path, 0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(VolumeError::io("open", path, error)),
        };
        let mut text = Vec::new();
        file.take(BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(|error| VolumeError::io("read", path, error))?;
        Self::parse(&text)
            .map(Some)
            .map_err(|error| error.at(path.display()))
    }

    /// From the file's text.
    pub fn parse(text: &[u8]) -> Result<Self, VolumeError> {
        let corrupt = |what: String| VolumeError::CorruptVolume(what);
        // By way of a map, since serde would take an array for the struct as well.
        let json: Json = serde_json::from_slice::<Map<String, Value>>(text)
            .and_then(|map| Json::deserialize(Value::Object(map)))
            .map_err(|error| corrupt(format!("not a volume info file: {error}")))?;
        let offset_width = match json.bytes_offset.unwrap_or(0) {
            0 => None,
            4 => Some(OffsetWidth::Four),
            5 => Some(OffsetWidth::Five),
            other => return Err(corrupt(format!("bytesOffset is {other}, not 4 or 5"))),
        };
        let dat_len = json.dat_file_size.map(Number::parse).transpose()?;
        let erasure = json.ec_shard_config.map(ShardConfig::parse).transpose()?;
        Ok(Self {
            offset_width,
            tiered: json.files.is_some_and(|files| !files.is_empty()),
            dat_len: dat_len.flatten(),
            erasure: erasure.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weed_writes_is_understood() {
        let text = br#"{
          "files":  [], "version":  3, "replication":  "", "bytesOffset":  5,
          "datFileSize":  "0", "expireAtSec":  "1795359273", "readOnly":  false,
          "ecShardConfig":  null, "readOnlyCanDelete":  false
        }"#;
        let info = VolumeInfo::parse(text).unwrap();
        assert_eq!(info.offset_width, Some(OffsetWidth::Five));
        assert!(!info.tiered);

        let older = VolumeInfo::parse(br#"{"version":3,"DestroyTime":"7","files":null}"#).unwrap();
        assert_eq!(older, VolumeInfo::default());
        let unset = VolumeInfo::parse(br#"{"bytesOffset":0}"#).unwrap();
        assert_eq!(unset.offset_width, None);
        let four = VolumeInfo::parse(br#"{"bytes_offset":4}"#).unwrap();
        assert_eq!(four.offset_width, Some(OffsetWidth::Four));
    }

    #[test]
    fn remote_files_mean_the_data_is_not_here() {
        let text = br#"{"files":[{"backendType":"s3","key":"1.dat"}],"bytesOffset":4}"#;
        assert!(VolumeInfo::parse(text).unwrap().tiered);
    }

    #[test]
    fn an_erasure_coded_volume_says_how_it_was_dealt() {
        let text = br#"{
          "files": [], "version": 3, "bytesOffset": 0, "datFileSize": "39928888",
          "ecShardConfig": {"dataShards": 10, "parityShards": 4, "encodeTsNs": "1795380780330585444"}
        }"#;
        let info = VolumeInfo::parse(text).unwrap();
        assert_eq!((info.dat_len, info.offset_width), (Some(39_928_888), None));
        assert_eq!(info.erasure, ErasureConfig::default());
        let text = br#"{"datFileSize": 5, "ecShardConfig":
            {"dataShards": 3, "parityShards": 2, "blockSize": "2097152"}}"#;
        let info = VolumeInfo::parse(text).unwrap();
        let erasure = ErasureConfig {
            data: 3,
            parity: 2,
            block_bytes: 2 << 20,
        };
        assert_eq!((info.dat_len, info.erasure), (Some(5), erasure));
    }

    #[test]
    fn a_corrupt_one_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("9.vif");
        assert_eq!(VolumeInfo::read(&path).unwrap(), None);
        for text in [
            &b""[..],
            b"{",
            b"[]",
            b"\xff\xfe",
            br#"{"bytesOffset":6}"#,
            br#"{"bytesOffset":-1}"#,
            br#"{"files":3}"#,
            br#"{"datFileSize":"x"}"#,
            br#"{"ecShardConfig":{"dataShards":-1}}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            let error = VolumeInfo::read(&path).unwrap_err();
            assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
            assert!(error.to_string().contains("9.vif"), "{error}");
        }
    }
}
