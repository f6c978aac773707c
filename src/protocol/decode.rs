//! How bytes become requests.
//!
//! Nothing a client sends is trusted: nesting, lengths and types are bounded before anything is
//! kept. Structs are taken as maps and as arrays, and what this build does not know is skipped.

use std::fmt;
use std::marker::PhantomData;

use rmp_serde::Deserializer;
use serde::Deserialize as DeserializeDerive;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::message::Request;
use crate::error::{Code, Error};

/// Nesting allowed in a request. The deepest real message has two levels; the rest is room for
/// unknown fields. Without a limit the decoder's recursion could exhaust the stack.
const MAX_DEPTH: usize = 16;

/// The longest name (of a client, a collection, a peer) in a request, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest secret or explanation in a request, in bytes.
pub const TEXT_BYTES_MAX: usize = 4096;

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

pub(crate) fn limited<T: for<'de> Deserialize<'de>>(
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
#[path = "decode_tests.rs"]
mod tests;
