//! A client of the engine that knows what must come, and looks at every byte.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rdma_engine::client::{ClientError, Connection, Pool};
use rdma_engine::protocol::message::{CompleteRead, ErrorResponse, StartRead, StartReadResponse};
use rdma_engine::protocol::{Request, Response};

use crate::files::Read;
use crate::report::Result;
use crate::tally::Tally;

/// Longer than any read's deadline: what has not been answered then never will be.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes compared at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Set in the id of a CompleteRead.
const COMPLETION: u64 = 1 << 63;

/// A connection with the pool attached.
pub struct Client {
    connection: Connection,
    pool: Pool,
    next: u64,
    under_way: HashMap<u64, (Read, Instant)>,
    completions: usize,
    chunk: Vec<u8>,
}

impl Client {
    /// Connects to the engine.
    pub fn open(socket: &Path) -> Result<Self> {
        let mut connection = Connection::open(socket, ANSWER_TIMEOUT)?;
        let pool = connection.attach(None)?;
        Ok(Self {
            connection,
            pool,
            next: 0,
            under_way: HashMap::new(),
            completions: 0,
            chunk: vec![0; CHUNK_BYTES],
        })
    }

    /// Does the reads one by one.
    pub fn each(&mut self, reads: &[Read]) -> Tally {
        self.run(reads, 1, Some(reads.len() as u64), || true, |_| {})
    }

    /// Does reads in turn, `depth` of them under way at once, `most` of them or until `go_on`
    /// says no. `answered` hears of each answer that was right.
    pub fn run(
        &mut self,
        reads: &[Read],
        depth: usize,
        most: Option<u64>,
        go_on: impl Fn() -> bool,
        mut answered: impl FnMut(&StartReadResponse),
    ) -> Tally {
        let mut tally = Tally::default();
        let mut turn = reads.iter().cycle();
        loop {
            while self.under_way.len() < depth
                && most.is_none_or(|most| tally.attempted < most)
                && go_on()
                && let Some(read) = turn.next()
            {
                tally.attempted += 1;
                if let Err(error) = self.start(read) {
                    self.give_up(&mut tally, &error);
                    return tally;
                }
            }
            if self.under_way.is_empty() && self.completions == 0 {
                return tally;
            }
            if let Err(error) = self.take(&mut tally, &mut answered) {
                self.give_up(&mut tally, &error);
                return tally;
            }
        }
    }

    fn start(&mut self, read: &Read) -> Result<(), ClientError> {
        let id = self.next;
        self.next += 1;
        self.connection.queue(&Request::StartRead(StartRead {
            request_id: Some(id),
            ..read.request.clone()
        }))?;
        self.under_way.insert(id, (read.clone(), Instant::now()));
        Ok(())
    }

    /// Sends what is queued and takes the answers that are there, at least one.
    fn take(
        &mut self,
        tally: &mut Tally,
        answered: &mut impl FnMut(&StartReadResponse),
    ) -> Result<(), ClientError> {
        self.connection.flush()?;
        let mut next = Some(self.connection.receive()?);
        while let Some(response) = next {
            match response {
                Response::StartReadResponse(reply) => self.landed(&reply, tally, answered)?,
                Response::CompleteReadResponse(reply) => {
                    self.completions -= 1;
                    if !reply.success {
                        wrong(tally, format!("completed, but {:?}", reply.message));
                    }
                }
                Response::Error(error) => self.failed(error, tally),
                other => wrong(tally, format!("answered with {other:?}")),
            }
            next = self.connection.received()?;
        }
        Ok(())
    }

    fn landed(
        &mut self,
        reply: &StartReadResponse,
        tally: &mut Tally,
        answered: &mut impl FnMut(&StartReadResponse),
    ) -> Result<(), ClientError> {
        let asked = reply.request_id.and_then(|id| self.under_way.remove(&id));
        let Some((read, since)) = asked else {
            wrong(tally, format!("an answer to nothing: {reply:?}"));
            return Ok(());
        };
        tally.slowest = tally.slowest.max(since.elapsed());
        match self.compare(&read, reply) {
            Ok(()) => {
                tally.right += 1;
                tally.bytes += reply.transfer_size;
                *tally
                    .by_transport
                    .entry(reply.transport.clone())
                    .or_default() += 1;
                answered(reply);
            }
            Err(why) => wrong(tally, format!("{:?}: {why}", read.request)),
        }
        self.completions += 1;
        self.connection.queue(&Request::CompleteRead(CompleteRead {
            session_id: reply.session_id.clone(),
            success: true,
            bytes_transferred: reply.transfer_size,
            client_crc: Some(read.crc),
            request_id: reply.request_id.map(|id| id | COMPLETION),
            ..CompleteRead::default()
        }))
    }

    fn failed(&mut self, error: ErrorResponse, tally: &mut Tally) {
        match error.request_id {
            Some(id) if id & COMPLETION != 0 => self.completions -= 1,
            Some(id) => {
                if let Some((_, since)) = self.under_way.remove(&id) {
                    tally.slowest = tally.slowest.max(since.elapsed());
                }
            }
            None => {}
        }
        let first = || (0, error.message.clone());
        tally.failed.entry(error.code).or_insert_with(first).0 += 1;
    }

    /// Holds what landed against what had to.
    fn compare(&mut self, read: &Read, reply: &StartReadResponse) -> Result<(), String> {
        let expected = read.expected();
        let told = (reply.transfer_size, reply.needle_size, reply.expected_crc);
        let right = (expected.len() as u64, read.needle_size, read.crc);
        if told != right {
            return Err(format!(
                "length, needle size, CRC are {told:?}, not {right:?}"
            ));
        }
        let mut landed = self.pool.landed(reply).map_err(|e| e.to_string())?;
        for piece in expected.chunks(CHUNK_BYTES) {
            let room = self.chunk.get_mut(..piece.len()).unwrap_or_default();
            landed.read_exact(room).map_err(|e| e.to_string())?;
            if room != piece {
                return Err("other bytes".to_owned());
            }
        }
        Ok(())
    }

    /// The engine has gone, or says nothing.
    fn give_up(&mut self, tally: &mut Tally, error: &ClientError) {
        tally.unanswered += self.under_way.len() as u64;
        tally.example.get_or_insert(error.to_string());
        self.under_way.clear();
    }
}

fn wrong(tally: &mut Tally, why: String) {
    tally.wrong += 1;
    tally.example.get_or_insert(why);
}
