//! An opened device: what it says about itself, and its asynchronous events.
#![allow(unsafe_code, reason = "libibverbs is called through raw pointers")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::NonNull;

use ibverbs_sys as ffi;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::events::{AsyncEvent, Subject};
use super::gid::{Gid, GidInfo, GidKind};

/// A device opened by this process; closed when dropped, after everything made from it.
#[derive(Debug)]
pub(super) struct Context {
    raw: NonNull<ffi::ibv_context>,
    name: String,
}

// SAFETY: libibverbs locks what it shares; a context may be used by any thread (ibv_open_device(3)).
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// The devices there are, while one is looked for.
struct List {
    first: NonNull<*mut ffi::ibv_device>,
    len: usize,
}

impl List {
    fn new() -> io::Result<Self> {
        let mut len = 0;
        // SAFETY: the library allocates the list and writes its length.
        let first = unsafe { ffi::ibv_get_device_list(&mut len) };
        let first = NonNull::new(first).ok_or_else(io::Error::last_os_error)?;
        let len = usize::try_from(len).unwrap_or(0);
        Ok(Self { first, len })
    }

    fn devices(&self) -> &[*mut ffi::ibv_device] {
        // SAFETY: the list has this many devices and is freed when `self` is dropped.
        unsafe { std::slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: it is the library's list; a device that was opened stays (ibv_open_device(3)).
        unsafe { ffi::ibv_free_device_list(self.first.as_ptr()) }
    }
}

impl Context {
    /// Opens the device of this name; ENODEV when there is none.
    pub(super) fn open(name: &str) -> io::Result<Self> {
        let list = List::new()?;
        let named = list.devices().iter().copied().find(|&device| {
            // SAFETY: the device is in the list, which is alive.
            let found = unsafe { ffi::ibv_get_device_name(device) };
            // SAFETY: a device's name is a C string in the device.
            !found.is_null() && unsafe { CStr::from_ptr(found) }.to_bytes() == name.as_bytes()
        });
        let no_device = rustix::io::Errno::NODEV;
        let device = named.ok_or_else(|| io::Error::from(no_device))?;
        // SAFETY: the device is in the list, which is alive.
        let raw = unsafe { ffi::ibv_open_device(device) };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        let context = Self {
            raw,
            name: name.to_owned(),
        };
        let flags = rustix::fs::fcntl_getfl(context.events_fd())?;
        rustix::fs::fcntl_setfl(context.events_fd(), flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(context)
    }

    /// The device's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// For the children: valid for as long as they hold the context by `Arc`.
    pub(super) fn raw(&self) -> *mut ffi::ibv_context {
        self.raw.as_ptr()
    }

    /// The functions the library's headers call inline.
    pub(super) fn ops(&self) -> &ffi::ibv_context_ops {
        // SAFETY: the context is open for as long as `self`, and nobody writes to its table.
        let context = unsafe { self.raw.as_ref() };
        &context.ops
    }

    /// What the device can do.
    pub(super) fn attributes(&self) -> io::Result<ffi::ibv_device_attr> {
        let mut attributes = ffi::ibv_device_attr::default();
        // SAFETY: the context is open; the library fills the struct.
        check(unsafe { ffi::ibv_query_device(self.raw(), &mut attributes) })?;
        Ok(attributes)
    }

    /// What port `number` is like now.
    pub(super) fn port(&self, number: u8) -> io::Result<ffi::ibv_port_attr> {
        let mut port = ffi::ibv_port_attr::default();
        let compatible = (&raw mut port).cast();
        // SAFETY: the context is open; this entry point fills the struct's older part, which
        // ends after the link layer, and the rest is zero.
        check(unsafe { ffi::ibv_query_port(self.raw(), number, compatible) })?;
        Ok(port)
    }

    /// The valid GIDs of port `number`, whose table has `table_len` entries in all.
    pub(super) fn gids(&self, number: u8, table_len: usize) -> io::Result<Vec<GidInfo>> {
        // An index of a GID is a byte in an address vector.
        let indices = 0..=u8::try_from(table_len.saturating_sub(1)).unwrap_or(u8::MAX);
        let entries = indices.map(|index| self.gid(number, index).transpose());
        entries.flatten().collect()
    }

    /// The GID at `index` of port `number`; `None` when there is none.
    pub(super) fn gid(&self, number: u8, index: u8) -> io::Result<Option<GidInfo>> {
        let size = size_of::<ffi::ibv_gid_entry>();
        let mut entry = ffi::ibv_gid_entry::default();
        let (port, place) = (u32::from(number), u32::from(index));
        // SAFETY: the context is open; the library fills the struct, whose size it is told.
        let found = unsafe { ffi::_ibv_query_gid_ex(self.raw(), port, place, &mut entry, 0, size) };
        match check(found) {
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::NODATA.raw_os_error()) => {
                return Ok(None);
            }
            found => found?,
        }
        // SAFETY: any 16 bytes are a GID.
        let gid = Gid(unsafe { entry.gid.raw });
        let kind = match entry.gid_type {
            ffi::IBV_GID_TYPE_ROCE_V1 => GidKind::RoceV1,
            ffi::IBV_GID_TYPE_ROCE_V2 => GidKind::RoceV2,
            _ => GidKind::Ib,
        };
        Ok(Some(GidInfo { index, gid, kind }))
    }

    /// Watches for events, in a tokio task.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
        // SAFETY: the descriptor is borrowed from `self`, which keeps it open.
        unsafe { AsyncFd::register_with_interest(self.events_fd(), Interest::READABLE) }
            .map_err(Into::into)
    }

    /// The descriptor that is readable when there is an event.
    fn events_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the context is open for as long as `self`.
        let fd: RawFd = unsafe { self.raw.as_ref() }.async_fd;
        // SAFETY: the descriptor is the context's, which keeps it open.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }

    /// Takes the next event, shows it to `see`, and then acknowledges it; false when there is none
    /// now. Until it is acknowledged what it is about is not destroyed.
    pub(super) fn next_event(&self, see: impl FnOnce(AsyncEvent)) -> io::Result<bool> {
        let mut event = ffi::ibv_async_event::default();
        // SAFETY: the context is open; the library fills the struct. The descriptor does not
        // block.
        if unsafe { ffi::ibv_get_async_event(self.raw(), &mut event) } != 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => self.next_event(see),
                _ => Err(error),
            };
        }
        let kind = event.event_type;
        let subject = match kind {
            ffi::IBV_EVENT_QP_FATAL
            | ffi::IBV_EVENT_QP_REQ_ERR
            | ffi::IBV_EVENT_QP_ACCESS_ERR
            | ffi::IBV_EVENT_COMM_EST
            | ffi::IBV_EVENT_SQ_DRAINED
            | ffi::IBV_EVENT_PATH_MIG
            | ffi::IBV_EVENT_PATH_MIG_ERR
            | ffi::IBV_EVENT_QP_LAST_WQE_REACHED => {
                // SAFETY: events of these kinds carry a queue pair.
                let pair = unsafe { event.element.qp };
                // SAFETY: destroying a queue pair waits until its events are acknowledged.
                Subject::QueuePair(unsafe { (*pair).qp_num })
            }
            ffi::IBV_EVENT_PORT_ACTIVE
            | ffi::IBV_EVENT_PORT_ERR
            | ffi::IBV_EVENT_LID_CHANGE
            | ffi::IBV_EVENT_PKEY_CHANGE
            | ffi::IBV_EVENT_SM_CHANGE
            | ffi::IBV_EVENT_CLIENT_REREGISTER
            | ffi::IBV_EVENT_GID_CHANGE => {
                // SAFETY: events of these kinds carry a port.
                Subject::Port(unsafe { event.element.port_num })
            }
            _ => Subject::Device,
        };
        see(AsyncEvent { kind, subject });
        // SAFETY: the event was just taken, and is acknowledged once.
        unsafe { ffi::ibv_ack_async_event(&mut event) };
        Ok(true)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: everything made from the context held it by `Arc` and is gone.
        if unsafe { ffi::ibv_close_device(self.raw()) } != 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(device = self.name, %error, "closing the device failed");
        }
    }
}

/// The result of a call that returns an errno, or -1 and sets it.
pub(super) fn check(returned: i32) -> io::Result<()> {
    match returned {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}
