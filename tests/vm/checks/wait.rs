//! Conditions that are awaited.

use std::time::{Duration, Instant};

use crate::report::Result;

/// How long a condition is awaited before a check fails: a bound, not an expectation.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is asked for.
const INTERVAL: Duration = Duration::from_millis(5);

/// Awaits `what` by asking again and again.
///
/// # Errors
/// When it has not come true within [`PATIENCE`].
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> Result<T> {
    let since = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        if since.elapsed() > PATIENCE {
            return Err(format!("did not happen within {PATIENCE:?}: {what}").into());
        }
        std::thread::sleep(INTERVAL);
    }
}
