#![allow(unsafe_code, reason = "tests move buffers as the data ring does")]

use std::time::Duration;

use super::*;

const MIB: usize = 1 << 20;
const ME: Owner = Owner(1);
const OTHER: Owner = Owner(2);

fn pool(bytes: usize) -> Arc<Pool> {
    Pool::new(bytes, bytes, Pages::Ordinary).unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test]
async fn each_phase_is_counted_and_everything_comes_back() {
    let pool = pool(MIB);
    let buffer = pool.reserve(ME, 5000, later()).await.unwrap();
    assert_eq!(pool.usage().reserved, 8192);
    let flying = buffer.take_off();
    assert_eq!((pool.usage().reserved, pool.usage().in_flight), (0, 8192));
    // SAFETY: no I/O was ever submitted for it.
    let leased = unsafe { flying.land() }.lease();
    assert_eq!((pool.usage().in_flight, pool.usage().leased), (0, 8192));
    drop(leased);
    let expected = Usage {
        total: MIB as u64,
        free: MIB as u64,
        largest_free: MIB as u64,
        granted: 1,
        ..Usage::default()
    };
    assert_eq!(pool.usage(), expected);
}

#[tokio::test]
async fn a_quarantined_buffer_is_free_only_once_released() {
    let pool = pool(MIB);
    let orphan = pool
        .reserve(ME, MIB, later())
        .await
        .unwrap()
        .take_off()
        .quarantine();
    assert_eq!(pool.usage().quarantined, MIB as u64);
    assert_eq!(
        pool.reserve(ME, 1, soon()).await.unwrap_err(),
        ReserveError::Exhausted { bytes: 1 }
    );
    // SAFETY: no I/O was ever submitted for it.
    unsafe { orphan.release() };
    assert_eq!(pool.usage().free, MIB as u64);
}

#[tokio::test]
async fn a_buffer_dropped_in_flight_is_never_handed_out_again() {
    let pool = pool(MIB);
    drop(pool.reserve(ME, MIB / 2, later()).await.unwrap().take_off());
    assert_eq!(pool.usage().free, MIB as u64 / 2);
}

#[tokio::test]
async fn waiting_reservations_are_served_in_the_order_they_came() {
    let pool = pool(MIB);
    let all = pool.reserve(ME, MIB, later()).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let waiters: Vec<_> = (0..4)
        .map(|i| {
            let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
            tokio::spawn(async move {
                let buffer = pool.reserve(ME, MIB, later()).await.unwrap();
                order.lock().unwrap().push(i);
                drop(buffer);
            })
        })
        .collect();
    while pool.usage().waiting < 4 {
        tokio::task::yield_now().await;
    }
    drop(all);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn a_small_request_does_not_overtake_a_large_one_that_waits() {
    let pool = pool(MIB);
    let held = pool.reserve(OTHER, MIB / 2, later()).await.unwrap();
    let large = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.reserve(ME, MIB, later()).await.map(drop) })
    };
    while pool.usage().waiting < 1 {
        tokio::task::yield_now().await;
    }
    let small = pool.reserve(ME, 1, soon()).await;
    assert_eq!(small.unwrap_err(), ReserveError::Exhausted { bytes: 1 });
    drop(held);
    assert_eq!(large.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn whoever_gives_up_at_the_head_lets_those_behind_go_on() {
    let pool = pool(MIB);
    let _held = pool.reserve(OTHER, MIB / 2, later()).await.unwrap();
    let large = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.reserve(ME, MIB, soon()).await.map(drop) })
    };
    while pool.usage().waiting < 1 {
        tokio::task::yield_now().await;
    }
    assert!(
        pool.reserve(ME, 1, later()).await.is_ok(),
        "served when the large one gave up"
    );
    assert!(large.await.unwrap().is_err());
    assert_eq!(pool.usage().waiting, 0);
}

#[tokio::test]
async fn whoever_holds_too_much_to_be_served_keeps_only_itself_waiting() {
    let pool = pool(MIB);
    let held = pool.reserve(ME, MIB * 3 / 4, later()).await.unwrap();
    let more = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.reserve(ME, MIB / 2, later()).await.map(drop) })
    };
    while pool.usage().waiting < 1 {
        tokio::task::yield_now().await;
    }
    let own = pool.reserve(ME, 1, soon()).await;
    assert_eq!(own.unwrap_err(), ReserveError::Exhausted { bytes: 1 });
    let others = pool.reserve(OTHER, MIB / 4, soon()).await;
    assert!(others.is_ok(), "another is served meanwhile");
    drop(others);
    drop(held);
    assert_eq!(more.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn whoever_leaves_no_gap_that_is_large_enough_keeps_only_itself_waiting() {
    let pool = pool(16 * GRANULE_BYTES);
    let one = |owner| pool.reserve(owner, GRANULE_BYTES, later());
    let (mut mine, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        for _ in 0..3 {
            mine.push(one(ME).await.unwrap());
        }
        gaps.push(one(OTHER).await.unwrap());
    }
    drop(gaps);
    let wide = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.reserve(ME, 2 * GRANULE_BYTES, later()).await.map(drop) })
    };
    while pool.usage().waiting < 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.usage().free, 4 * GRANULE_BYTES as u64);
    let others = pool.reserve(OTHER, GRANULE_BYTES, soon()).await;
    assert!(others.is_ok(), "another is served meanwhile");
    drop(mine);
    assert_eq!(wide.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_few_small_leases_that_leave_no_gap_keep_only_the_large_request_waiting() {
    const THIRD: Owner = Owner(3);
    let pool = pool(16 * GRANULE_BYTES);
    let (mut small, mut gaps) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        gaps.push(pool.reserve(THIRD, 3 * GRANULE_BYTES, later()).await);
        small.push(pool.reserve(OTHER, 1, later()).await.unwrap());
    }
    drop(gaps);
    let wide = {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.reserve(ME, 4 * GRANULE_BYTES, later()).await.map(drop) })
    };
    while pool.usage().waiting < 1 {
        tokio::task::yield_now().await;
    }
    // The first waits its turn; the second comes when that is over.
    for _ in 0..2 {
        let one = pool.reserve(THIRD, GRANULE_BYTES, later()).await;
        assert!(one.is_ok(), "another is served while it waits");
    }
    assert_eq!(pool.usage().waiting, 1);
    small.pop();
    assert_eq!(wide.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn more_than_a_buffer_can_have_is_refused_at_once() {
    let pool = Pool::new(4 * MIB, MIB, Pages::Ordinary).unwrap();
    let refused = pool.reserve(ME, MIB + 1, later()).await.unwrap_err();
    assert_eq!(
        refused,
        ReserveError::TooLarge {
            bytes: MIB + 1,
            largest: MIB
        }
    );
}

#[tokio::test]
async fn the_end_of_a_reservation_can_be_given_back() {
    let pool = pool(MIB);
    let mut buffer = pool.reserve(ME, MIB, later()).await.unwrap();
    buffer.truncate(10_000);
    assert_eq!(
        (buffer.size_bytes(), pool.usage().reserved),
        (12_288, 12_288)
    );
    assert!(pool.reserve(ME, MIB / 2, later()).await.is_ok());
}

#[tokio::test]
async fn no_two_reservations_share_a_generation_or_a_byte() {
    let pool = pool(MIB);
    let mut buffers = Vec::new();
    for _ in 0..10 {
        buffers.push(pool.reserve(ME, 9000, later()).await.unwrap());
    }
    for (i, a) in buffers.iter().enumerate() {
        for b in &buffers[i + 1..] {
            assert_ne!(a.generation(), b.generation());
            assert!(
                a.offset() + a.size_bytes() <= b.offset()
                    || b.offset() + b.size_bytes() <= a.offset()
            );
        }
    }
}

#[test]
fn regions_cover_the_pool() {
    let pool = pool(MIB);
    let regions: Vec<_> = pool.regions().collect();
    assert_eq!(regions.len(), 1);
    assert_eq!(regions[0].1, MIB);
}
