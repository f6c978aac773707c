//! `rdma-engine read`: a needle's bytes, out of the engine's pool into a file.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::CliError;
use super::client_args::ClientArgs;
use super::output::Output;
use super::show;
use crate::client::{Connection, FileId, Pool};
use crate::crc::Crc32c;
use crate::protocol::message::{CompleteRead, StartRead, StartReadResponse};

/// Bytes copied out of the pool at once: within a core's second-level cache.
const CHUNK_BYTES: usize = 256 << 10;

/// Read a needle through the engine's pool, checking its CRC
///
/// A FILE named with -o appears only when all of it was read and checked. On stdout, bytes are
/// written as they come: only exit status 0 says that they are right.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The needle, as in 3,01637037d6
    #[arg(value_name = "FID")]
    fid: FileId,
    /// First byte wanted
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// Bytes wanted; 0 is to the end of the needle
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    size: u64,
    /// Where the bytes go; - is stdout, the default unless that is a terminal
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    fid: String,
    offset: u64,
    bytes: u64,
    needle_size: u64,
    /// CRC-32C of the bytes, computed here.
    crc32c: u32,
    /// The checksum stored with the needle was checked by the engine, for every range read.
    stored_crc_verified: bool,
    transport: String,
    /// Reads it took: more than one for more than the engine's largest transfer.
    reads: u64,
    seconds: f64,
}

/// Reads the needle, in ranges where it is longer than the largest transfer.
pub fn run(args: Args) -> Result<(), CliError> {
    let auth_token = args.client.auth_token()?;
    let mut output = Output::open(args.output.as_deref())?;
    let mut connection = args.client.connect()?;
    let largest = connection.capabilities()?.max_transfer_size.max(1);
    let pool = connection.attach(auth_token.clone())?;
    let reader = Reader {
        connection,
        pool,
        largest,
        auth_token,
        chunk: vec![0; CHUNK_BYTES],
        whole: Crc32c::new(),
    };
    let report = reader.read(&args, &mut output)?;
    let to_stdout = output.is_stdout();
    output.commit()?;
    match (args.client.json, to_stdout) {
        (true, false) => show::print(&show::json(&report)?),
        (true, true) => std::io::stderr()
            .write_all(show::json(&report)?.as_bytes())
            .map_err(|e| CliError::Failed(format!("writing to stderr: {e}"))),
        (false, false) => show::print(&human(&report)),
        (false, true) => Ok(()),
    }
}

struct Reader {
    connection: Connection,
    pool: Pool,
    largest: u64,
    auth_token: Option<String>,
    chunk: Vec<u8>,
    whole: Crc32c,
}

impl Reader {
    fn read(mut self, args: &Args, output: &mut Output) -> Result<Report, CliError> {
        let begun = Instant::now();
        let first = if args.size == 0 {
            self.largest
        } else {
            args.size
        };
        let mut reply = self.range(args, args.offset, first, output)?;
        let needle_size = reply.needle_size;
        let to_end = needle_size.saturating_sub(args.offset);
        let wanted = if args.size == 0 {
            to_end
        } else {
            args.size.min(to_end)
        };
        let (mut bytes, mut reads, mut verified) = (0, 0, true);
        loop {
            let expected = (wanted - bytes).min(self.largest);
            if reply.transfer_size != expected || reply.needle_size != needle_size {
                return Err(CliError::Failed(format!(
                    "{} changed while it was read, or the engine's answer is wrong: at offset {} \
                     {} of {expected} bytes came, of a needle of {} bytes that had {needle_size}",
                    args.fid,
                    args.offset + bytes,
                    reply.transfer_size,
                    reply.needle_size
                )));
            }
            bytes += expected;
            reads += 1;
            verified &= reply.crc_verified;
            if bytes == wanted {
                break;
            }
            reply = self.range(args, args.offset + bytes, wanted - bytes, output)?;
        }
        Ok(Report {
            fid: args.fid.to_string(),
            offset: args.offset,
            bytes,
            needle_size,
            crc32c: self.whole.value(),
            stored_crc_verified: verified,
            transport: reply.transport,
            reads,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// Reads up to `wanted` bytes at `offset`, or the largest transfer, into `output`.
    fn range(
        &mut self,
        args: &Args,
        offset: u64,
        wanted: u64,
        output: &mut Output,
    ) -> Result<StartReadResponse, CliError> {
        let reply = self.connection.start_read(StartRead {
            volume_id: args.fid.volume_id,
            needle_id: args.fid.needle_id,
            cookie: args.fid.cookie,
            offset,
            size: wanted.min(self.largest),
            auth_token: self.auth_token.clone(),
            ..StartRead::default()
        })?;
        let taken = self.take(&reply, output);
        let done = self.connection.complete_read(CompleteRead {
            session_id: reply.session_id.clone(),
            success: taken.is_ok(),
            bytes_transferred: reply.transfer_size,
            client_crc: taken.as_ref().ok().copied(),
            error_message: taken.as_ref().err().map(ToString::to_string),
            request_id: None,
        });
        // What went wrong here is the cause; the engine's word on the end of it is not.
        taken?;
        let done = done?;
        if !done.success {
            let why = done
                .message
                .unwrap_or_else(|| "it does not say why".to_owned());
            return Err(CliError::Failed(format!(
                "the engine does not agree with what was read of {}: {why}",
                args.fid
            )));
        }
        Ok(reply)
    }

    /// Copies the bytes landed to `output`, checks their CRC and gives it.
    fn take(&mut self, reply: &StartReadResponse, output: &mut Output) -> Result<u32, CliError> {
        let mut landed = self.pool.landed(reply)?;
        let mut crc = Crc32c::new();
        loop {
            let copied = landed.read(&mut self.chunk);
            let copied = copied.map_err(|e| CliError::Failed(format!("reading the pool: {e}")))?;
            let piece = self.chunk.get(..copied).unwrap_or_default();
            if piece.is_empty() {
                break;
            }
            crc.update(piece);
            self.whole.update(piece);
            let written = output.write_all(piece);
            written.map_err(|e| CliError::Failed(format!("writing the output: {e}")))?;
        }
        if crc.value() == reply.expected_crc {
            return Ok(crc.value());
        }
        Err(CliError::Failed(format!(
            "the {} bytes in the pool have CRC {:08x}, the engine said {:08x}: they are not the \
             needle's; was the session's deadline past before they were taken?",
            reply.transfer_size,
            crc.value(),
            reply.expected_crc
        )))
    }
}

fn human(report: &Report) -> String {
    let stored = if report.stored_crc_verified {
        "checked"
    } else {
        "not checkable"
    };
    let reads = match report.reads {
        1 => String::new(),
        reads => format!(" in {reads} reads"),
    };
    format!(
        "{} bytes of {}{reads} by {} in {}, CRC {:08x}, stored checksum {stored}\n",
        report.bytes,
        report.fid,
        report.transport,
        show::time((report.seconds * 1e9) as u64),
        report.crc32c
    )
}
