//! How bytes become messages, and messages bytes.
//!
//! A frame is that of the IPC protocol, its payload a map `{"type": NAME, "data": {…}}`. Nothing
//! the other side sends is trusted: nesting, lengths, texts and numbers are bounded here, once;
//! what this build does not know inside a message is skipped.

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::message::{
    Facts, FromEngine, FromTarget, LANES, MILLIS_MAX, NAME_BYTES_MAX, REFUSED_BYTES_MAX,
    ServedVolume, TEXT_BYTES_MAX, VOLUMES_MAX, Volumes,
};
use crate::error::{Code, Error};
use crate::protocol::decode::{MORE_FOLLOWS, limited};
use crate::protocol::frame::{self, FrameError, Next};

/// The largest payload of a frame until the Welcome, bytes: a stranger takes no memory.
pub const HANDSHAKE_FRAME_BYTES_MAX: usize = 1 << 10;

/// Finds the first frame at the start of `bytes`, while the handshake is not over.
///
/// # Errors
/// When the prefix announces more than [`HANDSHAKE_FRAME_BYTES_MAX`].
pub fn next_handshake_frame(bytes: &[u8]) -> Result<Next<'_>, FrameError> {
    frame::next_frame_within(bytes, HANDSHAKE_FRAME_BYTES_MAX)
}

/// Appends a message to `out` as a frame.
pub fn encode<M: Serialize>(message: &M, out: &mut Vec<u8>) {
    let written = frame::append(out, |out| {
        message.serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
    });
    // A Vec takes everything, and every message has a form.
    if let Err(error) = written {
        tracing::error!(%error, "a message could not be encoded and is not sent");
    }
}

/// A frame that is no message. A target answers Failed where it has the `id` of a request, and
/// otherwise Refused; an engine closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// UNSUPPORTED_MESSAGE for an unknown type, INVALID_REQUEST for a value out of bounds,
    /// MALFORMED_MESSAGE for anything else.
    pub error: Error,
    /// The message's id, where one could still be made out.
    pub id: Option<u64>,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for DecodeError {}

impl FromEngine {
    /// Reads a message from a frame's payload.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let kind = kind(payload)?;
        let body = Body { payload, kind };
        let message = match body.kind.as_str() {
            "Hello" => Self::Hello(body.read()?),
            "Proof" => Self::Proof(body.read()?),
            "Connect" => Self::Connect(body.read()?),
            "Lease" => Self::Lease(body.read()?),
            "Fetch" => Self::Fetch(body.read()?),
            "Release" => Self::Release(body.read()?),
            "Ping" => Self::Ping(body.read()?),
            _ => return Err(body.unknown()),
        };
        message.check().map_err(|why| body.invalid(&why))?;
        Ok(message)
    }

    /// The name of its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Proof(_) => "Proof",
            Self::Connect(_) => "Connect",
            Self::Lease(_) => "Lease",
            Self::Fetch(_) => "Fetch",
            Self::Release(_) => "Release",
            Self::Ping(_) => "Ping",
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Connect(m) if m.lane >= LANES => {
                Err(format!("lane {} is not below {LANES}", m.lane))
            }
            Self::Connect(m) => m.endpoint.validate().map_err(|e| e.to_string()),
            Self::Lease(m) | Self::Fetch(m) => {
                text("collection", m.collection.as_deref(), NAME_BYTES_MAX)?;
                millis("patience_ms", m.patience_ms)
            }
            Self::Hello(m) => text("magic", Some(&m.magic), NAME_BYTES_MAX),
            Self::Proof(_) | Self::Release(_) | Self::Ping(_) => Ok(()),
        }
    }
}

impl FromTarget {
    /// Reads a message from a frame's payload.
    ///
    /// # Errors
    /// See [`DecodeError`].
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let kind = kind(payload)?;
        let body = Body { payload, kind };
        let message = match body.kind.as_str() {
            "Challenge" => Self::Challenge(body.read()?),
            "Welcome" => Self::Welcome(body.read()?),
            "Refused" => Self::Refused(body.read()?),
            "Connected" => Self::Connected(body.read()?),
            "Leased" => Self::Leased(body.read()?),
            "Data" => Self::Data(body.read()?),
            "TooLong" => Self::TooLong(body.read()?),
            "Failed" => Self::Failed(body.read()?),
            "Pong" => Self::Pong(body.read()?),
            "Volumes" => Self::Volumes(body.read()?),
            _ => return Err(body.unknown()),
        };
        message.check().map_err(|why| body.invalid(&why))?;
        Ok(message)
    }

    /// The name of its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Challenge(_) => "Challenge",
            Self::Welcome(_) => "Welcome",
            Self::Refused(_) => "Refused",
            Self::Connected(_) => "Connected",
            Self::Leased(_) => "Leased",
            Self::Data(_) => "Data",
            Self::TooLong(_) => "TooLong",
            Self::Failed(_) => "Failed",
            Self::Pong(_) => "Pong",
            Self::Volumes(_) => "Volumes",
        }
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Self::Welcome(m) => {
                text("build", Some(&m.build), NAME_BYTES_MAX)?;
                millis("lease_ms", m.lease_ms)?;
                millis("silence_ms", m.silence_ms)?;
                at_least_one("silence_ms", m.silence_ms)
            }
            Self::Refused(m) => {
                text("code", Some(&m.code), NAME_BYTES_MAX)?;
                text("message", Some(&m.message), REFUSED_BYTES_MAX)
            }
            Self::Failed(m) => {
                text("code", Some(&m.code), NAME_BYTES_MAX)?;
                text("message", Some(&m.message), TEXT_BYTES_MAX)
            }
            Self::Connected(m) => m.endpoint.validate().map_err(|e| e.to_string()),
            Self::Leased(m) => {
                millis("lease_ms", m.lease_ms)?;
                facts(&m.facts)?;
                match m.addr.checked_add(m.facts.length) {
                    Some(_) => Ok(()),
                    None => Err(format!("{} bytes at {:#x}", m.facts.length, m.addr)),
                }
            }
            Self::Data(m) => facts(&m.facts),
            Self::TooLong(m) => within(m.length, m.needle_size),
            Self::Volumes(m) => volumes(m),
            Self::Challenge(_) | Self::Pong(_) => Ok(()),
        }
    }
}

fn text(what: &str, text: Option<&str>, max: usize) -> Result<(), String> {
    match text.map_or(0, str::len) {
        len if len > max => Err(format!("{what} has {len} bytes; at most {max} are taken")),
        _ => Ok(()),
    }
}

fn millis(what: &str, millis: u64) -> Result<(), String> {
    if millis > MILLIS_MAX {
        return Err(format!(
            "{what} is {millis}; at most {MILLIS_MAX} are taken"
        ));
    }
    Ok(())
}

fn at_least_one(what: &str, number: u64) -> Result<(), String> {
    match number {
        0 => Err(format!("{what} is 0; at least 1 is taken")),
        _ => Ok(()),
    }
}

fn facts(facts: &Facts) -> Result<(), String> {
    within(facts.length, facts.needle_size)
}

fn within(length: u64, needle_size: u64) -> Result<(), String> {
    if length > needle_size {
        return Err(format!("{length} bytes of a needle of {needle_size}"));
    }
    Ok(())
}

fn volumes(message: &Volumes) -> Result<(), String> {
    let named = message.added.len() + message.removed.len();
    if named > VOLUMES_MAX {
        return Err(format!("{named} volumes; at most {VOLUMES_MAX} are taken"));
    }
    let collection =
        |volume: &ServedVolume| text("collection", Some(&volume.collection), NAME_BYTES_MAX);
    message.added.iter().try_for_each(collection)?;
    message.removed.iter().try_for_each(collection)
}

/// The name of a payload's type, once it is known to be one message and nothing else.
fn kind(payload: &[u8]) -> Result<String, DecodeError> {
    let head = limited(payload);
    let (Head { kind, .. }, more) = head.map_err(|e| malformed(payload, "the frame", &e))?;
    if more {
        return Err(malformed(payload, shown(&kind), &MORE_FOLLOWS));
    }
    Ok(kind)
}

/// A payload whose type is known: the second, and last, look at its bytes.
struct Body<'a> {
    payload: &'a [u8],
    kind: String,
}

impl Body<'_> {
    fn read<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        match limited(self.payload) {
            Ok((Envelope { data, .. }, _)) => Ok(data),
            Err(error) => Err(malformed(self.payload, &self.kind, &error)),
        }
    }

    fn unknown(&self) -> DecodeError {
        let why = format!("unknown message type {:?}", shown(&self.kind));
        self.error(Code::UnsupportedMessage, why)
    }

    fn invalid(&self, why: &str) -> DecodeError {
        self.error(Code::InvalidRequest, format!("{}: {why}", self.kind))
    }

    fn error(&self, code: Code, why: String) -> DecodeError {
        DecodeError {
            error: Error::new(code, why),
            id: find_id(self.payload),
        }
    }
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "data")]
    _data: IgnoredAny,
}

#[derive(Deserialize)]
struct Envelope<T> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    data: T,
}

/// The `id` of a message that may otherwise make no sense.
#[derive(Deserialize)]
struct MaybeId {
    #[serde(default)]
    id: Option<u64>,
}

fn find_id(payload: &[u8]) -> Option<u64> {
    let (Envelope { data, .. }, _): (Envelope<MaybeId>, _) = limited(payload).ok()?;
    data.id
}

fn malformed(payload: &[u8], what: &str, why: &dyn fmt::Display) -> DecodeError {
    DecodeError {
        error: Error::new(
            Code::MalformedMessage,
            format!("{what} could not be decoded: {why}"),
        ),
        id: find_id(payload),
    }
}

/// As much of an unknown name as an error quotes.
fn shown(name: &str) -> &str {
    const SHOWN: usize = 64;
    name.get(..name.floor_char_boundary(SHOWN)).unwrap_or(name)
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
