//! CompleteRead: the client has finished with the buffer.

use std::time::{Duration, Instant};

use super::Engine;
use crate::error::{Code, Error, Result};
use crate::protocol::message::{CompleteRead, CompleteReadResponse};
use crate::session::{Ended, Held, SessionId};
use crate::telemetry::RateLimited;

impl Engine {
    /// Ends a session and frees its buffer, whatever the client says of it. Returns the reply, and
    /// the session's age, which is to be counted once it is given.
    ///
    /// # Errors
    /// SESSION_NOT_FOUND or SESSION_EXPIRED.
    pub fn complete_read(
        &self,
        request: &CompleteRead,
    ) -> Result<(CompleteReadResponse, Duration)> {
        let id = request.session_id.parse().map_err(|_| {
            Error::new(
                Code::SessionNotFound,
                "session_id is not the id of any session",
            )
        })?;
        let now = Instant::now();
        let (held, ended) = self.sessions.complete(id, now)?;
        let message = self.disagreement(request, &ended, &held);
        let result = match (&message, request.success) {
            (Some(_), _) => "disagreed",
            (None, true) => "completed",
            (None, false) => "not used",
        };
        let response = CompleteReadResponse {
            success: message.is_none(),
            server_crc: Some(held.crc),
            message,
            request_id: None,
        };
        Ok((response, ended.tell(now, result)))
    }

    /// Frees the buffer of a session whose reply could not be delivered.
    pub fn forget(&self, session: SessionId) {
        // It may have expired meanwhile, which comes to the same.
        let now = Instant::now();
        if let Ok((_, ended)) = self.sessions.complete(session, now) {
            let age = ended.tell(now, "not delivered");
            self.metrics.session_ended(age);
        }
    }

    fn disagreement(&self, request: &CompleteRead, ended: &Ended, held: &Held) -> Option<String> {
        let (session, client) = (ended.short, &ended.opening.client.name);
        let message = if let Some(crc) = request.client_crc.filter(|&crc| crc != held.crc) {
            self.metrics.client_crc_mismatches.increment(1);
            format!(
                "the client's CRC-32C is {crc:08x}, the engine's {:08x}",
                held.crc
            )
        } else if request.success && request.bytes_transferred != held.transfer_size {
            self.metrics.client_length_mismatches.increment(1);
            format!(
                "the client took {} bytes of the {} that were landed",
                request.bytes_transferred, held.transfer_size
            )
        } else if !request.success {
            let error = request
                .error_message
                .as_deref()
                .unwrap_or("no reason given");
            tracing::debug!(%session, client, error, "the client could not use the bytes");
            return None;
        } else {
            return None;
        };
        static TOLD: RateLimited = RateLimited::new(Duration::from_secs(1));
        if let Some(suppressed) = TOLD.pass(Instant::now()) {
            tracing::warn!(%session, client, suppressed, "{message}");
        }
        Some(message)
    }
}
