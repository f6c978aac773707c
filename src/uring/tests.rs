use std::fs::File;
use std::io::Write;
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Extent, PIECE_BYTES};
use super::*;
use crate::pool::{Owner, Pages};

const MIB: usize = 1 << 20;

/// Runs `test` in a tokio-uring runtime with a ring over a pool of 16 MiB.
fn with_ring<F: Future>(test: impl FnOnce(Rc<DataRing>, Arc<Pool>) -> F) -> F::Output {
    tokio_uring::start(async {
        let pool = Pool::new(16 * MIB, 8 * MIB, Pages::Ordinary).unwrap();
        let (ring, registration) = DataRing::new(&pool).unwrap();
        assert!(matches!(
            registration,
            Registration::Fixed(1) | Registration::Refused(_)
        ));
        let reaper = tokio_uring::spawn(Rc::clone(&ring).reap_forever());
        let result = test(ring, pool).await;
        reaper.abort();
        result
    })
}

fn file_of(bytes: &[u8]) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Arc::new(file)
}

fn noise(len: usize) -> Vec<u8> {
    (0..len as u64)
        .map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

fn all(len: usize) -> Plan {
    Plan::new(&[Extent {
        file_offset: 0,
        at: 0,
        len,
        required: len,
    }])
}

async fn reserve(pool: &Arc<Pool>, bytes: usize) -> Buffer<Reserved> {
    pool.reserve(
        Owner::default(),
        bytes,
        Instant::now() + Duration::from_secs(5),
    )
    .await
    .unwrap()
}

#[test]
fn extents_land_where_the_plan_puts_them() {
    with_ring(async |ring, pool| {
        let content = noise(3 * MIB + 2000);
        let plan = Plan::new(&[
            Extent {
                file_offset: 5,
                at: 5,
                len: 20,
                required: 20,
            },
            Extent {
                file_offset: 999,
                at: 8192 + 999,
                len: 3 * MIB - 1,
                required: 3 * MIB - 1,
            },
        ]);
        let buffer = reserve(&pool, plan.buffer_bytes()).await;
        let landed = ring
            .read(file_of(&content), buffer, plan)
            .finish()
            .await
            .unwrap();
        assert_eq!(landed.bytes(5..25), &content[5..25]);
        assert_eq!(
            landed.bytes(9191..9191 + 3 * MIB - 1),
            &content[999..999 + 3 * MIB - 1]
        );
    });
}

#[test]
fn bytes_can_be_looked_at_as_they_land() {
    with_ring(async |ring, pool| {
        let content = noise(5 * MIB);
        let buffer = reserve(&pool, content.len()).await;
        let mut flight = ring.read(file_of(&content), buffer, all(content.len()));
        let mut seen = 0;
        loop {
            let done = flight.advance().await.unwrap();
            let landed = flight.landed(0);
            assert!(landed > seen && landed.is_multiple_of(PIECE_BYTES));
            flight.with_bytes(0, seen..landed, |bytes| {
                assert_eq!(bytes, &content[seen..landed])
            });
            seen = landed;
            if done {
                break;
            }
        }
        assert_eq!(seen, content.len());
        assert!(
            flight.advance().await.unwrap(),
            "what has landed stays landed"
        );
        assert_eq!(flight.finish().await.unwrap().bytes(0..seen), content);
    });
}

#[test]
fn a_file_that_ends_early_is_truncated_not_zero_filled() {
    with_ring(async |ring, pool| {
        let buffer = reserve(&pool, 2 * MIB).await;
        let failed = ring
            .read(file_of(&noise(MIB + 9)), buffer, all(2 * MIB))
            .finish()
            .await;
        assert!(
            matches!(failed, Err(ReadError::Truncated { at }) if at == MIB as u64 + 9),
            "{failed:?}"
        );
        assert_eq!(pool.usage().free, pool.usage().total);
    });
}

#[test]
fn what_may_lie_past_the_end_of_the_file_is_not_missed() {
    with_ring(async |ring, pool| {
        let content = noise(5000);
        let plan = Plan::new(&[Extent {
            file_offset: 0,
            at: 0,
            len: 8192,
            required: 5000,
        }])
        .direct(true);
        let buffer = reserve(&pool, 8192).await;
        let landed = ring
            .read(file_of(&content), buffer, plan)
            .finish()
            .await
            .unwrap();
        assert_eq!(landed.bytes(0..5000), content);
    });
}

#[test]
fn a_descriptor_that_can_not_be_read_is_an_error_and_the_buffer_comes_back() {
    with_ring(async |ring, pool| {
        let directory = Arc::new(File::open("/").unwrap());
        let buffer = reserve(&pool, 4096).await;
        let failed = ring.read(directory, buffer, all(4096)).finish().await;
        assert!(matches!(failed, Err(ReadError::Io { .. })), "{failed:?}");
        assert_eq!(pool.usage().free, pool.usage().total);
    });
}

/// A pipe delivers nothing until someone writes, so its read stays in the kernel.
fn pipe() -> (Arc<File>, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    (Arc::new(File::from(reader)), File::from(writer))
}

#[test]
fn a_buffer_whose_reader_has_gone_is_quarantined_until_the_kernel_has_finished() {
    with_ring(async |ring, pool| {
        let (reader, mut writer) = pipe();
        let buffer = reserve(&pool, 4096).await;
        let mut flight = ring.read(reader, buffer, all(4096));
        let gave_up = tokio::time::timeout(Duration::from_millis(5), flight.advance()).await;
        assert!(gave_up.is_err(), "nothing has been written yet");
        drop(flight);
        assert_eq!(
            (pool.usage().quarantined, pool.usage().in_flight),
            (4096, 0)
        );
        writer.write_all(&[7; 4096]).unwrap();
        while pool.usage().quarantined > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(pool.usage().free, pool.usage().total);
    });
}

/// Begins `count` reads of the first `len` bytes of `file`, and looks at each once.
async fn begin(
    ring: &Rc<DataRing>,
    pool: &Arc<Pool>,
    file: &Arc<File>,
    count: u32,
    len: usize,
) -> Vec<Flight> {
    let mut flights = Vec::new();
    for _ in 0..count {
        let buffer = reserve(pool, len).await;
        let mut flight = ring.read(file.clone(), buffer, all(len));
        let _ = tokio::time::timeout(Duration::ZERO, flight.advance()).await;
        flights.push(flight);
    }
    flights
}

#[test]
fn more_reads_than_the_ring_has_places_for_all_finish() {
    with_ring(async |ring, pool| {
        let (blocked, mut writer) = pipe();
        let content = noise(4096);
        let file = file_of(&content);
        let stuck = begin(&ring, &pool, &blocked, ENTRIES, 1).await;
        let waiting: Vec<_> = (0..32)
            .map(|_| {
                let (ring, pool, file) = (Rc::clone(&ring), Arc::clone(&pool), Arc::clone(&file));
                tokio_uring::spawn(async move {
                    let buffer = reserve(&pool, 4096).await;
                    ring.read(file, buffer, all(4096))
                        .finish()
                        .await
                        .unwrap()
                        .bytes(0..4096)
                        .to_vec()
                })
            })
            .collect();
        while ring.state().waiting_for_room.len() < 32 {
            tokio::task::yield_now().await;
        }
        writer.write_all(&[1; ENTRIES as usize]).unwrap();
        for read in waiting {
            assert_eq!(read.await.unwrap(), content);
        }
        for flight in stuck {
            flight.finish().await.unwrap();
        }
        assert_eq!(pool.usage().free, pool.usage().total);
    });
}

#[test]
fn a_place_is_not_lost_on_readers_that_have_gone() {
    with_ring(async |ring, pool| {
        let (blocked, mut writer) = pipe();
        let file = file_of(&noise(4096));
        let stuck = begin(&ring, &pool, &blocked, ENTRIES, 1).await;
        let mut waiting = begin(&ring, &pool, &file, 20, 4096).await;
        let last = waiting.pop().unwrap();
        drop(waiting);
        let last = tokio_uring::spawn(last.finish());
        tokio::task::yield_now().await;
        writer.write_all(&[1]).unwrap();
        let landed = tokio::time::timeout(Duration::from_secs(30), last).await;
        let landed = landed.expect("the place goes to the reader that is left");
        assert_eq!(landed.unwrap().unwrap().bytes(0..4096), noise(4096));
        writer.write_all(&[1; ENTRIES as usize - 1]).unwrap();
        for flight in stuck {
            flight.finish().await.unwrap();
        }
    });
}

#[test]
fn a_ring_dropped_with_reads_in_flight_waits_for_them() {
    with_ring(async |_, pool| {
        let (ring, _) = DataRing::new(&pool).unwrap();
        let (reader, mut writer) = pipe();
        let buffer = reserve(&pool, 16).await;
        let mut flight = ring.read(reader, buffer, all(16));
        let _ = tokio::time::timeout(Duration::ZERO, flight.advance()).await;
        drop(flight);
        let late = std::thread::spawn(move || writer.write_all(&[3; 16]));
        drop(ring);
        late.join().unwrap().unwrap();
        assert_eq!(pool.usage().free, pool.usage().total);
    });
}
