//! The engine's READs of a file beside perftest's, in turns: by themselves, as perftest does it,
//! and in an engine that serves a client.

use rdma_engine::verbs::RemoteMemory;

use crate::borrower::Borrower;
use crate::client::Client;
use crate::daemon::Flags;
use crate::files::Read;
use crate::pair::Pair;
use crate::report::{Place, Result};

/// How many count.
pub const TURNS: usize = 5;

/// The medians of what is measured with the random file of so many bytes: by perftest, of the
/// engine's READs `alone`, and of reads that are `served` to a client, lent and named.
pub fn medians(
    place: &Place<'_>,
    bytes: usize,
    engine: impl FnOnce(Flags) -> Flags,
    perftest: impl Fn() -> Result<f64>,
    alone: impl Fn(&Borrower, RemoteMemory) -> Result<f64>,
    served: impl Fn(&mut Client, &[Read]) -> Result<f64>,
) -> Result<[f64; 4]> {
    let pair = Pair::start(place, engine, |flags| {
        flags.and("lease-timeout", "10m").and("peer-timeout", "10m")
    })?;
    let file = place.files.random(bytes)?;
    let mut borrower = Borrower::connect(pair.target.address)?;
    let leased = borrower.borrow(file)?;
    let (addr, rkey) = (leased.addr, leased.rkey);
    let (lent, named) = ([file.whole()], [file.at(addr, rkey)]);
    let mut client = Client::open(&pair.engine.socket)?;
    let mut measured = [const { Vec::new() }; 4];
    for turn in 0..=TURNS {
        let figures = [
            perftest()?,
            alone(&borrower, RemoteMemory { addr, rkey })?,
            served(&mut client, &lent)?,
            served(&mut client, &named)?,
        ];
        // The first is to warm up.
        if turn > 0 {
            for (all, figure) in measured.iter_mut().zip(figures) {
                all.push(figure);
            }
        }
    }
    borrower.give_back()?;
    drop((client, borrower));
    pair.stop()?;
    Ok(measured.map(median))
}

/// The middle one.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
