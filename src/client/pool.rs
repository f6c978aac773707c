//! The engine's buffers, and the bytes of a read in them.

use std::io::{self, Read};
use std::os::fd::AsFd;

use super::ClientError;
use super::descriptors::Descriptors;
use crate::pool::mapping::ReadOnlyMapping;
use crate::protocol::message::{AttachPoolResponse, StartReadResponse};

/// The engine's pool, mapped read-only. It outlives the connection it came over, and is of no use
/// once the engine has ended: another run has another pool, with another `boot_id`.
#[derive(Debug)]
pub struct Pool {
    mapping: ReadOnlyMapping,
    boot_id: String,
}

impl Pool {
    pub(super) fn map(
        reply: AttachPoolResponse,
        descriptors: Descriptors,
    ) -> Result<Self, ClientError> {
        let memfd = descriptors.one()?;
        let mapping = ReadOnlyMapping::new(memfd.as_fd(), reply.pool_bytes)?;
        let boot_id = reply.boot_id;
        Ok(Self { mapping, boot_id })
    }

    /// Names the run of the engine this pool belongs to.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// The bytes a StartRead landed, where they lie.
    ///
    /// What is read from them is the needle's as long as the session lives: until its deadline or
    /// its CompleteRead. Later the engine may have put other bytes there. So check the CRC, or
    /// that the CompleteRead succeeded.
    ///
    /// # Errors
    /// When the reply points outside the pool.
    pub fn landed(&self, reply: &StartReadResponse) -> Result<Landed<'_>, ClientError> {
        let (at, bytes) = (reply.pool_offset, reply.transfer_size);
        self.mapping.check(at, bytes)?;
        Ok(Landed {
            mapping: &self.mapping,
            at,
            left: bytes,
        })
    }
}

/// The bytes of one read, in the pool. Reading copies them out.
#[derive(Debug)]
pub struct Landed<'a> {
    mapping: &'a ReadOnlyMapping,
    at: u64,
    left: u64,
}

impl Read for Landed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes = into
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let Some(into) = into.get_mut(..bytes) else {
            return Ok(0);
        };
        let copied = self.mapping.copy_out(self.at, into);
        copied.map_err(io::Error::other)?;
        self.at += bytes as u64;
        self.left -= bytes as u64;
        Ok(bytes)
    }
}
