//! Stands between an engine and a target on their TCP connection, and holds leases back on their
//! way to the engine: what is to happen between a lookup and its READ happens then. READs do not
//! come by here.

use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rdma_engine::peer::codec::encode;
use rdma_engine::peer::message::{FromEngine, FromTarget, Leased, Release};
use rdma_engine::protocol::frame::LENGTH_BYTES;

use crate::PATIENCE;
use crate::borrower::frame;
use crate::report::Result;

/// The way to a target, with somebody on it.
pub struct Interposer {
    /// Where the engine is to connect.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    held: Receiver<Held>,
}

struct Shared {
    target: SocketAddr,
    /// Leases that are still to be held back.
    to_hold: AtomicU64,
}

/// A lease that the target has given and the engine does not know of.
pub struct Held {
    /// What the target said.
    pub leased: Leased,
    to_target: Arc<Mutex<TcpStream>>,
    go_on: Sender<()>,
}

impl Interposer {
    /// Stands on the way to `target`. Its threads end with the connections.
    pub fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            to_hold: AtomicU64::new(0),
        });
        let (hold, held) = channel();
        let used = Arc::clone(&shared);
        thread::spawn(move || {
            for engine in listener.incoming().flatten() {
                // A target that is not there is the engine's to notice.
                if let Err(error) = join(engine, &used, &hold) {
                    eprintln!("interposer: {error}");
                }
            }
        });
        Ok(Self {
            address,
            shared,
            held,
        })
    }

    /// Holds the next `count` leases back, each until somebody lets it go on.
    pub fn hold(&self, count: u64) {
        self.shared.to_hold.store(count, Ordering::SeqCst);
    }

    /// The next lease that is held back.
    pub fn next(&self) -> Result<Held> {
        Ok(self.held.recv_timeout(PATIENCE)?)
    }
}

impl Held {
    /// Tells the target that the engine has finished with it, which is not true.
    pub fn release(&self) -> Result<()> {
        let mut bytes = Vec::new();
        let lease = self.leased.lease;
        encode(&FromEngine::Release(Release { lease }), &mut bytes);
        let mut to_target = self
            .to_target
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(to_target.write_all(&bytes)?)
    }

    /// Lets the engine know of it.
    pub fn pass(self) {
        // The connection may have ended.
        let _ = self.go_on.send(());
    }
}

/// Joins an engine's connection with one of its own to the target.
fn join(mut engine: TcpStream, shared: &Arc<Shared>, hold: &Sender<Held>) -> Result<()> {
    let mut target = TcpStream::connect(shared.target)?;
    for stream in [&engine, &target] {
        stream.set_nodelay(true)?;
    }
    let to_target = Arc::new(Mutex::new(target.try_clone()?));
    let mut to_engine = engine.try_clone()?;
    let (up, shared, hold) = (Arc::clone(&to_target), Arc::clone(shared), hold.clone());
    // Each ends when its side does, and ends the other's.
    thread::spawn(move || {
        while let Ok(payload) = frame(&mut engine) {
            let mut target = up.lock().unwrap_or_else(PoisonError::into_inner);
            if write_frame(&mut target, &payload).is_err() {
                break;
            }
        }
        let _ = up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .shutdown(std::net::Shutdown::Both);
    });
    thread::spawn(move || {
        while let Ok(payload) = frame(&mut target) {
            let message = FromTarget::decode(&payload);
            if let Ok(FromTarget::Leased(leased)) = &message {
                shared.perhaps_hold(leased, &to_target, &hold);
            }
            let bytes = match message {
                Ok(FromTarget::Data(data)) => data.facts.length,
                _ => 0,
            };
            let written = write_frame(&mut to_engine, &payload)
                .and_then(|()| io::copy(&mut (&target).take(bytes), &mut to_engine));
            if written.is_err() {
                break;
            }
        }
        let _ = to_engine.shutdown(std::net::Shutdown::Both);
    });
    Ok(())
}

impl Shared {
    fn perhaps_hold(
        &self,
        leased: &Leased,
        to_target: &Arc<Mutex<TcpStream>>,
        hold: &Sender<Held>,
    ) {
        let less = |left: u64| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if self.to_hold.fetch_update(order, order, less).is_err() {
            return;
        }
        let (go_on, going) = channel();
        let held = Held {
            leased: leased.clone(),
            to_target: Arc::clone(to_target),
            go_on,
        };
        if hold.send(held).is_ok() {
            // Let go, or forgotten.
            let _ = going.recv();
        }
    }
}

fn write_frame(to: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)
}
