//! A peer of our own, to have needles lent in the target's memory and know where they are.

use std::io::{Read as _, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rdma_engine::peer::codec::encode;
use rdma_engine::peer::handshake::Opening;
use rdma_engine::peer::message::{Connect, FromEngine, FromTarget, Leased, Read, Release};
use rdma_engine::pool::{Pages, Pool};
use rdma_engine::protocol::frame::LENGTH_BYTES;
use rdma_engine::verbs::{Access, Adapter, DeviceChoice, PortChoice, ReadQueue, Requester};

use crate::PATIENCE;
use crate::files::File;
use crate::report::Result;

/// Its pool.
const POOL_BYTES: usize = 16 << 20;
/// How long it polls before it sleeps: as long as an engine does by default.
const POLL: Duration = Duration::from_micros(20);
/// Leases that are made to get one at a certain place.
pub const LEASES_MAX: u32 = 2048;

/// A connection to a target, with a queue pair, so that it lends.
pub struct Borrower {
    stream: TcpStream,
    next: u64,
    lent: Vec<Leased>,
    /// READs what is lent.
    pub requester: Rc<Requester>,
    /// Where its completions come.
    pub queue: Rc<ReadQueue>,
    /// Where they land.
    pub pool: Arc<Pool>,
    /// The device.
    pub adapter: Arc<Adapter>,
}

impl Borrower {
    /// Connects to a target.
    pub fn connect(target: SocketAddr) -> Result<Self> {
        Self::connect_for(target, u8::MAX)
    }

    /// Connects to a target of which no more than so many READs are wanted at once.
    pub fn connect_for(target: SocketAddr, reads_max: u8) -> Result<Self> {
        let pool = Pool::new(POOL_BYTES, POOL_BYTES, Pages::Ordinary)?;
        let ports = PortChoice::default();
        let adapter = Adapter::open(&DeviceChoice::Auto, &ports, &pool, Access::LandReads)?;
        let adapter = adapter.ok_or("there is no RDMA device")?;
        let queue = ReadQueue::new(&adapter, POLL)?;
        let queue_pair = queue.queue_pair()?;

        let mut stream = TcpStream::connect(target)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (opening, hello) = Opening::new(None)?;
        say(&mut stream, &FromEngine::Hello(hello))?;
        let FromTarget::Challenge(challenge) = hear(&mut stream)? else {
            return Err("no challenge came".into());
        };
        let (_, proof) = opening.challenged(&challenge)?;
        say(&mut stream, &FromEngine::Proof(proof))?;
        let FromTarget::Welcome(_) = hear(&mut stream)? else {
            return Err("no welcome came".into());
        };
        let connect = Connect {
            id: 0,
            lane: 0,
            endpoint: queue_pair.endpoint(),
        };
        let requester = match ask(&mut stream, &FromEngine::Connect(connect))? {
            FromTarget::Connected(mut connected) => {
                let offered = &mut connected.endpoint.max_reads;
                *offered = reads_max.min(*offered);
                queue_pair.connect(&connected.endpoint)?
            }
            other => return Err(format!("Connect was answered with {other:?}").into()),
        };
        Ok(Self {
            stream,
            next: 1,
            lent: Vec::new(),
            requester,
            queue,
            pool,
            adapter,
        })
    }

    /// Has all of a file lent, until it is given back.
    pub fn borrow(&mut self, file: &File) -> Result<Leased> {
        let lease = |id| {
            FromEngine::Lease(Read {
                id,
                volume_id: file.fid.volume_id,
                collection: None,
                needle_id: file.fid.needle_id,
                cookie: file.fid.cookie,
                offset: 0,
                size: 0,
                room: file.data().len() as u64,
                patience_ms: 10_000,
            })
        };
        match self.ask(lease)? {
            FromTarget::Leased(leased) => {
                self.lent.push(leased.clone());
                Ok(leased)
            }
            other => Err(format!("Lease was answered with {other:?}").into()),
        }
    }

    /// Borrows `file` again and again until it lies where `former` was lent, or a part of it.
    pub fn overwrite(&mut self, former: &Leased, file: &File) -> Result<()> {
        let end = former.addr + former.facts.length;
        // Each lease takes another part of the pool, which is small.
        for _ in 0..LEASES_MAX {
            let leased = self.borrow(file)?;
            if leased.addr < end && leased.addr + leased.facts.length > former.addr {
                return Ok(());
            }
        }
        Err("the place of a lease that is over was not used again".into())
    }

    /// Gives everything back.
    pub fn give_back(&mut self) -> Result<()> {
        for leased in std::mem::take(&mut self.lent) {
            let release = Release {
                lease: leased.lease,
            };
            say(&mut self.stream, &FromEngine::Release(release))?;
        }
        Ok(())
    }

    fn ask(&mut self, request: impl FnOnce(u64) -> FromEngine) -> Result<FromTarget> {
        let id = self.next;
        self.next += 1;
        ask(&mut self.stream, &request(id))
    }
}

fn ask(stream: &mut TcpStream, request: &FromEngine) -> Result<FromTarget> {
    say(stream, request)?;
    loop {
        match hear(stream)? {
            FromTarget::Volumes(_) => {}
            answer => return Ok(answer),
        }
    }
}

fn say(stream: &mut TcpStream, message: &FromEngine) -> Result<()> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    Ok(stream.write_all(&bytes)?)
}

fn hear(stream: &mut TcpStream) -> Result<FromTarget> {
    Ok(FromTarget::decode(&frame(stream)?)?)
}

/// The payload of the next frame.
pub fn frame(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut prefix = [0; LENGTH_BYTES];
    stream.read_exact(&mut prefix)?;
    let mut payload = vec![0; u32::from_le_bytes(prefix) as usize];
    stream.read_exact(&mut payload)?;
    Ok(payload)
}
