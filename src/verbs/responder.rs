//! The lender's side of a connection.

use std::sync::Arc;

use super::adapter::{Access, Adapter};
use super::endpoint::Endpoint;
use super::error::VerbsError;
use super::queue_pair::{QueuePair, ReadyToReceive};

/// A queue pair that a peer READs the pool through; destroyed when dropped.
///
/// It needs no worker: the device serves READs by itself.
#[derive(Debug)]
pub struct Responder {
    queue_pair: QueuePair<ReadyToReceive>,
    adapter: Arc<Adapter>,
}

impl Responder {
    /// A queue pair connected to `remote`, and what the peer needs to know of it.
    ///
    /// The adapter must have been opened with [`Access::LendReads`].
    ///
    /// # Errors
    /// When the peer's endpoint makes no sense, or the device refuses.
    pub fn accept(
        adapter: &Arc<Adapter>,
        remote: &Endpoint,
    ) -> Result<(Self, Endpoint), VerbsError> {
        remote.validate()?;
        let reads = adapter.limits().max_qp_rd_atom.min(remote.max_reads).max(1);
        let queue_pair = QueuePair::create(adapter, adapter.silent(), 1)?;
        let queue_pair = queue_pair.init(Access::LendReads)?;
        let queue_pair = queue_pair.ready_to_receive(remote, reads)?;
        let endpoint = adapter.endpoint(queue_pair.qpn(), reads)?;
        let responder = Self {
            queue_pair,
            adapter: Arc::clone(adapter),
        };
        Ok((responder, endpoint))
    }

    /// Whether it serves no more: the device has moved it to the error state, as it does after a
    /// READ of what was not lent, or an event said so. Asks the device.
    pub fn is_broken(&self) -> bool {
        self.adapter.fatal_queue_pair(self.qpn()) || self.queue_pair.has_failed().unwrap_or(true)
    }

    /// Number of the queue pair.
    pub fn qpn(&self) -> u32 {
        self.queue_pair.qpn()
    }
}
