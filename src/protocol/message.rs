//! The messages; [`super::decode`] says how bytes become them.
//!
//! Field names and types are those deployed clients use; fields added since are optional, come
//! last (so that array-encoded requests of old clients still fit) and are left out of replies
//! when they say nothing.

use serde::{Deserialize, Serialize};

use super::decode::limited;
use super::frame;
use crate::error::Error;

/// Asks for a byte range of a needle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartRead {
    /// Volume the needle is in.
    pub volume_id: u32,
    /// Id of the needle.
    pub needle_id: u64,
    /// Cookie stored with the needle; a reader that does not know it gets nothing.
    pub cookie: u32,
    /// First logical byte wanted.
    pub offset: u64,
    /// Logical bytes wanted; 0 is "to the end of the needle".
    pub size: u64,
    /// Address in the peer's memory, or 0 to find the needle by its id.
    pub remote_addr: u64,
    /// Key of that memory, or 0.
    pub remote_key: u32,
    /// Seconds the client may take until its CompleteRead; 0 is the configured default.
    pub timeout_secs: u64,
    /// Shared secret, where one is configured.
    #[serde(default)]
    pub auth_token: Option<String>,
    /// Echoed in the reply, which may then overtake others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
    /// The peer to read from, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Collection the volume must belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
}

/// The bytes are in the pool, until the session's deadline or its CompleteRead.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartReadResponse {
    /// Names the session in CompleteRead.
    pub session_id: String,
    /// Address of the data in the engine.
    pub local_addr: u64,
    /// Key of the memory region the data is in, 0 without an RDMA device.
    pub local_key: u32,
    /// Bytes landed.
    pub transfer_size: u64,
    /// CRC-32C of the bytes landed.
    pub expected_crc: u32,
    /// When the session ends, nanoseconds since the Unix epoch.
    pub expires_at_ns: u64,
    /// Offset of the data in the attached pool.
    #[serde(default)]
    pub pool_offset: u64,
    /// Logical length of the whole needle.
    #[serde(default)]
    pub needle_size: u64,
    /// How the bytes came: "local", "verbs" or "tcp".
    #[serde(default)]
    pub transport: String,
    /// The checksum stored with the needle was checked and matched.
    #[serde(default)]
    pub crc_verified: bool,
    /// Nanoseconds from the read's submission to its last completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_ns: Option<u64>,
    /// Nanoseconds from the request's last byte until this reply was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elapsed_ns: Option<u64>,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// The client has finished with the buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteRead {
    /// Session to end.
    pub session_id: String,
    /// Whether the client could use the bytes.
    pub success: bool,
    /// Bytes the client took.
    pub bytes_transferred: u64,
    /// CRC-32C the client computed over them.
    #[serde(default)]
    pub client_crc: Option<u32>,
    /// What went wrong at the client.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Echoed in the reply, which may then overtake others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// The buffer is free again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteReadResponse {
    /// Both sides agree on what was read.
    pub success: bool,
    /// CRC-32C of the bytes landed.
    #[serde(default)]
    pub server_crc: Option<u32>,
    /// Where they differ.
    #[serde(default)]
    pub message: Option<String>,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// Asks what the engine can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCapabilities {
    /// Who asks, for logs.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Echoed in the reply, which may then overtake others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// What the engine can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCapabilitiesResponse {
    /// Name of the RDMA device, "none" without one.
    pub device_name: String,
    /// Vendor of the RDMA device, 0 without one.
    pub vendor_id: u32,
    /// The most bytes one read may land.
    pub max_transfer_size: u64,
    /// Sessions that may be alive at once.
    pub max_sessions: u64,
    /// Sessions alive now.
    pub active_sessions: u64,
    /// GID of the RDMA port, empty without one.
    pub port_gid: String,
    /// LID of the RDMA port, 0 without one.
    pub port_lid: u16,
    /// What decides who may read: "peercred", and "token" where one is configured.
    pub supported_auth: Vec<String>,
    /// Version of the engine.
    pub version: String,
    /// Reads go through RDMA verbs.
    pub real_rdma: bool,
    /// How bytes can come: of "local", "verbs", "tcp".
    #[serde(default)]
    pub transports: Vec<String>,
    /// Bytes of the pool.
    #[serde(default)]
    pub pool_bytes: u64,
    /// Size of the pages the pool lies on.
    #[serde(default)]
    pub pool_page_size: u64,
    /// The pool is registered as fixed buffers of every data ring.
    #[serde(default)]
    pub pool_registered: bool,
    /// [`super::PROTOCOL_VERSION`] of the engine.
    #[serde(default)]
    pub protocol_version: u32,
    /// What runs less well than it could on this host, with the remedy; empty when nothing does.
    #[serde(default)]
    pub steps_down: Vec<String>,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// Asks for a sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The client's clock, nanoseconds since the Unix epoch.
    pub timestamp_ns: u64,
    /// Who asks, for logs.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Echoed in the reply, which may then overtake others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// A sign of life.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// That of the Ping.
    pub client_timestamp_ns: u64,
    /// The engine's clock, nanoseconds since the Unix epoch.
    pub server_timestamp_ns: u64,
    /// Server minus client timestamp, 0 if negative.
    pub server_rtt_ns: u64,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// Asks for the pool's descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPool {
    /// Who asks, for logs.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Echoed in the reply, which may then overtake others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
    /// Shared secret, where one is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
}

/// Comes with exactly one descriptor: the sealed memfd of the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachPoolResponse {
    /// Bytes to map.
    pub pool_bytes: u64,
    /// Size of the pages the pool lies on.
    pub page_size: u64,
    /// Names this run of the engine: another value means another pool.
    pub boot_id: String,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// A request that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorResponse {
    /// One of [`Code`]'s names.
    pub code: String,
    /// What was being done, to what, and what to try.
    pub message: String,
    /// Group of the code.
    pub category: String,
    /// The same request may succeed later.
    pub recoverable: bool,
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

impl From<&Error> for ErrorResponse {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code.as_str().to_owned(),
            message: error.message.clone(),
            category: error.code.category().to_owned(),
            recoverable: error.code.recoverable(),
            request_id: None,
        }
    }
}

/// What a client may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs, reason = "each variant is its struct")]
pub enum Request {
    StartRead(StartRead),
    CompleteRead(CompleteRead),
    GetCapabilities(GetCapabilities),
    Ping(Ping),
    AttachPool(AttachPool),
}

/// What the engine may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs, reason = "each variant is its struct")]
pub enum Response {
    StartReadResponse(StartReadResponse),
    CompleteReadResponse(CompleteReadResponse),
    GetCapabilitiesResponse(GetCapabilitiesResponse),
    Pong(Pong),
    AttachPoolResponse(AttachPoolResponse),
    Error(ErrorResponse),
}

impl Request {
    /// Appends the request to `out` as a frame.
    ///
    /// # Errors
    /// Never for these types; the encoder's signature has one.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
        encode(self, out)
    }
}

impl Response {
    /// The reply to a request that failed.
    pub fn error(error: &Error) -> Self {
        Self::Error(error.into())
    }

    /// The same reply, naming the request it answers.
    #[must_use]
    pub fn answering(mut self, id: Option<u64>) -> Self {
        let field = match &mut self {
            Self::StartReadResponse(r) => &mut r.request_id,
            Self::CompleteReadResponse(r) => &mut r.request_id,
            Self::GetCapabilitiesResponse(r) => &mut r.request_id,
            Self::Pong(r) => &mut r.request_id,
            Self::AttachPoolResponse(r) => &mut r.request_id,
            Self::Error(r) => &mut r.request_id,
        };
        *field = id;
        self
    }

    /// The id of the request this answers.
    pub fn request_id(&self) -> Option<u64> {
        match self {
            Self::StartReadResponse(r) => r.request_id,
            Self::CompleteReadResponse(r) => r.request_id,
            Self::GetCapabilitiesResponse(r) => r.request_id,
            Self::Pong(r) => r.request_id,
            Self::AttachPoolResponse(r) => r.request_id,
            Self::Error(r) => r.request_id,
        }
    }

    /// Reads a reply from a frame's payload, as a client does.
    ///
    /// # Errors
    /// When the payload is no reply.
    pub fn decode(payload: &[u8]) -> Result<Self, rmp_serde::decode::Error> {
        limited(payload).map(|(reply, _)| reply)
    }

    /// Appends the reply to `out` as a frame.
    ///
    /// # Errors
    /// Never for these types; the encoder's signature has one.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
        encode(self, out)
    }
}

fn encode<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
    frame::append(out, |out| {
        message.serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
    })
}
