//! What the steps of a read cost by themselves: codec, checksum, allocator, session slab.
#![allow(missing_docs, clippy::unwrap_used, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rdma_engine::crc::crc32c;
use rdma_engine::pool::{Allocator, Owner, Pages, Pool};
use rdma_engine::protocol::message::{StartRead, StartReadResponse};
use rdma_engine::protocol::{Request, Response};
use rdma_engine::session::{Came, ClientKey, Held, Opening, SessionId, Sessions};
use rdma_engine::source::Transport;
use rdma_engine::telemetry::{
    ClientSeries, Identity, Journal, Landing, Metrics, MetricsSettings, Stage, StageClock, Stages,
    Stamp,
};

fn codec(c: &mut Criterion) {
    let mut frame = Vec::new();
    let request = StartRead {
        volume_id: 3,
        needle_id: 0x1f2,
        cookie: 0x0370_37d6,
        ..StartRead::default()
    };
    Request::StartRead(request).encode(&mut frame).unwrap();
    c.bench_function("codec/decode a StartRead", |b| {
        b.iter(|| Request::decode(black_box(&frame[4..])).unwrap());
    });
    let reply = Response::StartReadResponse(StartReadResponse {
        session_id: SessionId::new(1, [7; 12]).to_string(),
        transport: "local".to_owned(),
        ..StartReadResponse::default()
    });
    let mut out = Vec::new();
    c.bench_function("codec/encode a StartReadResponse", |b| {
        b.iter(|| {
            out.clear();
            black_box(&reply).encode(&mut out).unwrap();
        });
    });
}

fn checksum(c: &mut Criterion) {
    let mut group = c.benchmark_group("crc32c");
    for (name, bytes) in [("4 KiB", 4 << 10), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let data = vec![0x5a; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(name, |b| b.iter(|| crc32c(black_box(&data))));
    }
}

fn allocator(c: &mut Criterion) {
    const GRANULES: u32 = 1 << 18;
    for (name, granules) in [("8 KiB", 2), ("4 MiB and a granule", 1025)] {
        let mut allocator = Allocator::new(GRANULES, GRANULES);
        // Holes of every size, as after a while of mixed reads.
        let taken: Vec<_> = (0..2000_u32)
            .filter_map(|i| Some((allocator.allocate(1 + i % 61)?, 1 + i % 61)))
            .collect();
        taken
            .iter()
            .step_by(2)
            .for_each(|&(start, n)| allocator.free(start, n));
        c.bench_function(&format!("allocator/take and free {name} of 1 GiB"), |b| {
            b.iter(|| {
                let start = allocator.allocate(black_box(granules)).unwrap();
                allocator.free(start, granules);
            });
        });
    }
}

fn sessions(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let pool = Pool::new(64 << 20, 1 << 20, Pages::Ordinary).unwrap();
    let held = || {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let lease = runtime
            .block_on(pool.reserve(Owner::default(), 4096, deadline))
            .unwrap()
            .lease();
        Held {
            lease,
            transfer_size: 4096,
            crc: 0,
            came: Came {
                transport: Transport::Local,
                stages: Stages::default(),
            },
        }
    };
    let (table, deadline) = (
        Sessions::new(2000),
        Instant::now() + Duration::from_secs(3600),
    );
    let identity = Identity::new("bench".to_owned());
    let opening = Opening {
        client: Arc::clone(identity.get(&ClientSeries::new(1))),
        volume: 1,
        needle: 1,
    };
    let begin = |held| {
        table
            .admit(ClientKey(1), opening.clone(), (Instant::now(), deadline))
            .unwrap()
            .hold(held)
            .unwrap()
    };
    for _ in 0..1000 {
        begin(held());
    }
    let mut spare = Some(held());
    c.bench_function(
        "session/admit, hold and complete beside 1,000 others",
        |b| {
            b.iter(|| {
                let id = begin(spare.take().unwrap());
                spare = Some(table.complete(black_box(id), Instant::now()).unwrap().0);
            });
        },
    );
    c.bench_function("session/an id to text and back", |b| {
        let id = SessionId::new(77, [9; 12]);
        b.iter(|| black_box(id).to_string().parse::<SessionId>().unwrap());
    });
}

/// What counting costs a read from the page cache and its CompleteRead, in warm caches.
fn telemetry(c: &mut Criterion) {
    c.bench_function("telemetry/a look at the clock", |b| b.iter(Stamp::now));
    let journal = Journal::new(Arc::new(Metrics::new(&MetricsSettings::default())));
    let mut nanos = 1_u32;
    c.bench_function("telemetry/a read and its CompleteRead", |b| {
        b.iter(|| {
            nanos = nanos.wrapping_mul(48_271) % 0x7fff_ffff;
            let time = Duration::from_nanos(u64::from(nanos % 5000));
            let begun = Stamp::now();
            let clock = StageClock::new(begun);
            for stage in [Stage::Submit, Stage::Transport, Stage::Verify, Stage::Reply] {
                clock.lap(stage, Stamp::now());
            }
            let landing = Landing {
                transport: Transport::Local,
                bytes: 4096,
                completion: u64::from(nanos % 5000),
                client: 0,
                volume: 0,
            };
            journal.answered(landing, clock.stages());
            journal.completed(time, Stamp::now().since(begun));
        });
    });
}

criterion_group!(benches, codec, checksum, allocator, sessions, telemetry);
criterion_main!(benches);
