//! A client that checks every byte and every fact of what it reads.

use rdma_engine::protocol::message::{StartRead, StartReadResponse};

use super::client::{range, whole};
use super::{Client, Engine, Needle, Pool, crc32c, eventually};

/// A mebibyte.
pub const MIB: usize = 1 << 20;

/// A client with the pool attached.
pub struct Reader {
    pub client: Client,
    pub pool: Pool,
    /// How all it reads is to come.
    pub transport: &'static str,
}

impl Reader {
    /// A reader of this engine.
    pub fn of(engine: &Engine) -> Self {
        let mut client = engine.client();
        let pool = client.attach();
        Self {
            client,
            pool,
            transport: "local",
        }
    }

    /// The same, for needles that are to come over TCP.
    pub fn over_tcp(engine: &Engine) -> Self {
        Self {
            transport: "tcp",
            ..Self::of(engine)
        }
    }

    /// Reads what is known to be there.
    pub fn fetch(&mut self, read: &StartRead) -> (Vec<u8>, StartReadResponse) {
        let fetched = self.client.fetch(&self.pool, read);
        fetched.unwrap_or_else(|error| panic!("{read:?}: {error:?}"))
    }

    /// Awaits that these needles are found with the right bytes and `gone` are not found. Until
    /// then a needle may be missing, or its volume be found damaged, but no byte be wrong.
    pub fn await_exactly(&mut self, volume: u32, needles: &[Needle], gone: &[Needle]) {
        for needle in needles {
            eventually(&format!("needle {:x} is read", needle.id), || {
                self.try_read(volume, needle).ok()
            });
        }
        for needle in gone {
            eventually(&format!("needle {:x} is not found", needle.id), || {
                let code = self.try_read(volume, needle).err()?;
                (code == "NEEDLE_NOT_FOUND").then_some(())
            });
        }
    }

    /// Reads a needle, whose bytes must be right, or be refused: with which code.
    pub fn try_read(&mut self, volume: u32, needle: &Needle) -> Result<(), String> {
        match self.client.fetch(&self.pool, &whole(volume, needle)) {
            Ok((data, _)) => {
                assert!(
                    data == needle.data,
                    "needle {:x} of volume {volume}",
                    needle.id
                );
                Ok(())
            }
            Err(error) => Err(error.code),
        }
    }

    /// Awaits that a read of a whole needle is refused with this code.
    pub fn await_refusal(&mut self, volume: u32, needle: &Needle, code: &str) {
        eventually(
            &format!("a read of volume {volume} is refused: {code}"),
            || (self.try_read(volume, needle).err()? == code).then_some(()),
        );
    }

    /// Reads a needle whole and in ranges; every byte and every fact must be right. `in_part` is
    /// whether the stored checksum can be checked when only a range is asked for.
    pub fn check(&mut self, volume: u32, needle: &Needle, logical: &[u8], in_part: bool) {
        let length = logical.len();
        let mut ranges = vec![(0, 0), (0, length), (0, length + 5000)];
        if length > 0 {
            ranges.extend([(0, 1), (length - 1, 0), (length - 1, 7), (length / 2, 0)]);
        }
        if length > 4096 {
            ranges.extend([
                (1, length - 2),
                (4095, 2),
                (4096, 4096),
                (length - 4097, 4096),
            ]);
        }
        if length > MIB {
            ranges.extend([(MIB - 1, 2), (MIB - 3, 0), (0, MIB), (5, MIB)]);
        }
        self.check_ranges(volume, needle, logical, in_part, &ranges);
        for offset in [length.max(1) as u64, length as u64 + 1, u64::MAX] {
            for size in [0, 1, u64::MAX] {
                let read = range(volume, needle, offset, size);
                assert_eq!(self.client.refusal(&read), "INVALID_REQUEST", "{read:?}");
            }
        }
    }

    /// Reads some ranges, each an offset and a size; every byte and every fact must be right.
    pub fn check_ranges(
        &mut self,
        volume: u32,
        needle: &Needle,
        logical: &[u8],
        in_part: bool,
        ranges: &[(usize, usize)],
    ) {
        let length = logical.len();
        for &(offset, size) in ranges {
            let what = format!("needle {:x} of volume {volume}, {offset}+{size}", needle.id);
            let left = length - offset;
            let expected = if size == 0 { left } else { size.min(left) };
            let read = range(volume, needle, offset as u64, size as u64);
            let (data, started) = self.fetch(&read);
            assert!(data == logical[offset..offset + expected], "{what}");
            assert_eq!(started.transfer_size, expected as u64, "{what}");
            assert_eq!(started.expected_crc, crc32c(&data), "{what}");
            assert_eq!(started.needle_size, length as u64, "{what}");
            assert_eq!(started.transport, self.transport, "{what}");
            if length > 0 {
                let checkable = in_part || expected == length;
                assert_eq!(started.crc_verified, checkable, "{what}");
            }
        }
    }
}
