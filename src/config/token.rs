//! The token clients must show and the secret peers share, when one is configured.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use subtle::ConstantTimeEq;

/// The longest token or peers' secret, bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A shared secret, one line of 1 to [`TOKEN_BYTES_MAX`] bytes. It is never printed.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Reads it from a file of one line that others than its owner and group can neither read nor
    /// write. The error says what is wrong with the file and what is allowed; `what` is what the
    /// secret is called there.
    pub(super) fn read(path: &Path, what: &str) -> Result<Self, String> {
        let failed = |error| format!("reading the {what}: {error}; allowed: a readable file");
        let file = std::fs::File::options()
            .read(true)
            // A FIFO must not hold the start up.
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
            .open(path)
            .map_err(failed)?;
        let facts = file.metadata().map_err(failed)?;
        if !facts.is_file() {
            return Err(format!(
                "is not a file; allowed: a file with the {what} in it"
            ));
        }
        if facts.mode() & 0o006 != 0 {
            let mode = facts.mode() & 0o7777;
            return Err(format!(
                "everyone on this host can read or write it (mode {mode:04o}); allowed: \
                 0600 or 0640, so try chmod o-rw"
            ));
        }
        let mut bytes = Vec::new();
        // Two more for the line's end, one more to see that there is more.
        let limit = TOKEN_BYTES_MAX as u64 + 3;
        file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(bytes, what)
    }

    fn parse(bytes: Vec<u8>, what: &str) -> Result<Self, String> {
        let allowed = format!("allowed: one line of 1 to {TOKEN_BYTES_MAX} bytes of UTF-8");
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(format!("the {what} is not UTF-8; {allowed}"));
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let token = line.strip_suffix('\r').unwrap_or(line);
        if token.is_empty() {
            return Err(format!("the {what} is empty; {allowed}"));
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(format!("the {what} is too long; {allowed}"));
        }
        if token.contains(char::is_control) {
            return Err(format!("the {what} contains control characters; {allowed}"));
        }
        Ok(Self(token.to_owned()))
    }

    /// Whether `shown` is this token. The time it takes tells nothing but whether the lengths are
    /// equal.
    pub fn matches(&self, shown: &str) -> bool {
        self.0.as_bytes().ct_eq(shown.as_bytes()).into()
    }

    /// Its bytes, to key a message authentication code with.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}
