//! The reader's side of a connection.

use std::rc::Rc;

use super::adapter::Access;
use super::endpoint::Endpoint;
use super::error::VerbsError;
use super::flight::ReadFlight;
use super::plan::WINDOW;
use super::queue::{Places, ReadQueue};
use super::queue_pair::{Init, QueuePair};
use super::status::{ReadFailure, WcStatus};
use super::transfer::Transfer;
use crate::pool::{Buffer, Reserved};

/// Memory of a peer's, as the peer lends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteMemory {
    /// Address of the first byte, the peer's.
    pub addr: u64,
    /// The key the peer's device knows the memory by.
    pub rkey: u32,
}

/// A queue pair that has not met its peer.
#[derive(Debug)]
pub struct Unconnected {
    queue_pair: QueuePair<Init>,
    endpoint: Endpoint,
    places: Places,
    queue: Rc<ReadQueue>,
}

impl ReadQueue {
    /// A queue pair to be connected, in state INIT.
    ///
    /// # Errors
    /// When the device gives no more, or its READs might overflow the completion queue.
    pub fn queue_pair(self: &Rc<Self>) -> Result<Unconnected, VerbsError> {
        let limits = self.adapter().limits();
        let reads = u32::from(limits.max_qp_init_rd_atom)
            .min(limits.max_qp_wr)
            .clamp(1, WINDOW as u32);
        let places = self.promise(reads)?;
        let queue_pair = QueuePair::create(self.adapter(), self.completions(), reads)?;
        let queue_pair = queue_pair.init(Access::LandReads)?;
        let endpoint = self.adapter().endpoint(queue_pair.qpn(), reads as u8)?;
        Ok(Unconnected {
            queue_pair,
            endpoint,
            places,
            queue: Rc::clone(self),
        })
    }
}

impl Unconnected {
    /// What the peer needs to know of it.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Connects it to `remote`, whose packets already find it there.
    ///
    /// # Errors
    /// When the peer's endpoint makes no sense, or the device refuses the way to it.
    pub fn connect(self, remote: &Endpoint) -> Result<Rc<Requester>, VerbsError> {
        let reads = self.endpoint.max_reads.min(remote.max_reads);
        let qpn = self.queue_pair.qpn();
        // The peer goes by the MTU it was told; the port's may have grown since.
        let remote = Endpoint {
            mtu: remote.mtu.min(self.endpoint.mtu),
            ..remote.clone()
        };
        // The peer has nothing to read here.
        let queue_pair = self.queue_pair.ready_to_receive(&remote, 0)?;
        let queue_pair = queue_pair.ready_to_send(self.endpoint.psn, reads)?;
        let pair = self.places.adopt(queue_pair, reads);
        Ok(Rc::new(Requester {
            queue: self.queue,
            pair,
            qpn,
        }))
    }
}

/// A connected queue pair. Dropped, it is closed; it is destroyed when everything that was in
/// flight has been flushed.
#[derive(Debug)]
pub struct Requester {
    queue: Rc<ReadQueue>,
    pair: usize,
    qpn: u32,
}

impl Requester {
    /// Begins to read `len` bytes of the peer's memory into the start of `buffer`.
    ///
    /// It is cut into pieces of at most [`super::PIECE_BYTES`], of which as many are outstanding,
    /// over all reads, as the peer serves at once; the others wait their turn. On a broken queue
    /// pair the read fails at once, as flushed.
    ///
    /// # Panics
    /// When the buffer has fewer than `len` bytes.
    pub fn read(
        self: &Rc<Self>,
        from: RemoteMemory,
        buffer: Buffer<Reserved>,
        len: usize,
    ) -> ReadFlight {
        let key = self
            .queue
            .begin(Transfer::new(self.pair, from, buffer, len));
        ReadFlight::new(Rc::clone(&self.queue), key)
    }

    /// What broke the queue pair first, once something has; flushed when it was closed on purpose;
    /// a fatal error when the device said so in an event.
    pub fn failure(&self) -> Option<ReadFailure> {
        self.queue.state().failure(self.pair).or_else(|| {
            let fatal = self.queue.adapter().fatal_queue_pair(self.qpn);
            fatal.then_some(ReadFailure {
                status: WcStatus::FatalErr,
                vendor_error: 0,
            })
        })
    }

    /// Closes the connection: everything in flight is flushed, and new reads fail as flushed.
    pub fn close(&self) {
        self.queue
            .state()
            .break_pair(self.pair, ReadFailure::FLUSHED);
    }

    /// Number of the queue pair.
    pub fn qpn(&self) -> u32 {
        self.qpn
    }
}

impl Drop for Requester {
    fn drop(&mut self) {
        self.queue.release(self.pair);
    }
}
