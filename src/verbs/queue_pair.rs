//! A reliable connected queue pair, its states as types.
//!
//! ```text
//! Reset → Init → ReadyToReceive → ReadyToSend       any of them → error, for good
//! ```
#![allow(unsafe_code, reason = "libibverbs is called through raw pointers")]

use std::io;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

use ffi::ibv_qp_attr_mask as mask;
use ffi::ibv_qp_state as state;
use ibverbs_sys as ffi;

use super::adapter::{Access, Adapter};
use super::completion::CompletionQueue;
use super::context::check;
use super::endpoint::Endpoint;
use super::error::VerbsError;
use super::requester::RemoteMemory;
use super::transition::{self, Transition};

/// Just made.
#[derive(Debug)]
pub(super) struct Reset;
/// Bound to a port.
#[derive(Debug)]
pub(super) struct Init;
/// Connected; peers may READ through it.
#[derive(Debug)]
pub(super) struct ReadyToReceive;
/// READs may be posted on it.
#[derive(Debug)]
pub(super) struct ReadyToSend;

/// A queue pair in state `S`, or in error; destroyed when dropped.
#[derive(Debug)]
pub(super) struct QueuePair<S> {
    handle: Handle,
    state: PhantomData<S>,
}

#[derive(Debug)]
struct Handle {
    raw: NonNull<ffi::ibv_qp>,
    qpn: u32,
    post_send: PostSend,
    /// After `raw` is gone.
    _completions: Arc<CompletionQueue>,
    /// After `raw` is gone: the domain, and the memory the device may use.
    adapter: Arc<Adapter>,
}

type PostSend = unsafe extern "C" fn(
    *mut ffi::ibv_qp,
    *mut ffi::ibv_send_wr,
    *mut *mut ffi::ibv_send_wr,
) -> i32;

// SAFETY: libibverbs locks what it shares; a queue pair may be used by any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// One READ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) id: u64,
    pub(super) from: RemoteMemory,
    /// Where it lands.
    pub(super) to: *mut u8,
    pub(super) local_key: u32,
    pub(super) len: usize,
}

impl QueuePair<Reset> {
    /// A queue pair on which `reads` may be outstanding.
    pub(super) fn create(
        adapter: &Arc<Adapter>,
        completions: &Arc<CompletionQueue>,
        reads: u32,
    ) -> Result<Self, VerbsError> {
        let refused = |source| VerbsError::Create {
            what: "a queue pair",
            device: adapter.name().to_owned(),
            source,
        };
        let Some(post_send) = adapter.context().ops().post_send else {
            return Err(refused(io::ErrorKind::Unsupported.into()));
        };
        let mut attributes = ffi::ibv_qp_init_attr {
            send_cq: completions.raw(),
            recv_cq: completions.raw(),
            cap: ffi::ibv_qp_cap {
                max_send_wr: reads,
                max_recv_wr: 1,
                max_send_sge: 1,
                max_recv_sge: 1,
                max_inline_data: 0,
            },
            qp_type: ffi::ibv_qp_type::IBV_QPT_RC,
            ..ffi::ibv_qp_init_attr::default()
        };
        // SAFETY: the domain and the queue exist; the handle keeps them.
        let raw = unsafe { ffi::ibv_create_qp(adapter.domain().raw(), &mut attributes) };
        let raw = NonNull::new(raw).ok_or_else(|| refused(io::Error::last_os_error()))?;
        // SAFETY: the library made it just now.
        let qpn = unsafe { raw.as_ref() }.qp_num;
        adapter.pairs().opened(qpn);
        Ok(Self {
            handle: Handle {
                raw,
                qpn,
                post_send,
                _completions: Arc::clone(completions),
                adapter: Arc::clone(adapter),
            },
            state: PhantomData,
        })
    }

    /// Binds it to the adapter's port. Only [`Access::LendReads`] lets a peer READ.
    pub(super) fn init(self, access: Access) -> Result<QueuePair<Init>, VerbsError> {
        let to = transition::init(self.handle.adapter.port(), access);
        self.enter(to, None)
    }
}

impl QueuePair<Init> {
    /// Connects it to `remote`, serving it `reads` READs at once.
    pub(super) fn ready_to_receive(
        self,
        remote: &Endpoint,
        reads: u8,
    ) -> Result<QueuePair<ReadyToReceive>, VerbsError> {
        remote.validate()?;
        // The event that says the GID has another index now may not have been seen yet.
        self.handle.adapter.refresh();
        let to = transition::ready_to_receive(&self.handle.adapter, remote, reads);
        self.enter(to, Some(remote))
    }
}

impl QueuePair<ReadyToReceive> {
    /// Lets it send, from packet `psn` on, with `reads` READs outstanding at most.
    pub(super) fn ready_to_send(
        self,
        psn: u32,
        reads: u8,
    ) -> Result<QueuePair<ReadyToSend>, VerbsError> {
        self.enter(transition::ready_to_send(psn, reads), None)
    }
}

impl QueuePair<ReadyToSend> {
    /// Posts a READ.
    ///
    /// # Safety
    /// The memory it lands in is `read.len` bytes of the adapter's pool that nobody else uses
    /// until the READ's completion has been seen.
    pub(super) unsafe fn post(&self, read: &Read) -> io::Result<()> {
        let mut place = ffi::ibv_sge {
            addr: read.to as u64,
            length: read.len as u32,
            lkey: read.local_key,
        };
        let mut request = ffi::ibv_send_wr {
            wr_id: read.id,
            sg_list: &mut place,
            num_sge: 1,
            opcode: ffi::ibv_wr_opcode::IBV_WR_RDMA_READ,
            send_flags: ffi::ibv_send_flags::IBV_SEND_SIGNALED.0,
            wr: ffi::ibv_send_wr__bindgen_ty_2 {
                rdma: ffi::ibv_send_wr__bindgen_ty_2__bindgen_ty_1 {
                    remote_addr: read.from.addr,
                    rkey: read.from.rkey,
                },
            },
            ..ffi::ibv_send_wr::default()
        };
        let mut refused = null_mut();
        let pair = self.handle.raw.as_ptr();
        // SAFETY: the queue pair exists; the device reads the request before the call returns;
        // the caller keeps the memory it lands in.
        check(unsafe { (self.handle.post_send)(pair, &mut request, &mut refused) })
    }
}

impl<S> QueuePair<S> {
    /// Its number.
    pub(super) fn qpn(&self) -> u32 {
        self.handle.qpn
    }

    /// Moves it to the error state: what is outstanding is flushed, and nothing is served.
    pub(super) fn fail(&self) -> io::Result<()> {
        self.modify(&mut transition::error())
    }

    /// Whether the device has moved it to the error state.
    pub(super) fn has_failed(&self) -> io::Result<bool> {
        let mut attributes = ffi::ibv_qp_attr::default();
        let mut initial = ffi::ibv_qp_init_attr::default();
        let (pair, wanted) = (self.handle.raw.as_ptr(), mask::IBV_QP_STATE.0 as i32);
        // SAFETY: the queue pair exists; the library fills both structs.
        check(unsafe { ffi::ibv_query_qp(pair, &mut attributes, wanted, &mut initial) })?;
        Ok(attributes.qp_state == state::IBV_QPS_ERR)
    }

    fn enter<T>(
        self,
        mut to: Transition,
        remote: Option<&Endpoint>,
    ) -> Result<QueuePair<T>, VerbsError> {
        let moved = self.modify(&mut to);
        moved.map_err(|source| VerbsError::Transition {
            qpn: self.qpn(),
            device: self.handle.adapter.name().to_owned(),
            to: to.name,
            towards: remote.map_or_else(String::new, |r| {
                format!(" towards queue pair {} at {} (LID {})", r.qpn, r.gid, r.lid)
            }),
            source,
        })?;
        Ok(QueuePair {
            handle: self.handle,
            state: PhantomData,
        })
    }

    fn modify(&self, to: &mut Transition) -> io::Result<()> {
        let (pair, set) = (self.handle.raw.as_ptr(), to.set.0 as i32);
        // SAFETY: the queue pair exists; the library reads the struct before it returns.
        check(unsafe { ffi::ibv_modify_qp(pair, &mut to.attributes, set) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Before its number can be another's.
        self.adapter.pairs().closed(self.qpn);
        // SAFETY: nobody else has the pointer.
        if let Err(error) = check(unsafe { ffi::ibv_destroy_qp(self.raw.as_ptr()) }) {
            tracing::warn!(qpn = self.qpn, %error, "destroying a queue pair failed");
        }
    }
}
