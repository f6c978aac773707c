//! Clients that read all the time, in threads of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use crate::client::Client;
use crate::files::Read;
use crate::report::Result;
use crate::tally::Tally;
use crate::wait::until;

/// A load that goes on until it is stopped.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Tally>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    right: AtomicU64,
}

impl Load {
    /// Starts `clients` connections, each with `depth` of the reads under way at once.
    pub fn start(socket: &Path, reads: &[Read], clients: usize, depth: usize) -> Result<Self> {
        Self::of(socket, reads, clients, depth, None)
    }

    /// The same, until each client has tried `most` reads.
    pub fn of(
        socket: &Path,
        reads: &[Read],
        clients: usize,
        depth: usize,
        most: Option<u64>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..clients).map(|number| {
            let mut client = Client::open(socket)?;
            let shared = Arc::clone(&shared);
            let mut reads = reads.to_vec();
            // Not all the same at the same time.
            let first = number % reads.len().max(1);
            reads.rotate_left(first);
            Ok(std::thread::spawn(move || {
                let go_on = || !shared.stop.load(Ordering::Relaxed);
                client.run(&reads, depth, most, go_on, |_| {
                    shared.right.fetch_add(1, Ordering::Relaxed);
                })
            }))
        });
        let threads = threads.collect::<Result<_>>()?;
        Ok(Self { shared, threads })
    }

    /// Awaits that so many more reads have come right.
    pub fn await_more(&self, reads: u64) -> Result<()> {
        let before = self.shared.right.load(Ordering::Relaxed);
        until("the load goes on", || {
            let now = self.shared.right.load(Ordering::Relaxed);
            (now >= before + reads).then_some(())
        })
    }

    /// Lets what is under way finish, and counts.
    pub fn stop(self) -> Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish()
    }

    /// Awaits the end of all clients, and counts.
    pub fn finish(self) -> Result<Tally> {
        let mut tally = Tally::default();
        for thread in self.threads {
            tally.add(thread.join().map_err(|_| "a client died")?);
        }
        Ok(tally)
    }
}
