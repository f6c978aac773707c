//! One connection with reads under way, on a thread of its own.

use std::io::Read;
use std::time::Instant;

use super::super::CliError;
use super::load::{Load, Progress, Totals};
use crate::client::{ClientError, Connection, out_of_step};
use crate::crc::Crc32c;
use crate::protocol::message::{CompleteRead, StartRead, StartReadResponse};
use crate::protocol::{Request, Response};

/// The `request_id` of every CompleteRead; that of a StartRead is its place in the queue.
const COMPLETION: u64 = u64::MAX;
/// Bytes copied out of the pool at once to be checked: within a core's second-level cache.
const CHUNK_BYTES: usize = 64 << 10;

/// One connection with its reads.
pub struct Driver<'a> {
    load: &'a Load,
    progress: &'a Progress,
    connection: Connection,
    next_fid: usize,
    /// When the read in each place began.
    under_way: Vec<Option<Instant>>,
    /// Places with a read in them.
    waiting: usize,
    /// CompleteReads not yet answered.
    completions: usize,
    chunk: Vec<u8>,
    totals: Totals,
}

impl<'a> Driver<'a> {
    /// The driver of connection `number`, before its first read.
    pub fn new(
        load: &'a Load,
        progress: &'a Progress,
        connection: Connection,
        number: usize,
    ) -> Result<Self, CliError> {
        let chunk_bytes = if load.pool.is_some() { CHUNK_BYTES } else { 0 };
        Ok(Self {
            load,
            progress,
            connection,
            next_fid: number % load.fids.len().max(1),
            under_way: vec![None; load.depth],
            waiting: 0,
            completions: 0,
            chunk: vec![0; chunk_bytes],
            totals: Totals::new()?,
        })
    }

    /// What came of its reads.
    pub fn into_totals(self) -> Totals {
        self.totals
    }

    /// Reads until it is time to stop and everything is answered.
    ///
    /// # Errors
    /// When the connection is lost or what comes answers nothing asked.
    pub fn run(&mut self) -> Result<(), ClientError> {
        for place in 0..self.load.depth {
            self.start(place)?;
        }
        self.connection.flush()?;
        while self.waiting + self.completions > 0 {
            let response = self.connection.receive()?;
            self.answered(response)?;
            // All that came together is answered together.
            while let Some(response) = self.connection.received()? {
                self.answered(response)?;
            }
            self.connection.flush()?;
        }
        Ok(())
    }

    /// Queues the next read, unless it is time to stop.
    fn start(&mut self, place: usize) -> Result<(), ClientError> {
        let Some(fid) = self.load.fids.get(self.next_fid) else {
            return Ok(());
        };
        if !self.progress.go_on(self.load.until) {
            return Ok(());
        }
        self.next_fid = (self.next_fid + 1) % self.load.fids.len();
        let request = Request::StartRead(StartRead {
            volume_id: fid.volume_id,
            needle_id: fid.needle_id,
            cookie: fid.cookie,
            offset: self.load.offset,
            size: self.load.size,
            auth_token: self.load.auth_token.clone(),
            request_id: Some(place as u64),
            ..StartRead::default()
        });
        if let Some(read) = self.under_way.get_mut(place) {
            *read = Some(Instant::now());
            self.waiting += 1;
            self.connection.queue(&request)?;
        }
        Ok(())
    }

    fn answered(&mut self, response: Response) -> Result<(), ClientError> {
        match response.request_id() {
            Some(COMPLETION) if self.completions > 0 => self.completed(response),
            Some(id) => {
                let place = usize::try_from(id).unwrap_or(usize::MAX);
                let read = self.under_way.get_mut(place).and_then(Option::take);
                let Some(begun) = read else {
                    return Err(out_of_step("the reply to a read under way", &response));
                };
                self.waiting -= 1;
                self.landed(response, begun)?;
                self.start(place)
            }
            None => match response {
                Response::Error(error) => Err(ClientError::Engine(error.into())),
                other => Err(out_of_step("a reply with a request_id", &other)),
            },
        }
    }

    fn landed(&mut self, response: Response, begun: Instant) -> Result<(), ClientError> {
        let reply = match response {
            Response::StartReadResponse(reply) => reply,
            Response::Error(error) => {
                self.totals.failed(error.into());
                return Ok(());
            }
            other => return Err(out_of_step("StartReadResponse", &other)),
        };
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.totals.times.saturating_record(ns);
        self.totals.bytes += reply.transfer_size;
        self.totals.elapsed = self.progress.succeeded();
        let client_crc = self.verify(&reply)?;
        let matches = client_crc.is_none_or(|crc| crc == reply.expected_crc);
        let done = CompleteRead {
            session_id: reply.session_id,
            success: matches,
            bytes_transferred: reply.transfer_size,
            client_crc,
            error_message: (!matches).then(|| "the CRC of the bytes differs".to_owned()),
            request_id: Some(COMPLETION),
        };
        self.completions += 1;
        self.connection.queue(&Request::CompleteRead(done))
    }

    /// The CRC of the bytes in the pool, where they are to be checked.
    fn verify(&mut self, reply: &StartReadResponse) -> Result<Option<u32>, ClientError> {
        let Some(pool) = &self.load.pool else {
            return Ok(None);
        };
        let mut landed = pool.landed(reply)?;
        let mut crc = Crc32c::new();
        loop {
            let copied = landed
                .read(&mut self.chunk)
                .map_err(|source| ClientError::Io {
                    doing: "reading the pool",
                    source,
                })?;
            match self.chunk.get(..copied) {
                None | Some([]) => break,
                Some(piece) => crc.update(piece),
            }
        }
        if crc.value() == reply.expected_crc {
            self.totals.verified += 1;
        } else {
            self.totals.mismatches += 1;
        }
        Ok(Some(crc.value()))
    }

    fn completed(&mut self, response: Response) -> Result<(), ClientError> {
        self.completions -= 1;
        match response {
            Response::CompleteReadResponse(reply) if reply.success => {}
            Response::CompleteReadResponse(_) => self.totals.refused += 1,
            Response::Error(error) => self.totals.failed(error.into()),
            other => return Err(out_of_step("CompleteReadResponse", &other)),
        }
        Ok(())
    }
}
