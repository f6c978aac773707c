//! What the real SeaweedFS does to its volumes is what the engine reads: written, overwritten,
//! deleted, vacuumed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use common::reader::Reader;
use common::weed::{Stored, Weed};
use common::{Setup, bytes, eventually, note};

/// Reads everything by the engine and over HTTP and awaits that they agree; how long that took
/// at the most for one needle.
fn await_agreement(reader: &mut Reader, weed: &Weed, stored: &[Stored]) -> Duration {
    let mut slowest = Duration::ZERO;
    for stored in stored {
        let asked = Instant::now();
        let by_http = weed.read(stored);
        let id = stored.needle.id;
        eventually(&format!("needle {id:x} is read as over HTTP"), || {
            let read = common::client::whole(stored.volume, &stored.needle);
            match (reader.client.fetch(&reader.pool, &read), &by_http) {
                (Ok((data, _)), Some(expected)) => (data == *expected).then_some(()),
                (Err(error), None) => (error.code == "NEEDLE_NOT_FOUND").then_some(()),
                _ => None,
            }
        });
        slowest = slowest.max(asked.elapsed());
    }
    slowest
}

#[test]
fn the_engine_reads_what_weed_serves_through_writes_deletes_and_vacuums() {
    let weed = Weed::start();
    let mut setup = Setup::new();
    setup.also_volumes(&weed.volumes());
    let engine = setup.start();
    let before = engine.baseline();
    let mut reader = Reader::of(&engine);
    let mut live: Vec<Stored> = Vec::new();
    let mut gone: Vec<Stored> = Vec::new();
    let mut slowest = Duration::ZERO;
    for round in 0..4_u64 {
        let inodes = dat_inodes(&weed);
        for number in 0..30 {
            let seed = round * 100 + number;
            let stored = weed.store(bytes(seed, (seed as usize * 997) % 90_000));
            // At once: the index entry is written before weed answers.
            assert_eq!(reader.try_read(stored.volume, &stored.needle), Ok(()));
            live.push(stored);
        }
        gone.extend(live.drain(..10));
        gone.iter()
            .rev()
            .take(10)
            .for_each(|stored| weed.delete(stored));
        for (stored, seed) in live.iter_mut().take(10).zip(1000 * (round + 1)..) {
            weed.overwrite(stored, bytes(seed, 20_000));
        }
        slowest = slowest.max(await_agreement(&mut reader, &weed, &live));
        slowest = slowest.max(await_agreement(&mut reader, &weed, &gone));
        weed.vacuum();
        assert!(inodes != dat_inodes(&weed), "nothing was vacuumed");
        // Unasked for what is missing, it reads what there is, and not what was deleted since.
        let deleted = live.pop().unwrap();
        weed.delete(&deleted);
        gone.push(deleted);
        slowest = slowest.max(await_agreement(&mut reader, &weed, &gone));
        slowest = slowest.max(await_agreement(&mut reader, &weed, &live));
        assert!(gone.iter().all(|stored| weed.read(stored).is_none()));
        for stored in &live {
            assert_eq!(weed.read(stored).as_ref(), Some(&stored.needle.data));
        }
    }
    note(&format!(
        "the engine was {slowest:?} behind weed at the most"
    ));
    drop(reader);
    engine.assert_nothing_lost(&before);
}

fn dat_inodes(weed: &Weed) -> BTreeSet<u64> {
    let files = std::fs::read_dir(weed.volumes()).unwrap();
    let files = files.map(|file| file.unwrap());
    let dats = files.filter(|file| file.path().extension().is_some_and(|e| e == "dat"));
    dats.map(|file| file.metadata().unwrap().ino()).collect()
}
