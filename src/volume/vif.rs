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
}

/// Protobuf's JSON names a field in either of two ways and writes 0, [] or null for "not set".
#[derive(Deserialize)]
struct Json {
    #[serde(default, rename = "bytesOffset", alias = "bytes_offset")]
    bytes_offset: Option<u32>,
    #[serde(default)]
    files: Option<Vec<IgnoredAny>>,
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
        Ok(Self {
            offset_width,
            tiered: json.files.is_some_and(|files| !files.is_empty()),
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
        ] {
            std::fs::write(&path, text).unwrap();
            let error = VolumeInfo::read(&path).unwrap_err();
            assert!(matches!(error, VolumeError::CorruptVolume(_)), "{error}");
            assert!(error.to_string().contains("9.vif"), "{error}");
        }
    }
}
