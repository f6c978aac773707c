//! Reads of memory that a client names: what is wrong with one harms no other.

use rdma_engine::peer::message::Leased;

use crate::borrower::Borrower;
use crate::client::Client;
use crate::files::{File, Read};
use crate::load::Load;
use crate::pair::Pair;
use crate::report::{Place, Report, Result};
use crate::tally::Tally;

/// Wrong reads of each kind.
const WRONG: u64 = 20;
const FAILED: &str = "RDMA_OPERATION_FAILED";
/// What a device answers a READ of what it may not have.
const STATUS: &str = "IBV_WC_REM_ACCESS_ERR";

pub fn checks(report: &mut Report, place: &Place<'_>) -> Result<()> {
    let pair = Pair::start(
        place,
        |flags| flags.and("peer-timeout", "30s"),
        |flags| flags.and("lease-timeout", "10m").and("peer-timeout", "10m"),
    )?;
    let file = place.files.random(64 << 10)?;
    let mut borrower = Borrower::connect(pair.target.address)?;
    let lent = borrower.borrow(file)?;
    let mut check = |name, wrong: &[Read]| {
        report.check(name, || among_others(&pair, place, file, &lent, wrong));
    };
    check(
        "a READ with a wrong key fails alone",
        &[
            file.at(lent.addr, lent.rkey ^ 1),
            file.at(lent.addr, lent.rkey.wrapping_add(1 << 16)),
        ],
    );
    let past = lent.addr + (1 << 40);
    check(
        "a READ of an address out of range fails alone",
        &[
            file.at(past, lent.rkey),
            file.at(1, lent.rkey),
            // It begins in the pool and ends behind it.
            file.at(lent.addr + (64 << 20) - 8192, lent.rkey),
        ],
    );
    borrower.give_back()?;
    drop(borrower);
    pair.stop()
}

/// Does the wrong reads, and right ones of named memory between them, while others read needles.
fn among_others(
    pair: &Pair,
    place: &Place<'_>,
    file: &File,
    lent: &Leased,
    wrong: &[Read],
) -> Result<String> {
    let mut reads = place.files.random(1 << 20)?.pieces(64 << 10);
    reads.push(place.files.random(4096)?.whole());
    let others = Load::start(&pair.engine.socket, &reads, 2, 4)?;
    others.await_more(10)?;
    let right = [file.at(lent.addr, lent.rkey)];
    let mut client = Client::open(&pair.engine.socket)?;
    let (mut good, mut bad) = (client.each(&right), Tally::default());
    for read in wrong.iter().cycle().take(WRONG as usize) {
        bad.add(client.each(std::slice::from_ref(read)));
        good.add(client.each(&right));
    }
    others.await_more(10)?;
    let others = others.stop()?;
    others.all_right("verbs")?;
    good.all_right("verbs")?;
    bad.clean(&[FAILED])?;
    if bad.failed_with(FAILED) != WRONG || !bad.message(FAILED).contains(STATUS) {
        return Err(bad.to_string().into());
    }
    Ok(format!(
        "{bad}; right ones of the same client between them: {good}; meanwhile others: {others}"
    ))
}
