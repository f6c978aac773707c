//! What both sides make sure of before the first request: that they speak a common version and,
//! where a secret is shared, that the other knows it. Pure: who calls it sends and receives.
//!
//! Each side is a type by state. A step takes the state, so no message is answered twice and no
//! nonce serves two connections.
//!
//! | engine | | target |
//! |---|---|---|
//! | [`Opening::new`] | Hello → | [`Greeting::greet`] |
//! | [`Opening::challenged`] | ← Challenge | |
//! | | Proof → | [`Challenging::proved`] |
//! | [`Proving::welcomed`] | ← Welcome | |

use std::fmt;

use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

use super::message::{
    Challenge, Hello, MAGIC, Mac, NONCE_BYTES, Proof, Refused, VERSIONS, Welcome,
};
use crate::error::{Code, Error};

/// Random bytes of one side, for one connection.
pub type Nonce = [u8; NONCE_BYTES];

/// Why a handshake failed. The connection is to be closed; a target says why before that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each is its message")]
pub enum HandshakeError {
    #[error("{got} came where {wanted} was expected")]
    OutOfTurn {
        wanted: &'static str,
        got: &'static str,
    },
    #[error("the other side does not speak the peer protocol: its hello does not say {MAGIC:?}")]
    NotAPeer,
    #[error("a range of versions from {0} to {1} is none")]
    NoRange(u16, u16),
    #[error(
        "no version in common: the engine speaks {}, the target {}; run builds that overlap",
        Range(*engine),
        Range(*target)
    )]
    NoCommonVersion {
        engine: (u16, u16),
        target: (u16, u16),
    },
    #[error("the target chose version {chosen}; the engine speaks {}", Range(*engine))]
    NotOffered { chosen: u16, engine: (u16, u16) },
    #[error("the other side sent this side's own nonce back")]
    Reflected,
    #[error("the {0} has no secret and the other side has one: give both the same, or neither")]
    LacksSecret(Side),
    #[error("the {0} sent no proof of the secret")]
    NoProof(Side),
    #[error("the {0} sent a proof where no secret is shared")]
    UnwantedProof(Side),
    #[error("the {0} does not know the secret, or answers for another connection")]
    WrongProof(Side),
}

impl HandshakeError {
    /// The error code that goes with it.
    pub fn code(&self) -> Code {
        match self {
            Self::OutOfTurn { .. }
            | Self::NotAPeer
            | Self::NoRange(..)
            | Self::UnwantedProof(_) => Code::MalformedMessage,
            Self::NoCommonVersion { .. } | Self::NotOffered { .. } => Code::UnsupportedMessage,
            Self::Reflected | Self::LacksSecret(_) | Self::NoProof(_) | Self::WrongProof(_) => {
                Code::Unauthenticated
            }
        }
    }
}

impl From<&HandshakeError> for Refused {
    fn from(error: &HandshakeError) -> Self {
        Self::new(&Error::new(error.code(), error.to_string()))
    }
}

/// A side of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that connects and reads.
    Engine,
    /// The one that listens and serves.
    Target,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Target => "target",
        })
    }
}

struct Range((u16, u16));

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            (min, max) if min == max => write!(f, "{min}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}

/// The engine, about to send its hello.
#[derive(Debug)]
pub struct Opening {
    key: Option<Key>,
    nonce: Nonce,
}

impl Opening {
    /// Begins a connection. `secret` is what both sides know, where one is configured.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn new(secret: Option<&[u8]>) -> Result<(Self, Hello), getrandom::Error> {
        Ok(Self::with_nonce(secret, random_nonce()?))
    }

    fn with_nonce(secret: Option<&[u8]>, nonce: Nonce) -> (Self, Hello) {
        let hello = Hello {
            magic: MAGIC.to_owned(),
            version_min: VERSIONS.0,
            version_max: VERSIONS.1,
            nonce,
            secret: secret.is_some(),
        };
        let key = secret.map(Key::new);
        (Self { key, nonce }, hello)
    }

    /// Answers the target's challenge.
    ///
    /// # Errors
    /// When the target chose a version that was not offered, sent our own nonce back, or one
    /// side has a secret and the other has none.
    pub fn challenged(self, challenge: &Challenge) -> Result<(Proving, Proof), HandshakeError> {
        let chosen = challenge.version;
        if !(VERSIONS.0..=VERSIONS.1).contains(&chosen) {
            return Err(HandshakeError::NotOffered {
                chosen,
                engine: VERSIONS,
            });
        }
        if challenge.nonce == self.nonce {
            return Err(HandshakeError::Reflected);
        }
        both_or_neither(self.key.is_some(), challenge.secret)?;
        let agreed = Agreed {
            key: self.key,
            version: chosen,
            engine: self.nonce,
            target: challenge.nonce,
        };
        let mac = agreed.proof_of(Side::Engine);
        Ok((Proving(agreed), Proof { mac }))
    }
}

/// The engine, waiting for the target's proof.
#[derive(Debug)]
pub struct Proving(Agreed);

impl Proving {
    /// Checks the target's proof. Returns the version that is spoken from now on.
    ///
    /// # Errors
    /// When the proof is wrong, missing, or there where no secret is shared.
    pub fn welcomed(self, welcome: &Welcome) -> Result<u16, HandshakeError> {
        self.0.check(Side::Target, welcome.mac)?;
        Ok(self.0.version)
    }
}

/// The target, waiting for a hello.
#[derive(Debug)]
pub struct Greeting {
    key: Option<Key>,
    nonce: Nonce,
}

impl Greeting {
    /// Expects a connection. `secret` is what both sides know, where one is configured.
    ///
    /// # Errors
    /// When the operating system has no random bytes.
    pub fn new(secret: Option<&[u8]>) -> Result<Self, getrandom::Error> {
        Ok(Self::with_nonce(secret, random_nonce()?))
    }

    fn with_nonce(secret: Option<&[u8]>, nonce: Nonce) -> Self {
        let key = secret.map(Key::new);
        Self { key, nonce }
    }

    /// Answers the engine's hello.
    ///
    /// # Errors
    /// When it is no hello of this protocol, there is no common version, it sent our own nonce,
    /// or one side has a secret and the other has none.
    pub fn greet(self, hello: &Hello) -> Result<(Challenging, Challenge), HandshakeError> {
        if hello.magic != MAGIC {
            return Err(HandshakeError::NotAPeer);
        }
        let version = common((hello.version_min, hello.version_max), VERSIONS)?;
        if hello.nonce == self.nonce {
            return Err(HandshakeError::Reflected);
        }
        both_or_neither(hello.secret, self.key.is_some())?;
        let challenge = Challenge {
            version,
            nonce: self.nonce,
            secret: self.key.is_some(),
        };
        let agreed = Agreed {
            key: self.key,
            version,
            engine: hello.nonce,
            target: self.nonce,
        };
        Ok((Challenging(agreed), challenge))
    }
}

/// The target, waiting for the engine's proof.
#[derive(Debug)]
pub struct Challenging(Agreed);

impl Challenging {
    /// Checks the engine's proof. Returns the target's own, for its Welcome; none where no
    /// secret is shared.
    ///
    /// # Errors
    /// When the proof is wrong, missing, or there where no secret is shared.
    pub fn proved(self, proof: &Proof) -> Result<Option<Mac>, HandshakeError> {
        self.0.check(Side::Engine, proof.mac)?;
        Ok(self.0.proof_of(Side::Target))
    }
}

/// What both sides know once the challenge was sent.
#[derive(Debug)]
struct Agreed {
    key: Option<Key>,
    version: u16,
    engine: Nonce,
    target: Nonce,
}

impl Agreed {
    fn proof_of(&self, side: Side) -> Option<Mac> {
        let mac = self.mac(side, self.key.as_ref()?);
        Some(Mac(mac.finalize().into_bytes().into()))
    }

    /// The time it takes tells nothing about the proof that would be right.
    fn check(&self, side: Side, shown: Option<Mac>) -> Result<(), HandshakeError> {
        match (&self.key, shown) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(HandshakeError::UnwantedProof(side)),
            (Some(_), None) => Err(HandshakeError::NoProof(side)),
            (Some(key), Some(Mac(shown))) => self
                .mac(side, key)
                .verify_slice(&shown)
                .map_err(|_| HandshakeError::WrongProof(side)),
        }
    }

    /// The labels differ, so that one side's proof sent back proves nothing.
    fn mac(&self, side: Side, key: &Key) -> Hmac<Sha256> {
        let label = match side {
            Side::Engine => "rdma-engine-peer engine proof",
            Side::Target => "rdma-engine-peer target proof",
        };
        key.0
            .clone()
            .chain_update(label)
            .chain_update([0])
            .chain_update(self.version.to_le_bytes())
            .chain_update(self.engine)
            .chain_update(self.target)
    }
}

/// The secret, as HMAC takes it. It is never printed.
struct Key(Hmac<Sha256>);

impl Key {
    fn new(secret: &[u8]) -> Self {
        #[allow(
            clippy::expect_used,
            reason = "RFC 2104: HMAC takes keys of any length"
        )]
        let keyed = Hmac::new_from_slice(secret).expect("a key of any length");
        Self(keyed)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

fn random_nonce() -> Result<Nonce, getrandom::Error> {
    let mut nonce = [0; NONCE_BYTES];
    getrandom::fill(&mut nonce)?;
    Ok(nonce)
}

/// The newest version in both ranges.
fn common(engine: (u16, u16), target: (u16, u16)) -> Result<u16, HandshakeError> {
    if engine.0 > engine.1 {
        return Err(HandshakeError::NoRange(engine.0, engine.1));
    }
    let newest = engine.1.min(target.1);
    if newest < engine.0.max(target.0) {
        return Err(HandshakeError::NoCommonVersion { engine, target });
    }
    Ok(newest)
}

fn both_or_neither(engine: bool, target: bool) -> Result<(), HandshakeError> {
    match (engine, target) {
        (false, true) => Err(HandshakeError::LacksSecret(Side::Engine)),
        (true, false) => Err(HandshakeError::LacksSecret(Side::Target)),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
