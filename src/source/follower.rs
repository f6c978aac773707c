//! The thread that follows the volumes' files: told of changes by inotify, and looking by itself
//! every so often where events are missing, not to be had, or not all there is to know.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::Volumes;
use crate::telemetry::RateLimited;
use crate::volume::{Look, Registry, Watch};

/// How often it looks when nothing tells it to.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(250);
/// The least time from one look to the next, so that many changes at once cost little.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// A running follower. When dropped it ends, after the look it is at.
#[derive(Debug)]
pub struct Follower {
    stop: Arc<OwnedFd>,
}

impl Follower {
    /// Follows `volumes`, and calls `looked` after each look.
    ///
    /// # Errors
    /// When there can be no thread, or no descriptor to stop it by.
    pub fn start(volumes: &Volumes, looked: impl FnMut() + Send + 'static) -> io::Result<Self> {
        Self::start_with(volumes, watch(), looked)
    }

    fn start_with(
        volumes: &Volumes,
        watch: Option<Watch>,
        looked: impl FnMut() + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let following = Following {
            registry: Arc::clone(volumes.registry()),
            watch,
            stop: Arc::clone(&stop),
            looked,
        };
        std::thread::Builder::new()
            .name("rdma-follower".into())
            .spawn(move || following.run())?;
        Ok(Self { stop })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It has room for this: nothing else is written to it.
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
    }
}

/// Events, if they are to be had.
fn watch() -> Option<Watch> {
    Watch::new().inspect_err(tell_step_down).ok()
}

fn tell_step_down(error: &io::Error) {
    let every = FOLLOW_INTERVAL;
    tracing::warn!(
        "volumes are followed by looking every {every:?} alone, because inotify can not be had \
         ({error}); see sysctl fs.inotify"
    );
}

struct Following<F> {
    registry: Arc<Registry>,
    watch: Option<Watch>,
    stop: Arc<OwnedFd>,
    looked: F,
}

impl<F: FnMut()> Following<F> {
    fn run(mut self) {
        loop {
            // First, so that nothing that happens after the look goes unnoticed.
            self.watch_directories();
            let begun = Instant::now();
            let look = self.registry.follow(None);
            (self.looked)();
            complain(&look);
            // Never more than half the time is spent looking.
            let pause = begun.elapsed().clamp(PAUSE_MIN, FOLLOW_INTERVAL);
            let next = if look.unsettled {
                pause
            } else {
                FOLLOW_INTERVAL
            };
            if self.is_stopped_within(pause) || self.is_stopped_before_news(next - pause) {
                return;
            }
        }
    }

    fn watch_directories(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        for dir in self.registry.directories() {
            match watch.watch(dir) {
                Err(error) if !is_missing(&error) => {
                    tell_step_down(&error);
                    self.watch = None;
                    return;
                }
                _ => {}
            }
        }
    }

    fn is_stopped_within(&self, pause: Duration) -> bool {
        is_first_ready(&mut [PollFd::new(&*self.stop, PollFlags::IN)], pause)
    }

    /// Waits for news of the directories, at most for `limit`; whether it was stopped.
    fn is_stopped_before_news(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(watch) = &mut self.watch else {
                return self.is_stopped_within(left);
            };
            let events = watch.take();
            match events {
                Ok(false) if left.is_zero() => return false,
                Ok(false) => {}
                Ok(true) => return false,
                Err(error) => {
                    tell_step_down(&error);
                    self.watch = None;
                    continue;
                }
            }
            let fds = [self.stop.as_fd(), watch.as_fd()];
            let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            if is_first_ready(&mut fds, left) {
                return true;
            }
        }
    }
}

/// Waits for one of `fds`, at most for `limit`; whether the first is ready.
fn is_first_ready(fds: &mut [PollFd<'_>], limit: Duration) -> bool {
    let limit = Timespec {
        tv_sec: limit.as_secs().cast_signed(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    if let Err(error) = poll(fds, Some(&limit)) {
        // Interrupted, or out of memory; either way looking sooner than need be is all.
        tracing::debug!(%error, "waiting for news of the volumes");
        return false;
    }
    fds.first().is_some_and(|stop| !stop.revents().is_empty())
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Says that a directory can not be listed.
pub(super) fn complain(look: &Look) {
    static TOLD: RateLimited = RateLimited::new(Duration::from_secs(10));
    if let Some(error) = &look.error
        && let Some(suppressed) = TOLD.pass(Instant::now())
    {
        tracing::warn!(%error, suppressed, "looking for volumes failed");
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    fn eventually(what: &str, ask: impl Fn() -> bool) {
        let since = Instant::now();
        while !ask() {
            assert!(since.elapsed() < PATIENCE, "did not happen: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Writes a volume with this compaction revision as `7.<dat>` and `7.<idx>`.
    fn write(dir: &Path, revision: u8, dat: &str, idx: &str) {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/healthy_volume");
        let mut bytes = fs::read(real.with_extension("dat")).unwrap();
        bytes[5] = revision;
        fs::write(dir.join("7").with_extension(dat), bytes).unwrap();
        fs::copy(
            real.with_extension("idx"),
            dir.join("7").with_extension(idx),
        )
        .unwrap();
    }

    #[test]
    fn vacuums_are_followed_with_and_without_events_until_it_is_dropped() {
        for watch in [Some(Watch::new().unwrap()), None] {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), 1, "dat", "idx");
            let dirs = [dir.path().to_path_buf()];
            let volumes = Volumes::new(Registry::open(&dirs, None, false).unwrap());
            let looks = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&looks);
            let looked = move || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            let follower = Follower::start_with(&volumes, watch, looked).unwrap();
            let revision = || {
                let volume = volumes.registry().find(7, None);
                volume.map(|v| v.superblock().compaction_revision).ok()
            };
            for next in 2..5 {
                write(dir.path(), next, "cpd", "cpx");
                for (from, to) in [("7.cpd", "7.dat"), ("7.cpx", "7.idx")] {
                    fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
                }
                eventually("the vacuum is noticed", || revision() == Some(next.into()));
            }
            fs::remove_file(dir.path().join("7.dat")).unwrap();
            eventually("it is gone", || revision().is_none());
            write(dir.path(), 9, "dat", "idx");
            eventually("it is back", || revision() == Some(9));
            let before = looks.load(Ordering::Relaxed);
            eventually("it looks by itself", || {
                looks.load(Ordering::Relaxed) > before + 1
            });
            assert!(volumes.follow_lag() < PATIENCE);
            drop(follower);
            eventually("it has ended", || Arc::strong_count(&looks) == 1);
        }
    }
}
