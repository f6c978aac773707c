//! A target of the test's own, that need not keep to the peer protocol.

use std::io::{self, Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rdma_engine::peer::handshake::Greeting;
use rdma_engine::peer::message::{
    Data, Facts, FromEngine, FromTarget, Pong, Proof, Read, ServedVolume, Volumes, Welcome,
};

use super::peer::frame;
use super::{Needle, PATIENCE, crc32c, eventually};

/// Listens, and plays its part with each engine's worker that connects, on a thread for each.
pub struct OwnTarget {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    visits: AtomicUsize,
    asked: AtomicUsize,
    ended: AtomicUsize,
    stopping: AtomicBool,
    open: Mutex<Vec<(TcpStream, JoinHandle<()>)>>,
}

impl OwnTarget {
    /// Plays `part` with everybody who connects. A connection ends when its part does.
    pub fn start(part: impl Fn(&mut Visit) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let (inside, part) = (Arc::clone(&shared), Arc::new(part));
        let acceptor = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if inside.stopping.load(Ordering::SeqCst) {
                    return;
                }
                inside.serve(stream.unwrap(), Arc::clone(&part));
            }
        });
        Self {
            address,
            shared,
            acceptor: Some(acceptor),
        }
    }

    /// Connections that were made to it so far.
    pub fn visits(&self) -> usize {
        self.shared.visits.load(Ordering::SeqCst)
    }

    /// Needles that were asked for so far.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Awaits that so many connections were made to it.
    pub fn await_visits(&self, count: usize) {
        eventually(&format!("{count} connections were made"), || {
            (self.visits() >= count).then_some(())
        });
    }

    /// Awaits that so many needles were asked for.
    pub fn await_asked(&self, count: usize) {
        eventually(&format!("{count} needles were asked for"), || {
            (self.asked() >= count).then_some(())
        });
    }

    /// Awaits that so many connections have ended.
    pub fn await_ends(&self, count: usize) {
        eventually(&format!("{count} connections have ended"), || {
            (self.shared.ended.load(Ordering::SeqCst) >= count).then_some(())
        });
    }
}

impl Shared {
    fn serve<P: Fn(&mut Visit) + Send + Sync + 'static>(
        self: &Arc<Self>,
        stream: TcpStream,
        part: Arc<P>,
    ) {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let number = self.visits.fetch_add(1, Ordering::SeqCst);
        let (shared, own) = (Arc::clone(self), stream.try_clone().unwrap());
        let thread = std::thread::spawn(move || {
            let mut visit = Visit {
                stream,
                number,
                shared: Arc::clone(&shared),
            };
            part(&mut visit);
            let _ = visit.stream.shutdown(Shutdown::Both);
            shared.ended.fetch_add(1, Ordering::SeqCst);
        });
        self.open.lock().unwrap().push((own, thread));
    }
}

impl Drop for OwnTarget {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // So that the acceptor looks up.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for (stream, thread) in std::mem::take(&mut *self.shared.open.lock().unwrap()) {
            let _ = stream.shutdown(Shutdown::Both);
            let played = thread.join();
            assert!(
                played.is_ok() || std::thread::panicking(),
                "the part of a target failed"
            );
        }
    }
}

/// A connection of an engine's.
pub struct Visit {
    pub stream: TcpStream,
    /// How many there were before it.
    pub number: usize,
    shared: Arc<Shared>,
}

impl Visit {
    /// The whole handshake as it should be, and what it serves.
    pub fn welcome(&mut self, secret: Option<&str>, volumes: &[u32]) {
        if self.try_welcome(secret, welcome()) {
            self.announce(volumes);
        }
    }

    /// The handshake of one that says this of itself, and not a word of what it serves.
    pub fn welcome_as(&mut self, welcome: Welcome) {
        self.try_welcome(None, welcome);
    }

    /// The handshake; false where the engine went away during it.
    fn try_welcome(&mut self, secret: Option<&str>, welcome: Welcome) -> bool {
        let greeting = Greeting::new(secret.map(str::as_bytes)).unwrap();
        let Some(FromEngine::Hello(hello)) = self.next() else {
            return false;
        };
        let (challenging, challenge) = greeting.greet(&hello).expect("a good hello");
        self.send(&FromTarget::Challenge(challenge));
        let Some(FromEngine::Proof(proof)) = self.next() else {
            return false;
        };
        let mac = challenging.proved(&proof).expect("a good proof");
        self.send(&FromTarget::Welcome(Welcome { mac, ..welcome }));
        true
    }

    /// The handshake of one that does not know the secret, but says that it does.
    pub fn pretend(&mut self, welcome: Welcome) {
        let greeting = Greeting::new(Some(b"not the engine's")).unwrap();
        let Some(FromEngine::Hello(hello)) = self.next() else {
            return;
        };
        let (_, challenge) = greeting.greet(&hello).expect("a good hello");
        self.send(&FromTarget::Challenge(challenge));
        let Some(FromEngine::Proof(Proof { .. })) = self.next() else {
            return;
        };
        self.send(&FromTarget::Welcome(welcome));
    }

    /// Answers what is asked for with `needle`, as it should be, until the connection ends.
    pub fn serve(&mut self, needle: &Needle) {
        while let Some(read) = self.fetch() {
            self.answer_well(&read, needle);
        }
    }

    /// Says that it serves these volumes.
    pub fn announce(&mut self, volumes: &[u32]) {
        let volume = |&id: &u32| ServedVolume {
            id,
            collection: String::new(),
        };
        self.send(&FromTarget::Volumes(Volumes {
            added: volumes.iter().map(volume).collect(),
            removed: Vec::new(),
        }));
    }

    /// Sends a message; the engine may have gone.
    pub fn send(&mut self, message: &FromTarget) {
        self.write(&frame(message));
    }

    /// Sends bytes as they are; whether the engine is still there.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next message, or `None` when the engine has closed the connection.
    pub fn next(&mut self) -> Option<FromEngine> {
        let prefix = self.raw(4)?;
        let length = u32::from_le_bytes(prefix.try_into().unwrap());
        let payload = self.raw(length as usize)?;
        Some(FromEngine::decode(&payload).expect("a good message"))
    }

    fn raw(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                panic!("nothing came within {PATIENCE:?}")
            }
            Err(_) => None,
        }
    }

    /// The next Fetch; Pings before it are answered.
    pub fn fetch(&mut self) -> Option<Read> {
        loop {
            match self.next()? {
                FromEngine::Fetch(read) => {
                    self.shared.asked.fetch_add(1, Ordering::SeqCst);
                    return Some(read);
                }
                FromEngine::Ping(ping) => self.send(&FromTarget::Pong(Pong { id: ping.id })),
                other => panic!("a Fetch was expected, not {other:?}"),
            }
        }
    }

    /// Answers Pings, and nothing else, until the engine closes the connection.
    pub fn pong(&mut self) {
        while self.fetch().is_some() {}
    }

    /// Takes what comes, and answers nothing, until the engine closes the connection.
    pub fn fall_silent(&mut self) {
        while self.next().is_some() {}
    }

    /// Answers with these facts and these bytes, whatever they are.
    pub fn answer(&mut self, id: u64, facts: Facts, bytes: &[u8]) -> bool {
        let mut answer = frame(&FromTarget::Data(Data { id, facts }));
        answer.extend_from_slice(bytes);
        self.write(&answer)
    }

    /// Answers as it should be.
    pub fn answer_well(&mut self, read: &Read, needle: &Needle) -> bool {
        let (facts, bytes) = right(read, needle);
        self.answer(read.id, facts, &bytes)
    }
}

/// What is right to say of what was asked for, and the bytes.
pub fn right(read: &Read, needle: &Needle) -> (Facts, Vec<u8>) {
    let length = needle.data.len();
    let start = usize::try_from(read.offset).unwrap().min(length);
    let size = match read.size {
        0 => length,
        size => usize::try_from(size).unwrap_or(length),
    };
    let bytes = needle.data[start..start.saturating_add(size).min(length)].to_vec();
    let facts = Facts {
        length: bytes.len() as u64,
        needle_size: length as u64,
        crc: Some(crc32c(&bytes)),
        verified: bytes.len() == length,
        stored: None,
    };
    (facts, bytes)
}

/// What a target over TCP says of itself.
pub fn welcome() -> Welcome {
    Welcome {
        mac: None,
        verbs: false,
        tcp: true,
        max_transfer: 1 << 26,
        max_leases: 1,
        lease_ms: 1000,
        silence_ms: 60_000,
        build: "the test's own".into(),
    }
}
