//! The protection domain and the pool's memory regions.
#![allow(unsafe_code, reason = "libibverbs is called through raw pointers")]

use std::io;
use std::ptr::NonNull;
use std::sync::Arc;

use ibverbs_sys as ffi;

use super::adapter::Access;
use super::context::Context;
use crate::pool::Pool;

/// What queue pairs and memory regions that belong together are made in.
#[derive(Debug)]
pub(super) struct ProtectionDomain {
    raw: NonNull<ffi::ibv_pd>,
    /// After `raw` is gone.
    context: Arc<Context>,
}

// SAFETY: libibverbs locks what it shares; a domain may be used by any thread.
unsafe impl Send for ProtectionDomain {}
// SAFETY: as above.
unsafe impl Sync for ProtectionDomain {}

impl ProtectionDomain {
    pub(super) fn new(context: &Arc<Context>) -> io::Result<Arc<Self>> {
        // SAFETY: the context is open.
        let raw = unsafe { ffi::ibv_alloc_pd(context.raw()) };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        Ok(Arc::new(Self {
            raw,
            context: Arc::clone(context),
        }))
    }

    pub(super) fn raw(&self) -> *mut ffi::ibv_pd {
        self.raw.as_ptr()
    }

    pub(super) fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Drop for ProtectionDomain {
    fn drop(&mut self) {
        // SAFETY: what was made in the domain held it by `Arc` and is gone.
        if unsafe { ffi::ibv_dealloc_pd(self.raw()) } != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(device = self.context.name(), %error, "freeing a protection domain failed");
        }
    }
}

/// A region of the pool the device may use.
#[derive(Debug)]
pub(super) struct MemoryRegion {
    raw: NonNull<ffi::ibv_mr>,
    pub(super) local_key: u32,
    pub(super) remote_key: u32,
    /// After `raw` is gone.
    _domain: Arc<ProtectionDomain>,
    /// After `raw` is gone: the memory.
    _pool: Arc<Pool>,
}

// SAFETY: a region is only held and, once, deregistered.
unsafe impl Send for MemoryRegion {}
// SAFETY: as above.
unsafe impl Sync for MemoryRegion {}

impl MemoryRegion {
    /// Registers `len` bytes of the pool from `start` on.
    pub(super) fn register(
        domain: &Arc<ProtectionDomain>,
        pool: &Arc<Pool>,
        (start, len): (*mut u8, usize),
        access: Access,
    ) -> io::Result<Self> {
        let flags = match access {
            Access::LandReads => ffi::ibv_access_flags::IBV_ACCESS_LOCAL_WRITE,
            Access::LendReads => ffi::ibv_access_flags::IBV_ACCESS_REMOTE_READ,
        };
        // SAFETY: the range is the pool's mapping, which the region keeps alive. Who may write to
        // which part of it when is kept by the pool's buffers.
        let raw = unsafe { ffi::ibv_reg_mr(domain.raw(), start.cast(), len, flags.0 as i32) };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        // SAFETY: the library made it just now.
        let region = unsafe { raw.as_ref() };
        Ok(Self {
            raw,
            local_key: region.lkey,
            remote_key: region.rkey,
            _domain: Arc::clone(domain),
            _pool: Arc::clone(pool),
        })
    }
}

impl Drop for MemoryRegion {
    fn drop(&mut self) {
        // SAFETY: the adapter drops its regions once, after the queue pairs, which hold it.
        let freed = unsafe { ffi::ibv_dereg_mr(self.raw.as_ptr()) };
        if freed != 0 {
            // The device may still write to it.
            std::mem::forget(Arc::clone(&self._pool));
            let error = io::Error::from_raw_os_error(freed);
            tracing::error!(%error, "deregistering the pool failed; its memory stays mapped");
        }
    }
}
