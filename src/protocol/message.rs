//! The messages, and how bytes become them.
//!
//! Field names and types are those deployed clients use; fields added since are optional, come
//! last (so that array-encoded requests of old clients still fit) and are left out of replies
//! when they say nothing.

use std::fmt;
use std::marker::PhantomData;

use rmp_serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeserializeDerive, Serialize};

use super::frame;
use crate::error::{Code, Error};

/// Nesting allowed in a request. The deepest real message has two levels; the rest is room for
/// unknown fields. Without a limit the decoder's recursion could exhaust the stack.
const MAX_DEPTH: usize = 16;

/// The longest name (of a client, a collection, a peer) in a request, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest secret or explanation in a request, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Asks for a byte range of a needle.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
    /// That of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// The client has finished with the buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
pub struct GetCapabilities {
    /// Who asks, for logs.
    #[serde(default)]
    pub client_id: Option<String>,
    /// Echoed in the reply, which may then overtake others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<u64>,
}

/// What the engine can do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, DeserializeDerive)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, DeserializeDerive)]
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

/// A frame that is no request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// What to answer.
    pub error: Error,
    /// The request's id, where one could still be made out.
    pub request_id: Option<u64>,
}

impl Request {
    /// Reads a request from a frame's payload.
    ///
    /// # Errors
    /// UNSUPPORTED_MESSAGE for a type that is none of the requests, INVALID_REQUEST for texts
    /// longer than [`NAME_BYTES_MAX`] or [`TEXT_BYTES_MAX`], MALFORMED_MESSAGE for anything else
    /// that does not fit.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = payload;
        let head = limited(&mut rest).map_err(|e| malformed(payload, None, &e))?;
        let Lenient(Head { kind, .. }): Lenient<Head> = head;
        if !rest.is_empty() {
            let why = format!("{} bytes follow the message", rest.len());
            return Err(malformed(payload, Some(&kind), &why));
        }
        let body = Body {
            payload,
            kind: &kind,
        };
        let request = body.request()?;
        request.check_texts().map_err(|error| DecodeError {
            error,
            request_id: request.request_id(),
        })?;
        Ok(request)
    }

    fn request_id(&self) -> Option<u64> {
        match self {
            Self::StartRead(r) => r.request_id,
            Self::CompleteRead(r) => r.request_id,
            Self::GetCapabilities(r) => r.request_id,
            Self::Ping(r) => r.request_id,
            Self::AttachPool(r) => r.request_id,
        }
    }

    /// Requests are kept while they are served: what they carry is bounded.
    fn check_texts(&self) -> Result<(), Error> {
        let name = |what, text: &Option<String>| check_text(what, text.as_deref(), NAME_BYTES_MAX);
        let long = |what, text: &Option<String>| check_text(what, text.as_deref(), TEXT_BYTES_MAX);
        match self {
            Self::StartRead(r) => {
                name("peer", &r.peer)?;
                name("collection", &r.collection)?;
                long("auth_token", &r.auth_token)
            }
            // Its session_id is parsed at once.
            Self::CompleteRead(r) => long("error_message", &r.error_message),
            Self::GetCapabilities(r) => name("client_id", &r.client_id),
            Self::Ping(r) => name("client_id", &r.client_id),
            Self::AttachPool(r) => {
                name("client_id", &r.client_id)?;
                long("auth_token", &r.auth_token)
            }
        }
    }

    /// Appends the request to `out` as a frame.
    ///
    /// # Errors
    /// Never for these types; the encoder's signature has one.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), rmp_serde::encode::Error> {
        encode(self, out)
    }
}

fn check_text(what: &str, text: Option<&str>, max: usize) -> Result<(), Error> {
    match text.map_or(0, str::len) {
        len if len > max => Err(Error::new(
            Code::InvalidRequest,
            format!("{what} has {len} bytes; at most {max} are taken"),
        )),
        _ => Ok(()),
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
        limited(payload)
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

fn limited<T: for<'de> Deserialize<'de>>(
    reader: impl std::io::Read,
) -> Result<T, rmp_serde::decode::Error> {
    let mut decoder = Deserializer::new(reader);
    decoder.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut decoder)
}

fn malformed(payload: &[u8], kind: Option<&Kind>, why: &dyn fmt::Display) -> DecodeError {
    let what = kind.map_or_else(|| "the frame".to_owned(), ToString::to_string);
    DecodeError {
        error: Error::new(
            Code::MalformedMessage,
            format!("{what} could not be decoded: {why}"),
        ),
        request_id: find_request_id(payload),
    }
}

/// A payload whose type is known: the second, and last, look at its bytes.
struct Body<'a> {
    payload: &'a [u8],
    kind: &'a Kind,
}

impl Body<'_> {
    fn request(&self) -> Result<Request, DecodeError> {
        match self.kind {
            Kind::StartRead => self.read().map(Request::StartRead),
            Kind::CompleteRead => self.read().map(Request::CompleteRead),
            Kind::GetCapabilities => self.read().map(Request::GetCapabilities),
            Kind::Ping => self.read().map(Request::Ping),
            Kind::AttachPool => self.read().map(Request::AttachPool),
            Kind::Reply(name) => {
                Err(self.unsupported(&format!("{name} is a reply, not a request")))
            }
            Kind::Unknown(name) => Err(self.unsupported(&format!("unknown message type {name:?}"))),
        }
    }

    fn read<T: for<'de> Deserialize<'de>>(&self) -> Result<T, DecodeError> {
        let Lenient(Data {
            data: Lenient(data),
            ..
        }) = limited(self.payload).map_err(|e| malformed(self.payload, Some(self.kind), &e))?;
        Ok(data)
    }

    fn unsupported(&self, why: &str) -> DecodeError {
        DecodeError {
            error: Error::new(Code::UnsupportedMessage, why),
            request_id: find_request_id(self.payload),
        }
    }
}

#[derive(DeserializeDerive)]
struct Head {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

#[derive(DeserializeDerive)]
#[serde(bound = "T: Deserialize<'de>")]
struct Data<T> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    data: Lenient<T>,
}

fn find_request_id(payload: &[u8]) -> Option<u64> {
    let Lenient(Data {
        data: Lenient(MaybeId(id)),
        ..
    }) = limited(payload).ok()?;
    id
}

/// The `request_id` of a map that may otherwise make no sense.
struct MaybeId(Option<u64>);

impl<'de> Deserialize<'de> for MaybeId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Find;
        impl<'de> Visitor<'de> for Find {
            type Value = MaybeId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<MaybeId, A::Error> {
                let mut found = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "request_id" {
                        found = map.next_value()?;
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(MaybeId(found))
            }
        }
        d.deserialize_any(Find)
    }
}

/// The `type` of a message.
#[derive(Debug)]
enum Kind {
    StartRead,
    CompleteRead,
    GetCapabilities,
    Ping,
    AttachPool,
    Reply(&'static str),
    Unknown(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Reply(name) => f.write_str(name),
            Kind::Unknown(name) => write!(f, "{name:?}"),
            known => write!(f, "{known:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Kind;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a message")
            }

            fn visit_str<E>(self, name: &str) -> Result<Kind, E> {
                /// Names longer than this are cut in the reply.
                const SHOWN: usize = 64;
                Ok(match name {
                    "StartRead" => Kind::StartRead,
                    "CompleteRead" => Kind::CompleteRead,
                    "GetCapabilities" => Kind::GetCapabilities,
                    "Ping" => Kind::Ping,
                    "AttachPool" => Kind::AttachPool,
                    "StartReadResponse" => Kind::Reply("StartReadResponse"),
                    "CompleteReadResponse" => Kind::Reply("CompleteReadResponse"),
                    "GetCapabilitiesResponse" => Kind::Reply("GetCapabilitiesResponse"),
                    "Pong" => Kind::Reply("Pong"),
                    "AttachPoolResponse" => Kind::Reply("AttachPoolResponse"),
                    "Error" => Kind::Reply("Error"),
                    other => Kind::Unknown(other.chars().take(SHOWN).collect()),
                })
            }
        }
        d.deserialize_str(Name)
    }
}

/// A struct read from a map, or from an array that may be longer than the struct: fields this
/// build does not know are skipped in both forms.
struct Lenient<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Both<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Both<T> {
            type Value = Lenient<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map or an array")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Lenient)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let value = T::deserialize(SeqAccessDeserializer::new(&mut seq))?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient(value))
            }
        }
        d.deserialize_any(Both(PhantomData))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
