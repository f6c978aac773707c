//! The messages between an engine and a target. `PROTOCOL.md` beside this file says when each is
//! sent; types here say what is in it.

use serde::{Deserialize, Serialize};

use crate::error::{Error, MESSAGE_BYTES_MAX};
use crate::verbs::Endpoint;

/// What begins every connection, so that a stranger is told apart from an old peer.
pub const MAGIC: &str = "rdma-engine-peer";
/// The versions this build speaks, oldest and newest.
pub const VERSIONS: (u16, u16) = (1, 1);
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 32;
/// Bytes of a proof, HMAC-SHA-256.
pub const PROOF_BYTES: usize = 32;
/// Queue pairs a connection may have: one for leases, one for memory that clients name.
pub const LANES: u8 = 2;
/// The longest name (of a collection, a build, a code) in a message, bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest text in a message, bytes: an error's message, with the mark where it was cut.
pub const TEXT_BYTES_MAX: usize = MESSAGE_BYTES_MAX + '…'.len_utf8();
/// The longest text in a Refused, bytes: it fits a frame of the handshake.
pub const REFUSED_BYTES_MAX: usize = 512;
/// The most volumes one message names, added and removed together; more come in several. So
/// many always fit a frame, with the longest collections.
pub const VOLUMES_MAX: usize = 3_500;
/// The longest time in a message, milliseconds: a day.
pub const MILLIS_MAX: u64 = 24 * 60 * 60 * 1000;

/// What an engine sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs, reason = "each is its content")]
pub enum FromEngine {
    Hello(Hello),
    Proof(Proof),
    Connect(Connect),
    Lease(Read),
    Fetch(Read),
    Release(Release),
    Ping(Ping),
}

/// What a target sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs, reason = "each is its content")]
pub enum FromTarget {
    Challenge(Challenge),
    Welcome(Welcome),
    Refused(Refused),
    Connected(Connected),
    Leased(Leased),
    Data(Data),
    TooLong(TooLong),
    Failed(Failed),
    Pong(Pong),
    Volumes(Volumes),
}

/// The first word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: String,
    /// Oldest version the engine speaks.
    pub version_min: u16,
    /// Newest version the engine speaks.
    pub version_max: u16,
    /// Random bytes, new for each connection.
    #[serde(with = "serde_bytes_array")]
    pub nonce: [u8; NONCE_BYTES],
    /// The engine knows a shared secret and wants the target to prove that it does.
    pub secret: bool,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The version that is spoken from now on.
    pub version: u16,
    /// Random bytes, new for each connection.
    #[serde(with = "serde_bytes_array")]
    pub nonce: [u8; NONCE_BYTES],
    /// A proof is wanted.
    pub secret: bool,
}

/// The engine knows the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// See [`super::handshake`]; absent where no secret is asked for.
    pub mac: Option<Mac>,
}

/// A proof of knowing the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mac(#[serde(with = "serde_bytes_array")] pub [u8; PROOF_BYTES]);

/// The target knows it too, and says what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Absent where no secret is asked for.
    pub mac: Option<Mac>,
    /// The target can be READ from: a Connect will be answered.
    pub verbs: bool,
    /// The target lets its bytes be fetched over this connection.
    pub tcp: bool,
    /// The most bytes of one read.
    pub max_transfer: u64,
    /// Leases the connection may hold at once.
    pub max_leases: u32,
    /// How long a lease lasts, milliseconds.
    pub lease_ms: u64,
    /// The connection is closed when the engine is silent for as long, milliseconds.
    pub silence_ms: u64,
    /// Version of the target's build.
    pub build: String,
}

/// The connection is about to be closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// An error code, as in the IPC protocol.
    pub code: String,
    /// Why; at most [`REFUSED_BYTES_MAX`].
    pub message: String,
}

impl Refused {
    /// Says `error`, cut to what fits.
    pub fn new(error: &Error) -> Self {
        let fits = error.message.floor_char_boundary(REFUSED_BYTES_MAX);
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.get(..fits).unwrap_or_default().to_owned(),
        }
    }
}

/// A queue pair of the engine's, for a new one of the target's. The one before it on that lane is
/// given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connect {
    /// Echoed in the answer.
    pub id: u64,
    /// Which of the connection's queue pairs it is, below [`LANES`]. What breaks one leaves the
    /// others alone.
    pub lane: u8,
    /// The engine's queue pair.
    pub endpoint: Endpoint,
}

/// The target's queue pair, ready to be READ through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    /// That of the request.
    pub id: u64,
    /// The target's queue pair.
    pub endpoint: Endpoint,
}

/// A byte range of a needle, to be lent (Lease) or sent (Fetch).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Echoed in the answer.
    pub id: u64,
    /// Volume the needle is in.
    pub volume_id: u32,
    /// Collection the volume must belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// Id of the needle.
    pub needle_id: u64,
    /// Its cookie.
    pub cookie: u32,
    /// First logical byte.
    pub offset: u64,
    /// Logical bytes; 0 is "to the end".
    pub size: u64,
    /// Bytes the engine has room for; with less than are wanted the answer is TooLong.
    pub room: u64,
    /// Milliseconds after which the engine waits no longer; at most [`MILLIS_MAX`].
    pub patience_ms: u64,
}

/// The bytes are in the target's memory until they are released, or the lease is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leased {
    /// That of the request.
    pub id: u64,
    /// Names the lease in Release.
    pub lease: u64,
    /// Where the bytes are.
    pub addr: u64,
    /// Key of that memory.
    pub rkey: u32,
    /// Milliseconds until they may be gone.
    pub lease_ms: u64,
    /// What they are.
    pub facts: Facts,
}

/// Exactly `facts.length` raw bytes follow the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// That of the request.
    pub id: u64,
    /// What they are.
    pub facts: Facts,
}

/// Bytes of a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// How many.
    pub length: u64,
    /// Logical length of the whole needle.
    pub needle_size: u64,
    /// CRC-32C of the bytes as the target has them; absent where it has not looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc: Option<u32>,
    /// The target checked the checksum stored with the needle, and it matched.
    pub verified: bool,
    /// The checksum stored with the needle, where it is one of exactly these bytes and the
    /// target has not checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<u32>,
}

/// There are more bytes than the engine has room for; none were sent or lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TooLong {
    /// That of the request.
    pub id: u64,
    /// Bytes the request comes to.
    pub length: u64,
    /// Logical length of the whole needle.
    pub needle_size: u64,
}

/// A request that can not be served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// That of the request.
    pub id: u64,
    /// An error code, as in the IPC protocol.
    pub code: String,
    /// Why.
    pub message: String,
}

/// The engine has finished with a lease. It is not answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The lease's name.
    pub lease: u64,
}

/// Is anybody there?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// Echoed in the answer.
    pub id: u64,
}

/// Yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// That of the request.
    pub id: u64,
}

/// What has changed in what is served, at most [`VOLUMES_MAX`] volumes. Sent after Welcome (everything is new then) and whenever
/// something changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// Volumes served from now on.
    pub added: Vec<ServedVolume>,
    /// Volumes no longer served.
    pub removed: Vec<ServedVolume>,
}

/// A volume a target serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ServedVolume {
    /// Its id.
    pub id: u32,
    /// Its collection; empty is the default one.
    pub collection: String,
}

/// Byte arrays as MessagePack's bin.
mod serde_bytes_array {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        from: D,
    ) -> Result<[u8; N], D::Error> {
        struct Bytes<const N: usize>;
        impl<const N: usize> Visitor<'_> for Bytes<N> {
            type Value = [u8; N];

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; N], E> {
                bytes
                    .try_into()
                    .map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        from.deserialize_bytes(Bytes)
    }
}
