//! Writes volumes for tests: its own, second account of the format, which shares no code with
//! the one under test (integration tests include it by path).
#![allow(dead_code, missing_docs, reason = "each test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that can not write has failed")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// A needle to be written. `..Needle::default()` leaves out what a test does not care for.
#[derive(Clone, Debug, Default)]
pub struct Needle {
    pub id: u64,
    pub cookie: u32,
    pub data: Vec<u8>,
    /// 0x01 compressed, 0x80 chunk manifest; the others follow from the fields below.
    pub flags: u8,
    pub name: Option<&'static str>,
    pub mime: Option<&'static str>,
    pub last_modified: Option<u64>,
    pub ttl: Option<[u8; 2]>,
    pub pairs: Option<&'static str>,
    pub append_at_ns: u64,
    /// Store the checksum in the form older writers used.
    pub masked_crc: bool,
}

impl Needle {
    pub fn new(id: u64, cookie: u32, data: impl Into<Vec<u8>>) -> Self {
        Self {
            id,
            cookie,
            data: data.into(),
            ..Self::default()
        }
    }

    fn body(&self, version: u8) -> Vec<u8> {
        if version == 1 || self.data.is_empty() {
            return self.data.clone();
        }
        let mut meta = Vec::new();
        let mut flags = self.flags;
        for (flag, text) in [(0x02, self.name), (0x04, self.mime)] {
            if let Some(text) = text {
                flags |= flag;
                meta.push(text.len() as u8);
                meta.extend(text.as_bytes());
            }
        }
        if let Some(seconds) = self.last_modified {
            flags |= 0x08;
            meta.extend(&seconds.to_be_bytes()[3..]);
        }
        if let Some(ttl) = self.ttl {
            flags |= 0x10;
            meta.extend(ttl);
        }
        if let Some(pairs) = self.pairs {
            flags |= 0x20;
            meta.extend((pairs.len() as u16).to_be_bytes());
            meta.extend(pairs.as_bytes());
        }
        let mut body = (self.data.len() as u32).to_be_bytes().to_vec();
        body.extend(&self.data);
        body.push(flags);
        body.extend(meta);
        body
    }

    fn record(&self, version: u8) -> Vec<u8> {
        let body = self.body(version);
        let mut record = self.cookie.to_be_bytes().to_vec();
        record.extend(self.id.to_be_bytes());
        record.extend((body.len() as u32).to_be_bytes());
        record.extend(body);
        let mut crc = crc_fast::crc32_iscsi(&self.data);
        if self.masked_crc {
            crc = crc.rotate_right(15).wrapping_add(0xa282_ead8);
        }
        record.extend(crc.to_be_bytes());
        if version == 3 {
            record.extend(self.append_at_ns.to_be_bytes());
        }
        // 1 to 8 bytes, with any content.
        let padding = 8 - record.len() % 8;
        record.extend(std::iter::repeat_n(0xa5, padding));
        record
    }
}

/// A volume being written: what its `.dat` and `.idx` hold so far.
#[derive(Clone, Debug)]
pub struct VolumeWriter {
    version: u8,
    /// 4 or 5.
    offset_bytes: usize,
    pub dat: Vec<u8>,
    pub idx: Vec<u8>,
    saved: (usize, usize),
}

impl VolumeWriter {
    pub fn new(version: u8, offset_bytes: usize) -> Self {
        Self {
            version,
            offset_bytes,
            dat: vec![version, 0, 0, 0, 0, 0, 0, 0],
            idx: Vec::new(),
            saved: (0, 0),
        }
    }

    /// Appends a needle and its index entry; where it is in the `.dat`.
    pub fn put(&mut self, needle: &Needle) -> u64 {
        let offset = self.dat.len() as u64;
        let record = needle.record(self.version);
        let size = u32::from_be_bytes([record[12], record[13], record[14], record[15]]);
        self.dat.extend(record);
        self.index(needle.id, offset, size as i32);
        offset
    }

    /// Appends a tombstone and its index entry.
    pub fn delete(&mut self, id: u64) {
        let offset = self.dat.len() as u64;
        self.dat.extend(Needle::new(id, 0, []).record(self.version));
        self.index(id, offset, -1);
    }

    /// Appends an index entry alone.
    pub fn index(&mut self, id: u64, offset: u64, size: i32) {
        let units = offset / 8;
        self.idx.extend(id.to_be_bytes());
        self.idx.extend((units as u32).to_be_bytes());
        if self.offset_bytes == 5 {
            self.idx.push((units >> 32) as u8);
        }
        self.idx.extend(size.to_be_bytes());
    }

    /// The `.vif` that goes with it.
    pub fn vif(&self) -> String {
        format!(
            r#"{{"version":{},"bytesOffset":{}}}"#,
            self.version, self.offset_bytes
        )
    }

    /// Writes `<stem>.dat` and `<stem>.idx` in `dir`; when called again, appends what is new,
    /// the `.dat` first, as a volume server does.
    pub fn save(&mut self, dir: &Path, stem: &str) {
        let append = |extension: &str, bytes: &[u8]| {
            let path = dir.join(format!("{stem}.{extension}"));
            let file = OpenOptions::new().create(true).append(true).open(path);
            file.unwrap().write_all(bytes).unwrap();
        };
        append("dat", &self.dat[self.saved.0..]);
        append("idx", &self.idx[self.saved.1..]);
        self.saved = (self.dat.len(), self.idx.len());
    }
}
