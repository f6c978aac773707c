//! The sessions that are open at one moment (at a target: its leases), as figures and as JSON.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::names::Named;

/// Sessions that have lived as long are worth a series of their own.
pub const LISTED_AGE: Duration = Duration::from_secs(1);

/// What an open session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// Its bytes are on their way.
    Reading,
    /// The client has them.
    Held,
}

/// An open session. Copied out of the table in one go, so it owns nothing that takes memory.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its place in the table and a part of its id: names it, but does not give it away.
    pub short: ShortId,
    /// Whose it is.
    pub client: Arc<Named>,
    /// The volume read.
    pub volume: u32,
    /// The needle read.
    pub needle: u64,
    /// Bytes landed; 0 while they are on their way.
    pub bytes: u64,
    /// Bytes of the pool it holds.
    pub pool_bytes: u64,
    /// Time they took, from the request to the answer; 0 while they are on their way.
    pub took: Duration,
    /// Since its admission.
    pub age: Duration,
    /// Until its deadline.
    pub left: Duration,
    /// What it does.
    pub doing: Doing,
    /// How the bytes came; None while they are on their way.
    pub transport: Option<&'static str>,
}

/// A session's place in its table and 32 bits of its id. 64 bits of the id stay unknown, so nobody
/// can complete the session by this name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortId {
    /// The place: no two sessions that live at the same time have the same.
    pub place: u32,
    /// The part of the id.
    pub part: u32,
}

impl std::fmt::Display for ShortId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:08x}", self.place, self.part)
    }
}

impl Live {
    /// How fast its bytes came, bytes a second.
    pub fn rate(&self) -> f64 {
        rate(self.bytes, self.took)
    }
}

/// `bytes` in `time`, a second; 0 when there was no time.
pub fn rate(bytes: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    bytes as f64 / time.as_secs_f64()
}

/// The `count` sessions that hold the most bytes of those older than [`LISTED_AGE`], and how many
/// more are as old.
pub(super) fn largest(live: &[Live], count: usize) -> (Vec<&Live>, usize) {
    let old = live.iter().filter(|session| session.age > LISTED_AGE);
    let mut old: Vec<&Live> = old.collect();
    let unlisted = old.len().saturating_sub(count);
    let key = |session: &&Live| (Reverse(session.bytes), Reverse(session.age));
    if unlisted > 0 && count > 0 {
        old.select_nth_unstable_by_key(count - 1, key);
    }
    old.truncate(count);
    old.sort_by_key(key);
    (old, unlisted)
}

/// What `/sessions` answers.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionList {
    /// How many there may be.
    pub limit: u64,
    /// Those that are open.
    pub sessions: Vec<SessionEntry>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionEntry {
    /// [`ShortId`].
    pub session: String,
    /// The client's name.
    pub client: String,
    /// The volume read.
    pub volume: u32,
    /// The needle read, hexadecimal.
    pub needle: String,
    /// Bytes landed.
    pub bytes: u64,
    /// Seconds since its admission.
    pub age_seconds: f64,
    /// How fast the bytes came.
    pub rate_bytes_per_second: f64,
    /// What it does.
    pub state: Doing,
    /// Seconds until its deadline.
    pub seconds_left: f64,
    /// How the bytes came.
    pub transport: Option<String>,
}

impl From<&Live> for SessionEntry {
    fn from(live: &Live) -> Self {
        Self {
            session: live.short.to_string(),
            client: live.client.name.clone(),
            volume: live.volume,
            needle: format!("{:x}", live.needle),
            bytes: live.bytes,
            age_seconds: live.age.as_secs_f64(),
            rate_bytes_per_second: live.rate(),
            state: live.doing,
            seconds_left: live.left.as_secs_f64(),
            transport: live.transport.map(str::to_owned),
        }
    }
}

/// The answer of `/sessions`.
pub(super) fn json(live: &[Live], limit: u64) -> Vec<u8> {
    let list = SessionList {
        limit,
        sessions: live.iter().map(SessionEntry::from).collect(),
    };
    // Nothing in it can fail to be JSON: no maps, no floats that are not finite.
    serde_json::to_vec(&list).unwrap_or_default()
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::names::{ClientSeries, Identity};
    use super::*;

    /// An open session of `client` that holds `bytes` and is `age` seconds old.
    pub fn live(place: u32, client: &str, series: &ClientSeries, bytes: u64, age: u64) -> Live {
        let identity = Identity::new("uid-1".to_owned());
        identity.say(client);
        Live {
            short: ShortId { place, part: 0xab },
            client: Arc::clone(identity.get(series)),
            volume: 3,
            needle: 0x1637,
            bytes,
            pool_bytes: bytes.next_multiple_of(4096),
            took: Duration::from_millis(1),
            age: Duration::from_secs(age),
            left: Duration::from_secs(30),
            doing: Doing::Held,
            transport: Some("local"),
        }
    }

    #[test]
    fn the_largest_of_the_old_ones_are_listed_and_the_rest_counted() {
        let series = ClientSeries::new(10);
        let sessions: Vec<Live> = (0..10)
            .map(|i| live(i, "a", &series, u64::from(i) * 100, u64::from(i)))
            .collect();
        let (listed, unlisted) = largest(&sessions, 3);
        let bytes: Vec<u64> = listed.iter().map(|s| s.bytes).collect();
        assert_eq!((bytes, unlisted), (vec![900, 800, 700], 5));
        let (listed, unlisted) = largest(&sessions, 20);
        assert_eq!((listed.len(), unlisted), (8, 0));
        assert_eq!(largest(&sessions, 0).1, 8);
    }

    #[test]
    fn the_list_is_json_that_is_read_back() {
        let series = ClientSeries::new(10);
        let sessions = [live(7, "a \"b\"", &series, 1000, 2)];
        let list: SessionList = serde_json::from_slice(&json(&sessions, 9)).unwrap();
        assert_eq!(list.limit, 9);
        let entry = &list.sessions[0];
        assert_eq!(entry.session, "7-000000ab");
        assert_eq!(entry.client, "a \"b\"");
        assert_eq!(entry.needle, "1637");
        assert_eq!(entry.rate_bytes_per_second, 1e6);
        assert_eq!(entry.state, Doing::Held);
    }
}
