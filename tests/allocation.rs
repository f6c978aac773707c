//! A read's size shows in no heap allocation of the engine: the engine runs inside this process,
//! under an allocator that keeps count.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(unsafe_code, reason = "an allocator is unsafe to implement")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::client::whole;
use common::{Needle, Spec, Volume, bytes, eventually, note};
use rdma_engine::client::Connection;
use rdma_engine::config::{Config, ServerArgs};
use rdma_engine::protocol::message::CompleteRead;

/// The system's allocator, and the largest and the sum of what was asked of it.
struct Counting;

static LARGEST: AtomicUsize = AtomicUsize::new(0);
static SUM: AtomicUsize = AtomicUsize::new(0);

fn count(bytes: usize) {
    LARGEST.fetch_max(bytes, Ordering::Relaxed);
    SUM.fetch_add(bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads `needle` often; the largest allocation meanwhile, and the bytes allocated for each.
fn cost_of(connection: &mut Connection, needle: &Needle) -> (usize, usize) {
    const READS: usize = 200;
    let mut largest = 0;
    let mut sum = 0;
    // The first round makes what is made once and kept.
    for _ in 0..2 {
        LARGEST.store(0, Ordering::Relaxed);
        SUM.store(0, Ordering::Relaxed);
        for _ in 0..READS {
            let started = connection.start_read(whole(7, needle)).unwrap();
            assert_eq!(started.transfer_size, needle.data.len() as u64);
            connection
                .complete_read(CompleteRead {
                    session_id: started.session_id,
                    success: true,
                    bytes_transferred: started.transfer_size,
                    ..CompleteRead::default()
                })
                .unwrap();
        }
        largest = LARGEST.load(Ordering::Relaxed);
        sum = SUM.load(Ordering::Relaxed);
    }
    (largest, sum / READS)
}

fn run_engine(dir: &Path, socket: &Path) {
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let args = ServerArgs {
        volumes: vec![text(dir)],
        ipc_socket: vec![text(socket)],
        buffer_size: vec!["64MiB".to_owned()],
        metrics_listen: vec!["off".to_owned()],
        ..ServerArgs::default()
    };
    let config = Config::load(&args, std::iter::empty()).unwrap();
    rdma_engine::server::run(&config).unwrap();
}

#[test]
fn no_allocation_grows_with_the_size_of_a_read() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("e.sock");
    let small = Needle::new(1, bytes(1, 4096));
    let large = Needle::new(2, bytes(2, 8 << 20));
    let mut volume = Volume::create(dir.path(), 7, &Spec::default());
    volume.put(&small);
    volume.put(&large);
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| run_engine(dir.path(), &socket));
        let mut connection = eventually("the engine listens", || {
            Connection::open(&socket, Duration::from_secs(10)).ok()
        });
        let (small_largest, small_each) = cost_of(&mut connection, &small);
        let (large_largest, large_each) = cost_of(&mut connection, &large);
        note(&format!(
            "4 KiB reads: {small_each} bytes allocated for each, {small_largest} at most at once; \
             8 MiB reads: {large_each} and {large_largest}"
        ));
        drop(connection);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM)
            .unwrap();
        engine.join().unwrap();
        assert!(
            large_largest <= small_largest.max(64 << 10),
            "{large_largest} bytes at once"
        );
        assert!(
            large_each <= 2 * small_each + 4096,
            "{large_each} bytes for each read"
        );
    });
}
