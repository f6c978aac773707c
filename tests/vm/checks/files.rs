//! The files that are stored in the volumes, and reads of them.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rdma_engine::client::FileId;
use rdma_engine::crc::Crc32c;
use rdma_engine::protocol::message::StartRead;

use crate::report::Result;

const FOLDER: &str = "/data/files";

/// All of them.
pub struct Files(Vec<File>);

/// A file that is one needle.
pub struct File {
    /// What it is called in the manifest.
    pub name: String,
    /// Its needle.
    pub fid: FileId,
    /// SeaweedFS keeps it compressed.
    pub compressed: bool,
    data: Arc<[u8]>,
}

/// A read, and what must come of it.
#[derive(Clone)]
pub struct Read {
    /// What is asked of the engine.
    pub request: StartRead,
    /// Length of the whole needle.
    pub needle_size: u64,
    /// CRC-32C of the bytes that must come.
    pub crc: u32,
    data: Arc<[u8]>,
    range: Range<usize>,
}

impl Files {
    /// Reads the manifest and every file in it.
    pub fn load() -> Result<Self> {
        let folder = Path::new(FOLDER);
        let manifest = fs::read_to_string(folder.join("manifest.tsv"))?;
        let files = manifest.lines().map(|line| {
            let [fid, bytes, _, kept, name] = line.split('\t').collect::<Vec<_>>()[..] else {
                return Err(format!("{FOLDER}/manifest.tsv has a line {line:?}").into());
            };
            let data = fs::read(folder.join(name))?;
            if data.len().to_string() != bytes {
                return Err(format!("{name} has {} bytes, not {bytes}", data.len()).into());
            }
            Ok(File {
                name: name.to_owned(),
                fid: fid.parse()?,
                compressed: kept != "plain",
                data: data.into(),
            })
        });
        Ok(Self(files.collect::<Result<_>>()?))
    }

    /// Every file.
    pub fn iter(&self) -> impl Iterator<Item = &File> {
        self.0.iter()
    }

    /// The random file of so many bytes.
    pub fn random(&self, bytes: usize) -> Result<&File> {
        let mut found = self
            .iter()
            .filter(|f| f.data.len() == bytes && !f.compressed);
        found
            .next()
            .ok_or_else(|| format!("no file of {bytes} bytes in {FOLDER}").into())
    }
}

impl File {
    /// Its bytes.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// A read of all of it.
    pub fn whole(&self) -> Read {
        self.asked(0, 0)
    }

    /// A read of `size` bytes at `offset`; 0 is to the end.
    pub fn asked(&self, offset: usize, size: usize) -> Read {
        let end = match size {
            0 => self.data.len(),
            size => (offset + size).min(self.data.len()),
        };
        let range = offset..end;
        let mut crc = Crc32c::new();
        crc.update(self.data.get(range.clone()).unwrap_or_default());
        Read {
            request: StartRead {
                volume_id: self.fid.volume_id,
                needle_id: self.fid.needle_id,
                cookie: self.fid.cookie,
                offset: offset as u64,
                size: size as u64,
                timeout_secs: 30,
                ..StartRead::default()
            },
            needle_size: self.data.len() as u64,
            crc: crc.value(),
            data: Arc::clone(&self.data),
            range,
        }
    }

    /// Reads of `size` bytes each, one behind the other, as many as fit.
    pub fn pieces(&self, size: usize) -> Vec<Read> {
        (0..self.data.len() / size)
            .map(|n| self.asked(n * size, size))
            .collect()
    }

    /// A read of all of it from a peer's memory, where it is said to be.
    pub fn at(&self, addr: u64, rkey: u32) -> Read {
        let mut read = self.asked(0, self.data.len());
        read.request.remote_addr = addr;
        read.request.remote_key = rkey;
        read
    }
}

impl Read {
    /// The bytes that must come.
    pub fn expected(&self) -> &[u8] {
        self.data.get(self.range.clone()).unwrap_or_default()
    }

    /// The same with this many seconds to its deadline.
    pub fn within(mut self, seconds: u64) -> Self {
        self.request.timeout_secs = seconds;
        self
    }
}
