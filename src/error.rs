//! The one error type a client ever sees: a stable code, its category, whether trying again can
//! help, and a message for a person.
//!
//! Layers below (volume, pool, ring) have their own small errors and become this one at their
//! edge; nothing here is ever produced by a debug print.

use std::fmt;

/// Why a request failed. The set is closed: the names are part of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(
    missing_docs,
    reason = "each code is its own description; see the protocol's table"
)]
pub enum Code {
    InvalidRequest,
    UnsupportedMessage,
    NeedleNotFound,
    VolumeNotFound,
    CookieMismatch,
    SessionNotFound,
    SessionExpired,
    TooManySessions,
    ResourceExhausted,
    TransferTooLarge,
    MemoryRegistrationFailed,
    RdmaOperationFailed,
    PeerUnavailable,
    NetworkTimeout,
    NoRoute,
    DeviceNotFound,
    UnsupportedHardware,
    ChecksumMismatch,
    CorruptNeedle,
    CorruptVolume,
    PermissionDenied,
    Unauthenticated,
    MalformedMessage,
    MessageTooLarge,
    IoError,
    ShuttingDown,
    Internal,
}

impl Code {
    /// Every code, for tables and closed label sets.
    pub const ALL: [Code; 27] = [
        Code::InvalidRequest,
        Code::UnsupportedMessage,
        Code::NeedleNotFound,
        Code::VolumeNotFound,
        Code::CookieMismatch,
        Code::SessionNotFound,
        Code::SessionExpired,
        Code::TooManySessions,
        Code::ResourceExhausted,
        Code::TransferTooLarge,
        Code::MemoryRegistrationFailed,
        Code::RdmaOperationFailed,
        Code::PeerUnavailable,
        Code::NetworkTimeout,
        Code::NoRoute,
        Code::DeviceNotFound,
        Code::UnsupportedHardware,
        Code::ChecksumMismatch,
        Code::CorruptNeedle,
        Code::CorruptVolume,
        Code::PermissionDenied,
        Code::Unauthenticated,
        Code::MalformedMessage,
        Code::MessageTooLarge,
        Code::IoError,
        Code::ShuttingDown,
        Code::Internal,
    ];

    /// The code as it goes over the wire, SCREAMING_SNAKE_CASE.
    pub const fn as_str(self) -> &'static str {
        self.row().0
    }

    /// The group the code belongs to, as it goes over the wire.
    pub const fn category(self) -> &'static str {
        self.row().1
    }

    /// Whether the same request may succeed later without being changed.
    pub const fn recoverable(self) -> bool {
        self.row().2
    }

    const fn row(self) -> (&'static str, &'static str, bool) {
        match self {
            Code::InvalidRequest => ("INVALID_REQUEST", "request", false),
            Code::UnsupportedMessage => ("UNSUPPORTED_MESSAGE", "request", true),
            Code::NeedleNotFound => ("NEEDLE_NOT_FOUND", "request", false),
            Code::VolumeNotFound => ("VOLUME_NOT_FOUND", "request", false),
            Code::CookieMismatch => ("COOKIE_MISMATCH", "request", false),
            Code::SessionNotFound => ("SESSION_NOT_FOUND", "session", true),
            Code::SessionExpired => ("SESSION_EXPIRED", "session", true),
            Code::TooManySessions => ("TOO_MANY_SESSIONS", "session", true),
            Code::ResourceExhausted => ("RESOURCE_EXHAUSTED", "resource", true),
            Code::TransferTooLarge => ("TRANSFER_TOO_LARGE", "resource", false),
            Code::MemoryRegistrationFailed => ("MEMORY_REGISTRATION_FAILED", "resource", false),
            Code::RdmaOperationFailed => ("RDMA_OPERATION_FAILED", "rdma", true),
            Code::PeerUnavailable => ("PEER_UNAVAILABLE", "network", true),
            Code::NetworkTimeout => ("NETWORK_TIMEOUT", "network", true),
            Code::NoRoute => ("NO_ROUTE", "network", true),
            Code::DeviceNotFound => ("DEVICE_NOT_FOUND", "hardware", false),
            Code::UnsupportedHardware => ("UNSUPPORTED_HARDWARE", "hardware", false),
            Code::ChecksumMismatch => ("CHECKSUM_MISMATCH", "integrity", false),
            Code::CorruptNeedle => ("CORRUPT_NEEDLE", "integrity", false),
            Code::CorruptVolume => ("CORRUPT_VOLUME", "integrity", false),
            Code::PermissionDenied => ("PERMISSION_DENIED", "security", false),
            Code::Unauthenticated => ("UNAUTHENTICATED", "security", false),
            Code::MalformedMessage => ("MALFORMED_MESSAGE", "ipc", true),
            Code::MessageTooLarge => ("MESSAGE_TOO_LARGE", "ipc", true),
            Code::IoError => ("IO_ERROR", "system", true),
            Code::ShuttingDown => ("SHUTTING_DOWN", "system", true),
            Code::Internal => ("INTERNAL", "system", false),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The longest message of an error, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// A failed request: what the client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// What kind of failure.
    pub code: Code,
    /// What was being done, to what, and what to try.
    pub message: String,
}

impl Error {
    /// An error of `code` with a message for a person, cut at [`MESSAGE_BYTES_MAX`]: it may
    /// quote what a client sent.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MESSAGE_BYTES_MAX {
            message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
            message.push('…');
        }
        Self { code, message }
    }
}

/// The result of serving a request.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_screaming_snake_case_and_unique() {
        let mut seen = std::collections::HashSet::new();
        for code in Code::ALL {
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_uppercase() || b == b'_'),
                "{code}"
            );
            assert!(seen.insert(code.as_str()), "{code} twice");
        }
    }

    #[test]
    fn a_message_is_cut_where_a_character_ends() {
        let long = Error::new(Code::Internal, "é".repeat(MESSAGE_BYTES_MAX));
        assert!(long.message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8());
        assert!(long.message.ends_with("é…"));
        assert_eq!(Error::new(Code::Internal, "short").message, "short");
    }

    #[test]
    fn categories_and_recoverability_are_those_of_the_protocol() {
        let of = |category| -> Vec<(&str, bool)> {
            let codes = Code::ALL.iter().filter(|c| c.category() == category);
            codes.map(|c| (c.as_str(), c.recoverable())).collect()
        };
        assert!(of("session").iter().all(|c| c.1));
        assert!(of("network").iter().all(|c| c.1));
        assert!(of("ipc").iter().all(|c| c.1));
        assert!(of("integrity").iter().all(|c| !c.1));
        assert_eq!(
            of("request").iter().filter(|c| c.1).collect::<Vec<_>>(),
            [&("UNSUPPORTED_MESSAGE", true)]
        );
        assert_eq!(
            of("resource").iter().filter(|c| c.1).collect::<Vec<_>>(),
            [&("RESOURCE_EXHAUSTED", true)]
        );
    }
}
