//! The slab of sessions: who holds which buffer, until when.
//!
//! A place is taken before anything is allocated for a read, so the limit bounds everything
//! behind it. It stays taken until the read is over, so its key is never reused while I/O is in
//! flight. A buffer is dropped (and so freed) outside the lock.
//!
//! Nobody keeps the others out by holding all there may be: an eighth more is for clients that
//! hold less than half as many.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slab::Slab;

use super::ClientKey;
use super::id::SessionId;
use crate::pool::{Buffer, Leased};
use crate::source::Transport;
use crate::telemetry::{Doing, Live, Named, ShortId, Stages};

/// Ids of ended sessions that are remembered, to tell "expired" from "never was".
const REMEMBERED: usize = 4096;

/// Every session alive.
#[derive(Debug)]
pub struct Sessions {
    table: Mutex<Table>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Table {
    slots: Slab<Slot>,
    expired: VecDeque<SessionId>,
    /// No lease ends before this.
    next_deadline: Option<Instant>,
    entropy: Entropy,
    reading: usize,
    /// Places taken, by owner.
    taken: HashMap<ClientKey, usize>,
    /// Sessions found to be over by their clients, since the last sweep.
    completed_late: Vec<Ended>,
}

#[derive(Debug)]
struct Slot {
    id: SessionId,
    owner: ClientKey,
    deadline: Instant,
    since: Instant,
    opening: Opening,
    state: State,
}

/// Who reads what; for those who look from outside.
#[derive(Clone, Debug)]
pub struct Opening {
    /// The client's name.
    pub client: Arc<Named>,
    /// The volume.
    pub volume: u32,
    /// The needle.
    pub needle: u64,
}

#[derive(Debug)]
enum State {
    /// The read is under way; nobody has been told the id.
    Reading,
    /// The read is under way for a client that has gone.
    Abandoned,
    /// The client has the bytes.
    Held(Held),
}

/// What a session holds for its client.
#[derive(Debug)]
pub struct Held {
    /// The buffer the bytes are in.
    pub lease: Buffer<Leased>,
    /// Bytes landed.
    pub transfer_size: u64,
    /// CRC-32C of them.
    pub crc: u32,
    /// How they came.
    pub came: Came,
}

/// How the bytes of a session came; for those who look from outside.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// How.
    pub transport: Transport,
    /// Where the time went from the request's last byte until they were handed over.
    pub stages: Stages,
}

/// A session that is over: it had been told to its client, or could have been.
#[derive(Clone, Debug)]
pub struct Ended {
    /// What it may be called in a log.
    pub short: ShortId,
    /// Who read what.
    pub opening: Opening,
    /// Bytes landed.
    pub transfer_size: u64,
    /// How they came.
    pub came: Came,
    /// When it was admitted.
    pub since: Instant,
}

/// Why a session can not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// There are as many as there may be.
    #[error(
        "{limit} sessions are alive, which is the limit; complete some or raise --max-sessions"
    )]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No session has this id.
    #[error("no session has this id: it was completed already, or never was")]
    NotFound,
    /// The session's deadline has passed.
    #[error("the session's deadline has passed; its buffer may hold other data by now")]
    Expired,
    /// The client that asked has gone.
    #[error("the client has gone")]
    Abandoned,
}

/// A place in the slab, for a read under way; given back when dropped.
#[derive(Debug)]
pub struct Admission {
    sessions: Arc<Sessions>,
    id: SessionId,
    /// Cleared when the place has become a lease.
    open: bool,
}

impl Sessions {
    /// Room for `limit` sessions, and an eighth more for clients that hold less than half of them.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::default(),
            limit,
        })
    }

    /// Takes a place for a read that `owner` asked for, at `since`, and that ends at `deadline`.
    ///
    /// # Errors
    /// When there are as many as there may be.
    pub fn admit(
        self: &Arc<Self>,
        owner: ClientKey,
        opening: Opening,
        (since, deadline): (Instant, Instant),
    ) -> Result<Admission, SessionError> {
        let mut table = self.table();
        let (all, own) = (table.slots.len(), table.taken.get(&owner).copied());
        let is_modest = own.unwrap_or(0) < self.limit.div_ceil(2);
        let limit = match is_modest {
            true => self.limit + self.limit.div_ceil(8),
            false => self.limit,
        };
        if all >= limit {
            return Err(SessionError::TooMany { limit: self.limit });
        }
        *table.taken.entry(owner).or_default() += 1;
        let random = table.entropy.draw();
        let entry = table.slots.vacant_entry();
        let id = SessionId::new(entry.key() as u32, random);
        entry.insert(Slot {
            id,
            owner,
            deadline,
            since,
            opening,
            state: State::Reading,
        });
        table.reading += 1;
        drop(table);
        Ok(Admission {
            sessions: Arc::clone(self),
            id,
            open: true,
        })
    }

    /// Ends the session `id` and takes what it held.
    ///
    /// # Errors
    /// When it is not there or past its deadline.
    pub fn complete(&self, id: SessionId, now: Instant) -> Result<(Held, Ended), SessionError> {
        let mut table = self.table();
        let late = match table.find(id) {
            Some(Slot {
                state: State::Held(_),
                deadline,
                ..
            }) => Some(*deadline <= now),
            _ => None,
        };
        let Some(late) = late else {
            let expired = table.expired.contains(&id);
            return Err(if expired {
                SessionError::Expired
            } else {
                SessionError::NotFound
            });
        };
        let (held, ended) = table.remove(id).ok_or(SessionError::NotFound)?;
        if late {
            table.remember(id);
            table.completed_late.push(ended);
            drop(table);
            return Err(SessionError::Expired);
        }
        Ok((held, ended))
    }

    /// Ends the leases whose deadline has come. Returns those that have expired since the last call.
    pub fn expire(&self, now: Instant) -> Vec<Ended> {
        let mut table = self.table();
        let mut expired = std::mem::take(&mut table.completed_late);
        if table.next_deadline.is_none_or(|next| now < next) {
            return expired;
        }
        let mut next = None;
        let mut over = Vec::new();
        for (_, slot) in &table.slots {
            if !matches!(slot.state, State::Held(_)) {
                continue;
            }
            if slot.deadline <= now {
                over.push(slot.id);
            } else {
                next = Some(next.map_or(slot.deadline, |n: Instant| n.min(slot.deadline)));
            }
        }
        table.next_deadline = next;
        for &id in &over {
            table.remember(id);
        }
        let removed = over.iter().filter_map(|&id| table.remove(id));
        let (held, ended): (Vec<_>, Vec<_>) = removed.unzip();
        drop(table);
        drop(held);
        expired.extend(ended);
        expired
    }

    /// Ends every session of a client that has gone. Returns those it held, and how many it was
    /// still waiting for.
    pub fn reclaim(&self, owner: ClientKey) -> (Vec<Ended>, usize) {
        let mut table = self.table();
        let mut held_ids = Vec::new();
        let mut abandoned = 0;
        for (_, slot) in table
            .slots
            .iter_mut()
            .filter(|(_, slot)| slot.owner == owner)
        {
            match slot.state {
                State::Held(_) => held_ids.push(slot.id),
                State::Reading => {
                    slot.state = State::Abandoned;
                    abandoned += 1;
                }
                State::Abandoned => {}
            }
        }
        let removed = held_ids.into_iter().filter_map(|id| table.remove(id));
        let (held, ended): (Vec<_>, Vec<_>) = removed.unzip();
        drop(table);
        drop(held);
        (ended, abandoned)
    }

    /// The sessions open now. The lock is held for as long as copying them takes, and no memory is
    /// asked for meanwhile unless many were added at that moment.
    pub fn live(&self, now: Instant) -> Vec<Live> {
        let mut live = Vec::with_capacity(self.count().0 + 64);
        let table = self.table();
        live.extend(table.slots.iter().map(|(_, slot)| slot.live(now)));
        drop(table);
        live
    }

    /// Whether a client has any session.
    pub fn any_of(&self, owner: ClientKey) -> bool {
        self.table().taken.contains_key(&owner)
    }

    /// Sessions alive, and how many of them are still reading.
    pub fn count(&self) -> (usize, usize) {
        let table = self.table();
        (table.slots.len(), table.reading)
    }

    /// The most there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The table is consistent between any two statements that change it, so a panic elsewhere
    /// while it was locked has not spoilt it.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn live(&self, now: Instant) -> Live {
        let held = match &self.state {
            State::Held(held) => Some(held),
            State::Reading | State::Abandoned => None,
        };
        let doing = if held.is_some() {
            Doing::Held
        } else {
            Doing::Reading
        };
        Live {
            short: self.id.short(),
            client: Arc::clone(&self.opening.client),
            volume: self.opening.volume,
            needle: self.opening.needle,
            bytes: held.map_or(0, |held| held.transfer_size),
            pool_bytes: held.map_or(0, |held| held.lease.size_bytes() as u64),
            took: held.map_or(Duration::ZERO, |held| held.came.stages.total()),
            age: now.saturating_duration_since(self.since),
            left: self.deadline.saturating_duration_since(now),
            doing,
            transport: held.map(|held| held.came.transport.as_str()),
        }
    }
}

impl Table {
    fn find(&mut self, id: SessionId) -> Option<&mut Slot> {
        self.slots
            .get_mut(id.key() as usize)
            .filter(|slot| slot.id == id)
    }

    fn remove(&mut self, id: SessionId) -> Option<(Held, Ended)> {
        self.find(id)?;
        let slot = self.slots.remove(id.key() as usize);
        if let Some(taken) = self.taken.get_mut(&slot.owner) {
            *taken -= 1;
            if *taken == 0 {
                self.taken.remove(&slot.owner);
            }
        }
        match slot.state {
            State::Held(held) => {
                let ended = Ended {
                    short: slot.id.short(),
                    opening: slot.opening,
                    transfer_size: held.transfer_size,
                    came: held.came,
                    since: slot.since,
                };
                Some((held, ended))
            }
            State::Reading | State::Abandoned => {
                self.reading -= 1;
                None
            }
        }
    }

    fn remember(&mut self, id: SessionId) {
        if self.expired.len() == REMEMBERED {
            self.expired.pop_front();
        }
        self.expired.push_back(id);
    }
}

impl Admission {
    /// The session's id.
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Makes the place a lease that the client may hold until its deadline.
    ///
    /// # Errors
    /// When the client has gone meanwhile; the buffer is freed.
    pub fn hold(mut self, held: Held) -> Result<SessionId, SessionError> {
        let mut guard = self.sessions.table();
        let table = &mut *guard;
        let Some(slot) = table
            .find(self.id)
            .filter(|slot| matches!(slot.state, State::Reading))
        else {
            drop(guard);
            return Err(SessionError::Abandoned);
        };
        slot.state = State::Held(held);
        let deadline = slot.deadline;
        table.next_deadline = Some(
            table
                .next_deadline
                .map_or(deadline, |next| next.min(deadline)),
        );
        table.reading -= 1;
        drop(guard);
        self.open = false;
        Ok(self.id)
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if self.open {
            self.sessions.table().remove(self.id);
        }
    }
}

/// Random bytes from the kernel, fetched for many ids at once.
#[derive(Debug)]
struct Entropy {
    bytes: [u8; 384],
    used: usize,
}

impl Default for Entropy {
    fn default() -> Self {
        Self {
            bytes: [0; 384],
            used: 384,
        }
    }
}

impl Entropy {
    fn draw(&mut self) -> [u8; 12] {
        if self.used == self.bytes.len() {
            // The kernel's generator has no errors once it is seeded, which it is by the time
            // anything but init runs; an id that could be guessed must never be given out.
            #[allow(clippy::expect_used, reason = "see above")]
            getrandom::fill(&mut self.bytes).expect("the kernel's random generator");
            self.used = 0;
        }
        let mut drawn = [0; 12];
        let fresh = &mut self.bytes[self.used..self.used + drawn.len()];
        drawn.copy_from_slice(fresh);
        fresh.fill(0);
        self.used += drawn.len();
        drawn
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
