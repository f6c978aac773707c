//! A raw engine of the peer protocol: frames and bytes over TCP, with proofs of its own making.

use std::io::{self, Read as _, Write};
use std::net::{SocketAddr, TcpStream};

use rdma_engine::peer::message::{
    Challenge, Facts, Failed, FromEngine, FromTarget, Hello, Mac, Ping, Proof, Read, Refused,
    ServedVolume, Welcome,
};
use rdma_engine::verbs::Gid;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::client::framed;
use super::{Needle, PATIENCE, crc32c};

/// One connection.
pub struct Peer {
    pub stream: TcpStream,
    inbox: Vec<u8>,
    next_id: u64,
    /// What has been announced so far.
    pub volumes: Vec<ServedVolume>,
}

impl Peer {
    /// Connects; every later read and write is bounded, so that a test can not hang.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the target listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            inbox: Vec::new(),
            next_id: 1,
            volumes: Vec::new(),
        }
    }

    /// The whole handshake.
    pub fn greet(&mut self, secret: Option<&str>) -> Welcome {
        let hello = hello(secret.is_some());
        let challenge = self.challenge(&hello);
        assert_eq!((challenge.version, challenge.secret), (1, secret.is_some()));
        let mac = |label| secret.map(|secret| proof(secret, label, &hello, &challenge));
        let proof = Proof { mac: mac(ENGINE) };
        self.send(&FromEngine::Proof(proof));
        let FromTarget::Welcome(welcome) = self.receive() else {
            panic!("a Welcome was expected");
        };
        assert_eq!(welcome.mac, mac(TARGET), "the target's proof");
        welcome
    }

    /// Says hello; the challenge it gets.
    pub fn challenge(&mut self, hello: &Hello) -> Challenge {
        self.send(&FromEngine::Hello(hello.clone()));
        match self.receive() {
            FromTarget::Challenge(challenge) => challenge,
            other => panic!("a Challenge was expected, not {other:?}"),
        }
    }

    /// A number for the next request.
    pub fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Writes bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the target reads");
    }

    /// Sends a message.
    pub fn send(&mut self, message: &FromEngine) {
        self.write(&frame(message));
    }

    /// The next message but announcements of volumes, which are kept; `None` when the connection
    /// is closed.
    pub fn next(&mut self) -> Option<FromTarget> {
        loop {
            let prefix = self.raw(4)?;
            let length = u32::from_le_bytes(prefix.try_into().unwrap()) as usize;
            let payload = self.raw(length).expect("the whole frame");
            match FromTarget::decode(&payload).expect("a message") {
                FromTarget::Volumes(news) => {
                    self.volumes.retain(|v| !news.removed.contains(v));
                    self.volumes.extend(news.added);
                }
                message => return Some(message),
            }
        }
    }

    /// The next message.
    pub fn receive(&mut self) -> FromTarget {
        self.next().expect("the connection lives")
    }

    /// The next raw bytes, or `None` when the connection is closed before the first.
    pub fn raw(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut chunk = [0; 64 << 10];
        while self.inbox.len() < length {
            match self.stream.read(&mut chunk) {
                Ok(0) if self.inbox.is_empty() => return None,
                Ok(0) => panic!("closed after {} of {length} bytes", self.inbox.len()),
                Ok(read) => self.inbox.extend_from_slice(&chunk[..read]),
                // What TCP says when the other side closes without having read all.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(e) => panic!("nothing within {PATIENCE:?}: {e}"),
            }
        }
        let rest = self.inbox.split_off(length);
        Some(std::mem::replace(&mut self.inbox, rest))
    }

    /// Checks that the connection is closed without another word.
    pub fn assert_closed(&mut self) {
        if let Some(message) = self.next() {
            panic!("not closed, but {message:?}");
        }
    }

    /// The Refused that comes next, and the end of the connection after it.
    pub fn refusal(&mut self) -> Refused {
        match self.receive() {
            FromTarget::Refused(refused) => {
                self.assert_closed();
                assert!(!refused.message.is_empty());
                refused
            }
            other => panic!("a Refused was expected, not {other:?}"),
        }
    }

    /// Checks that the connection is refused with this code.
    pub fn assert_refused(&mut self, code: &str) {
        let refused = self.refusal();
        assert_eq!(refused.code, code, "{refused:?}");
    }

    /// Checks that the connection is served.
    pub fn ping(&mut self) {
        let id = self.id();
        self.send(&FromEngine::Ping(Ping { id }));
        match self.receive() {
            FromTarget::Pong(pong) => assert_eq!(pong.id, id),
            other => panic!("a Pong was expected, not {other:?}"),
        }
    }

    /// Fetches, and returns the answer with its raw bytes.
    pub fn fetch(&mut self, read: Read) -> (FromTarget, Vec<u8>) {
        let read = Read {
            id: self.id(),
            ..read
        };
        self.send(&FromEngine::Fetch(read));
        let answer = self.receive();
        let length = match &answer {
            FromTarget::Data(data) => data.facts.length,
            _ => 0,
        };
        let bytes = self.raw(usize::try_from(length).unwrap());
        (answer, bytes.expect("all the bytes"))
    }

    /// Fetches what is there, and checks what is said of it.
    pub fn fetched(&mut self, read: Read) -> Vec<u8> {
        self.fetched_with_facts(read).1
    }

    /// The same, with what is said of it.
    pub fn fetched_with_facts(&mut self, read: Read) -> (Facts, Vec<u8>) {
        let (answer, bytes) = self.fetch(read.clone());
        let FromTarget::Data(data) = answer else {
            panic!("{read:?}: {answer:?}");
        };
        assert_eq!(data.id, self.next_id);
        let crc = crc32c(&bytes);
        for said in [data.facts.crc, data.facts.stored].into_iter().flatten() {
            assert_eq!(said, crc, "{read:?}: {:?}", data.facts);
        }
        (data.facts, bytes)
    }

    /// The code a Fetch fails with; the connection lives.
    pub fn fails(&mut self, read: Read) -> String {
        match self.fetch(read.clone()).0 {
            FromTarget::Failed(failed) => {
                assert_eq!(failed.id, self.next_id);
                assert!(!failed.message.is_empty());
                failed.code
            }
            other => panic!("{read:?} was to fail, not {other:?}"),
        }
    }

    /// Sends a payload that is no good request and returns the Failed it gets.
    pub fn failed(&mut self, payload: &[u8]) -> Failed {
        self.write(&framed(payload));
        match self.receive() {
            FromTarget::Failed(failed) => failed,
            other => panic!("a Failed was expected, not {other:?}"),
        }
    }
}

/// A message as it goes over the wire.
pub fn frame(message: &impl Serialize) -> Vec<u8> {
    framed(&rmp_serde::to_vec_named(message).unwrap())
}

/// Asks for a whole needle.
pub fn read(volume_id: u32, needle: &Needle) -> Read {
    Read {
        id: 0,
        volume_id,
        collection: None,
        needle_id: needle.id,
        cookie: needle.cookie,
        offset: 0,
        size: 0,
        room: u64::MAX,
        patience_ms: u64::try_from(PATIENCE.as_millis()).unwrap(),
    }
}

/// Asks for a range of a needle.
pub fn range(volume_id: u32, needle: &Needle, offset: u64, size: u64) -> Read {
    Read {
        offset,
        size,
        ..read(volume_id, needle)
    }
}

/// The first word of an engine, new each time.
pub fn hello(secret: bool) -> Hello {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).unwrap();
    Hello {
        magic: "rdma-engine-peer".into(),
        version_min: 1,
        version_max: 1,
        nonce,
        secret,
    }
}

/// An address of this host's RDMA device that it can reach itself at.
///
/// # Panics
/// When there is no device.
pub fn device_gid() -> Gid {
    let devices = std::fs::read_dir("/sys/class/infiniband").expect("an RDMA device");
    let gids = devices.map(|device| device.unwrap().path().join("ports/1/gids"));
    let entries = gids.flat_map(|dir| std::fs::read_dir(dir).unwrap());
    let texts = entries.filter_map(|gid| std::fs::read_to_string(gid.unwrap().path()).ok());
    // An IPv4 address in its IPv6 form, as RoCE v2 has them.
    let mapped = |text: &String| text.starts_with("0000:0000:0000:0000:0000:ffff:");
    let text = texts.into_iter().find(mapped).expect("a RoCE v2 address");
    let hex: Vec<u8> = text.trim().bytes().filter(|b| *b != b':').collect();
    let byte = |i: usize| std::str::from_utf8(&hex[2 * i..2 * i + 2]).unwrap();
    Gid(std::array::from_fn(|i| {
        u8::from_str_radix(byte(i), 16).unwrap()
    }))
}

/// The label of an engine's proof.
pub const ENGINE: &str = "rdma-engine-peer engine proof";
/// The label of a target's proof.
pub const TARGET: &str = "rdma-engine-peer target proof";

/// A proof by the protocol's text: HMAC (RFC 2104) written out.
pub fn proof(secret: &str, label: &str, hello: &Hello, challenge: &Challenge) -> Mac {
    let mut key = [0; 64];
    assert!(secret.len() <= key.len(), "longer keys are hashed first");
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    let message = [
        label.as_bytes(),
        &[0],
        &challenge.version.to_le_bytes(),
        &hello.nonce,
        &challenge.nonce,
    ]
    .concat();
    let inner = Sha256::digest([&key.map(|b| b ^ 0x36), message.as_slice()].concat());
    let outer = Sha256::digest([&key.map(|b| b ^ 0x5c), inner.as_slice()].concat());
    Mac(outer.into())
}
