//! Writes SeaweedFS volumes, whole or broken in a chosen way. All integers are big-endian.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::payload::{crc32c, crc32c_old_form};

pub const FLAG_COMPRESSED: u8 = 0x01;
const FLAG_NAME: u8 = 0x02;
const FLAG_MIME: u8 = 0x04;
const FLAG_LAST_MODIFIED: u8 = 0x08;
const FLAG_TTL: u8 = 0x10;
const FLAG_PAIRS: u8 = 0x20;

/// Bytes of a needle's header: cookie, id, size.
pub const HEADER: u64 = 16;

/// How a volume's files are laid out.
#[derive(Clone)]
pub struct Spec {
    /// 1, 2 or 3.
    pub version: u8,
    /// 5-byte offsets in the index, as large-disk builds write them.
    pub wide: bool,
    /// Whether there is a `.vif`.
    pub vif: bool,
    /// Collection, "" for none.
    pub collection: String,
    /// Where the index is, when not beside the `.dat`.
    pub index_dir: Option<PathBuf>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            version: 3,
            wide: false,
            vif: true,
            collection: String::new(),
            index_dir: None,
        }
    }
}

/// A needle to store. `data` is what is stored: compressed bytes if `compressed`.
#[derive(Clone, Default)]
pub struct Needle {
    pub id: u64,
    pub cookie: u32,
    pub data: Vec<u8>,
    pub compressed: bool,
    pub name: Option<Vec<u8>>,
    pub mime: Option<Vec<u8>>,
    /// Seconds since the Unix epoch.
    pub last_modified: Option<u64>,
    /// Count and unit.
    pub ttl: Option<[u8; 2]>,
    pub pairs: Option<Vec<u8>>,
    /// Version 3 only; nanoseconds since the Unix epoch.
    pub appended_at_ns: u64,
    /// Store the checksum as older writers did.
    pub old_crc: bool,
}

impl Needle {
    /// A needle with a cookie made from its id.
    pub fn new(id: u64, data: impl Into<Vec<u8>>) -> Self {
        let low = u32::try_from(id & 0xffff_ffff).unwrap();
        Self {
            id,
            cookie: low.wrapping_mul(0x9e37_79b1) ^ 0x5eed_c00c,
            data: data.into(),
            appended_at_ns: super::now_ns(),
            ..Self::default()
        }
    }

    /// What `size` covers.
    fn body(&self, version: u8) -> Vec<u8> {
        if version == 1 {
            return self.data.clone();
        }
        if self.data.is_empty() {
            return Vec::new();
        }
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let mut body = u32::try_from(self.data.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        body.extend_from_slice(&self.data);
        body.push(
            flag(self.compressed, FLAG_COMPRESSED)
                | flag(self.name.is_some(), FLAG_NAME)
                | flag(self.mime.is_some(), FLAG_MIME)
                | flag(self.last_modified.is_some(), FLAG_LAST_MODIFIED)
                | flag(self.ttl.is_some(), FLAG_TTL)
                | flag(self.pairs.is_some(), FLAG_PAIRS),
        );
        for short in [&self.name, &self.mime].into_iter().flatten() {
            body.push(u8::try_from(short.len()).unwrap());
            body.extend_from_slice(short);
        }
        if let Some(seconds) = self.last_modified {
            body.extend_from_slice(&seconds.to_be_bytes()[3..]);
        }
        if let Some(ttl) = self.ttl {
            body.extend_from_slice(&ttl);
        }
        if let Some(pairs) = &self.pairs {
            body.extend_from_slice(&u16::try_from(pairs.len()).unwrap().to_be_bytes());
            body.extend_from_slice(pairs);
        }
        body
    }
}

/// Where a needle's parts are in the `.dat`, in bytes from its start.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub header: u64,
    pub data: u64,
    pub footer: u64,
    /// The `size` of header and index.
    pub size: i32,
}

/// A volume's files, open for appending the way the volume server appends.
pub struct Volume {
    pub dat: PathBuf,
    pub idx: PathBuf,
    spec: Spec,
    end: u64,
}

impl Volume {
    /// Writes an empty volume.
    pub fn create(dir: &Path, id: u32, spec: &Spec) -> Self {
        let stem = match spec.collection.as_str() {
            "" => id.to_string(),
            collection => format!("{collection}_{id}"),
        };
        let index_dir = spec.index_dir.as_deref().unwrap_or(dir);
        let volume = Self {
            dat: dir.join(format!("{stem}.dat")),
            idx: index_dir.join(format!("{stem}.idx")),
            spec: spec.clone(),
            end: 8,
        };
        let width = if spec.wide { 5 } else { 4 };
        if spec.vif {
            let vif = format!(
                r#"{{"files":[],"version":{},"replication":"","bytesOffset":{width},"datFileSize":"0","expireAtSec":"0","readOnly":false,"ecShardConfig":null}}"#,
                spec.version
            );
            std::fs::write(dir.join(format!("{stem}.vif")), vif).unwrap();
        }
        File::create(&volume.idx).unwrap();
        std::fs::write(&volume.dat, [spec.version, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        volume
    }

    /// Stores a needle: the `.dat` first, then the index.
    pub fn put(&mut self, needle: &Needle) -> Placed {
        let placed = self.append_needle(needle);
        self.index(needle.id, placed.header, placed.size);
        placed
    }

    /// Appends a needle to the `.dat` alone.
    pub fn append_needle(&mut self, needle: &Needle) -> Placed {
        let version = self.spec.version;
        let body = needle.body(version);
        let size = i32::try_from(body.len()).unwrap();
        let mut record = needle.cookie.to_be_bytes().to_vec();
        record.extend_from_slice(&needle.id.to_be_bytes());
        record.extend_from_slice(&size.to_be_bytes());
        record.extend_from_slice(&body);
        let header = self.end;
        let footer = header + u64::try_from(record.len()).unwrap();
        let crc = if needle.old_crc {
            crc32c_old_form(&needle.data)
        } else {
            crc32c(&needle.data)
        };
        record.extend_from_slice(&crc.to_be_bytes());
        if version == 3 {
            record.extend_from_slice(&needle.appended_at_ns.to_be_bytes());
        }
        // 1 to 8 bytes, with any content.
        let padding = 8 - record.len() % 8;
        record.extend(std::iter::repeat_n(0xee, padding));
        append(&self.dat, &record);
        self.end += u64::try_from(record.len()).unwrap();
        Placed {
            header,
            data: header + HEADER + if version == 1 { 0 } else { 4 },
            footer,
            size,
        }
    }

    /// Appends an index entry.
    pub fn index(&self, id: u64, byte_offset: u64, size: i32) {
        append(&self.idx, &self.entry(id, byte_offset, size));
    }

    /// An index entry's bytes.
    pub fn entry(&self, id: u64, byte_offset: u64, size: i32) -> Vec<u8> {
        assert_eq!(byte_offset % 8, 0);
        let units = byte_offset / 8;
        let mut entry = id.to_be_bytes().to_vec();
        entry.extend_from_slice(&units.to_be_bytes()[4..]);
        let high = u8::try_from(units >> 32).unwrap();
        if self.spec.wide {
            entry.push(high);
        } else {
            assert_eq!(high, 0);
        }
        entry.extend_from_slice(&size.to_be_bytes());
        entry
    }

    /// Deletes a needle as current writers do: a tombstone in the `.dat`, the index pointing at it.
    pub fn delete(&mut self, needle: &Needle) {
        let tombstone = Needle {
            data: Vec::new(),
            ..needle.clone()
        };
        let placed = self.append_needle(&tombstone);
        self.index(needle.id, placed.header, -1);
    }

    /// Deletes a needle as older writers do: no offset in the index.
    pub fn delete_without_tombstone(&self, id: u64) {
        self.index(id, 0, -1);
    }

    /// Writes what a vacuum leaves of the volume beside it, as `.cpd` and `.cpx`: these needles,
    /// and a compaction revision of one more.
    pub fn compact(&self, needles: &[Needle]) -> Self {
        let mut superblock = [0; 8];
        let dat = File::open(&self.dat).unwrap();
        dat.read_exact_at(&mut superblock, 0).unwrap();
        let revision = u16::from_be_bytes([superblock[4], superblock[5]]) + 1;
        superblock[4..6].copy_from_slice(&revision.to_be_bytes());
        let mut compacted = Self {
            dat: self.dat.with_extension("cpd"),
            idx: self.idx.with_extension("cpx"),
            spec: self.spec.clone(),
            end: 8,
        };
        std::fs::write(&compacted.dat, superblock).unwrap();
        File::create(&compacted.idx).unwrap();
        for needle in needles {
            compacted.put(needle);
        }
        compacted
    }

    /// Renames what [`Self::compact`] wrote over the `.dat`.
    pub fn take_dat_of(&mut self, compacted: &Self) {
        std::fs::rename(&compacted.dat, &self.dat).unwrap();
        self.end = compacted.end;
    }

    /// The same for the `.idx`.
    pub fn take_idx_of(&self, compacted: &Self) {
        std::fs::rename(&compacted.idx, &self.idx).unwrap();
    }

    /// A whole vacuum that leaves these needles.
    pub fn vacuum(&mut self, needles: &[Needle]) {
        let compacted = self.compact(needles);
        self.take_dat_of(&compacted);
        self.take_idx_of(&compacted);
    }

    /// Changes bytes of the `.dat` in place.
    pub fn overwrite(&self, offset: u64, bytes: &[u8]) {
        let dat = OpenOptions::new().write(true).open(&self.dat).unwrap();
        dat.write_all_at(bytes, offset).unwrap();
    }

    /// Flips every bit of one byte of the `.dat`.
    pub fn corrupt(&self, offset: u64) {
        let mut byte = [0];
        let dat = File::open(&self.dat).unwrap();
        dat.read_exact_at(&mut byte, offset).unwrap();
        self.overwrite(offset, &[!byte[0]]);
    }

    /// Cuts the `.dat` off.
    pub fn truncate(&self, length: u64) {
        let dat = OpenOptions::new().write(true).open(&self.dat).unwrap();
        dat.set_len(length).unwrap();
    }
}

/// Appends to a file in one write.
pub fn append(path: &Path, bytes: &[u8]) {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// A live needle of a version 3 volume with a 4-byte index, read by the rules alone.
pub struct Stored {
    pub id: u64,
    pub cookie: u32,
    pub data: Vec<u8>,
}

/// The live needles of such a volume, and the ids that were deleted from it.
pub fn read_back(dat: &[u8], idx: &[u8]) -> (Vec<Stored>, Vec<(u64, u32)>) {
    let word = |at: usize| u32::from_be_bytes(dat[at..at + 4].try_into().unwrap());
    let mut last = std::collections::BTreeMap::new();
    let mut cookies = std::collections::BTreeMap::new();
    for entry in idx.chunks_exact(16) {
        let id = u64::from_be_bytes(entry[..8].try_into().unwrap());
        let at = u32::from_be_bytes(entry[8..12].try_into().unwrap()) as usize * 8;
        let size = i32::from_be_bytes(entry[12..].try_into().unwrap());
        cookies.insert(id, word(at));
        last.insert(id, (at, size));
    }
    let (mut live, mut deleted) = (Vec::new(), Vec::new());
    for (id, (at, size)) in last {
        let cookie = cookies[&id];
        if size < 0 {
            deleted.push((id, cookie));
            continue;
        }
        let length = word(at + 16) as usize;
        let data = dat[at + 20..at + 20 + length].to_vec();
        assert_eq!(dat[at + 20 + length] & FLAG_COMPRESSED, 0, "needle {id:x}");
        live.push(Stored { id, cookie, data });
    }
    (live, deleted)
}
