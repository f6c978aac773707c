//! What became of reads.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::report::Result;

/// Counts of reads, and one example of whatever went wrong.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Reads that were asked for.
    pub attempted: u64,
    /// Reads whose every byte was as it must be.
    pub right: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// Reads whose bytes, length or checksum were not as they must be.
    pub wrong: u64,
    /// Errors the engine answered: how many of each code, and the first one's message.
    pub failed: BTreeMap<String, (u64, String)>,
    /// Reads that got no answer.
    pub unanswered: u64,
    /// Reads that came right, by how they came.
    pub by_transport: BTreeMap<String, u64>,
    /// The longest any read took to its answer.
    pub slowest: Duration,
    /// What was wrong with the first that was.
    pub example: Option<String>,
}

impl Tally {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.right += other.right;
        self.bytes += other.bytes;
        self.wrong += other.wrong;
        self.unanswered += other.unanswered;
        self.slowest = self.slowest.max(other.slowest);
        self.example = self.example.take().or(other.example);
        for (code, (count, first)) in other.failed {
            self.failed.entry(code).or_insert((0, first)).0 += count;
        }
        for (transport, count) in other.by_transport {
            *self.by_transport.entry(transport).or_default() += count;
        }
    }

    /// Reads that came right by this transport.
    pub fn by(&self, transport: &str) -> u64 {
        self.by_transport.get(transport).copied().unwrap_or(0)
    }

    /// Reads that failed with this code.
    pub fn failed_with(&self, code: &str) -> u64 {
        self.failed.get(code).map_or(0, |f| f.0)
    }

    /// Reads the engine answered with an error.
    pub fn failures(&self) -> u64 {
        self.failed.values().map(|f| f.0).sum()
    }

    /// The first message that came with this code.
    pub fn message(&self, code: &str) -> &str {
        self.failed.get(code).map_or("", |f| f.1.as_str())
    }

    /// Makes sure that something was read, nothing wrong, everything answered, and that failures
    /// are of these codes only.
    pub fn clean(&self, codes: &[&str]) -> Result<()> {
        let unclean = self.failed.keys().any(|c| !codes.contains(&c.as_str()));
        if self.attempted == 0 || self.wrong > 0 || self.unanswered > 0 || unclean {
            return Err(self.to_string().into());
        }
        Ok(())
    }

    /// Makes sure that every read came right, and by this transport.
    pub fn all_right(&self, transport: &str) -> Result<()> {
        self.clean(&[])?;
        if self.by(transport) != self.attempted {
            return Err(format!("not all by {transport}: {self}").into());
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by_transport.iter();
        let by: Vec<_> = by.map(|(t, n)| format!("{n} by {t}")).collect();
        write!(
            f,
            "{} reads attempted: {} right",
            self.attempted, self.right
        )?;
        if !by.is_empty() {
            write!(f, " ({})", by.join(", "))?;
        }
        write!(f, ", {} failed cleanly", self.failures())?;
        for (code, (count, first)) in &self.failed {
            write!(f, "; {count} {code}: {first}")?;
        }
        if self.unanswered > 0 {
            write!(f, "; {} UNANSWERED", self.unanswered)?;
        }
        write!(f, "; {} wrong", self.wrong)?;
        match &self.example {
            Some(example) => write!(f, ": {example}"),
            None => Ok(()),
        }
    }
}
