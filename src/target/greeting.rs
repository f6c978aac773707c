//! The target's side of the handshake, on a connection.

use std::time::{Duration, Instant};

use super::connection::{Connection, millis};
use crate::config::TransportChoice;
use crate::error::{Code, Error};
use crate::peer::codec::{DecodeError, HANDSHAKE_FRAME_BYTES_MAX, encode};
use crate::peer::handshake::{Greeting, HandshakeError};
use crate::peer::message::{FromEngine, FromTarget, Refused, Welcome};
use crate::peer::stream::StreamError;
use crate::telemetry::RateLimited;

/// Why a peer is turned away.
pub(super) struct Refusal(Error);

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        let code = match error {
            StreamError::TooLong { .. } => Code::MessageTooLarge,
            _ => Code::IoError,
        };
        Self(Error::new(code, error.to_string()))
    }
}

impl Connection {
    /// The handshake.
    pub(super) async fn greet(&self) -> Result<(), Refusal> {
        let target = &self.node.target;
        let secret = target.secret.as_ref().map(|secret| secret.as_bytes());
        let refused = |e: HandshakeError| Refusal(Error::new(e.code(), e.to_string()));
        let malformed = |e: DecodeError| Refusal(e.error);
        let unexpected = |wanted, got: &FromEngine| {
            refused(HandshakeError::OutOfTurn {
                wanted,
                got: got.kind(),
            })
        };

        let greeting = Greeting::new(secret)
            .map_err(|e| Refusal(Error::new(Code::Internal, format!("drawing a nonce: {e}"))))?;
        let bytes = self
            .stream
            .frame(Vec::new(), HANDSHAKE_FRAME_BYTES_MAX)
            .await?;
        let hello = match FromEngine::decode(&bytes).map_err(malformed)? {
            FromEngine::Hello(hello) => hello,
            other => return Err(unexpected("Hello", &other)),
        };
        let (challenging, challenge) = greeting.greet(&hello).map_err(refused)?;
        let bytes = self.say(&FromTarget::Challenge(challenge), bytes).await?;
        let bytes = self.stream.frame(bytes, HANDSHAKE_FRAME_BYTES_MAX).await?;
        let proof = match FromEngine::decode(&bytes).map_err(malformed)? {
            FromEngine::Proof(proof) => proof,
            other => return Err(unexpected("Proof", &other)),
        };
        let mac = challenging.proved(&proof).map_err(refused)?;
        let settings = &target.settings;
        let welcome = Welcome {
            mac,
            // Even while its port is down: Connect fails until it is up, and is tried again.
            verbs: target.adapter.is_some() && settings.transport != TransportChoice::Tcp,
            tcp: target.sends(),
            max_transfer: settings.max_transfer,
            max_leases: settings.max_leases,
            lease_ms: millis(settings.lease_timeout),
            silence_ms: millis(settings.peer_timeout),
            build: env!("CARGO_PKG_VERSION").to_owned(),
        };
        self.say(&FromTarget::Welcome(welcome), bytes).await?;
        Ok(())
    }

    async fn say(&self, message: &FromTarget, mut bytes: Vec<u8>) -> Result<Vec<u8>, StreamError> {
        bytes.clear();
        encode(message, &mut bytes);
        self.stream.write(bytes).await
    }

    pub(super) async fn refuse(&self, refusal: &Refusal) {
        let Refusal(error) = refusal;
        static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
        if let Some(suppressed) = TOLD.pass(Instant::now()) {
            tracing::warn!(peer = %self.peer, %error, suppressed, "a peer was refused");
        }
        let refused = FromTarget::Refused(Refused::new(error));
        // It may have gone.
        let _ = self.say(&refused, Vec::new()).await;
    }
}
