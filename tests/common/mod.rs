//! What the integration tests share: the real binary in a process of its own, a raw client of
//! its socket, and a writer of SeaweedFS volumes that shares no code with the engine's reader.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test file uses a part of this, and a panic is how a test fails"
)]

pub mod abuse;
pub mod bad_answer;
pub mod bystander;
pub mod case;
pub mod client;
pub mod daemon;
pub mod engine;
pub mod failing;
pub mod http;
pub mod own_target;
pub mod payload;
pub mod peer;
pub mod process;
pub mod reader;
pub mod room;
pub mod setup;
pub mod target;
pub mod through;
pub mod volume;
pub mod weed;

use std::io::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use bystander::Bystander;
pub use client::{Client, Pool};
pub use daemon::Baseline;
pub use engine::Engine;
pub use own_target::{OwnTarget, Visit};
pub use payload::{bytes, crc32c};
pub use peer::Peer;
pub use setup::{Setup, engine_with};
pub use target::{Target, TargetSetup};
pub use volume::{Needle, Spec, Volume};

/// How long a condition is awaited before the test fails: a bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits a condition by asking again and again.
///
/// # Panics
/// When `what` has not come true within [`PATIENCE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let mut answer = None;
    let came_true = within_patience(|| {
        answer = ask();
        answer.is_some()
    });
    assert!(came_true, "did not happen within {PATIENCE:?}: {what}");
    answer.unwrap()
}

/// Asks again and again; whether the answer became yes within [`PATIENCE`].
pub fn within_patience(mut ask: impl FnMut() -> bool) -> bool {
    let asked_since = Instant::now();
    while !ask() {
        if asked_since.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}

/// Says something on the terminal even when the test passes and its output is captured.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "note: {text}");
}

/// Whether the tests run as root, which some of what they check needs.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The clock the protocol's timestamps are on.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
