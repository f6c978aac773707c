//! A million reads (twenty thousand where the build is not optimised) leave nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod common;

use common::client::{completion, frame, range};
use common::http::Metrics;
use common::process::status_bytes;
use common::{Engine, Needle, Setup, Spec, Volume, bytes, crc32c, note};
use rdma_engine::protocol::Response;
use rdma_engine::protocol::message::{CompleteRead, StartRead, StartReadResponse};

const READS: usize = if cfg!(debug_assertions) {
    20_000
} else {
    1_000_000
};
const CONNECTIONS: usize = 8;
/// Reads a connection has under way.
const DEPTH: usize = 16;
const MIB: u64 = 1 << 20;
const POOL: u64 = 64 * MIB;
const SLACK: u64 = 32 * MIB;

fn needle() -> Needle {
    Needle::new(1, bytes(1, 2 * MIB as usize))
}

/// The `n`th read of a connection: mostly small, at odd offsets, now and then a large one.
fn nth(n: usize) -> StartRead {
    let size = match n % 1000 {
        0 => MIB + 1,
        1..50 => 65_536 + n as u64 % 977,
        _ => 1 + (n as u64 * 37) % 8192,
    };
    let offset = (n as u64 * 7919) % (MIB - 1);
    StartRead {
        request_id: Some(n as u64),
        ..range(7, &Needle::new(1, []), offset, size)
    }
}

/// Reads `count` times with `DEPTH` under way; each completion travels with the next read.
fn read_many(engine: &Engine, stored: &[u8], count: usize) {
    let mut client = engine.client();
    let pool = client.attach();
    let first = DEPTH.min(count);
    let mut asked = 0;
    let mut ask = |out: &mut Vec<u8>| {
        out.extend(frame(nth(asked)));
        asked += 1;
    };
    let mut out = Vec::new();
    (0..first).for_each(|_| ask(&mut out));
    client.write(&out);
    let (mut read, mut completed) = (0, 0);
    while completed < count {
        match client.receive() {
            Response::StartReadResponse(started) => {
                check(&pool, stored, &started, read);
                read += 1;
                out.clear();
                out.extend(frame(CompleteRead {
                    request_id: Some(u64::MAX),
                    ..completion(&started)
                }));
                if read + first <= count {
                    ask(&mut out);
                }
                client.write(&out);
            }
            Response::CompleteReadResponse(done) => {
                assert!(done.success, "{done:?}");
                completed += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Compares the facts always, the bytes of every hundredth read.
fn check(pool: &common::Pool, stored: &[u8], started: &StartReadResponse, read: usize) {
    let asked = nth(usize::try_from(started.request_id.unwrap()).unwrap());
    assert_eq!(started.transfer_size, asked.size);
    if read.is_multiple_of(100) {
        let from = usize::try_from(asked.offset).unwrap();
        let data = pool.landed(started);
        assert!(data == stored[from..from + data.len()], "{asked:?}");
        assert_eq!(started.expected_crc, crc32c(&data));
    }
}

fn read_on_all(engine: &Engine, stored: &[u8], reads: usize) {
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| read_many(engine, stored, reads / CONNECTIONS));
        }
    });
}

#[test]
fn a_million_reads_leave_nothing_behind() {
    let mut setup = Setup::new();
    setup.buffer_size = POOL;
    let stored = needle().data;
    Volume::create(setup.volumes(), 7, &Spec::default()).put(&needle());
    let engine = setup.start();
    let before = engine.baseline();
    let registrations = |m: &Metrics| m.get("rdma_registrations_total");
    let at_start = registrations(&engine.metrics());
    // Everything that is made once and kept has been made.
    read_on_all(&engine, &stored, 2000);
    let anonymous_before = status_bytes(engine.pid(), "RssAnon:");
    read_on_all(&engine, &stored, READS);
    engine.assert_nothing_lost(&before);
    assert_eq!(registrations(&engine.metrics()), at_start);
    let resident = status_bytes(engine.pid(), "VmRSS:");
    let anonymous = status_bytes(engine.pid(), "RssAnon:");
    note(&format!(
        "after {READS} reads: {resident} bytes resident with a pool of {POOL}; \
         outside it {anonymous_before} before, {anonymous} after"
    ));
    assert!(resident <= POOL + SLACK, "{resident} bytes are resident");
}
