//! A completion queue and the channel that says when to look at it.
#![allow(unsafe_code, reason = "libibverbs is called through raw pointers")]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ibverbs_sys as ffi;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::context::{Context, check};
use super::status::{ReadFailure, WcStatus};

/// Completions taken at once.
const BATCH: usize = 16;

/// How a work request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Completion {
    pub(super) id: u64,
    pub(super) result: Result<(), ReadFailure>,
}

impl From<&ffi::ibv_wc> for Completion {
    fn from(entry: &ffi::ibv_wc) -> Self {
        let failed = |(status, vendor_error)| ReadFailure {
            status: WcStatus::from_raw(status),
            vendor_error,
        };
        Self {
            id: entry.wr_id(),
            result: entry.error().map_or(Ok(()), |e| Err(failed(e))),
        }
    }
}

/// Room for the completions taken at once.
#[derive(Debug)]
pub(super) struct Batch([ffi::ibv_wc; BATCH]);

impl Default for Batch {
    fn default() -> Self {
        Self([ffi::ibv_wc::default(); BATCH])
    }
}

/// Where work requests' ends are reported.
#[derive(Debug)]
pub(super) struct CompletionQueue {
    raw: NonNull<ffi::ibv_cq>,
    poll: PollCq,
    notify: ReqNotifyCq,
    /// After `raw` is gone.
    channel: Option<Channel>,
    context: Arc<Context>,
}

type PollCq = unsafe extern "C" fn(*mut ffi::ibv_cq, i32, *mut ffi::ibv_wc) -> i32;
type ReqNotifyCq = unsafe extern "C" fn(*mut ffi::ibv_cq, i32) -> i32;

// SAFETY: libibverbs locks what it shares; a queue may be used by any thread.
unsafe impl Send for CompletionQueue {}
// SAFETY: as above.
unsafe impl Sync for CompletionQueue {}

/// What is readable when a queue that was armed has something.
#[derive(Debug)]
struct Channel {
    raw: NonNull<ffi::ibv_comp_channel>,
    /// After `raw` is gone.
    _context: Arc<Context>,
}

impl Channel {
    fn new(context: &Arc<Context>) -> io::Result<Self> {
        // SAFETY: the context is open.
        let raw = unsafe { ffi::ibv_create_comp_channel(context.raw()) };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        let channel = Self {
            raw,
            _context: Arc::clone(context),
        };
        let flags = rustix::fs::fcntl_getfl(channel.fd())?;
        rustix::fs::fcntl_setfl(channel.fd(), flags | rustix::fs::OFlags::NONBLOCK)?;
        Ok(channel)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the channel exists for as long as `self`.
        let fd = unsafe { self.raw.as_ref() }.fd;
        // SAFETY: the descriptor is the channel's, which keeps it open.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        // SAFETY: its queue is gone, being dropped before it.
        if unsafe { ffi::ibv_destroy_comp_channel(self.raw.as_ptr()) } != 0 {
            tracing::warn!(error = %io::Error::last_os_error(), "destroying a completion channel failed");
        }
    }
}

impl CompletionQueue {
    /// A queue for `entries` completions, with a channel of its own.
    pub(super) fn with_channel(context: &Arc<Context>, entries: u32) -> io::Result<Arc<Self>> {
        let channel = Channel::new(context)?;
        Self::create(context, entries, Some(channel))
    }

    /// A queue nobody waits for: responders complete nothing.
    pub(super) fn silent(context: &Arc<Context>) -> io::Result<Arc<Self>> {
        Self::create(context, 1, None)
    }

    fn create(
        context: &Arc<Context>,
        entries: u32,
        channel: Option<Channel>,
    ) -> io::Result<Arc<Self>> {
        let (Some(poll), Some(notify)) = (context.ops().poll_cq, context.ops().req_notify_cq)
        else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let entries = i32::try_from(entries).unwrap_or(i32::MAX);
        let events = channel.as_ref().map_or(null_mut(), |c| c.raw.as_ptr());
        // SAFETY: the context is open and the channel is its own, or there is none.
        let raw = unsafe { ffi::ibv_create_cq(context.raw(), entries, null_mut(), events, 0) };
        let raw = NonNull::new(raw).ok_or_else(io::Error::last_os_error)?;
        Ok(Arc::new(Self {
            raw,
            poll,
            notify,
            channel,
            context: Arc::clone(context),
        }))
    }

    pub(super) fn raw(&self) -> *mut ffi::ibv_cq {
        self.raw.as_ptr()
    }

    /// Watches for the events of a queue that has a channel, in a tokio task.
    pub(super) fn watch(&self) -> io::Result<AsyncFd<BorrowedFd<'_>>> {
        let channel = self.channel.as_ref().ok_or(io::ErrorKind::Unsupported)?;
        // SAFETY: the descriptor is borrowed from `self`, which keeps it open.
        unsafe { AsyncFd::register_with_interest(channel.fd(), Interest::READABLE) }
            .map_err(Into::into)
    }

    /// Takes as many completions as there are and `batch` holds.
    pub(super) fn poll<'a>(
        &self,
        batch: &'a mut Batch,
    ) -> io::Result<impl ExactSizeIterator<Item = Completion> + use<'a>> {
        let places = &mut batch.0;
        // SAFETY: the queue exists for as long as `self`; the batch has this many places.
        let taken = unsafe { (self.poll)(self.raw(), BATCH as i32, places.as_mut_ptr()) };
        let taken = usize::try_from(taken).ok().and_then(|n| places.get(..n));
        let taken = taken.ok_or_else(|| io::Error::other("ibv_poll_cq failed"))?;
        Ok(taken.iter().map(Completion::from))
    }

    /// Asks for an event when the next completion comes. One that came before may not tell, so
    /// the queue is to be polled once more after this.
    pub(super) fn arm(&self) -> io::Result<()> {
        // SAFETY: the queue exists for as long as `self`.
        check(unsafe { (self.notify)(self.raw(), 0) })
    }

    /// Takes and acknowledges the channel's events.
    pub(super) fn take_events(&self) -> io::Result<()> {
        let Some(channel) = &self.channel else {
            return Ok(());
        };
        let mut events = 0;
        let ended = loop {
            let (mut queue, mut data) = (null_mut(), null_mut());
            // SAFETY: the channel exists for as long as `self`; the library writes both
            // pointers, and the descriptor does not block.
            if unsafe { ffi::ibv_get_cq_event(channel.raw.as_ptr(), &mut queue, &mut data) } != 0 {
                let error = io::Error::last_os_error();
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                break error;
            }
            events += 1;
        };
        if events > 0 {
            // SAFETY: the channel has no other queue, and each event is acknowledged once.
            unsafe { ffi::ibv_ack_cq_events(self.raw(), events) };
        }
        match ended.kind() {
            io::ErrorKind::WouldBlock => Ok(()),
            _ => Err(ended),
        }
    }
}

impl Drop for CompletionQueue {
    fn drop(&mut self) {
        // SAFETY: its queue pairs held it by `Arc` and are gone; its events are acknowledged.
        let destroyed = check(unsafe { ffi::ibv_destroy_cq(self.raw()) });
        if let Err(error) = destroyed {
            tracing::warn!(device = self.context.name(), %error, "destroying a completion queue failed");
        }
    }
}
