//! The name of a session: 128 bits in the shape of a UUID.

use std::fmt;
use std::str::FromStr;

use crate::telemetry::ShortId;

/// A session's name. 96 of its bits are random; the other 32 are the slab key, hidden by some of
/// those. Looking one up is an index and a compare, and guessing one is hopeless.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId(u128);

/// The text is no session id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct NotASessionId;

const LEN: usize = 36;
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl SessionId {
    /// The id of the session at `key`, from 12 random bytes.
    pub fn new(key: u32, random: [u8; 12]) -> Self {
        let random = random
            .iter()
            .fold(0u128, |bits, &byte| bits << 8 | u128::from(byte));
        Self(u128::from(key ^ random as u32) << 96 | random)
    }

    /// Where in the slab the session is, if it is.
    pub fn key(self) -> u32 {
        (self.0 >> 96) as u32 ^ self.0 as u32
    }

    /// What the session may be called where others can read it: its place, and 32 random bits of
    /// which nothing else of the id follows. 64 bits stay unknown.
    pub fn short(self) -> ShortId {
        ShortId {
            place: self.key(),
            part: (self.0 >> 64) as u32,
        }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'-'; LEN];
        let places = (0..LEN).filter(|place| !HYPHENS.contains(place));
        for (digit, place) in places.enumerate() {
            text[place] = b"0123456789abcdef"[(self.0 >> (124 - 4 * digit) & 0xf) as usize];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SessionId {
    type Err = NotASessionId;

    fn from_str(text: &str) -> Result<Self, NotASessionId> {
        if text.len() != LEN {
            return Err(NotASessionId);
        }
        let mut bits = 0;
        for (place, byte) in text.bytes().enumerate() {
            if HYPHENS.contains(&place) {
                if byte != b'-' {
                    return Err(NotASessionId);
                }
                continue;
            }
            let digit = char::from(byte).to_digit(16).ok_or(NotASessionId)?;
            bits = bits << 4 | u128::from(digit);
        }
        Ok(Self(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_key_and_survives_being_text() {
        for (key, random) in [(0, [0; 12]), (7, [0xff; 12]), (u32::MAX, [0x5a; 12])] {
            let id = SessionId::new(key, random);
            assert_eq!(id.key(), key);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        let id = SessionId::new(3, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(id.to_string(), "090a0b0f-0102-0304-0506-0708090a0b0c");
        assert_eq!(id.short().to_string(), "3-01020304");
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "090a0b0f",
            "090a0b0f-0102-0304-0506-0708090a0b0",
            "090a0b0f_0102-0304-0506-0708090a0b0c",
            "090a0b0f-0102-0304-0506-0708090a0b0g",
            "é90a0b0f-0102-0304-0506-0708090a0b0",
        ] {
            assert_eq!(text.parse::<SessionId>(), Err(NotASessionId), "{text}");
        }
    }
}
