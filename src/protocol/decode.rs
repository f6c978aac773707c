//! How bytes become requests.
//!
//! Nothing a client sends is trusted: nesting, lengths and types are bounded before anything is
//! kept. Structs are taken as maps and as arrays, and what this build does not know is skipped.

use std::fmt;
use std::marker::PhantomData;

use rmp_serde::Deserializer;
use serde::Deserialize as DeserializeDerive;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{
    Deserialize, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

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
        let mut kind = None;
        let mut found = envelope(payload, &mut kind)?;
        if let (Found::DataBeforeType, Some(_)) = (&found, &kind) {
            found = envelope(payload, &mut kind)?;
        }
        let request = match (found, &kind) {
            (Found::Request(request), _) => request,
            (_, Some(Kind::Reply(name))) => {
                return Err(unsupported(
                    payload,
                    &format!("{name} is a reply, not a request"),
                ));
            }
            (_, Some(Kind::Unknown(name))) => {
                return Err(unsupported(
                    payload,
                    &format!("unknown message type {name:?}"),
                ));
            }
            (_, kind) => return Err(malformed(payload, kind.as_ref(), &"it has no data")),
        };
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

/// Reads what `payload` begins with; also whether anything follows it.
pub(crate) fn limited<'de, T: Deserialize<'de>>(
    payload: &'de [u8],
) -> Result<(T, bool), rmp_serde::decode::Error> {
    limited_by(PhantomData, payload)
}

fn limited_by<'de, S: DeserializeSeed<'de>>(
    seed: S,
    payload: &'de [u8],
) -> Result<(S::Value, bool), rmp_serde::decode::Error> {
    let mut decoder = Deserializer::from_read_ref(payload);
    decoder.set_max_depth(MAX_DEPTH);
    let value = seed.deserialize(&mut decoder)?;
    // The decoder does not tell how far it has come, but there is not even a marker at the end.
    let more = match IgnoredAny::deserialize(&mut decoder) {
        Err(rmp_serde::decode::Error::InvalidMarkerRead(end)) => {
            end.kind() != std::io::ErrorKind::UnexpectedEof
        }
        _ => true,
    };
    Ok((value, more))
}

/// What is told of a message that does not end where its payload does.
pub(crate) const MORE_FOLLOWS: &str = "more bytes follow the message";

/// Reads a payload whose type, if it is not `kind`, becomes that.
fn envelope(payload: &[u8], kind: &mut Option<Kind>) -> Result<Found, DecodeError> {
    match limited_by(Envelope { kind }, payload) {
        Ok((found, false)) => Ok(found),
        Ok((_, true)) => Err(malformed(payload, kind.as_ref(), &MORE_FOLLOWS)),
        Err(error) => Err(malformed(payload, kind.as_ref(), &error)),
    }
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

fn unsupported(payload: &[u8], why: &str) -> DecodeError {
    DecodeError {
        error: Error::new(Code::UnsupportedMessage, why),
        request_id: find_request_id(payload),
    }
}

/// `type` and `data`, as a map or as an array.
struct Envelope<'a> {
    /// The type, as soon as it is known: then the data can be read, and errors can tell it.
    kind: &'a mut Option<Kind>,
}

/// What an envelope holds.
enum Found {
    Request(Request),
    /// Data of a type that is no request's.
    Other,
    /// They come in the other order than nearly everybody's, and have to be looked at again.
    DataBeforeType,
}

#[derive(DeserializeDerive)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Type,
    Data,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Envelope<'_> {
    type Value = Found;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Found, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Envelope<'_> {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map or an array of type and data")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let known = self.kind.is_some();
        let (mut types, mut found) = (0, None);
        while let Some(field) = map.next_key()? {
            match field {
                Field::Type if types > 0 => return Err(A::Error::duplicate_field("type")),
                Field::Type => {
                    types += 1;
                    let kind = map.next_value()?;
                    self.kind.get_or_insert(kind);
                }
                Field::Data if found.is_some() => return Err(A::Error::duplicate_field("data")),
                Field::Data => {
                    found = Some(match &self.kind {
                        Some(kind) => map.next_value_seed(kind)?,
                        None => {
                            map.next_value::<IgnoredAny>()?;
                            Found::DataBeforeType
                        }
                    });
                }
                Field::Other => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        if types == 0 && !known {
            return Err(A::Error::missing_field("type"));
        }
        found.ok_or_else(|| A::Error::missing_field("data"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        let kind = seq.next_element()?;
        let kind = self
            .kind
            .insert(kind.ok_or_else(|| A::Error::missing_field("type"))?);
        let found = seq.next_element_seed(&*kind)?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        found.ok_or_else(|| A::Error::missing_field("data"))
    }
}

/// Reads the data of this type.
impl<'de> DeserializeSeed<'de> for &Kind {
    type Value = Found;

    fn deserialize<D: serde::Deserializer<'de>>(self, d: D) -> Result<Found, D::Error> {
        fn read<'de, T, D>(d: D, request: impl FnOnce(T) -> Request) -> Result<Found, D::Error>
        where
            T: Deserialize<'de>,
            D: serde::Deserializer<'de>,
        {
            Lenient::deserialize(d).map(|Lenient(data)| Found::Request(request(data)))
        }
        match self {
            Kind::StartRead => read(d, Request::StartRead),
            Kind::CompleteRead => read(d, Request::CompleteRead),
            Kind::GetCapabilities => read(d, Request::GetCapabilities),
            Kind::Ping => read(d, Request::Ping),
            Kind::AttachPool => read(d, Request::AttachPool),
            Kind::Reply(_) | Kind::Unknown(_) => {
                IgnoredAny::deserialize(d).map(|IgnoredAny| Found::Other)
            }
        }
    }
}

#[derive(DeserializeDerive)]
#[serde(bound = "T: Deserialize<'de>")]
struct Data<T> {
    #[serde(rename = "type")]
    _kind: IgnoredAny,
    data: Lenient<T>,
}

fn find_request_id(payload: &[u8]) -> Option<u64> {
    let (
        Lenient(Data {
            data: Lenient(MaybeId(id)),
            ..
        }),
        _,
    ) = limited(payload).ok()?;
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
