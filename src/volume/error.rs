//! Why a volume or a needle could not be read.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::error::{Code, Error};

/// A failure of this layer. Each variant is one code of the protocol; the text says what was
/// wrong with what.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VolumeError {
    /// No such volume here, or one that can not be read from here (tiered, half copied).
    #[error("{0}")]
    VolumeNotFound(String),
    /// The volume has no such needle: never written, deleted or expired.
    #[error("{0}")]
    NeedleNotFound(String),
    /// The needle exists with another cookie.
    #[error("{0}")]
    CookieMismatch(String),
    /// The volume's files contradict the format or each other.
    #[error("{0}")]
    CorruptVolume(String),
    /// The needle's own bytes contradict the format or the index.
    #[error("{0}")]
    CorruptNeedle(String),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to which file.
        doing: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
}

impl VolumeError {
    /// An I/O error while `doing` something ("read", "open") to `path`.
    pub fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            doing: format!("{doing} {}", path.display()),
            source: Arc::new(source),
        }
    }

    /// The code a client is given.
    pub const fn code(&self) -> Code {
        match self {
            Self::VolumeNotFound(_) => Code::VolumeNotFound,
            Self::NeedleNotFound(_) => Code::NeedleNotFound,
            Self::CookieMismatch(_) => Code::CookieMismatch,
            Self::CorruptVolume(_) => Code::CorruptVolume,
            Self::CorruptNeedle(_) => Code::CorruptNeedle,
            Self::Io { .. } => Code::IoError,
        }
    }

    /// The same error with `place` ("volume 3, needle 1f") before its message.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let (Self::VolumeNotFound(text)
        | Self::NeedleNotFound(text)
        | Self::CookieMismatch(text)
        | Self::CorruptVolume(text)
        | Self::CorruptNeedle(text)
        | Self::Io { doing: text, .. }) = &mut self;
        text.insert_str(0, &format!("{place}: "));
        self
    }
}

impl From<VolumeError> for Error {
    fn from(error: VolumeError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_code_and_the_whole_message() {
        let error = VolumeError::CorruptNeedle("the size differs".into()).at("volume 3");
        let error = Error::from(error);
        assert_eq!(error.code, Code::CorruptNeedle);
        assert_eq!(error.message, "volume 3: the size differs");

        let source = io::Error::from_raw_os_error(13);
        let error = Error::from(VolumeError::io("open", Path::new("/v/3.dat"), source));
        assert_eq!(error.code, Code::IoError);
        assert!(
            error.message.starts_with("open /v/3.dat: Permission"),
            "{error}"
        );
    }
}
